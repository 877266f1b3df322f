//! A scan told step by step: each reading of each text, each match, and what became of it.
//!
//! The scan decides as it always does; a [`Trace`] looks on. What it is told comes from `tell`.

use super::Subject;
use super::excerpt::{Excerpt, Secrets};
use super::pass::{Found, Pass};
use super::place::by_place;
use super::verify::{Back, Piece};
use crate::compile::{RuleIx, RuleSet, Trigger};
use crate::cursor::PathWalker;
use crate::message::{Message, ValueKind};
use crate::rule::{Class, View, words};
use crate::surface::{Surface, surface_of};
use std::collections::HashMap;
use std::ops::Range;

/// Readings kept at most.
const MAX_READINGS: usize = 20_000;
/// Matches kept at most.
const MAX_MATCHES: usize = 10_000;
/// Bytes of a match kept at most.
const MAX_MATCH: usize = 200;

/// What a scan looked at, and what came of it. [`super::Scanner::explain`] makes one.
#[derive(Debug)]
pub struct Trace {
    /// Every reading of every text: first the texts as they stand, in document order, then what was made of them.
    pub readings: Vec<Reading>,
    /// Every match of every rule, in the order they were found.
    pub matches: Vec<Match>,
    /// Whether a limit of the trace left something out.
    pub partial: bool,
    /// Bytes of each reading kept.
    bytes: usize,
    /// The rule whose literals are looked for.
    asked: Option<RuleIx>,
    /// Piece → reading.
    ids: HashMap<u32, usize>,
    secrets: Secrets,
}

/// One way a text was read.
#[derive(Clone, Debug)]
pub struct Reading {
    /// JSON Pointer of the text it was made of (of several put together the first).
    pub path: String,
    /// Where in the protocol.
    pub surface: Surface,
    /// Whether its place is exempt: only its maker reads it, so nothing is found there.
    pub exempt: bool,
    /// Key, string or number.
    pub kind: ValueKind,
    /// The nearest key above it.
    pub key: Option<Excerpt>,
    /// Which kind of reading.
    pub view: View,
    /// What was done to the text, first to last; nothing when it is read as it stands.
    pub steps: Vec<&'static str>,
    /// What it reads as.
    pub text: Excerpt,
    /// How long that is in bytes.
    pub len: usize,
    /// How many bytes at its beginning stand in earlier messages.
    pub earlier: usize,
    /// Whether a literal that opens texts for the rule asked for stands in it or in its key.
    pub opened: bool,
    node: u32,
}

/// One match of one rule's pattern.
#[derive(Clone, Debug)]
pub struct Match {
    /// The rule.
    pub rule: RuleIx,
    /// The index of its reading.
    pub reading: usize,
    /// Where in the reading.
    pub whole: Range<usize>,
    /// The part that is the secret.
    pub secret: Range<usize>,
    /// What matched.
    pub text: Excerpt,
    /// What became of it.
    pub outcome: Outcome,
    /// Whether it is a secret or a personal datum, and so hidden.
    pub is_secret: bool,
}

/// What became of a match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A finding: its index among those of the scan.
    Found(usize),
    /// No finding: the check that it failed, and what that check saw.
    Rejected(Check, String),
}

/// Why a match is no finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Check {
    /// The rule is of a higher level.
    Paranoia,
    /// The rule does not look at this kind of reading.
    View,
    /// The text has another key, or none.
    Key,
    /// No keyword stands near.
    Keywords,
    /// The validator refuses it.
    Validator,
    /// It is too regular.
    Entropy,
    /// An allow list names it.
    Allow,
    /// The rule does not look at this part of the protocol, or not this way.
    Surface,
    /// Its place is exempt.
    Exempt,
    /// The text this reading was made of says the same.
    Plain,
    /// The rule found it in a plainer reading.
    Known,
    /// A limit of the scan was reached.
    Limit,
}

words!(Check {
    Paranoia = "paranoia",
    View = "view",
    Key = "key",
    Keywords = "keywords",
    Validator = "validator",
    Entropy = "entropy",
    Allow = "allow list",
    Surface = "surface",
    Exempt = "exempt place",
    Plain = "plain reading",
    Known = "known already",
    Limit = "limit",
});

impl Trace {
    /// A trace that keeps so many bytes of each reading, and tells of one rule whether its literals are there.
    #[must_use]
    pub fn new(bytes: usize, asked: Option<RuleIx>) -> Self {
        Self {
            readings: Vec::new(),
            matches: Vec::new(),
            partial: false,
            bytes,
            asked,
            ids: HashMap::new(),
            secrets: Secrets::default(),
        }
    }

    /// The texts of a message as they stand.
    pub(super) fn texts(&mut self, rules: &RuleSet, message: &Message<'_>) {
        let entries = message.entries();
        for at in 0..entries.len() {
            if let Some(piece) = Pass::piece(message, entries, usize::MAX, at) {
                self.reading(rules, &piece);
            }
        }
    }

    /// A text that is about to be looked at.
    pub(super) fn reading(&mut self, rules: &RuleSet, piece: &Piece<'_>) {
        if self.readings.len() >= MAX_READINGS {
            self.partial = true;
            return;
        }
        let steps = match piece.back {
            Back::Same => Vec::new(),
            Back::Chain(chain) => chain.iter().map(|derived| derived.how).collect(),
            Back::Joined(_) => vec!["put together with its neighbours"],
        };
        let earlier = match piece.back {
            Back::Joined(joined) => joined.earlier(),
            _ => 0,
        };
        let opened = self.asked.is_some_and(|rule| is_opened(rules, rule, piece));
        self.ids.insert(piece.id, self.readings.len());
        self.readings.push(Reading {
            path: String::new(),
            surface: Surface::Other,
            exempt: false,
            kind: piece.kind,
            key: piece.key.map(Excerpt::of_key),
            view: piece.view,
            steps,
            text: Excerpt::new(piece, &(0..piece.text.len()), self.bytes),
            len: piece.text.len(),
            earlier,
            opened,
            node: piece.node,
        });
    }

    pub(super) fn add(
        &mut self,
        (rules, rule): (&RuleSet, RuleIx),
        piece: &Piece<'_>,
        (whole, secret): (&Range<usize>, &Range<usize>),
        outcome: Outcome,
        root: &str,
    ) {
        let is_secret = matches!(rules.rule(rule).class(), Class::Secret | Class::Pii);
        if is_secret {
            self.secrets.add(piece, secret, root);
        }
        let (Some(reading), true) = (self.ids.get(&piece.id), self.matches.len() < MAX_MATCHES)
        else {
            self.partial = true;
            return;
        };
        self.matches.push(Match {
            rule,
            reading: *reading,
            whole: whole.clone(),
            secret: secret.clone(),
            text: Excerpt::new(piece, whole, MAX_MATCH),
            outcome,
            is_secret,
        });
    }

    /// Findings are sorted when a scan ends: each match is told its own.
    pub(super) fn link(&mut self, found: &[Found]) {
        let mut order: Vec<(usize, &Found)> = found.iter().enumerate().collect();
        order.sort_by(|(_, a), (_, b)| by_place(a, b));
        let mut index = vec![0; found.len()];
        for (at, (serial, _)) in order.iter().enumerate() {
            if let Some(slot) = index.get_mut(*serial) {
                *slot = at;
            }
        }
        for one in &mut self.matches {
            if let Outcome::Found(serial) = &mut one.outcome {
                *serial = index.get(*serial).copied().unwrap_or(*serial);
            }
        }
    }

    /// Takes over the matches of rules that took no part, out of a trace in which all did.
    pub(super) fn also(&mut self, all: Self, rules: &RuleSet, subject: &Subject<'_>) {
        let place = |trace: &Self, one: &Match| {
            let reading = trace.readings.get(one.reading)?;
            let (node, view, steps) = (reading.node, reading.view, reading.steps.clone());
            Some((one.rule, node, view, steps, one.secret.clone()))
        };
        let known: Vec<_> = self.matches.iter().map(|one| place(self, one)).collect();
        self.partial |= all.partial;
        self.secrets.also(&all.secrets);
        let mut copied: HashMap<usize, usize> = HashMap::new();
        for mut one in all.matches.iter().cloned() {
            if known.contains(&place(&all, &one)) || self.matches.len() >= MAX_MATCHES {
                continue;
            }
            let rule = rules.rule(one.rule);
            let is_out = rule.paranoia() > subject.paranoia
                || !rule.surfaces().has_direction(subject.direction);
            one.outcome = match one.outcome {
                Outcome::Found(_) if rule.paranoia() > subject.paranoia => Outcome::Rejected(
                    Check::Paranoia,
                    format!("takes part from level {} on", rule.paranoia()),
                ),
                Outcome::Found(_) if is_out => Outcome::Rejected(
                    Check::Surface,
                    format!("does not look at messages {}", subject.direction),
                ),
                Outcome::Found(_) => Outcome::Rejected(
                    Check::Paranoia,
                    "texts are read like this at higher levels only".to_owned(),
                ),
                rejected if is_out && self.asked == Some(one.rule) => rejected,
                Outcome::Rejected(..) => continue,
            };
            let Some(reading) = all.readings.get(one.reading) else { continue };
            let same = |known: &&mut Reading| {
                (known.node, known.view, known.len) == (reading.node, reading.view, reading.len)
                    && known.steps == reading.steps
            };
            one.reading = match copied.get(&one.reading) {
                Some(at) => *at,
                None => {
                    let at = self.readings.iter_mut().position(|known| same(&known));
                    let at = at.unwrap_or_else(|| {
                        self.readings.push(reading.clone());
                        self.readings.len() - 1
                    });
                    copied.insert(one.reading, at);
                    at
                }
            };
            self.matches.push(one);
        }
    }

    /// Tells where each text stands, and marks what is to be hidden.
    pub(super) fn settle(&mut self, rules: &RuleSet, message: &Message<'_>, subject: &Subject<'_>) {
        let nodes = message.nodes();
        let mut order: Vec<usize> = (0..self.readings.len()).collect();
        order.sort_by_key(|at| self.readings.get(*at).map(|reading| reading.node));
        let mut walk = PathWalker::default();
        let mut media = None;
        let secrets = &self.secrets;
        for at in order {
            let Some(reading) = self.readings.get_mut(at) else { continue };
            walk.seek(nodes, (reading.node as usize).min(nodes.len().saturating_sub(1)));
            let words = walk.words(nodes);
            let hides = |key: u32| secrets.has_node(key);
            reading.surface = surface_of(message.kind(), subject.direction, subject.method, &words);
            reading.exempt = reading.kind != ValueKind::Key
                && super::exempt::is_opaque(&words, nodes, walk.parent(), &mut media);
            reading.path = walk.pointer(nodes, hides);
            if let Some(key) = &mut reading.key {
                secrets.hide(key, reading.view);
            }
            secrets.hide(&mut reading.text, reading.view);
        }
        for one in &mut self.matches {
            let Some(reading) = self.readings.get_mut(one.reading) else { continue };
            // a rule kept out by its level may not look there either
            let (surface, way) = (reading.surface, subject.direction);
            if matches!(one.outcome, Outcome::Rejected(Check::Paranoia, _))
                && !rules.rule(one.rule).surfaces().has(surface, way)
            {
                let saw = format!("does not look at `{surface}` {way}");
                one.outcome = Outcome::Rejected(Check::Surface, saw);
            }
            secrets.hide(&mut one.text, reading.view);
            if one.is_secret {
                reading.text.hide(&one.secret, 0);
                one.text.hide(&one.secret, one.whole.start);
            }
        }
    }
}

/// Whether a literal that opens texts for a rule stands in a text, or in the key that names it.
fn is_opened(rules: &RuleSet, rule: RuleIx, piece: &Piece<'_>) -> bool {
    let key = piece.key.unwrap_or("").as_bytes();
    let has = |text: &[u8], literals: &[Vec<u8>]| {
        literals.iter().any(|literal| super::verify::contains(text, literal))
    };
    match &rules.rule(rule).trigger {
        Trigger::Value(anchors) => has(piece.text, &anchors.literals),
        Trigger::Key(anchors) => has(key, &anchors.literals),
        Trigger::Keyword(anchors) => {
            has(piece.text, &anchors.literals) || has(key, &anchors.literals)
        }
        Trigger::Always => true,
    }
}
