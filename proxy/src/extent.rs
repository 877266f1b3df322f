//! How much of a message is recorded: the list `capture.rules`, resolved, asked once for each row.
//!
//! The central type: [`Extents`]. It sees rows as they would be recorded, so a name in which something was hidden
//! is matched by its placeholder.

use capture::Record;
use sha2::{Digest, Sha256};

use crate::config::{Capture, Extent};

/// The rules, in order.
#[derive(Clone, Debug)]
pub struct Extents {
    rules: Vec<Rule>,
    always_on_finding: bool,
}

#[derive(Clone, Debug)]
struct Rule {
    servers: Patterns,
    tools: Patterns,
    methods: Patterns,
    principals: Patterns,
    extent: Extent,
    /// Exchanges whose draw is below it keep their bodies; `None` for all.
    share: Option<u64>,
}

impl Extents {
    /// Resolves the section.
    pub fn new(capture: &Capture) -> Self {
        let rules = capture.rules.iter().map(|rule| Rule {
            servers: Patterns::new(&rule.servers),
            tools: Patterns::new(&rule.tools),
            methods: Patterns::new(&rule.methods),
            principals: Patterns::new(&rule.principals),
            extent: rule.record,
            // a float turns into the nearest integer there is
            share: (rule.sample < 1.0).then_some((rule.sample * u64::MAX as f64) as u64),
        });
        Self { rules: rules.collect(), always_on_finding: capture.always_on_finding }
    }

    /// What is recorded of this row. `found` tells that the gateway acted on the message.
    pub fn of(&self, row: &Record, found: bool) -> Extent {
        let Some(rule) = self.rules.iter().find(|rule| rule.fits(row)) else {
            return Extent::Full;
        };
        match rule.share {
            None => rule.extent,
            Some(_) if found && self.always_on_finding => Extent::Full,
            Some(share) if draw(row) < share => Extent::Full,
            Some(_) => Extent::Metadata,
        }
    }
}

impl Rule {
    fn fits(&self, row: &Record) -> bool {
        self.servers.fit(row.server.as_deref())
            && self.tools.fit(row.name.as_deref())
            && self.methods.fit(row.method.as_deref())
            && self.principals.fit(row.principal.as_deref())
    }
}

/// Where the row's operation or exchange lies among all of them: the same for each row of it, on every replica. A row
/// of none is drawn by itself.
fn draw(row: &Record) -> u64 {
    let digest = match row.operation_id.as_ref().or(row.exchange_id.as_ref()) {
        Some(id) => Sha256::digest(id.as_bytes()),
        None => Sha256::new()
            .chain_update(row.conn_id.as_deref().unwrap_or_default())
            .chain_update(row.mono_ns.to_le_bytes())
            .finalize(),
    };
    let mut head = [0; 8];
    head.copy_from_slice(&digest[..8]);
    u64::from_be_bytes(head)
}

/// Leaves the row without content.
pub fn withhold(row: &mut Record) {
    if row.body.is_some() || row.redaction_state.is_some() {
        row.redaction_state = Some("withheld".into());
    }
    row.body = None;
    row.original = None;
    row.redactions = None;
    row.scan_context = None;
}

/// Patterns of which one must fit; none fit everything.
#[derive(Clone, Debug)]
struct Patterns(Vec<Box<str>>);

impl Patterns {
    fn new(written: &[String]) -> Self {
        Self(written.iter().map(|one| one.as_str().into()).collect())
    }

    fn fit(&self, text: Option<&str>) -> bool {
        let text = text.unwrap_or_default();
        self.0.is_empty() || self.0.iter().any(|pattern| fits(pattern, text))
    }
}

/// Whether the whole text fits: `*` is any text, `?` one character. Takes pattern × text steps at most.
fn fits(pattern: &str, text: &str) -> bool {
    let (mut pattern, mut text) = (pattern.chars(), text.chars());
    // where to go on when the text does not fit: after the last star, one character later
    let mut retry = None;
    loop {
        let before = text.clone();
        match (pattern.next(), text.next()) {
            (None, None) => return true,
            (Some('*'), _) => {
                text = before;
                retry = Some((pattern.clone(), text.clone()));
            }
            (Some('?'), Some(_)) => {}
            (Some(a), Some(b)) if a == b => {}
            _ => {
                let Some((after, from)) = &mut retry else { return false };
                if from.next().is_none() {
                    return false;
                }
                (pattern, text) = (after.clone(), from.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::CaptureRule;

    fn row(server: &str, name: Option<&str>, exchange: &str) -> Record {
        Record {
            server: Some(server.into()),
            name: name.map(Into::into),
            exchange_id: Some(exchange.into()),
            ..Record::default()
        }
    }

    fn extents(rules: Vec<CaptureRule>) -> Extents {
        Extents::new(&Capture { rules, ..Capture::default() })
    }

    #[test]
    fn patterns_fit_whole_texts() {
        for (pattern, text) in [
            ("*", ""),
            ("a*", "a"),
            ("*.get", "x.get"),
            ("a?c*", "abcd"),
            ("*a*b", "xaab"),
            ("é?", "éß"),
        ] {
            assert!(fits(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("", "a"), ("a", "ab"), ("?", ""), ("*a", "ab"), ("a*b*c", "acb")] {
            assert!(!fits(pattern, text), "{pattern} {text}");
        }
        // no blow-up: were it exponential, this would not end
        assert!(!fits(&"*a".repeat(50), &"a".repeat(49).repeat(10).replace("aaaa", "b")));
    }

    #[test]
    fn the_first_rule_that_fits_counts() {
        let rule = |servers: &[&str], tools: &[&str], record| CaptureRule {
            servers: servers.iter().map(ToString::to_string).collect(),
            tools: tools.iter().map(ToString::to_string).collect(),
            record,
            ..CaptureRule::default()
        };
        let extents = extents(vec![
            rule(&["mail"], &["read_*"], Extent::Metadata),
            rule(&["mail", "db"], &[], Extent::Off),
        ]);
        let of = |server, name| extents.of(&row(server, name, "1"), true);
        assert_eq!(of("mail", Some("read_inbox")), Extent::Metadata);
        assert_eq!(of("mail", Some("send")), Extent::Off, "off stays off, findings or not");
        assert_eq!(of("db", None), Extent::Off);
        assert_eq!(of("files", Some("read_inbox")), Extent::Full);
    }

    #[test]
    fn a_sample_takes_its_share_and_whole_exchanges() {
        let extents = extents(vec![CaptureRule { sample: 0.25, ..CaptureRule::default() }]);
        let full = |at: usize, found| {
            extents.of(&row("a", None, &format!("run-{at}")), found) == Extent::Full
        };
        let kept = (0..4000).filter(|at| full(*at, false)).count();
        assert!((900..1100).contains(&kept), "{kept} of 4000");
        let request = row("a", Some("x"), "run-1");
        let answer = Record { is_error: Some(false), mono_ns: 7, ..request.clone() };
        assert_eq!(extents.of(&request, false), extents.of(&answer, false));
        assert!((0..4000).all(|at| full(at, true)), "what was found is kept");
    }

    #[test]
    fn a_share_of_nothing_takes_nothing() {
        let none = extents(vec![CaptureRule { sample: 0.0, ..CaptureRule::default() }]);
        assert!(
            (0..1000)
                .all(|at| none.of(&row("a", None, &at.to_string()), false) == Extent::Metadata)
        );
    }

    #[test]
    fn what_is_withheld_keeps_its_length() {
        let mut held = Record {
            body: Some("secret".into()),
            original: Some("secret".into()),
            body_len: Some(6),
            redactions: Some("[]".into()),
            scan_context: Some("secret".into()),
            redaction_state: Some("raw".into()),
            ..Record::default()
        };
        withhold(&mut held);
        let left = Record {
            body_len: Some(6),
            redaction_state: Some("withheld".into()),
            ..Record::default()
        };
        assert_eq!(held, left);
        let mut bodiless = Record::default();
        withhold(&mut bodiless);
        assert_eq!(bodiless, Record::default());
    }
}
