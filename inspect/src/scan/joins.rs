//! Neighbouring texts read as one: the items of an answer, the arguments of a call, and what went before them.
//!
//! A key or an order that is split over two of them is in none. Only the ends of texts are put together; what stands in
//! one text alone was found before.

use super::Direction;
use super::Part;
use super::carry::{Carry, TAIL, Where, end, head};
use super::pass::Pass;
use super::verify::{Back, Piece, Places};
use crate::message::{Entry, Kind, Message, NO_KEY, ValueKind, member};
use crate::rule::View;
use simd_json::Node;
use std::ops::Range;

/// Texts put together at most, per message.
const MAX_TEXTS: usize = 256;

/// Neighbours put together.
#[derive(Debug, Default)]
pub(super) struct Joined {
    pub(super) text: String,
    parts: Vec<Stretch>,
}

/// One part of what was put together.
#[derive(Clone, Debug)]
struct Stretch {
    /// Where it stands in the whole.
    range: Range<usize>,
    of: Of,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    /// A text of this message, from this byte on.
    Text { node: u32, from: usize },
    /// An earlier message.
    Earlier,
    /// Nothing: what was left out of a long text.
    Gap,
}

impl Joined {
    fn clear(&mut self) {
        self.text.clear();
        self.parts.clear();
    }

    fn push(&mut self, text: &str, of: Of) {
        let start = self.text.len();
        self.text.push_str(text);
        self.parts.push(Stretch { range: start..self.text.len(), of });
    }

    fn push_text(&mut self, text: &str, node: u32) {
        if text.len() <= 2 * TAIL {
            return self.push(text, Of::Text { node, from: 0 });
        }
        self.push(head(text), Of::Text { node, from: 0 });
        self.push("\0", Of::Gap);
        let end = end(text);
        self.push(end, Of::Text { node, from: text.len() - end.len() });
    }

    /// The text that a byte of the whole stands in, and where; `None` when it is in none of this message.
    pub(super) fn origin(&self, at: usize) -> Option<(u32, usize)> {
        let part = self.parts.get(self.parts.partition_point(|part| part.range.end <= at))?;
        match part.of {
            Of::Text { node, from } => Some((node, from + at.checked_sub(part.range.start)?)),
            Of::Earlier | Of::Gap => None,
        }
    }

    /// How many bytes of the whole stand in an earlier message.
    pub(super) fn earlier(&self) -> usize {
        let earlier = self.parts.iter().filter(|part| part.of == Of::Earlier);
        earlier.map(|part| part.range.len()).sum()
    }

    /// The texts that part of the whole stands in; `None` unless it takes two or more.
    pub(super) fn places(&self, range: &Range<usize>) -> Option<(Places, Part)> {
        let first = self.parts.partition_point(|part| part.range.end <= range.start);
        let mut places = Places::new();
        let mut part = Part::This;
        let mut count = 0;
        for one in self.parts.get(first..)?.iter().take_while(|one| one.range.start < range.end) {
            count += 1;
            match one.of {
                Of::Gap => return None,
                Of::Earlier => part = Part::Earlier,
                Of::Text { node, from } => {
                    let start = range.start.max(one.range.start) - one.range.start;
                    let end = range.end.min(one.range.end) - one.range.start;
                    if start < end {
                        places.push((node, from + start..from + end));
                    }
                }
            }
        }
        (count >= 2 && !places.is_empty()).then_some((places, part))
    }
}

/// A text that has neighbours: its node, and that of the key above it.
pub(super) type Neighbour = (u32, u32);

impl Pass<'_, '_, '_> {
    /// Looks at neighbours as one, and at what follows an earlier message.
    pub(super) fn joins(&mut self, message: &Message<'_>, carry: Option<&mut Carry>) {
        if carry.is_none() && message.entries().len() < 3 {
            return;
        }
        let mut neighbours = std::mem::take(&mut self.memory.neighbours);
        let mut joined = std::mem::take(&mut self.memory.joined);
        neighbours.clear();
        neighbours.extend(texts(message, self.direction()));
        if neighbours.len() > usize::from(carry.is_none()) {
            self.join(message, &neighbours, &mut joined, carry);
        }
        self.memory.neighbours = neighbours;
        self.memory.joined = joined;
    }

    fn join(
        &mut self,
        message: &Message<'_>,
        neighbours: &[Neighbour],
        joined: &mut Joined,
        carry: Option<&mut Carry>,
    ) {
        let stream = self.direction() == Direction::ToClient;
        for between in ["", " "] {
            joined.clear();
            if let Some(carry) = &carry
                && stream
                && let Some(tail) = carry.tail(&Where::Stream)
            {
                joined.push(tail, Of::Earlier);
            }
            for (node, _) in neighbours {
                if !joined.text.is_empty() {
                    joined.text.push_str(between);
                }
                joined.push_text(message.string(*node), *node);
            }
            if let Some((node, _)) = neighbours.first()
                && joined.parts.len() > 1
            {
                self.joined(joined, *node);
            }
        }
        let Some(carry) = carry else { return };
        for (node, key) in neighbours {
            let text = message.string(*node);
            let place = Where::of(message, *key, self.subject);
            if let Some(tail) = carry.tail(&place).filter(|_| !stream) {
                joined.clear();
                joined.push(tail, Of::Earlier);
                joined.push(head(text), Of::Text { node: *node, from: 0 });
                self.joined(joined, *node);
            }
            carry.remember(&place, text);
        }
    }

    fn joined(&mut self, joined: &Joined, node: u32) {
        let piece = Piece {
            text: joined.text.as_bytes(),
            node,
            key: None,
            key_id: NO_KEY,
            kind: ValueKind::String,
            id: self.number_piece(),
            view: View::Raw,
            back: Back::Joined(joined),
        };
        self.piece_alone(&piece, false);
    }
}

/// The texts of a message that a reader takes for one.
pub(super) fn texts(
    message: &Message<'_>,
    direction: Direction,
) -> impl Iterator<Item = Neighbour> {
    let within = reach(message, direction).unwrap_or_default();
    let any = direction == Direction::ToServer;
    let fits = move |entry: &&Entry| {
        !entry.is_key
            && within.contains(&(entry.node as usize))
            && entry.key != NO_KEY
            && (any || matches!(message.string(entry.key), "text" | "data" | "message"))
            && !message.string(entry.node).is_empty()
    };
    let fitting = message.entries().iter().filter(fits).take(MAX_TEXTS);
    fitting.map(|entry| (entry.node, entry.key))
}

/// The nodes that such texts stand in.
fn reach(message: &Message<'_>, direction: Direction) -> Option<Range<usize>> {
    let nodes = message.nodes();
    match (direction, message.kind()) {
        (Direction::ToServer, Kind::Request) => {
            let at = member(nodes, 0, "params").and_then(|at| member(nodes, at, "arguments"))?;
            match nodes.get(at) {
                Some(Node::Object { count, .. }) => Some(at..at + 1 + count),
                _ => None,
            }
        }
        (Direction::ToClient, Kind::Response | Kind::Notification | Kind::Request) => {
            Some(0..nodes.len())
        }
        _ => None,
    }
}
