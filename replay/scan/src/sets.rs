//! The rule sets and policies a capture holds, read when a row first names them.

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::sync::Arc;

use capture::{Location, Str};
use inspect::{Policy, RuleFile, RuleSet, SetDef};

/// Compiled sets kept at a time; a capture whose rows change between more of them compiles again.
const MAX_SETS: usize = 32;
/// Policies kept at a time.
const MAX_POLICIES: usize = 1024;
/// Error texts kept; digests are the capture's word and could be any number.
const MAX_ERRORS: usize = 1000;

/// What rows refer to, by digest. `None` in a map: tried, and failed.
#[derive(Debug)]
pub(crate) struct Sets {
    root: Location,
    without: Vec<String>,
    rules: HashMap<Str, Option<Arc<RuleSet>>>,
    policies: HashMap<Str, Option<Policy>>,
    errors: BTreeSet<String>,
}

impl Sets {
    pub(crate) fn new(path: &Location, without: &[String]) -> Self {
        Self {
            root: path.root(),
            without: without.to_vec(),
            rules: HashMap::new(),
            policies: HashMap::new(),
            errors: BTreeSet::new(),
        }
    }

    /// The recorded rule set of this digest.
    pub(crate) fn rules(&mut self, digest: &Str) -> Option<Arc<RuleSet>> {
        if let Some(known) = self.rules.get(digest) {
            return known.clone();
        }
        let set = self.compile(digest).map(Arc::new).map_err(|error| self.error(error)).ok();
        if self.rules.len() >= MAX_SETS {
            self.rules.clear();
        }
        self.rules.insert(digest.clone(), set.clone());
        set
    }

    /// The recorded policy of this digest.
    pub(crate) fn policy(&mut self, digest: &Str) -> Option<Policy> {
        if let Some(known) = self.policies.get(digest) {
            return known.clone();
        }
        let policy = self.read_policy(digest).map_err(|error| self.error(error)).ok();
        if self.policies.len() >= MAX_POLICIES {
            self.policies.clear();
        }
        self.policies.insert(digest.clone(), policy.clone());
        policy
    }

    /// One error per rule set or policy that cannot be used.
    pub(crate) fn into_errors(self) -> impl Iterator<Item = String> {
        self.errors.into_iter()
    }

    /// The names and versions of a recorded rule set, as its file says. The file is not compiled for that.
    pub(crate) fn title(&self, digest: &str) -> Option<String> {
        let text = capture::read_ruleset(&self.root, digest).ok()?;
        let sets = text.lines().next()?.strip_prefix("set: ")?;
        let sets: Vec<SetDef> = serde_json::from_str(sets).ok()?;
        let sets = sets.iter().take(MAX_SETS).filter(|set| set.problem().is_none());
        Some(sets.map(ToString::to_string).collect::<Vec<_>>().join(", "))
    }

    fn compile(&self, digest: &str) -> Result<RuleSet, String> {
        let text = capture::read_ruleset(&self.root, digest)
            .map_err(|error| format!("rule set {digest}: {error}"))?;
        let set = RuleSet::compile_beside(&[RuleFile { name: digest, text: &text }], &[]).map_err(
            |errors| {
                let first = errors.iter().next().map(ToString::to_string).unwrap_or_default();
                format!("rule set {digest} does not compile, {} errors: {first}", errors.len())
            },
        )?;
        if set.digest() != digest {
            return Err(format!("rule set {digest} is not what was recorded: {}", set.digest()));
        }
        Ok(without(&set, &self.without).unwrap_or(set))
    }

    fn read_policy(&self, digest: &str) -> Result<Policy, String> {
        let text = capture::read_config(&self.root, digest)
            .map_err(|error| format!("policy {digest}: {error}"))?;
        serde_json::from_str(&text).map_err(|error| format!("policy {digest}: {error}"))
    }

    fn error(&mut self, text: String) {
        self.errors.insert(text);
        if self.errors.len() > MAX_ERRORS {
            self.errors.pop_last();
        }
    }
}

/// The set without these rules; `None` when there is nothing to take out.
pub(crate) fn without(set: &RuleSet, ids: &[String]) -> Option<RuleSet> {
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    (!ids.is_empty()).then(|| set.without(&ids))
}
