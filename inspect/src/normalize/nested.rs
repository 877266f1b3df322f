//! JSON inside a string: `"{\"password\": \"…\"}"`. Its keys name its values as those of the message do.

use super::derived::Derived;
use std::ops::Range;
use std::rc::Rc;

/// Values of one text at most.
const MAX_VALUES: usize = 200_000;

/// One key, string or long number of JSON that stands in a string.
#[derive(Debug)]
pub(crate) struct Nested {
    /// The text, unescaped.
    pub(crate) derived: Derived,
    /// The nearest key above it: which key of this JSON, and its text.
    pub(crate) key: Option<(u32, Rc<str>)>,
    pub(crate) is_number: bool,
}

/// The values of a text that is a JSON object or array; empty when it is not. The flag tells that there were too many.
pub(crate) fn nested(text: &str) -> (Vec<Nested>, bool) {
    let trimmed = text.trim_ascii();
    let looks = matches!(trimmed.as_bytes(), [b'{', .., b'}'] | [b'[', .., b']']);
    if !looks || serde_json::from_str::<serde::de::IgnoredAny>(trimmed).is_err() {
        return (Vec::new(), false);
    }
    let mut walk = Walk { text, at: 0, open: Vec::new(), key: None, values: Vec::new(), keys: 0 };
    let complete = walk.all();
    (walk.values, !complete)
}

/// A container the walk is inside of.
struct Open {
    is_object: bool,
    key_next: bool,
    /// The key that names the container.
    key: Option<(u32, Rc<str>)>,
}

struct Walk<'t> {
    text: &'t str,
    at: usize,
    open: Vec<Open>,
    /// The key read last in the innermost object, or the one above an array.
    key: Option<(u32, Rc<str>)>,
    values: Vec<Nested>,
    keys: u32,
}

impl Walk<'_> {
    /// Walks JSON that was checked; false when it ended early.
    fn all(&mut self) -> bool {
        let bytes = self.text.as_bytes();
        while let Some(byte) = bytes.get(self.at) {
            match byte {
                b'{' | b'[' => {
                    let is_object = *byte == b'{';
                    self.open.push(Open { is_object, key_next: is_object, key: self.key.clone() });
                    self.at += 1;
                }
                b'}' | b']' => {
                    if let Some(open) = self.open.pop() {
                        self.key = open.key;
                    }
                    self.at += 1;
                }
                b'"' => {
                    let Some(range) = self.string() else { return false };
                    self.value(range, false);
                }
                b'-' | b'0'..=b'9' => {
                    let start = self.at;
                    while bytes.get(self.at).is_some_and(|b| {
                        matches!(b, b'0'..=b'9' | b'.' | b'-' | b'+' | b'e' | b'E')
                    }) {
                        self.at += 1;
                    }
                    if self.at - start >= 9 {
                        self.value(start..self.at, true);
                    }
                }
                b',' => {
                    if let Some(open) = self.open.last_mut() {
                        open.key_next = open.is_object;
                    }
                    self.at += 1;
                }
                _ => self.at += 1,
            }
            if self.values.len() >= MAX_VALUES {
                return false;
            }
        }
        true
    }

    /// The inside of the string at hand; moves past it.
    fn string(&mut self) -> Option<Range<usize>> {
        let start = self.at + 1;
        let mut at = start;
        loop {
            at += memchr::memchr2(b'"', b'\\', self.text.as_bytes().get(at..)?)?;
            if self.text.as_bytes().get(at) == Some(&b'"') {
                self.at = at + 1;
                return Some(start..at);
            }
            at += 2;
        }
    }

    fn value(&mut self, range: Range<usize>, is_number: bool) {
        let derived = unescape(self.text, range);
        let is_key = self.open.last_mut().is_some_and(|open| std::mem::take(&mut open.key_next));
        if is_key && !is_number {
            self.keys += 1;
            self.key = Some((self.keys, Rc::from(derived.text.as_str())));
            self.values.push(Nested { derived, key: None, is_number });
        } else {
            self.values.push(Nested { derived, key: self.key.clone(), is_number });
        }
    }
}

/// Undoes the escapes of a JSON string that was checked.
fn unescape(text: &str, range: Range<usize>) -> Derived {
    let mut out = Derived::default();
    out.how = "value of JSON in it";
    out.is_json_value = true;
    let mut at = range.start;
    while at < range.end {
        let rest = text.get(at..range.end).unwrap_or("");
        let plain = rest.find('\\').unwrap_or(rest.len());
        if plain > 0 {
            out.shifted(at, rest.get(..plain).unwrap_or(""));
            at += plain;
            continue;
        }
        let len = match rest.as_bytes() {
            [b'\\', b'u', b'd' | b'D', b'8' | b'9' | b'a' | b'b' | b'A' | b'B', ..] => 12,
            [b'\\', b'u', ..] => 6,
            _ => 2,
        };
        let quoted = format!("\"{}\"", rest.get(..len).unwrap_or("?"));
        let c: String = serde_json::from_str(&quoted).unwrap_or_else(|_| "\u{fffd}".to_owned());
        out.made(at..at + len, &c);
        at += len;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::nested;

    #[test]
    fn keys_name_values() {
        let text = r#" {"a":{"p\u0061ss":"x\ny"},"list":["one",{"b":1234567890}],"c":2} "#;
        let (values, partial) = nested(text);
        assert!(!partial);
        let told: Vec<(&str, Option<&str>, bool)> = values
            .iter()
            .map(|v| (v.derived.text.as_str(), v.key.as_ref().map(|(_, k)| &**k), v.is_number))
            .collect();
        assert_eq!(
            told,
            [
                ("a", None, false),
                ("pass", None, false),
                ("x\ny", Some("pass"), false),
                ("list", None, false),
                ("one", Some("list"), false),
                ("b", None, false),
                ("1234567890", Some("b"), true),
                ("c", None, false),
            ]
        );
        let (source, _) = values[2].derived.source(&(0..3)).unwrap();
        assert_eq!(&text[source], "x\\ny");
    }

    #[test]
    fn other_texts_have_no_values() {
        for text in ["", "{", "[x]", "{a}", "plain", "{\"a\":1} and more"] {
            assert!(nested(text).0.is_empty(), "{text}");
        }
    }
}
