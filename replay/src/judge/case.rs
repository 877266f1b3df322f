//! One line: read, judged by the engine, and told in its own terms.

use std::borrow::Cow;

use inspect::{
    Action, Direction, ParseLimits, Parser, Policy, Preset, RuleSet, Scanner, Subject, Surface,
    Verdict, redact,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::wrap::{Wrapped, wrap};

/// A line as written. Unknown members are ignored: corpora carry more.
#[derive(Debug, Deserialize)]
pub(crate) struct Case<'l> {
    #[serde(borrow)]
    pub(crate) id: &'l RawValue,
    #[serde(borrow, default)]
    surface: Option<Cow<'l, str>>,
    #[serde(borrow, default)]
    text: Option<Cow<'l, str>>,
    #[serde(borrow, default)]
    direction: Option<Cow<'l, str>>,
    #[serde(borrow, default)]
    message: Option<&'l RawValue>,
    #[serde(borrow, default)]
    method: Option<Cow<'l, str>>,
    #[serde(borrow, default)]
    name: Option<Cow<'l, str>>,
    #[serde(borrow, default)]
    server: Option<Cow<'l, str>>,
    #[serde(borrow, default)]
    pub(crate) label: Option<Cow<'l, str>>,
    #[serde(borrow, default)]
    pub(crate) kind: Option<Cow<'l, str>>,
}

/// What comes of a line.
#[derive(Debug, Serialize)]
pub(crate) struct Judged<'l> {
    id: &'l RawValue,
    /// What is enforced.
    pub(crate) action: Action,
    /// What the rules ask for.
    would_be: Action,
    /// Whether anyone would hear of it: the action is more than `allow`.
    pub(crate) flagged: bool,
    score: u32,
    /// Ids of the rules that found something, once each.
    pub(crate) rules: Vec<String>,
    /// What was found where: byte ranges of the text, or of the message as it stands on the line.
    spans: Vec<Spot>,
    /// Whether a limit ended the scan early; such a message is refused.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    truncated: bool,
    /// What would be forwarded; `null` when nothing.
    output: Option<Output>,
}

#[derive(Debug, Serialize)]
struct Spot {
    rule: String,
    start: usize,
    end: usize,
    path: String,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Output {
    Text(String),
    Value(Value),
    Raw(Box<RawValue>),
}

/// A line as the message it stands for, and what the engine must know of it.
#[derive(Debug)]
pub(crate) struct Ready<'c> {
    pub(crate) raw: Cow<'c, [u8]>,
    direction: Direction,
    server: &'c str,
    method: Option<Cow<'c, str>>,
    name: Option<Cow<'c, str>>,
    /// Where a text stands in the message it was wrapped in.
    pointer: Option<&'static str>,
}

impl Ready<'_> {
    pub(crate) fn subject(&self, paranoia: u8) -> Subject<'_> {
        Subject {
            direction: self.direction,
            server: self.server,
            method: self.method.as_deref(),
            name: self.name.as_deref(),
            paranoia,
            budget: usize::MAX,
            now: 0,
        }
    }
}

impl Case<'_> {
    /// The message of this line.
    pub(crate) fn ready(&self, parser: &mut Parser) -> Result<Ready<'_>, String> {
        let server = self.server.as_deref().unwrap_or("judge");
        let own = |word: &'_ Option<Cow<'_, str>>| word.as_deref().map(|word| word.to_owned());
        match (&self.text, self.message) {
            (Some(text), None) => {
                let word = self.surface.as_deref().unwrap_or("result.text");
                let surface: Surface =
                    word.parse().map_err(|_| format!("no surface \"{word}\""))?;
                let Wrapped { raw, direction, method, name, pointer } = wrap(surface, text);
                Ok(Ready {
                    raw: raw.into(),
                    direction,
                    server,
                    method: Some(self.method.as_deref().unwrap_or(method).into()),
                    name: self.name.as_deref().or(name).map(Cow::Borrowed),
                    pointer: Some(pointer),
                })
            }
            (None, Some(message)) => {
                let direction = self.direction.as_deref().and_then(|word| word.parse().ok());
                let raw = message.get().as_bytes();
                let (method, name) = parser
                    .parse(raw, |m| (m.method().map(str::to_owned), m.name().map(str::to_owned)))
                    .map_err(|e| e.to_string())?;
                Ok(Ready {
                    raw: raw.into(),
                    direction: direction.ok_or("`direction` is `to_server` or `to_client`")?,
                    server,
                    method: method.or_else(|| own(&self.method)).map(Cow::Owned),
                    name: name.or_else(|| own(&self.name)).map(Cow::Owned),
                    pointer: None,
                })
            }
            _ => Err("a line has either `text` or `message`".to_owned()),
        }
    }
}

/// Judges lines; one per thread.
#[derive(Debug)]
pub(crate) struct Bench<'r> {
    rules: &'r RuleSet,
    policy: Policy,
    parser: Parser,
    scanner: Scanner,
}

impl<'r> Bench<'r> {
    pub(crate) fn new(rules: &'r RuleSet, preset: Preset, paranoia: u8) -> Self {
        Self {
            rules,
            policy: Policy { preset, paranoia, ..Policy::default() },
            parser: Parser::new(ParseLimits::default()),
            scanner: Scanner::new(),
        }
    }

    /// Judges one line.
    pub(crate) fn line<'l>(&mut self, line: &'l [u8]) -> Result<(Case<'l>, Judged<'l>), String> {
        let case: Case<'l> = serde_json::from_slice(line).map_err(|e| e.to_string())?;
        let ready = case.ready(&mut self.parser)?;
        let subject = ready.subject(self.policy.paranoia);
        let (mut judged, sent) = self.verdict(case.id, &ready.raw, &subject)?;
        match (&case.text, ready.pointer) {
            (Some(text), Some(pointer)) => {
                spans_of_text(&mut judged.spans, &ready.raw, text);
                judged.output = sent.map(|sent| text_sent(&sent, pointer)).transpose()?;
            }
            _ => judged.output = sent.map(message_sent).transpose()?,
        }
        drop(ready);
        Ok((case, judged))
    }

    /// Scans and decides as the gateway does; gives the verdict and the bytes that would go on.
    fn verdict<'l>(
        &mut self,
        id: &'l RawValue,
        raw: &[u8],
        subject: &Subject<'_>,
    ) -> Result<(Judged<'l>, Option<Vec<u8>>), String> {
        let (rules, policy, scanner) = (self.rules, &self.policy, &mut self.scanner);
        let (mut verdict, truncated) = self
            .parser
            .parse(raw, |message| {
                let scan = scanner.scan(rules, message, subject);
                let truncated = scan.truncated;
                (Verdict::decide(rules, policy, subject, scan, raw), truncated)
            })
            .map_err(|e| e.to_string())?;
        if truncated && self.policy.preset != Preset::Audit {
            // what was not seen whole is refused
            verdict.action = Action::Block;
        }
        let sent = match verdict.action {
            Action::Block => None,
            _ => Some(redact(raw, &verdict, rules, false).map_err(|e| e.to_string())?.0),
        };
        let mut ids: Vec<String> = verdict.rule_ids(rules).into_iter().map(str::to_owned).collect();
        ids.dedup();
        let spots = verdict.findings.iter().flat_map(|finding| {
            finding.spans.iter().map(|span| Spot {
                rule: rules.rule(finding.rule).id().to_owned(),
                start: span.start,
                end: span.end,
                path: finding.path.clone(),
            })
        });
        let judged = Judged {
            id,
            action: verdict.action,
            would_be: verdict.would_be,
            flagged: verdict.action > Action::Allow,
            score: verdict.score,
            rules: ids,
            spans: spots.collect(),
            truncated,
            output: None,
        };
        Ok((judged, sent))
    }
}

/// Spans of the message → spans of the text; those outside it are left out.
fn spans_of_text(spans: &mut Vec<Spot>, raw: &[u8], text: &str) {
    let Some(range) = text_range(raw, text) else { return };
    spans.retain_mut(|spot| {
        let place = |at: usize| raw.get(range.start..at.min(range.end)).and_then(unescaped_len);
        match (place(spot.start), place(spot.end)) {
            (Some(start), Some(end)) if spot.start >= range.start && end > start => {
                (spot.start, spot.end) = (start, end);
                true
            }
            _ => false,
        }
    });
}

/// The text that would be forwarded, out of the message it was wrapped in.
fn text_sent(sent: &[u8], pointer: &str) -> Result<Output, String> {
    let value: Value = serde_json::from_slice(sent).map_err(|e| e.to_string())?;
    Ok(match value.pointer(pointer) {
        Some(Value::String(text)) => Output::Text(text.clone()),
        Some(other) => Output::Value(other.clone()),
        None => Output::Value(value),
    })
}

fn message_sent(sent: Vec<u8>) -> Result<Output, String> {
    let text = String::from_utf8(sent).map_err(|e| e.to_string())?;
    Ok(Output::Raw(RawValue::from_string(text).map_err(|e| e.to_string())?))
}

/// Where the escaped text stands in its message; `None` when it is no single string of it.
fn text_range(raw: &[u8], text: &str) -> Option<std::ops::Range<usize>> {
    let quoted = serde_json::to_string(text).ok()?;
    let at = memchr::memmem::rfind(raw, quoted.as_bytes())?;
    Some(at + 1..at + quoted.len() - 1)
}

/// How many bytes the inside of a JSON string stands for.
fn unescaped_len(inside: &[u8]) -> Option<usize> {
    let quoted = [b"\"", inside, b"\""].concat();
    serde_json::from_slice::<String>(&quoted).ok().map(|text| text.len())
}
