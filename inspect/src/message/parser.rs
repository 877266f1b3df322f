//! Raw bytes → [`Message`]: simd-json over a reused scratch copy, then one walk that fills the arena.

use super::{Entry, Message, NO_KEY, Noticed, ParseError, ParseLimits, SEPARATOR, head};
use simd_json::{Buffers, ErrorType, INPUT_PADDING, Node, StaticNode, Tape};

/// Memory kept between messages; what a larger one needed is given back after it.
const KEEP_BYTES: usize = 1024 * 1024;
/// The same for nodes and table entries.
const KEEP_NODES: usize = 64 * 1024;
/// From here on a number is long enough to be a card or an account number.
const LONG_NUMBER: u64 = 100_000_000;

/// A reusable parser: one per worker.
pub struct Parser {
    limits: ParseLimits,
    buffers: Buffers,
    scratch: Vec<u8>,
    tape: Tape<'static>,
    arena: Vec<u8>,
    entries: Vec<Entry>,
    open: Vec<Open>,
}

/// A container the walk is inside of.
#[derive(Clone, Copy)]
struct Open {
    /// Nodes before this index belong to it.
    end: usize,
    is_object: bool,
    /// The key that names values directly in it.
    key: u32,
    /// In an object: whether a key comes next.
    key_next: bool,
}

impl std::fmt::Debug for Parser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parser").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl Parser {
    /// A parser with these limits.
    #[must_use]
    pub fn new(limits: ParseLimits) -> Self {
        Self {
            limits,
            buffers: Buffers::with_max_depth(0, limits.max_depth),
            scratch: Vec::new(),
            tape: Tape(Vec::new()),
            arena: Vec::new(),
            entries: Vec::new(),
            open: Vec::new(),
        }
    }

    /// Parses one message (not a batch) and hands it to `f`. Memory is reused: a warm parser does not allocate.
    ///
    /// # Errors
    /// The bytes are over a limit, not JSON, or no JSON-RPC 2.0 message.
    pub fn parse<R>(
        &mut self,
        raw: &[u8],
        f: impl FnOnce(&Message<'_>) -> R,
    ) -> Result<R, ParseError> {
        let mut tape = std::mem::replace(&mut self.tape, Tape(Vec::new())).reset();
        let result = parse_into(&self.limits, raw, &mut self.scratch, &mut self.buffers, &mut tape)
            .and_then(|()| {
                let head = head::read(&tape.0)?;
                let found = fill_arena(&tape.0, &mut self.arena, &mut self.entries, &mut self.open);
                Ok(f(&Message {
                    raw,
                    nodes: &tape.0,
                    arena: &self.arena,
                    entries: &self.entries,
                    head,
                    found,
                }))
            });
        self.tape = tape.reset();
        self.trim();
        result
    }

    /// Gives back what one large message needed, so that memory follows the usual size.
    fn trim(&mut self) {
        if self.scratch.capacity() > KEEP_BYTES {
            self.scratch = Vec::new();
            self.buffers = Buffers::with_max_depth(0, self.limits.max_depth);
        }
        if self.arena.capacity() > KEEP_BYTES {
            self.arena = Vec::new();
        }
        if self.tape.0.capacity() > KEEP_NODES {
            self.tape = Tape(Vec::new());
        }
        if self.entries.capacity() > KEEP_NODES {
            self.entries = Vec::new();
        }
    }
}

/// Copies `raw` into the padded scratch and fills the tape from it.
fn parse_into<'s>(
    limits: &ParseLimits,
    raw: &[u8],
    scratch: &'s mut Vec<u8>,
    buffers: &mut Buffers,
    tape: &mut Tape<'s>,
) -> Result<(), ParseError> {
    let too_many = ParseError::TooManyValues { limit: limits.max_values };
    if raw.len() > limits.max_bytes {
        return Err(ParseError::TooLarge { len: raw.len(), limit: limits.max_bytes });
    }
    // Only a message with this many bytes can hold more values than allowed; a tape of two million nodes would
    // otherwise be built before it could be refused.
    if raw.len() / 2 > limits.max_values && count_values(raw) > limits.max_values {
        return Err(too_many);
    }
    scratch.clear();
    scratch.reserve(raw.len() + INPUT_PADDING);
    scratch.extend_from_slice(raw);
    scratch.resize(raw.len() + INPUT_PADDING, b' ');
    simd_json::fill_tape_padded(scratch, raw.len(), buffers, tape)
        .map_err(|error| refusal(limits, raw, &error))?;
    if tape.0.len() > limits.max_values {
        return Err(too_many);
    }
    Ok(())
}

/// An estimate from above of the number of keys and values: separators and openings outside strings.
fn count_values(raw: &[u8]) -> usize {
    let mut count = 1;
    let mut at = 0;
    while let Some(&byte) = raw.get(at) {
        at += 1;
        match byte {
            b',' | b':' | b'[' | b'{' => count += 1,
            b'"' => {
                // to the closing quote, or to the end when there is none (the parser will say so)
                while let Some(found) = memchr::memchr2(b'"', b'\\', raw.get(at..).unwrap_or(&[])) {
                    let quote = raw.get(at + found) == Some(&b'"');
                    at += found + if quote { 1 } else { 2 };
                    if quote {
                        break;
                    }
                }
            }
            _ => {}
        }
    }
    count
}

/// simd-json's error in our words. It stops at whole blocks and may quote the input, so the place is asked of serde_json,
/// which names what it expected and where, and never what it found.
fn refusal(limits: &ParseLimits, raw: &[u8], error: &simd_json::Error) -> ParseError {
    if let ErrorType::DepthLimitExceeded = error.error() {
        return ParseError::TooDeep { limit: limits.max_depth };
    }
    if let Err(bad) = std::str::from_utf8(raw) {
        return ParseError::Utf8 { offset: bad.valid_up_to() };
    }
    ParseError::Syntax {
        detail: match serde_json::from_slice::<serde::de::IgnoredAny>(raw) {
            Err(place) => place.to_string(),
            // Well-formed, yet with a number or an escape that no reader agrees on.
            Ok(_) => format!("{:?}: a number out of range, or a lone surrogate", error.error()),
        },
    }
}

/// Whether a node is a number of nine digits or more before its point.
pub(crate) fn is_long(node: &Node<'_>) -> bool {
    match node {
        Node::Static(StaticNode::I64(n)) => n.unsigned_abs() >= LONG_NUMBER,
        Node::Static(StaticNode::U64(n)) => *n >= LONG_NUMBER,
        Node::Static(StaticNode::F64(n)) => n.abs() >= 1e8,
        _ => false,
    }
}

/// Puts every key and string into the arena; tells what was noticed on the way.
fn fill_arena(
    nodes: &[Node<'_>],
    arena: &mut Vec<u8>,
    entries: &mut Vec<Entry>,
    open: &mut Vec<Open>,
) -> Noticed {
    arena.clear();
    entries.clear();
    open.clear();
    let mut noticed = Noticed::default();
    // The innermost container is kept in a local: the stack is touched only where containers open and close.
    let mut inside = Open { end: usize::MAX, is_object: false, key: NO_KEY, key_next: false };
    for (at, node) in nodes.iter().enumerate() {
        while at >= inside.end {
            match open.pop() {
                Some(outer) => inside = outer,
                None => break,
            }
        }
        let is_key = inside.is_object && inside.key_next;
        // Nodes are bounded by the value limit and the message by 4 GiB, so the casts below lose nothing.
        let index = u32::try_from(at).unwrap_or(NO_KEY);
        let above = if is_key { NO_KEY } else { inside.key };
        inside.key_next = !is_key;
        match node {
            Node::String(text) => {
                let is_odd = is_odd(text.as_bytes());
                noticed.odd_characters |= is_odd;
                entries.push(Entry {
                    start: u32::try_from(arena.len()).unwrap_or(u32::MAX),
                    node: index,
                    key: above,
                    is_key,
                    is_odd,
                });
                arena.extend_from_slice(text.as_bytes());
                arena.push(SEPARATOR);
                if is_key {
                    inside.key = index;
                }
            }
            Node::Object { count, .. } | Node::Array { count, .. } => {
                let is_object = matches!(node, Node::Object { .. });
                open.push(inside);
                inside = Open { end: at + 1 + count, is_object, key: above, key_next: true };
            }
            Node::Static(_) => noticed.long_numbers |= is_long(node),
        }
    }
    noticed
}

/// Whether a text holds a byte that is neither printable ASCII nor white space. Written so that it compiles to a few
/// wide instructions.
fn is_odd(text: &[u8]) -> bool {
    text.iter().fold(false, |odd, byte| {
        odd | (byte.wrapping_sub(0x20) > 0x5e) & !matches!(byte, b'\n' | b'\t' | b'\r')
    })
}
