//! The list `capture.rules`: which messages are recorded, and with their bodies or without.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is recorded of the messages that it fits. The first rule that fits a message counts; one that no rule fits is
/// recorded in full. In every list `*` stands for any text and `?` for one character; an empty list fits all.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CaptureRule {
    /// The servers.
    pub servers: Vec<String>,
    /// The tools, prompts or resources; of an answer, those that were asked for.
    pub tools: Vec<String>,
    /// The methods; of an answer, that of its request.
    pub methods: Vec<String>,
    /// Who sent the request.
    pub principals: Vec<String>,
    /// What is recorded.
    pub record: Extent,
    /// The share of exchanges whose bodies are recorded, 0 to 1; of the others there are rows without bodies. A
    /// request and its answer are drawn together. Only for `record: full`.
    pub sample: f64,
}

/// How much of a message is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Extent {
    /// Nothing: there is no row, only a count.
    Off,
    /// A row without the body: its length, and what was decided.
    Metadata,
    /// A row with the body, in the form that `bodies` says.
    Full,
}

impl Default for CaptureRule {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            tools: Vec::new(),
            methods: Vec::new(),
            principals: Vec::new(),
            record: Extent::Full,
            sample: 1.0,
        }
    }
}

/// More rules than this would be felt at each message.
const MOST_RULES: usize = 1000;

/// What is wrong with the list: the pointer below `/capture/rules`, and a sentence.
pub(super) fn problems(rules: &[CaptureRule]) -> Vec<(String, &'static str)> {
    let mut found = Vec::new();
    if rules.len() > MOST_RULES {
        found.push((String::new(), "more than 1000 rules cannot be had"));
    }
    for (at, rule) in rules.iter().enumerate() {
        if !(0.0..=1.0).contains(&rule.sample) {
            found.push((format!("/{at}/sample"), "a share is a number from 0 to 1"));
        } else if rule.sample < 1.0 && rule.record != Extent::Full {
            found.push((format!("/{at}/sample"), "only bodies are sampled: write `record: full`"));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_shares_of_bodies() {
        let rule = |record, sample| CaptureRule { record, sample, ..CaptureRule::default() };
        let pointers = |rule| {
            let found = problems(&[rule]).into_iter();
            found.map(|(pointer, _)| pointer).collect::<Vec<_>>()
        };
        assert_eq!(pointers(rule(Extent::Full, 0.5)), [""; 0]);
        for wrong in [
            rule(Extent::Full, 1.5),
            rule(Extent::Full, -0.1),
            rule(Extent::Full, f64::NAN),
            rule(Extent::Off, 0.5),
        ] {
            assert_eq!(pointers(wrong), ["/0/sample"]);
        }
    }
}
