//! A JSON text as a tree that keeps numbers as they were written, and members that share a name.

use std::borrow::Cow;

use super::{DEEPEST, PinError};

/// One value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node<'a> {
    /// A number, `true`, `false` or `null`, as written.
    Word(&'a str),
    /// A string, unescaped.
    Text(Cow<'a, str>),
    /// An array.
    Array(Vec<Node<'a>>),
    /// An object: its members by name, those of one name in the order they came.
    Object(Vec<(Cow<'a, str>, Node<'a>)>),
}

impl Node<'_> {
    /// The canonical text.
    pub(super) fn to_canonical(&self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) {
        match self {
            Self::Word(word) => out.push_str(word),
            Self::Text(text) => write_text(text, out),
            Self::Array(items) => {
                out.push('[');
                for (n, item) in items.iter().enumerate() {
                    if n > 0 {
                        out.push(',');
                    }
                    item.write(out);
                }
                out.push(']');
            }
            Self::Object(members) => {
                out.push('{');
                for (n, (key, value)) in members.iter().enumerate() {
                    if n > 0 {
                        out.push(',');
                    }
                    write_text(key, out);
                    out.push(':');
                    value.write(out);
                }
                out.push('}');
            }
        }
    }
}

/// serde_json escapes as RFC 8785 asks: the short forms, lower-case `\u00xx` for other controls, nothing else.
fn write_text(text: &str, out: &mut String) {
    out.push_str(&serde_json::Value::from(text).to_string());
}

/// Reads one value and nothing behind it.
pub(super) fn read(text: &str) -> Result<Node<'_>, PinError> {
    let mut reader = Reader { text, at: 0 };
    let node = reader.value(DEEPEST)?;
    match reader.peek() {
        None => Ok(node),
        Some(_) => Err(PinError::Syntax),
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    /// The next byte that is no white space.
    fn peek(&mut self) -> Option<u8> {
        let rest = self.text.as_bytes().get(self.at..)?;
        let blank = |b: &u8| matches!(b, b' ' | b'\t' | b'\n' | b'\r');
        self.at += rest.iter().take_while(|b| blank(b)).count();
        self.text.as_bytes().get(self.at).copied()
    }

    /// Steps over `byte` if it is next.
    fn takes(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    fn value(&mut self, levels: usize) -> Result<Node<'a>, PinError> {
        let levels = || levels.checked_sub(1).ok_or(PinError::TooDeep);
        match self.peek().ok_or(PinError::Syntax)? {
            b'{' => self.object(levels()?),
            b'[' => self.array(levels()?),
            b'"' => Ok(Node::Text(self.string()?)),
            _ => self.word(),
        }
    }

    fn object(&mut self, levels: usize) -> Result<Node<'a>, PinError> {
        let mut members = Vec::new();
        self.at += 1;
        while !self.takes(b'}') {
            if !members.is_empty() && !self.takes(b',') {
                return Err(PinError::Syntax);
            }
            if self.peek() != Some(b'"') {
                return Err(PinError::Syntax);
            }
            let key = self.string()?;
            if !self.takes(b':') {
                return Err(PinError::Syntax);
            }
            members.push((key, self.value(levels)?));
        }
        // Stable: members of one name keep their order.
        members.sort_by(|(one, _), (other, _)| one.encode_utf16().cmp(other.encode_utf16()));
        Ok(Node::Object(members))
    }

    fn array(&mut self, levels: usize) -> Result<Node<'a>, PinError> {
        let mut items = Vec::new();
        self.at += 1;
        while !self.takes(b']') {
            if !items.is_empty() && !self.takes(b',') {
                return Err(PinError::Syntax);
            }
            items.push(self.value(levels)?);
        }
        Ok(Node::Array(items))
    }

    /// A string whose opening quote is next.
    fn string(&mut self) -> Result<Cow<'a, str>, PinError> {
        let start = self.at;
        let bytes = self.text.as_bytes();
        let mut at = start + 1;
        let mut is_escaped = false;
        loop {
            let rest = bytes.get(at..).ok_or(PinError::Syntax)?;
            at += memchr::memchr2(b'"', b'\\', rest).ok_or(PinError::Syntax)?;
            if bytes.get(at) == Some(&b'"') {
                break;
            }
            is_escaped = true;
            at += 2;
        }
        self.at = at + 1;
        if is_escaped {
            let quoted = self.text.get(start..=at).ok_or(PinError::Syntax)?;
            return serde_json::from_str(quoted).map(Cow::Owned).map_err(|_| PinError::Syntax);
        }
        self.text.get(start + 1..at).map(Cow::Borrowed).ok_or(PinError::Syntax)
    }

    fn word(&mut self) -> Result<Node<'a>, PinError> {
        let rest = self.text.get(self.at..).ok_or(PinError::Syntax)?;
        let part = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'+' | b'.');
        let len = rest.bytes().take_while(|b| part(*b)).count();
        let word = rest.get(..len).unwrap_or_default();
        // A word and no more: whether it is one of JSON's, its parser says.
        serde_json::from_str::<serde::de::IgnoredAny>(word).map_err(|_| PinError::Syntax)?;
        self.at += len;
        Ok(Node::Word(word))
    }
}
