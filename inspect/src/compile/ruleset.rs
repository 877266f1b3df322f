//! The compiled rule set.

use super::pattern::Pattern;
use super::resolve::{Allow, Gate};
use crate::anchor::{self, Anchors, Rounds};
use crate::filter::Filter;
use crate::rule::{Action, Class, Confidence, Docs, RuleDef, Severity, Tests, View};
use crate::set::SetDef;
use crate::surface::SurfaceSet;
use crate::validate::Validator;
use aho_corasick::{AhoCorasick, AhoCorasickBuilder};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::sync::OnceLock;

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

/// The readings of a text that a rule looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ViewSet(u8);

impl ViewSet {
    /// Those that a rule names, or those of its kind.
    pub(crate) fn of(def: &RuleDef) -> Self {
        let bit = |view: &View| 1_u8 << (*view as u8);
        if !def.views.is_empty() {
            return Self(def.views.iter().map(bit).fold(0, |all, bit| all | bit));
        }
        // letter games turn any words into others: too much for rules that ask little of a value
        let sure = match def.class {
            Class::Pii => false,
            Class::Secret => def.paranoia == 1 && def.key.is_none(),
            _ => true,
        };
        Self(if sure { 0b1111 } else { 0b0111 })
    }

    pub(crate) fn has(self, view: View) -> bool {
        self.0 & (1 << (view as u8)) != 0
    }
}

/// What makes a rule look at a text.
#[derive(Clone, Debug)]
pub(crate) enum Trigger {
    /// A literal of the pattern, in the text.
    Value(Anchors),
    /// A literal of the key regex, in the key that names the text.
    Key(Anchors),
    /// A keyword, in the text or in its key.
    Keyword(Anchors),
    /// Every text.
    Always,
}

/// Where a literal has to stand to open a text for its rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Value,
    Key,
    Keyword,
}

/// A rule that a literal opens texts for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Use {
    pub(crate) rule: RuleIx,
    pub(crate) role: Role,
    /// Which group of the rule's literals it belongs to, in a pattern.
    pub(crate) group: u16,
}

/// One compiled rule.
#[derive(Clone, Debug)]
pub struct Rule {
    pub(crate) def: RuleDef,
    pub(crate) surfaces: SurfaceSet,
    pub(crate) views: ViewSet,
    pub(crate) pattern: Pattern,
    /// Which capture group is the secret.
    pub(crate) secret: Option<usize>,
    pub(crate) key: Option<Pattern>,
    /// All its keywords, ASCII case aside, once they are asked for; `None` when they are too many.
    pub(crate) keywords: OnceLock<Option<AhoCorasick>>,
    pub(crate) validator: Option<Validator>,
    pub(crate) allow: Vec<Allow>,
    pub(crate) trigger: Trigger,
    /// What may stand round the pattern's literals, once it is asked for.
    pub(crate) rounds: OnceLock<Option<Rounds>>,
    pub(crate) gate: Gate,
}

impl Rule {
    /// Whether a literal of a group of the pattern's, at `start..end` of a text, may belong to a match.
    pub(crate) fn may_match(&self, group: u16, text: &[u8], start: usize, end: usize) -> bool {
        let Trigger::Value(anchors) = &self.trigger else { return true };
        let of = || Some(Rounds::of(&self.pattern.hir()?, &anchors.groups));
        let rounds = self.rounds.get_or_init(of);
        rounds.as_ref().is_none_or(|rounds| rounds.fit(usize::from(group), text, start, end))
    }
    /// Whether one of its keywords stands in a text.
    pub(crate) fn has_keyword(&self, text: &[u8]) -> bool {
        let build = || {
            let mut builder = AhoCorasickBuilder::new();
            builder.ascii_case_insensitive(true).build(&self.def.keywords).ok()
        };
        // too many were refused before
        let keywords = self.keywords.get_or_init(build);
        keywords.as_ref().is_none_or(|words| words.is_match(text))
    }
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
    /// What a redacted text becomes.
    #[must_use]
    pub fn placeholder(&self) -> String {
        let template = self.def.redact.as_deref().unwrap_or("[redacted:{id}]");
        template.replace("{id}", &self.def.id)
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
    /// The literals that make the engine look at a text for this rule; none for a slow rule.
    #[must_use]
    pub fn anchors(&self) -> &[Vec<u8>] {
        match &self.trigger {
            Trigger::Value(a) | Trigger::Key(a) | Trigger::Keyword(a) => &a.literals,
            Trigger::Always => &[],
        }
    }
    /// How often the engine expects to look, per megabyte of ordinary traffic; `None` for a slow rule: at every text.
    #[must_use]
    pub fn cost(&self) -> Option<f64> {
        match &self.trigger {
            Trigger::Value(a) | Trigger::Key(a) | Trigger::Keyword(a) => Some(a.cost * 1e6),
            Trigger::Always => None,
        }
    }
    /// The literal that makes the engine look most often, and how often per megabyte of ordinary traffic.
    #[must_use]
    pub fn dearest_anchor(&self) -> Option<(&[u8], f64)> {
        let costs =
            self.anchors().iter().map(|literal| (&literal[..], anchor::commonness(literal) * 1e6));
        costs.max_by(|a, b| a.1.total_cmp(&b.1))
    }
}

/// Rules compiled once, shared by every worker. Rules are sorted by id, whatever the order of files.
#[derive(Clone)]
pub struct RuleSet {
    rules: Vec<Rule>,
    filter: Filter,
    /// For each literal of the filter: where its uses begin; and one more, the end.
    uses_from: Vec<u32>,
    /// The rules that literals open texts for.
    uses: Vec<Use>,
    /// Rules that look at every text.
    slow: Vec<RuleIx>,
    sets: Vec<SetDef>,
    digest: String,
    source: String,
}

/// The digest and a count: all rules are megabytes.
impl std::fmt::Debug for RuleSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RuleSet({} rules, {})", self.rules.len(), self.digest)
    }
}

impl Default for RuleSet {
    /// The set without rules.
    fn default() -> Self {
        // no literals, so the filter is always built
        Self::build(Vec::new(), Vec::new()).unwrap_or_else(|| unreachable!("an empty filter"))
    }
}

impl RuleSet {
    /// Builds the set from rules sorted by id and from what its files call themselves; `None` when their literals are too many for the filter.
    pub(crate) fn build(rules: Vec<Rule>, sets: Vec<SetDef>) -> Option<Self> {
        let mut literals: Vec<(&[u8], Use)> = Vec::new();
        let mut slow = Vec::new();
        for (index, rule) in (0_u32..).zip(&rules) {
            let rule_ix = RuleIx(index);
            let (anchors, role) = match &rule.trigger {
                Trigger::Value(anchors) => (anchors, Role::Value),
                Trigger::Key(anchors) => (anchors, Role::Key),
                Trigger::Keyword(anchors) => (anchors, Role::Keyword),
                Trigger::Always => {
                    slow.push(rule_ix);
                    continue;
                }
            };
            if role == Role::Value {
                for (group, of) in (0_u16..).zip(&anchors.groups) {
                    let of =
                        of.literals.iter().filter_map(|at| anchors.literals.get(usize::from(*at)));
                    literals.extend(of.map(|l| (&l[..], Use { rule: rule_ix, role, group })));
                }
            } else {
                let of = anchors.literals.iter();
                literals.extend(of.map(|l| (&l[..], Use { rule: rule_ix, role, group: 0 })));
            }
        }
        // stable: the uses of a literal stay in the order of rules
        literals.sort_by_key(|(literal, _)| *literal);
        let uses: Vec<Use> = literals.iter().map(|(_, of)| *of).collect();
        let mut uses_from = Vec::new();
        let mut distinct: Vec<&[u8]> = Vec::new();
        for (at, (literal, _)) in (0_u32..).zip(&literals) {
            if distinct.last() != Some(literal) {
                distinct.push(literal);
                uses_from.push(at);
            }
        }
        uses_from.push(u32::try_from(uses.len()).ok()?);
        let filter = Filter::new(&distinct)?;
        let source = source(&sets, rules.iter().map(|rule| &rule.def));
        Some(Self { filter, uses_from, uses, slow, sets, digest: digest(&source), source, rules })
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
    /// The named sets it was joined of, sorted by name; none when no file named one. Rules of files that name no set
    /// are in it beside them.
    #[must_use]
    pub fn sets(&self) -> &[SetDef] {
        &self.sets
    }
    /// The names and versions of its sets, for people: `acme-rules 1.4.0, wiregate-builtin 0.1.0`.
    #[must_use]
    pub fn title(&self) -> String {
        if self.sets.is_empty() {
            return "unnamed".to_owned();
        }
        self.sets.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }
    /// The rules, sorted by id.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }
    /// One rule of this set.
    ///
    /// # Panics
    /// `ix` comes from another, larger set.
    #[must_use]
    pub fn rule(&self, ix: RuleIx) -> &Rule {
        &self.rules[ix.index()]
    }
    /// The rule of this id.
    #[must_use]
    pub fn find(&self, id: &str) -> Option<RuleIx> {
        let at = self.rules.binary_search_by(|rule| rule.id().cmp(id)).ok()?;
        u32::try_from(at).ok().map(RuleIx)
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
    /// The set without these rules, for what-if questions. It has no name: nobody released it.
    #[must_use]
    pub fn without(&self, ids: &[&str]) -> Self {
        let rest = self.rules.iter().filter(|rule| !ids.contains(&rule.id()));
        // fewer literals than this set has, so the filter can be built
        Self::build(rest.cloned().collect(), Vec::new()).unwrap_or_default()
    }

    /// The set with every rule at level 1 and on every surface, to see which rules took no part.
    pub(crate) fn loosened(&self) -> Self {
        let loose = |rule: &Rule| {
            let def = RuleDef { paranoia: 1, ..rule.def.clone() };
            Rule { def, surfaces: SurfaceSet::ALL, ..rule.clone() }
        };
        // the very literals of this set
        Self::build(self.rules.iter().map(loose).collect(), self.sets.clone()).unwrap_or_default()
    }

    pub(crate) fn filter(&self) -> &Filter {
        &self.filter
    }
    /// The rules that a literal of the filter opens texts for.
    pub(crate) fn uses(&self, literal: usize) -> &[Use] {
        match (self.uses_from.get(literal), self.uses_from.get(literal + 1)) {
            (Some(from), Some(to)) => self.uses.get(*from as usize..*to as usize).unwrap_or(&[]),
            _ => &[],
        }
    }
    pub(crate) fn slow(&self) -> &[RuleIx] {
        &self.slow
    }
}

/// What identifies a canonical source.
pub(super) fn digest(source: &str) -> String {
    format!("sha256:{}", hex(&Sha256::digest(source.as_bytes())))
}

/// The names of the sets on a line, and one rule a line, as JSON, which is YAML too. Rules come sorted by id.
pub(super) fn source<'d>(sets: &[SetDef], rules: impl Iterator<Item = &'d RuleDef>) -> String {
    let mut out = String::new();
    if !sets.is_empty() {
        out.push_str("set: ");
        push_json(&mut out, &sets);
        out.push('\n');
    }
    out.push_str("rules:");
    let head = out.len();
    for rule in rules {
        out.push_str("\n- ");
        push_json(&mut out, rule);
    }
    if out.len() == head {
        out.push_str(" []");
    }
    out.push('\n');
    out
}

/// Writes JSON that is YAML as well.
fn push_json(out: &mut String, value: &impl Serialize) {
    // a RuleDef or a SetDef holds only strings, numbers and lists of them: it is always JSON
    let json = serde_json::to_string(value).unwrap_or_default();
    for c in json.chars() {
        // what YAML does not take unescaped; writing to a String cannot fail
        if matches!(
            c,
            '\u{7F}'..='\u{9F}' | '\u{2028}' | '\u{2029}' | '\u{FEFF}' | '\u{FFFE}' | '\u{FFFF}'
        ) {
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        } else {
            out.push(c);
        }
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        // writing to a String cannot fail
        let _ = write!(out, "{byte:02x}");
        out
    })
}
