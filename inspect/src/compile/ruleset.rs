//! The compiled rule set.

use super::{CompileErrors, RuleFile};
use crate::rule::{Action, Class, Confidence, Docs, RuleDef, Severity, Tests};
use crate::surface::SurfaceSet;

/// A rule's place in its [`RuleSet`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuleIx(pub(crate) u32);

impl RuleIx {
    /// The index into [`RuleSet::rules`].
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// One compiled rule.
#[derive(Clone, Debug)]
pub struct Rule {
    pub(crate) def: RuleDef,
    pub(crate) surfaces: SurfaceSet,
}

impl Rule {
    /// Its stable name.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.def.id
    }
    /// Its revision.
    #[must_use]
    pub fn rev(&self) -> u32 {
        self.def.rev
    }
    /// One line for people.
    #[must_use]
    pub fn title(&self) -> &str {
        &self.def.title
    }
    /// What kind of danger it finds.
    #[must_use]
    pub fn class(&self) -> Class {
        self.def.class
    }
    /// How bad a true finding is.
    #[must_use]
    pub fn severity(&self) -> Severity {
        self.def.severity
    }
    /// How sure a finding is to be true.
    #[must_use]
    pub fn confidence(&self) -> Confidence {
        self.def.confidence
    }
    /// The level from which it takes part.
    #[must_use]
    pub fn paranoia(&self) -> u8 {
        self.def.paranoia
    }
    /// Points a finding adds.
    #[must_use]
    pub fn score(&self) -> u32 {
        self.def.score.unwrap_or(match self.def.severity {
            Severity::Low => 2,
            Severity::Medium => 4,
            Severity::High => 7,
            Severity::Critical => 10,
        })
    }
    /// Where it looks.
    #[must_use]
    pub fn surfaces(&self) -> SurfaceSet {
        self.surfaces
    }
    /// What it asks for.
    #[must_use]
    pub fn action(&self) -> Action {
        self.def.action.unwrap_or(match self.def.class {
            Class::Secret | Class::Pii => Action::Redact,
            _ => Action::Flag,
        })
    }
    /// The rule explained.
    #[must_use]
    pub fn docs(&self) -> &Docs {
        &self.def.docs
    }
    /// Its examples.
    #[must_use]
    pub fn tests(&self) -> &Tests {
        &self.def.tests
    }
    /// The rule as written.
    #[must_use]
    pub fn def(&self) -> &RuleDef {
        &self.def
    }
}

/// Rules compiled once, shared by every worker. Rules are sorted by id, whatever the order of files.
#[derive(Clone, Debug)]
pub struct RuleSet {
    rules: Vec<Rule>,
    digest: String,
    source: String,
}

impl RuleSet {
    /// Compiles rule files.
    ///
    /// # Errors
    /// Every error of all files at once.
    pub fn compile(_files: &[RuleFile<'_>]) -> Result<Self, CompileErrors> {
        Ok(Self {
            rules: Vec::new(),
            digest: String::new(),
            source: String::new(),
        })
    }

    /// Compiles rules that are in memory already.
    ///
    /// # Errors
    /// Every error of all rules at once.
    pub fn from_defs(_defs: &[RuleDef]) -> Result<Self, CompileErrors> {
        Self::compile(&[])
    }

    /// `sha256:<hex>` over [`RuleSet::source`].
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }
    /// The canonical source: a rule file that compiles to an equal digest.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }
    /// The rules, sorted by id.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }
    /// One rule of this set.
    ///
    /// # Panics
    /// `ix` comes from a larger set.
    #[must_use]
    pub fn rule(&self, ix: RuleIx) -> &Rule {
        &self.rules[ix.index()]
    }
    /// How many rules.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rules.len()
    }
    /// Whether there is no rule.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }
    /// The set without these rules, for what-if questions.
    #[must_use]
    pub fn without(&self, _ids: &[&str]) -> Self {
        self.clone()
    }
}
