//! One JSON-RPC message, borrowed: its kind, id, method and every text in it. Parsing itself is in `parser`.

mod batch;
mod error;
mod head;
mod parser;

pub use batch::split_batch;
pub use error::{ParseError, ParseLimits};
pub use parser::Parser;
pub(crate) use parser::is_long;

pub(crate) use head::member;

use head::Head;
use simd_json::{Node, StaticNode};

/// What a message is, by JSON-RPC 2.0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A method with an id: wants an answer.
    Request,
    /// A method without an id.
    Notification,
    /// A result.
    Response,
    /// An error answer.
    Error,
}

impl Kind {
    /// The lower-case word used in captures and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Notification => "notification",
            Self::Response => "response",
            Self::Error => "error",
        }
    }
}

/// A message id. `1` and `"1"` are different ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Id<'a> {
    /// An integer that fits `i64`.
    Int(i64),
    /// An integer above `i64::MAX`.
    Uint(u64),
    /// A string, unescaped.
    Str(&'a str),
    /// Null, legal only on an error answer (legacy servers that could not read the request).
    Null,
}

impl Id<'_> {
    /// The id as JSON text.
    #[must_use]
    pub fn to_json(&self) -> String {
        match self {
            Self::Int(n) => n.to_string(),
            Self::Uint(n) => n.to_string(),
            Self::Str(s) => serde_json::Value::from(*s).to_string(),
            Self::Null => "null".to_owned(),
        }
    }
}

/// One JSON value as far as routing needs it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scalar<'a> {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// An integer that fits `i64`.
    Int(i64),
    /// An integer above `i64::MAX`.
    Uint(u64),
    /// Any other number.
    Float(f64),
    /// A string, unescaped.
    Str(&'a str),
    /// An array with this many elements.
    Array(usize),
    /// An object with this many members.
    Object(usize),
}

impl<'a> Scalar<'a> {
    /// The string, if it is one.
    #[must_use]
    pub fn as_str(&self) -> Option<&'a str> {
        match self {
            Self::Str(s) => Some(s),
            _ => None,
        }
    }

    pub(crate) fn of(node: &Node<'a>) -> Self {
        match *node {
            Node::String(s) => Self::Str(s),
            Node::Object { len, .. } => Self::Object(len),
            Node::Array { len, .. } => Self::Array(len),
            Node::Static(StaticNode::Null) => Self::Null,
            Node::Static(StaticNode::Bool(b)) => Self::Bool(b),
            Node::Static(StaticNode::I64(n)) => Self::Int(n),
            Node::Static(StaticNode::U64(n)) => i64::try_from(n).map_or(Self::Uint(n), Self::Int),
            Node::Static(StaticNode::F64(n)) => Self::Float(n),
        }
    }
}

/// What kind of JSON token a text or a finding is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ValueKind {
    /// A string value.
    String,
    /// A number, as its digits are written.
    Number,
    /// An object key.
    Key,
}

impl ValueKind {
    /// The lower-case word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Number => "number",
            Self::Key => "key",
        }
    }
}

/// One key or string value of a message.
#[derive(Clone, Copy, Debug)]
pub struct Text<'a> {
    /// The unescaped text.
    pub text: &'a str,
    /// Key or string.
    pub kind: ValueKind,
}

/// Where one text lies in the arena and which node of the document it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    /// First byte in the arena.
    pub(crate) start: u32,
    /// Index of the node in document order (keys and containers count).
    pub(crate) node: u32,
    /// Node index of the nearest object key above this text (`NO_KEY` for none; a key names itself not).
    pub(crate) key: u32,
    pub(crate) is_key: bool,
    /// Whether it holds characters outside ASCII, or control characters other than white space.
    pub(crate) is_odd: bool,
}

/// Marks an [`Entry`] with no key above it.
pub(crate) const NO_KEY: u32 = u32::MAX;

/// The byte between two texts of the arena: no UTF-8 string holds it.
pub(crate) const SEPARATOR: u8 = 0xFF;

/// One parsed message, borrowing the parser's memory. See [`Parser::parse`].
#[derive(Debug)]
pub struct Message<'a> {
    raw: &'a [u8],
    nodes: &'a [Node<'a>],
    arena: &'a [u8],
    entries: &'a [Entry],
    head: Head<'a>,
    found: Noticed,
}

/// What was noticed while the arena was filled.
#[derive(Clone, Copy, Debug, Default)]
struct Noticed {
    long_numbers: bool,
    odd_characters: bool,
}

impl<'a> Message<'a> {
    /// The bytes as received.
    #[must_use]
    pub fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// Request, notification, response or error.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.head.kind
    }

    /// The id; `None` for notifications and for errors that carry none.
    #[must_use]
    pub fn id(&self) -> Option<Id<'a>> {
        self.head.id
    }

    /// The method of a request or notification.
    #[must_use]
    pub fn method(&self) -> Option<&'a str> {
        self.head.method
    }

    /// What the request is about: the tool or prompt name, the resource URI, or the task id.
    #[must_use]
    pub fn name(&self) -> Option<&'a str> {
        let method = self.method()?;
        let member = if method.starts_with("resources/") {
            "uri"
        } else if method.starts_with("tasks/") {
            "taskId"
        } else if matches!(method, "tools/call" | "prompts/get") {
            "name"
        } else {
            return None;
        };
        self.get(&["params", member])?.as_str()
    }

    /// The value at a path of object members from the root. Of repeated members the last counts, as in most readers.
    #[must_use]
    pub fn get(&self, path: &[&str]) -> Option<Scalar<'a>> {
        let at = path.iter().try_fold(0, |at, key| member(self.nodes, at, key))?;
        self.nodes.get(at).map(Scalar::of)
    }

    /// The keys of the object at a path, as they stand there; none where there is no object.
    pub fn keys(&self, path: &[&str]) -> impl Iterator<Item = &'a str> {
        let at = path.iter().try_fold(0, |at, key| member(self.nodes, at, key));
        head::members(self.nodes, at.unwrap_or(usize::MAX - 1)).map(|(key, _)| key)
    }

    /// Every key and string value in document order, unescaped. Numbers are not among them.
    pub fn texts(&self) -> impl Iterator<Item = Text<'_>> {
        self.entries.iter().filter_map(|entry| {
            let Some(Node::String(text)) = self.nodes.get(entry.node as usize) else {
                return None;
            };
            let kind = if entry.is_key { ValueKind::Key } else { ValueKind::String };
            Some(Text { text, kind })
        })
    }

    /// The nodes in document order.
    pub(crate) fn nodes(&self) -> &'a [Node<'a>] {
        self.nodes
    }

    /// All keys and strings, unescaped, each followed by [`SEPARATOR`].
    /// The string at a node; empty when there is none.
    pub(crate) fn string(&self, node: u32) -> &'a str {
        match self.nodes.get(node as usize) {
            Some(Node::String(text)) => text,
            _ => "",
        }
    }

    pub(crate) fn arena(&self) -> &'a [u8] {
        self.arena
    }

    /// The table over [`Message::arena`], in document order.
    pub(crate) fn entries(&self) -> &'a [Entry] {
        self.entries
    }

    /// Whether some number is long enough for a number rule (nine digits or more).
    pub(crate) fn has_long_numbers(&self) -> bool {
        self.found.long_numbers
    }

    /// Whether some text is odd: see [`Entry::is_odd`].
    pub(crate) fn has_odd_characters(&self) -> bool {
        self.found.odd_characters
    }
}
