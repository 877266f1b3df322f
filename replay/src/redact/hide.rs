//! One row with what rules find in it hidden.

use capture::{Record, Str};
use inspect::{
    Action, Before, Class, Direction, Edit, ParseLimits, Parser, Policy, Redaction, RuleSet,
    Scanner, Subject, Surface, Verdict,
};

/// As `scan`: only to keep a forged capture in bounds.
const LIMITS: ParseLimits =
    ParseLimits { max_bytes: 256 << 20, max_depth: 512, max_values: 20_000_000 };
/// Scans of one body: what is hidden may leave its neighbours to be found, and a scan tells a thousand findings.
const ROUNDS: usize = 8;

/// Hides; holds reused memory.
pub(super) struct Hider<'r> {
    set: &'r RuleSet,
    policy: Policy,
    parser: Parser,
    scanner: Scanner,
}

/// What became of a row's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hidden {
    /// Nothing was in it.
    Nothing,
    /// So many places were hidden.
    Places(u64),
    /// It is withheld.
    Body,
}

/// A body after its scans.
struct Clean {
    body: Vec<u8>,
    redactions: Vec<Redaction>,
    /// What was replaced by what, unescaped.
    replaced: Vec<(String, String)>,
    places: u64,
}

/// Takes the body, and what was said of places in it.
pub(super) fn withhold(row: &mut Record) {
    row.body = None;
    row.body_sha256 = None;
    row.body_mac = None;
    row.redactions = None;
    row.body_sealed = None;
    row.scan_context = None;
    row.redaction_state = Some("withheld".into());
}

impl<'r> Hider<'r> {
    pub(super) fn new(set: &'r RuleSet, paranoia: u8) -> Self {
        Self {
            set,
            policy: Policy { paranoia, ..Policy::default() },
            parser: Parser::new(LIMITS),
            scanner: Scanner::new(),
        }
    }

    /// Hides what is found in the body, the tail of the stream, and all text that peers chose.
    pub(super) fn row(&mut self, row: &mut Record) -> Hidden {
        let (hidden, replaced) = self.body(row);
        // an original in escrow holds what is hidden here
        row.body_sealed = None;
        // a tail with anything in it is of no use to a later scan
        let tail = row.scan_context.take();
        row.scan_context = tail.filter(|tail| {
            std::str::from_utf8(tail).is_ok_and(|text| self.text(text, row.ts_us, &[]).is_none())
        });
        let ts_us = row.ts_us;
        for cell in [
            &mut row.http_headers,
            &mut row.protocol_version,
            &mut row.principal,
            &mut row.tenant,
            &mut row.client_name,
            &mut row.client_version,
            &mut row.rpc_id,
            &mut row.method,
            &mut row.name,
            &mut row.server,
        ] {
            if let Some(text) = cell.as_deref().and_then(|text| self.text(text, ts_us, &replaced)) {
                *cell = Some(text.into());
            }
        }
        hidden
    }

    fn body(&mut self, row: &mut Record) -> (Hidden, Vec<(String, String)>) {
        let Some(body) = row.body.clone() else { return (Hidden::Nothing, Vec::new()) };
        let clean = match row.truncated {
            // half a message cannot be read
            true => None,
            false => self.clean(&body, row),
        };
        let Some(mut clean) = clean else {
            withhold(row);
            return (Hidden::Body, Vec::new());
        };
        let mut is_touched = clean.places > 0;
        for hidden in &mut clean.redactions {
            if let Some(path) = self.text(&hidden.path, row.ts_us, &clean.replaced) {
                hidden.path = path;
                is_touched = true;
            }
        }
        if !is_touched {
            return (Hidden::Nothing, Vec::new());
        }
        let redactions = serde_json::to_string(&clean.redactions);
        row.redactions = redactions.ok().map(Str::from);
        if clean.places == 0 {
            return (Hidden::Nothing, Vec::new());
        }
        row.body = Some(clean.body.into());
        row.body_sha256 = None;
        // of what is gone it would let the key's holder confirm a guess
        row.body_mac = None;
        row.redaction_state = Some("redacted".into());
        (Hidden::Places(clean.places), clean.replaced)
    }

    /// The body with nothing to hide left in it; `None` where that can't be had.
    fn clean(&mut self, body: &[u8], row: &Record) -> Option<Clean> {
        let known: Vec<Redaction> = match row.redactions.as_deref() {
            None => Vec::new(),
            Some(json) => serde_json::from_str(json).ok()?,
        };
        let mut clean =
            Clean { body: body.to_vec(), redactions: known, replaced: Vec::new(), places: 0 };
        for _ in 0..ROUNDS {
            let (verdict, truncated) = self.verdict(&clean.body, row)?;
            let edits = verdict.record_edits(self.set, &clean.body);
            if edits.is_empty() {
                return (!truncated).then_some(clean);
            }
            let (out, new) = inspect::redact(&clean.body, &verdict, self.set, true).ok()?;
            serde_json::from_slice::<serde::de::IgnoredAny>(&out).ok()?;
            clean.replaced.extend(edits.iter().map(|edit| replaced(&clean.body, edit)));
            clean.places += edits.len() as u64;
            clean.redactions = moved(&clean.redactions, &edits);
            clean.redactions.extend(new);
            clean.body = out;
        }
        None
    }

    fn verdict(&mut self, body: &[u8], row: &Record) -> Option<(Verdict, bool)> {
        let direction = row.direction.as_deref().and_then(|word| word.parse().ok());
        let subject = Subject {
            direction: direction.unwrap_or(Direction::ToClient),
            server: row.server.as_deref().unwrap_or_default(),
            method: row.method.as_deref(),
            name: row.name.as_deref(),
            paranoia: self.policy.paranoia,
            budget: usize::MAX,
            now: row.scan_now.unwrap_or(row.ts_us).div_euclid(1_000_000),
        };
        let before = row.scan_context.as_deref().and_then(Before::from_json);
        let mut carry = before.map(|before| before.carry(&subject));
        let (set, policy, scanner) = (self.set, &self.policy, &mut self.scanner);
        let scanned = self.parser.parse(body, |message| {
            let scan = scanner.scan_after(set, message, &subject, carry.as_mut());
            let truncated = scan.truncated;
            (Verdict::decide(set, policy, &subject, scan, body), truncated)
        });
        scanned.ok()
    }

    /// A text that is no JSON with what is found hidden, and what was hidden in the body too; `None` when it stays.
    fn text(&mut self, text: &str, ts_us: i64, replaced: &[(String, String)]) -> Option<String> {
        let mut out = text.to_owned();
        for (from, to) in replaced.iter().filter(|(from, _)| !from.is_empty()) {
            if out.contains(from.as_str()) {
                out = out.replace(from.as_str(), to);
            }
        }
        for (surface, direction) in [
            (Surface::CallArgs, Direction::ToServer),
            (Surface::ResultText, Direction::ToClient),
            (Surface::Other, Direction::ToServer),
        ] {
            let subject = Subject {
                direction,
                server: "",
                method: None,
                name: None,
                paranoia: self.policy.paranoia,
                budget: usize::MAX,
                now: ts_us.div_euclid(1_000_000),
            };
            let scan = self.scanner.scan_text(self.set, &out, surface, &subject);
            let mut spans: Vec<(usize, usize, String)> = Vec::new();
            for finding in &scan.findings {
                let rule = self.set.rule(finding.rule);
                let hides = matches!(rule.class(), Class::Secret | Class::Pii)
                    || rule.action() >= Action::Redact;
                if hides {
                    let place = rule.placeholder();
                    spans.extend(finding.spans.iter().map(|s| (s.start, s.end, place.clone())));
                }
            }
            spans.sort();
            out = replace(&out, &spans);
        }
        (out != text).then_some(out)
    }
}

/// Replaces byte ranges that are sorted; of those that overlap the first names the place.
fn replace(text: &str, spans: &[(usize, usize, String)]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut done = 0;
    for (start, end, place) in spans {
        if *start >= done && start < end {
            out.push_str(text.get(done..*start).unwrap_or_default());
            out.push_str(place);
        }
        done = done.max(*end);
    }
    out.push_str(text.get(done..).unwrap_or_default());
    out
}

/// What an edit takes and puts, as it reads.
fn replaced(raw: &[u8], edit: &Edit) -> (String, String) {
    let unescape = |inner: &[u8]| {
        let quoted = [b"\"", inner, b"\""].concat();
        serde_json::from_slice::<String>(&quoted).unwrap_or_default()
    };
    let from = raw.get(edit.span.start..edit.span.end).unwrap_or_default();
    (unescape(from), unescape(&edit.replacement))
}

/// Where placeholders stand after further edits; one that an edit touched is part of the new placeholder.
fn moved(known: &[Redaction], edits: &[Edit]) -> Vec<Redaction> {
    let place = |start: usize, length: usize| {
        let (mut before, mut at) = (0_isize, None);
        for edit in edits {
            let (from, to) = (edit.span.start, edit.span.end);
            let grown = edit.replacement.len() as isize - (to - from) as isize;
            if to <= start {
                before += grown;
            } else if from < start + length {
                at.get_or_insert((from.saturating_add_signed(before), edit.replacement.len()));
            }
        }
        at.unwrap_or((start.saturating_add_signed(before), length))
    };
    let each = known.iter().map(|hidden| {
        let (start, length) = place(hidden.start, hidden.length);
        Redaction { start, length, ..hidden.clone() }
    });
    each.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use inspect::RuleFile;

    const RULES: &str = r#"rules:
  - id: test.secret.token
    title: Test token
    class: secret
    severity: high
    pattern: '\b(?P<secret>tok_[a-z0-9]{20})\b'
    docs: {finds: A made-up token., why: It stands for a credential.}
    tests:
      match: ["use tok_abcdefghij0123456789 here", "tok_0123456789abcdefghij"]
      no_match: ["tok_short", "token of thanks"]
"#;
    const TOKEN: &str = "tok_abcdefghij0123456789";

    fn set() -> RuleSet {
        RuleSet::compile(&[RuleFile { name: "test.yaml", text: RULES }]).unwrap()
    }

    fn call(text: &str) -> Record {
        let body = serde_json::json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call",
            "params": {"name": "t", "arguments": {"q": text}}});
        Record {
            kind: Some("request".into()),
            direction: Some("to_server".into()),
            method: Some("tools/call".into()),
            redaction_state: Some("raw".into()),
            body: Some(body.to_string().into()),
            body_mac: Some("mac".into()),
            ..Record::default()
        }
    }

    #[test]
    fn every_text_that_peers_choose_is_treated() {
        let set = set();
        let mut hider = Hider::new(&set, 1);
        let secret = || Some(Str::from(format!("a {TOKEN} b")));
        let mut row = Record {
            http_headers: Some(format!(r#"{{"user-agent":"{TOKEN}"}}"#).into()),
            principal: secret(),
            tenant: secret(),
            client_name: secret(),
            client_version: secret(),
            rpc_id: Some(format!("\"{TOKEN}\"").into()),
            method: secret(),
            name: secret(),
            scan_context: Some(TOKEN.into()),
            body_sealed: Some(TOKEN.into()),
            ..call(TOKEN)
        };
        assert_eq!(hider.row(&mut row), Hidden::Places(1));
        assert!(!format!("{row:?}").contains(TOKEN), "{row:?}");
        assert_eq!(row.redaction_state.as_deref(), Some("redacted"));
        assert_eq!((row.scan_context, row.body_sealed, row.body_mac), (None, None, None));
        assert_eq!(row.name.as_deref(), Some("a [redacted:test.secret.token] b"));
    }

    #[test]
    fn clean_rows_stay_as_they_are_and_unreadable_bodies_do_not() {
        let set = set();
        let mut hider = Hider::new(&set, 1);
        let clean = Record { scan_context: Some("tail".into()), ..call("hello") };
        let mut row = clean.clone();
        assert_eq!(hider.row(&mut row), Hidden::Nothing);
        assert_eq!(row, clean);
        for body in ["no JSON", "\u{0}"] {
            let mut row = Record { body: Some(body.into()), ..call("") };
            assert_eq!(hider.row(&mut row), Hidden::Body);
            assert_eq!((row.body, row.redaction_state.as_deref()), (None, Some("withheld")));
        }
        let mut cut = Record { truncated: true, ..call("hello") };
        assert_eq!(hider.row(&mut cut), Hidden::Body);
    }

    #[test]
    fn more_than_a_scan_tells_is_hidden_and_earlier_placeholders_are_found_again() {
        let set = set();
        let mut hider = Hider::new(&set, 1);
        let mut row = call(&format!("[redacted:old] {}", format!("{TOKEN} ").repeat(1500)));
        let at = row.body.as_deref().and_then(|b| memchr::memmem::find(b, b"[redacted")).unwrap();
        row.redactions = Some(
            format!(r#"[{{"rule":"old","path":"/p","start":{at},"length":14,"strategy":"placeholder"}}]"#).into(),
        );
        assert_eq!(hider.row(&mut row), Hidden::Places(1500));
        let body = row.body.unwrap();
        let hidden: Vec<Redaction> = serde_json::from_str(&row.redactions.unwrap()).unwrap();
        assert_eq!(hidden.len(), 1501);
        for one in &hidden {
            let place = std::str::from_utf8(&body[one.start..one.start + one.length]).unwrap();
            assert_eq!(place, format!("[redacted:{}]", one.rule));
        }
    }
}
