//! Rule set × message × subject → findings.
//!
//! One filter pass over all texts names the few (text, rule) pairs worth a look; each is verified with the rule's regex
//! on the text's own slice, in a window where that is safe; what remains is checked, placed and reported.

mod alone;
mod before;
mod carry;
mod echoes;
mod excerpt;
mod exempt;
#[cfg(test)]
mod explain_tests;
mod joins;
mod pass;
mod place;
mod quote;
mod regions;
mod tell;
#[cfg(test)]
mod tests;
mod trace;
mod verify;
mod views;

pub use before::Before;
pub use carry::Carry;
pub use excerpt::Excerpt;
pub use trace::{Check, Match, Outcome, Reading, Trace};

use pass::{Memory, Pass, Place};

use crate::compile::{RuleIx, RuleSet};
use crate::message::{Message, ValueKind};
use crate::rule::{View, words};
use crate::surface::Surface;
use smallvec::SmallVec;

/// Which way a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the client to the server.
    ToServer,
    /// From the server to the client.
    ToClient,
}

words!(Direction { ToServer = "to_server", ToClient = "to_client" });

/// What the engine must know of a message besides its bytes.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Which way it goes.
    pub direction: Direction,
    /// The server it goes to or comes from, as named in the config.
    pub server: &'a str,
    /// The message's own method or, on an answer, its request's.
    pub method: Option<&'a str>,
    /// The tool, prompt or resource, likewise.
    pub name: Option<&'a str>,
    /// Rules above this level stay out.
    pub paranoia: u8,
    /// Bytes of text scanned at most; beyond it the scan says `truncated`.
    pub budget: usize,
    /// When, in seconds since 1970: what a suppression's end is compared with.
    pub now: i64,
}

/// A byte range, end exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

/// One thing found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The rule.
    pub rule: RuleIx,
    /// Byte ranges in the raw message, of the `secret` group or of the whole match. Several when it was split over
    /// neighbouring texts; none when it stands in an earlier message as a whole.
    pub spans: SmallVec<[Span; 1]>,
    /// Bytes of the whole match before and after it, in the text as it was read.
    pub around: (u32, u32),
    /// Where in the protocol.
    pub surface: Surface,
    /// JSON Pointer of the value, or of the value a key names. Keys that are themselves findings are masked.
    pub path: String,
    /// Whether it stands in an object key.
    pub in_key: bool,
    /// What kind of token it stands in.
    pub kind_of_value: ValueKind,
    /// Points it adds.
    pub score: u32,
    /// The reading of the text it was found in.
    pub view: View,
    /// Whether a quotable rule found it inside quotes or a code fence.
    pub quoted: bool,
    /// Whether part of it stands in an earlier message, where nothing can be changed any more.
    pub part: Part,
    /// Whether it counts.
    pub standing: Standing,
}

/// Whether a finding counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Standing {
    /// It does.
    #[default]
    Enforced,
    /// Its rule is only tried: it counts for what would be.
    Shadow,
    /// A suppression says that it is no harm.
    Suppressed,
}

words!(Standing { Enforced = "enforced", Shadow = "shadow", Suppressed = "suppressed" });

/// Where something found begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Part {
    /// In this message.
    #[default]
    This,
    /// In an earlier message of the same stream or session.
    Earlier,
}

/// What a scan found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// In document order.
    pub findings: Vec<Finding>,
    /// Whether a budget ended the scan before the message did.
    pub truncated: bool,
}

/// Findings per message at most.
pub const MAX_FINDINGS: usize = 1_000;

/// Reusable memory for scanning: one per worker.
#[derive(Debug, Default)]
pub struct Scanner {
    memory: Memory,
}

impl Scanner {
    /// A new scanner.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Scans every key, string and long number of a message. Does not allocate when nothing is found.
    pub fn scan(&mut self, rules: &RuleSet, message: &Message<'_>, subject: &Subject<'_>) -> Scan {
        self.scan_after(rules, message, subject, None)
    }

    /// The same for a message that follows others of its stream or session: what was split between them is found too.
    pub fn scan_after(
        &mut self,
        rules: &RuleSet,
        message: &Message<'_>,
        subject: &Subject<'_>,
        carry: Option<&mut Carry>,
    ) -> Scan {
        self.run(rules, message, subject, carry, None)
    }

    /// The same, told step by step: each reading of up to `bytes` bytes, each match of each rule, and why those that are
    /// no findings are none. What rules would have matched that took no part (their level, the direction) is told too.
    /// Of the rule asked for, each reading says whether a literal that opens texts for it stands there.
    ///
    /// For people and their questions: it takes several times as long as a scan, and much more memory.
    pub fn explain(
        &mut self,
        rules: &RuleSet,
        message: &Message<'_>,
        subject: &Subject<'_>,
        mut carry: Option<&mut Carry>,
        bytes: usize,
        asked: Option<RuleIx>,
    ) -> (Scan, Trace) {
        let mut trace = Trace::new(bytes, asked);
        let mut before = carry.as_deref().cloned();
        let scan = self.run(rules, message, subject, carry.take(), Some(&mut trace));
        // once more with every rule, to see who was kept out
        let mut all = Trace::new(bytes, asked);
        let everyone = Subject { paranoia: 4, ..*subject };
        self.run(&rules.loosened(), message, &everyone, before.as_mut(), Some(&mut all));
        trace.also(all, rules, subject);
        trace.settle(rules, message, subject);
        (scan, trace)
    }

    fn run(
        &mut self,
        rules: &RuleSet,
        message: &Message<'_>,
        subject: &Subject<'_>,
        carry: Option<&mut Carry>,
        trace: Option<&mut Trace>,
    ) -> Scan {
        let mut pass = Pass::new(&mut self.memory, rules, subject, Place::In(message));
        pass.trace = trace;
        if let Some(trace) = pass.trace.as_deref_mut() {
            trace.texts(rules, message);
        }
        pass.texts(message);
        if message.has_long_numbers() {
            pass.numbers(message);
        }
        pass.views(message);
        pass.joins(message, carry);
        pass.echoes(message);
        if let Some(trace) = pass.trace.as_deref_mut() {
            trace.link(&pass.memory.found);
        }
        pass.finish(message)
    }

    /// Scans one text that is no JSON, as a header value. Spans index into the text.
    pub fn scan_text(
        &mut self,
        rules: &RuleSet,
        text: &str,
        surface: Surface,
        subject: &Subject<'_>,
    ) -> Scan {
        let mut pass = Pass::new(&mut self.memory, rules, subject, Place::Alone(surface));
        pass.alone(text);
        pass.finish_alone()
    }

    /// The rules that find something in an example, wherever they look otherwise.
    pub(crate) fn scan_example(&mut self, rules: &RuleSet, message: &Message<'_>) -> Vec<RuleIx> {
        let subject = Subject {
            direction: Direction::ToServer,
            server: "",
            method: None,
            name: None,
            paranoia: u8::MAX,
            budget: usize::MAX,
            now: 0,
        };
        let mut pass = Pass::new(&mut self.memory, rules, &subject, Place::Example);
        pass.texts(message);
        if message.has_long_numbers() {
            pass.numbers(message);
        }
        pass.views(message);
        pass.rules_found()
    }
}
