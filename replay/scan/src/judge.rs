//! One row, judged again: a function of the row, the rules and the policy.

use std::collections::HashMap;
use std::sync::Arc;

use capture::{Location, Record, Str};
use inspect::message::ValueKind;
use inspect::surface::surface_of;
use inspect::{
    Action, Before, Carry, Direction, Finding, Kind, Message, ParseLimits, Parser, Part, Policy,
    Redaction, RuleSet, Scan, Scanner, Span, Standing, Subject, Verdict,
};

use crate::explain::{self, Ask, Explanation};
use crate::report::{JudgedWith, Reason};
use crate::sets::{self, Sets};
use crate::{Options, RulesFrom};

/// The gateway parsed it under its own limits, so these only keep a forged capture in bounds.
const LIMITS: ParseLimits =
    ParseLimits { max_bytes: 256 << 20, max_depth: 512, max_values: 20_000_000 };

/// Judges rows. One per thread: it holds reused memory and the capture's rule sets.
#[derive(Debug)]
pub struct Judge<'a> {
    rules: Rules<'a>,
    sets: Sets,
    judged_with: JudgedWith,
    options: &'a Options<'a>,
    policy: Option<&'a Policy>,
    parser: Parser,
    scanner: Scanner,
}

#[derive(Debug)]
enum Rules<'a> {
    Given(&'a RuleSet),
    Reduced(Arc<RuleSet>),
    Recorded,
}

/// What one row's message comes to now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// What would be done.
    pub action: Action,
    /// What the rules ask for.
    pub would_be: Action,
    /// The findings, sorted by rule, then path.
    pub found: Vec<Found>,
    /// What the record hides: rule and path, sorted.
    pub hidden: Vec<(String, String)>,
    /// Whether placeholders stand in the recorded body.
    pub redacted: bool,
    /// What of the message is blocked, sorted: tools of a list by their place, since the rest of the
    /// list passes; anything else as a whole, which is the empty place. So is what the rules could not
    /// see whole, as `on_error: block` has it.
    pub blocked: Vec<String>,
}

impl Judged {
    /// Whether something is blocked that was not by the other judgement of the same message.
    #[must_use]
    pub fn blocks_more_than(&self, other: &Self) -> bool {
        let whole = other.blocked.iter().any(String::is_empty);
        !whole && self.blocked.iter().any(|place| !other.blocked.contains(place))
    }
}

/// One finding as a report needs it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Found {
    /// The rule's id.
    pub rule: String,
    /// JSON Pointer; what stands in secret keys is masked.
    pub path: String,
    /// Taken from the row's redactions: the text itself is gone.
    pub from_redactions: bool,
}

impl<'a> Judge<'a> {
    /// A judge for rows of the capture that `path` lies in.
    #[must_use]
    pub fn new(path: &Location, rules: RulesFrom<'a>, options: &'a Options<'a>) -> Self {
        let rules = match rules {
            RulesFrom::Recorded => Rules::Recorded,
            RulesFrom::Set(set) => match sets::without(set, &options.without) {
                Some(reduced) => Rules::Reduced(Arc::new(reduced)),
                None => Rules::Given(set),
            },
        };
        let given = match &rules {
            Rules::Recorded => None,
            Rules::Given(set) => Some(*set),
            Rules::Reduced(set) => Some(&**set),
        };
        let judged_with = JudgedWith {
            title: given.filter(|set| !set.sets().is_empty()).map(RuleSet::title),
            rules: match &rules {
                Rules::Recorded => "recorded".to_owned(),
                Rules::Given(set) => set.digest().to_owned(),
                Rules::Reduced(set) => set.digest().to_owned(),
            },
            without: options.without.clone(),
            preset: options.preset.map(|preset| preset.as_str().to_owned()),
            paranoia: options.paranoia,
            ..JudgedWith::default()
        };
        Self {
            rules,
            sets: Sets::new(path, &options.without),
            judged_with,
            options,
            policy: None,
            parser: Parser::new(LIMITS),
            scanner: Scanner::new(),
        }
    }

    /// The same judge under this policy, whatever was recorded or is in the options.
    #[must_use]
    pub fn under(self, policy: &'a Policy) -> Self {
        Self { policy: Some(policy), ..self }
    }

    /// Judges one row, or says why it cannot be judged.
    ///
    /// # Errors
    /// The reason. Whatever the row holds, this never fails otherwise.
    pub fn judge(&mut self, row: &Record) -> Result<Judged, Reason> {
        self.with(row, verdict)
    }

    /// Judges one row the same way and tells how: every reading, match, score and reason.
    ///
    /// # Errors
    /// The reason why it cannot be judged.
    pub fn explain(&mut self, row: &Record, ask: &Ask) -> Result<Explanation, Reason> {
        self.with(row, |scanner, seen| explain::row(scanner, seen, row, ask))
    }

    /// Reads a row, its rule set and its policy.
    fn with<R>(
        &mut self,
        row: &Record,
        look: impl FnOnce(&mut Scanner, &mut Seen<'_, '_>) -> R,
    ) -> Result<R, Reason> {
        // Only messages that were judged live.
        let kind = row.kind.as_deref().unwrap_or_default();
        if !matches!(kind, "request" | "response" | "notification" | "error") {
            return Err(Reason::NotMessage);
        }
        let digest = row.ruleset_digest.as_ref().ok_or(Reason::NotJudgedLive)?;

        // Only whole bodies.
        let body = row.body.as_deref().ok_or(Reason::Withheld)?;
        if row.truncated {
            return Err(Reason::Truncated);
        }
        let direction = row.direction.as_deref().and_then(|word| word.parse().ok());
        let direction: Direction = direction.ok_or(Reason::Unparseable)?;
        let redactions: Vec<Redaction> = match row.redactions.as_deref() {
            None => Vec::new(),
            Some(json) => serde_json::from_str(json).map_err(|_| Reason::Unparseable)?,
        };

        // The rules and the policy.
        let recorded;
        let set = match &self.rules {
            Rules::Given(set) => *set,
            Rules::Reduced(set) => set,
            Rules::Recorded => {
                recorded = self.sets.rules(digest).ok_or(Reason::RulesMissing)?;
                &recorded
            }
        };
        let policy = match self.policy {
            Some(policy) => policy.clone(),
            None => policy(self.options, &mut self.sets, row)?,
        };

        // Scan what is left, add what the record hides, decide as the gateway does.
        let subject = Subject {
            direction,
            server: row.server.as_deref().unwrap_or_default(),
            method: row.method.as_deref(),
            name: row.name.as_deref(),
            paranoia: policy.paranoia,
            budget: usize::MAX,
            now: row.scan_now.unwrap_or(row.ts_us).div_euclid(1_000_000),
        };
        let before = row
            .scan_context
            .as_deref()
            .map(|context| Before::from_json(context).ok_or(Reason::Unparseable));
        let before = before.transpose()?.unwrap_or_default();
        let scanner = &mut self.scanner;
        self.parser
            .parse(body, |message| {
                let mut seen = Seen {
                    set,
                    policy: &policy,
                    message,
                    subject: &subject,
                    redactions: &redactions,
                    recorded: &row.rule_ids,
                    carry: before.carry(&subject),
                    hides_earlier: before.is_hidden(),
                };
                look(scanner, &mut seen)
            })
            .map_err(|_| Reason::Unparseable)
    }

    pub(crate) fn judged_with(&self) -> JudgedWith {
        self.judged_with.clone()
    }

    /// The name and version of a rule set that the capture holds.
    pub(crate) fn title(&self, digest: &str) -> Option<String> {
        self.sets.title(digest)
    }

    /// One error per rule set or policy that rows named and that cannot be used.
    pub fn into_errors(self) -> impl Iterator<Item = String> {
        self.sets.into_errors()
    }
}

/// The policy recorded with the row, with what was given in its place.
fn policy(options: &Options<'_>, sets: &mut Sets, row: &Record) -> Result<Policy, Reason> {
    if let (Some(preset), Some(paranoia)) = (options.preset, options.paranoia) {
        return Ok(Policy { preset, paranoia, ..Policy::default() });
    }
    let digest = row.policy_digest.as_ref().ok_or(Reason::PolicyMissing)?;
    let recorded = sets.policy(digest).ok_or(Reason::PolicyMissing)?;
    Ok(Policy {
        preset: options.preset.unwrap_or(recorded.preset),
        paranoia: options.paranoia.unwrap_or(recorded.paranoia),
        ..recorded.clone()
    })
}

/// What a row's message is judged by.
pub(crate) struct Seen<'s, 'm> {
    pub(crate) set: &'s RuleSet,
    pub(crate) policy: &'s Policy,
    pub(crate) message: &'s Message<'m>,
    pub(crate) subject: &'s Subject<'s>,
    pub(crate) redactions: &'s [Redaction],
    pub(crate) recorded: &'s [Str],
    /// What is remembered of the messages before it.
    pub(crate) carry: Carry,
    /// Whether placeholders stand in that.
    pub(crate) hides_earlier: bool,
}

/// What a scan found, as it counts for a row.
pub(crate) struct Settled {
    pub(crate) findings: Vec<Finding>,
    /// For each of them its index in the scan; none for those that placeholders hide.
    pub(crate) scanned: Vec<Option<usize>>,
}

impl Seen<'_, '_> {
    /// Takes what a placeholder makes of a finding out, and what placeholders hide in.
    pub(crate) fn settle(&self, found: Vec<Finding>) -> Settled {
        // A placeholder is no text of the sender's: what is found in one does not count. What reaches
        // into one or touches it (a boundary that was none), has a keyword that a placeholder's name
        // holds, or is put together from texts of which one may have ended otherwise, counts only as
        // often as the live scan, with the text as it was, found that rule.
        let placeholders = Placeholders::new(self.redactions);
        let id = |finding: &Finding| self.set.rule(finding.rule).id();
        let is_named = |finding: &Finding| {
            let words = &self.set.rule(finding.rule).def().keywords;
            let has =
                |name: &str| words.iter().any(|word| name.contains(&word.to_ascii_lowercase()));
            self.redactions.iter().any(|hidden| has(&hidden.rule))
        };
        let is_sure = |finding: &Finding| {
            let reaches_back = finding.part == Part::Earlier;
            let is_joined = (finding.spans.len() > 1 || reaches_back)
                && !self.redactions.is_empty()
                || reaches_back && self.hides_earlier;
            placeholders.overlap(finding) == Overlap::None && !is_joined && !is_named(finding)
        };
        let mut room: HashMap<&str, usize> = HashMap::new();
        for recorded in self.recorded {
            *room.entry(recorded).or_default() += 1;
        }
        let sure = found.iter().filter(|finding| is_sure(finding)).map(id);
        for known in sure.chain(self.redactions.iter().map(|hidden| &*hidden.rule)) {
            room.entry(known).and_modify(|room| *room = room.saturating_sub(1));
        }
        let mut counts = |finding: &Finding| {
            is_sure(finding)
                || placeholders.overlap(finding) != Overlap::Within
                    && room.get_mut(id(finding)).filter(|room| **room > 0).is_some_and(|room| {
                        *room -= 1;
                        true
                    })
        };
        let counting = found.into_iter().enumerate().filter(|(_, finding)| counts(finding));
        let (mut scanned, mut findings): (Vec<_>, Vec<_>) =
            counting.map(|(at, finding)| (Some(at), finding)).unzip();

        // What the placeholders hide counts, if its rule is still there and still looks there.
        let hidden = self.redactions.iter().filter_map(|hidden| {
            hidden_finding(self.set, self.message.kind(), self.subject, hidden)
        });
        findings.extend(hidden);
        scanned.resize(findings.len(), None);
        Settled { findings, scanned }
    }
}

fn verdict(scanner: &mut Scanner, seen: &mut Seen<'_, '_>) -> Judged {
    let scan = scanner.scan_after(seen.set, seen.message, seen.subject, Some(&mut seen.carry));
    let settled = seen.settle(scan.findings);
    let each = settled.findings.iter().zip(&settled.scanned);
    let mut found: Vec<Found> = each
        .map(|(finding, scanned)| Found {
            rule: seen.set.rule(finding.rule).id().to_owned(),
            path: finding.path.clone(),
            from_redactions: scanned.is_none(),
        })
        .collect();
    found.sort();
    let hidden = seen.redactions.iter().map(|hidden| (hidden.rule.clone(), hidden.path.clone()));
    let mut hidden: Vec<(String, String)> = hidden.collect();
    hidden.sort();
    let truncated = scan.truncated;
    let scan = Scan { truncated, findings: settled.findings };
    let verdict = Verdict::decide(seen.set, seen.policy, seen.subject, scan, seen.message.raw());
    Judged {
        blocked: if truncated { vec![String::new()] } else { blocked(&verdict, seen.subject) },
        action: verdict.action,
        would_be: verdict.would_be,
        found,
        hidden,
        redacted: !seen.redactions.is_empty(),
    }
}

/// The places for which the message is blocked, as the gateway leaves tools out of lists.
fn blocked(verdict: &Verdict, subject: &Subject<'_>) -> Vec<String> {
    if verdict.action != Action::Block {
        return Vec::new();
    }
    let is_list = subject.direction == Direction::ToClient && subject.method == Some("tools/list");
    let tool = |path: &str| {
        let number = path.strip_prefix("/result/tools/").filter(|_| is_list)?.split('/').next()?;
        Some(format!("/result/tools/{number}"))
    };
    let each = verdict.findings.iter().zip(&verdict.asked);
    let mut places: Vec<String> = each
        .filter(|(found, asked)| **asked == Action::Block && found.standing == Standing::Enforced)
        .map(|(found, _)| tool(&found.path).unwrap_or_default())
        .collect();
    places.sort();
    places.dedup();
    places
}

/// The finding behind a placeholder, if this set's rule of that name would look at its place.
fn hidden_finding(
    set: &RuleSet,
    kind: Kind,
    subject: &Subject<'_>,
    hidden: &Redaction,
) -> Option<Finding> {
    let ix = set.find(&hidden.rule)?;
    let rule = set.rule(ix);
    let path = segments(&hidden.path);
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    let surface = surface_of(kind, subject.direction, subject.method, &path);
    if rule.paranoia() > subject.paranoia || !rule.surfaces().has(surface, subject.direction) {
        return None;
    }
    Some(Finding {
        rule: ix,
        around: (0, 0),
        spans: [Span { start: hidden.start, end: hidden.start.saturating_add(hidden.length) }]
            .into_iter()
            .collect(),
        surface,
        path: hidden.path.clone(),
        in_key: hidden.strategy == "key",
        kind_of_value: match hidden.strategy.as_str() {
            "key" => ValueKind::Key,
            "zeros" => ValueKind::Number,
            _ => ValueKind::String,
        },
        score: rule.score(),
        view: inspect::rule::View::Raw,
        quoted: false,
        part: if hidden.earlier { Part::Earlier } else { Part::This },
        standing: match rule.def().shadow {
            true => Standing::Shadow,
            false => Standing::Enforced,
        },
    })
}

/// The keys and indices of a JSON Pointer.
fn segments(pointer: &str) -> Vec<String> {
    pointer.split('/').skip(1).map(|part| part.replace("~1", "/").replace("~0", "~")).collect()
}

/// The byte ranges of a row's placeholders, merged and sorted.
struct Placeholders(Vec<Span>);

impl Placeholders {
    fn new(redactions: &[Redaction]) -> Self {
        let mut spans: Vec<Span> = redactions
            .iter()
            .map(|hidden| Span {
                start: hidden.start,
                end: hidden.start.saturating_add(hidden.length),
            })
            .collect();
        spans.sort_unstable();
        let mut merged: Vec<Span> = Vec::with_capacity(spans.len());
        for span in spans {
            match merged.last_mut() {
                Some(last) if span.start <= last.end => last.end = last.end.max(span.end),
                _ => merged.push(span),
            }
        }
        Self(merged)
    }

    /// How the finding, with the rest of its match, lies to the placeholders. Touching is partly: patterns look at
    /// neighbours.
    fn overlap(&self, finding: &Finding) -> Overlap {
        // a byte of the text takes two of the message where it is escaped the common way
        let around = |bytes: u32| 2 * bytes as usize;
        let mut overlap = Overlap::None;
        for span in &finding.spans {
            let from = span.start.saturating_sub(around(finding.around.0));
            let to = span.end.saturating_add(around(finding.around.1));
            let at = self.0.partition_point(|placeholder| placeholder.end < from);
            let near = self.0.get(at..).unwrap_or(&[]).iter().take_while(|over| over.start <= to);
            for over in near {
                overlap = overlap.max(match over.start <= span.start && span.end <= over.end {
                    true => Overlap::Within,
                    false => Overlap::Partly,
                });
            }
        }
        overlap
    }
}

/// How much of a finding stands in placeholders, least first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Overlap {
    None,
    Within,
    Partly,
}
