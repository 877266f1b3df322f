//! What a scan reads of the messages before it, to be recorded beside its verdict: with it the verdict is a function of
//! the message alone.

use serde::{Deserialize, Serialize};

use super::Subject;
use super::carry::{Carry, MAX_TAILS, Tail, Where, end};
use super::joins::texts;
use crate::message::Message;

/// The ends of earlier texts that one scan looks at: the stream's, or those of the message's own arguments, oldest
/// first. Others stand between them as nothing but a place, since it decides which is forgotten next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Before {
    tails: Vec<Option<Past>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Past {
    /// The argument's name; none for a stream.
    argument: Option<String>,
    tail: Tail,
}

/// An entry of the JSON form.
#[derive(Serialize, Deserialize)]
struct Written {
    #[serde(skip_serializing_if = "Option::is_none")]
    argument: Option<String>,
    tail: String,
    /// Whether something in it was hidden.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    hidden: bool,
}

impl Before {
    /// The JSON form: an array of `{"tail": …}`, for an argument with `"argument": …`, or null. What was found in the
    /// texts is hidden as [`Carry::hide`] was told, unless `raw`.
    #[must_use]
    pub fn to_json(&self, raw: bool) -> String {
        let write = |past: &Past| Written {
            argument: past.argument.clone(),
            tail: match &past.tail.shown {
                Some(shown) if !raw => shown.clone(),
                _ => past.tail.text.clone(),
            },
            hidden: !raw && past.tail.shown.is_some(),
        };
        let all: Vec<Option<Written>> =
            self.tails.iter().map(|past| past.as_ref().map(write)).collect();
        // texts and booleans have no form that JSON lacks
        serde_json::to_string(&all).unwrap_or_default()
    }

    /// Reads the JSON form. `None` if it is none, or more than a carry holds.
    #[must_use]
    pub fn from_json(json: &[u8]) -> Option<Self> {
        let all: Vec<Option<Written>> = serde_json::from_slice(json).ok()?;
        let read = |written: Written| Past {
            argument: written.argument,
            tail: Tail {
                shown: written.hidden.then(|| written.tail.clone()),
                text: end(&written.tail).to_owned(),
            },
        };
        let tails = all.into_iter().map(|one| one.map(read)).collect::<Vec<_>>();
        (tails.len() <= MAX_TAILS).then_some(Self { tails })
    }

    /// A carry that stands where the live one stood, as far as a scan of this subject's message can tell.
    #[must_use]
    pub fn carry(&self, subject: &Subject<'_>) -> Carry {
        let tool = subject.name.unwrap_or("");
        let place = |(at, past): (usize, &Option<Past>)| match past {
            None => (Where::Other(at).key(), Tail::default()),
            Some(Past { argument: None, tail }) => (Where::Stream.key(), tail.clone()),
            Some(Past { argument: Some(key), tail }) => {
                (Where::Argument { tool, key }.key(), tail.clone())
            }
        };
        Carry { tails: self.tails.iter().enumerate().map(place).collect() }
    }

    /// Whether what was found in the earlier texts is hidden in what stands here.
    #[must_use]
    pub fn is_hidden(&self) -> bool {
        self.tails.iter().flatten().any(|past| past.tail.shown.is_some())
    }

    /// The ends of the texts, for a person to read, each with its argument's name.
    pub fn texts(&self) -> impl Iterator<Item = (Option<&str>, &str)> {
        self.tails.iter().flatten().map(|past| (past.argument.as_deref(), past.tail.text.as_str()))
    }

    fn find(&self, place: &Where<'_>) -> Option<&Tail> {
        let is = |past: &&Past| match (place, past.argument.as_deref()) {
            (Where::Argument { key, .. }, Some(argument)) => *key == argument,
            (Where::Stream, None) => true,
            _ => false,
        };
        self.tails.iter().flatten().find(is).map(|past| &past.tail)
    }
}

impl Carry {
    /// What a scan of this message will read of it; `None` if nothing.
    #[must_use]
    pub fn before(&self, message: &Message<'_>, subject: &Subject<'_>) -> Option<Before> {
        if self.tails.is_empty() {
            return None;
        }
        let mut tails: Vec<Option<Past>> = Vec::new();
        for (_, key) in texts(message, subject.direction) {
            let place = Where::of(message, key, subject);
            let hash = place.key();
            let Some(at) = self.tails.iter().position(|(known, _)| *known == hash) else {
                continue;
            };
            tails.resize(self.tails.len(), None);
            if let (Some(slot @ None), Some((_, tail))) = (tails.get_mut(at), self.tails.get(at)) {
                let argument = match place {
                    Where::Argument { key, .. } => Some(key.to_owned()),
                    Where::Stream | Where::Other(_) => None,
                };
                *slot = Some(Past { argument, tail: tail.clone() });
            }
        }
        (!tails.is_empty()).then_some(Before { tails })
    }

    /// Tells what of a message just scanned a record may hold: `show` gives a text of it as the record has it, `None`
    /// where that is the text itself. `before` is what stood here before the scan.
    pub fn hide(
        &mut self,
        before: Option<&Before>,
        message: &Message<'_>,
        subject: &Subject<'_>,
        show: impl Fn(&str) -> Option<String>,
    ) {
        let mut told: Vec<(u64, String)> = Vec::new();
        for (node, key) in texts(message, subject.direction) {
            let place = Where::of(message, key, subject);
            let hash = place.key();
            let at = told.iter().position(|(known, _)| *known == hash).unwrap_or_else(|| {
                let past = before.and_then(|before| before.find(&place));
                let past = past.map(|tail| tail.shown.as_ref().unwrap_or(&tail.text).clone());
                told.push((hash, past.unwrap_or_default()));
                told.len() - 1
            });
            let text = message.string(node);
            let shown = show(text);
            if let Some((_, all)) = told.get_mut(at) {
                all.push_str(end(shown.as_deref().unwrap_or(text)));
                *all = end(all).to_owned();
            }
        }
        for (place, shown) in told {
            if let Some((_, tail)) = self.tails.iter_mut().find(|(known, _)| *known == place) {
                tail.shown = Some(shown).filter(|shown| *shown != tail.text);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Direction, ParseLimits, Parser, RuleFile, RuleSet, Scan, Scanner};
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn rules() -> RuleSet {
        let text = "rules:\n- id: t.sure\n  title: t\n  class: secret\n  severity: high\n  confidence: high\n  pattern: 'zqxj[0-9]{6}'\n  docs: {finds: f, why: w}\n  tests: {match: [], no_match: []}\n";
        RuleSet::compile_unchecked(&[RuleFile { name: "t.yaml", text }]).unwrap()
    }

    /// Scans with what stands in `carry`, and once more with what a record of that says.
    fn both(set: &RuleSet, carry: &mut Carry, raw: &Value, subject: &Subject<'_>) -> [Scan; 2] {
        let raw = raw.to_string();
        let scan = |message: &Message<'_>| {
            let before = carry.before(message, subject);
            let json = before.as_ref().map(|before| before.to_json(true));
            let live = Scanner::new().scan_after(set, message, subject, Some(carry));
            let read = json.map(|json| Before::from_json(json.as_bytes()).unwrap());
            assert_eq!(read.as_ref(), before.as_ref());
            let mut again = read.unwrap_or_default().carry(subject);
            [live, Scanner::new().scan_after(set, message, subject, Some(&mut again))]
        };
        Parser::new(ParseLimits::default()).parse(raw.as_bytes(), scan).unwrap()
    }

    fn call(arguments: &[(usize, &str)]) -> Value {
        // the same name may stand at two depths
        let one = |(at, (key, text)): (usize, &(usize, &str))| {
            (format!("o{at}"), json!({ format!("k{key}"): text }))
        };
        let arguments: serde_json::Map<String, Value> =
            arguments.iter().enumerate().map(one).collect();
        json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "t", "arguments": arguments } })
    }

    fn subject(direction: Direction) -> Subject<'static> {
        Subject {
            direction,
            server: "s",
            method: Some("tools/call"),
            name: Some("t"),
            paranoia: 1,
            budget: usize::MAX,
            now: 0,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_scan_is_a_function_of_the_message_and_what_stood_before_it(
            calls in prop::collection::vec(
                prop::collection::vec((0_usize..22, prop::sample::select(vec!["zqxj12", "34", "56", "3456", "zqxj123456", "x"])), 0..24),
                1..8,
            ),
            to_client in any::<bool>(),
        ) {
            let set = rules();
            let mut carry = Carry::new();
            for arguments in &calls {
                let (raw, subject) = match to_client {
                    false => (call(arguments), subject(Direction::ToServer)),
                    true => {
                        let items: Vec<Value> = arguments.iter().map(|(_, text)| json!({ "type": "text", "text": text })).collect();
                        let raw = json!({ "jsonrpc": "2.0", "id": 1, "result": { "content": items } });
                        (raw, subject(Direction::ToClient))
                    }
                };
                let [live, again] = both(&set, &mut carry, &raw, &subject);
                prop_assert_eq!(live, again);
            }
        }
    }

    #[test]
    fn what_was_hidden_in_a_message_is_hidden_in_what_follows_it() {
        let set = rules();
        let mut carry = Carry::new();
        let subject = subject(Direction::ToClient);
        let text = |text: &str| {
            json!({ "jsonrpc": "2.0", "id": 1, "result": { "content": [{ "type": "text", "text": text }] } }).to_string()
        };
        let mut told = Vec::new();
        for part in ["plain ", "a zqxj123456 b ", "c", "d"] {
            let raw = text(part);
            let run = |message: &Message<'_>| {
                let before = carry.before(message, &subject);
                told.push(before.as_ref().map(|before| before.to_json(false)));
                let scan = Scanner::new().scan_after(&set, message, &subject, Some(&mut carry));
                if !scan.findings.is_empty() {
                    carry.hide(before.as_ref(), message, &subject, |text| {
                        text.contains("zqxj").then(|| text.replace("zqxj123456", "[hidden]"))
                    });
                }
            };
            Parser::new(ParseLimits::default()).parse(raw.as_bytes(), run).unwrap();
        }
        let told: Vec<&str> = told.iter().map(|one| one.as_deref().unwrap_or("-")).collect();
        let expected = [
            "-",
            r#"[{"tail":"plain "}]"#,
            r#"[{"tail":"plain a [hidden] b ","hidden":true}]"#,
            r#"[{"tail":"plain a [hidden] b c","hidden":true}]"#,
        ];
        assert_eq!(told, expected);
        assert!(Before::from_json(told[3].as_bytes()).unwrap().is_hidden());
        assert!(Before::from_json(b"[null,null,null,null,null,null,null,null,null,null,null,null,null,null,null,null,null]").is_none());
        assert!(Before::from_json(b"{}").is_none());
    }
}
