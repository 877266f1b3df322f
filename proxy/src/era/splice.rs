//! Where the members of a JSON object stand in its raw bytes, and the edits that set some or take
//! some out. All other bytes stay as they came (the one applier is [`inspect::apply`]).
//!
//! What a server sends comes here before the pipeline has parsed it: bytes that are no JSON are no
//! object, and nothing here trusts them.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use inspect::{Edit, Span, apply, leave_out};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// An object within a message.
#[derive(Debug)]
pub(crate) struct Object<'a> {
    span: Span,
    members: Vec<Member<'a>>,
}

/// One member of an object.
#[derive(Debug)]
pub(crate) struct Member<'a> {
    /// Its name, unescaped.
    pub(crate) key: Cow<'a, str>,
    /// Its value as it stands there.
    pub(crate) text: &'a str,
    /// From the name's first quote to the value's end.
    whole: Span,
    value: Span,
}

impl<'a> Object<'a> {
    /// The object that is the whole message.
    pub(crate) fn of(message: &'a [u8]) -> Option<Object<'a>> {
        let text = std::str::from_utf8(message).ok()?;
        Object::within(message, text)
    }

    /// The object whose text this is, a part of `message`.
    fn within(message: &'a [u8], text: &'a str) -> Option<Object<'a>> {
        let members: Members<'a> = serde_json::from_str(text).ok()?;
        let start = place(message, text)?;
        let start = start + text.len() - text.trim_start().len();
        let end = start + text.trim().len();
        let mut at = start + 1;
        let mut found = Vec::with_capacity(members.0.len());
        for (key, value) in members.0 {
            let text = value.get();
            let from = place(message, text)?;
            let value = Span { start: from, end: from + text.len() };
            // Between two members there is nothing but blanks and one comma.
            let gap = message.get(at..from)?.iter();
            let gap = gap.take_while(|b| matches!(b, b' ' | b'\t' | b'\r' | b'\n' | b','));
            let whole = Span { start: at + gap.count(), end: value.end };
            at = value.end;
            found.push(Member { key, text, whole, value });
        }
        Some(Object { span: Span { start, end }, members: found })
    }

    /// The member of this name.
    pub(crate) fn get(&self, key: &str) -> Option<&Member<'a>> {
        self.members.iter().find(|member| member.key == key)
    }

    /// The member of this name, where it is an object.
    pub(crate) fn object(&self, message: &'a [u8], key: &str) -> Option<Object<'a>> {
        Object::within(message, self.get(key)?.text)
    }

    /// The member of this name, where it is a string.
    pub(crate) fn string(&self, key: &str) -> Option<String> {
        serde_json::from_str(self.get(key)?.text).ok()
    }

    /// Every member with its name, as an object where it is one.
    pub(crate) fn objects(&self, message: &'a [u8]) -> Vec<(String, Option<Object<'a>>)> {
        let read = |member: &Member<'a>| Object::within(message, member.text);
        self.members.iter().map(|member| (member.key.clone().into_owned(), read(member))).collect()
    }

    /// How many members there are.
    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    /// The members, in their order.
    pub(crate) fn members(&self) -> &[Member<'a>] {
        &self.members
    }

    /// The edits that take the members `gone` out and give those in `set` these values (JSON text).
    pub(crate) fn edits(&self, gone: &[&str], set: &[(&str, &str)]) -> Vec<Edit> {
        let spans: Vec<Span> = self.members.iter().map(|member| member.whole).collect();
        let is_gone = |n: usize| gone.contains(&&*self.members[n].key);
        let mut edits = leave_out(&spans, is_gone);
        let mut is_empty = (0..self.members.len()).all(is_gone);
        let mut added = String::new();
        for (key, value) in set {
            if let Some(member) = self.get(key) {
                edits.push(edit(member.value, value));
                continue;
            }
            if !std::mem::take(&mut is_empty) {
                added.push(',');
            }
            added.push_str(&serde_json::Value::from(*key).to_string());
            added.push(':');
            added.push_str(value);
        }
        if !added.is_empty() {
            let before = self.span.end - 1;
            edits.push(edit(Span { start: before, end: before }, &added));
        }
        edits
    }
}

impl Member<'_> {
    /// The edit that gives it another value (JSON text).
    pub(crate) fn replaced(&self, value: &str) -> Edit {
        edit(self.value, value)
    }
}

fn edit(span: Span, text: &str) -> Edit {
    Edit { span, replacement: text.as_bytes().into(), rules: Default::default() }
}

/// The message with these edits, in whatever order they are; `None` when they overlap, which those
/// of different objects never do unless one replaces what the other changes.
pub(crate) fn applied(message: &[u8], mut edits: Vec<Edit>) -> Option<Bytes> {
    edits.sort_by_key(|edit| (edit.span.start, edit.span.end));
    apply(message, &edits).ok().map(|(edited, _)| edited.into())
}

/// The elements of an array, each as it stands in `message`.
pub(crate) fn elements<'a>(message: &'a [u8], array: &'a str) -> Option<Vec<(Span, &'a str)>> {
    let elements: Vec<&RawValue> = serde_json::from_str(array).ok()?;
    let placed = elements.into_iter().map(|element| {
        let text = element.get();
        let start = place(message, text)?;
        Some((Span { start, end: start + text.len() }, text))
    });
    placed.collect()
}

/// The object whose text is an element of an array of `message`.
pub(crate) fn element<'a>(message: &'a [u8], text: &'a str) -> Option<Object<'a>> {
    Object::within(message, text)
}

/// Where in `message` a text begins that was borrowed from it.
fn place(message: &[u8], text: &str) -> Option<usize> {
    let at = (text.as_ptr() as usize).checked_sub(message.as_ptr() as usize)?;
    (at + text.len() <= message.len()).then_some(at)
}

struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((Key(key), value)) = map.next_entry()? {
                    members.push((key, value));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(All)
    }
}

#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use super::*;

    fn edited(raw: &str, gone: &[&str], set: &[(&str, &str)]) -> String {
        let object = Object::of(raw.as_bytes()).unwrap();
        let edits = object.edits(gone, set);
        String::from_utf8(applied(raw.as_bytes(), edits).unwrap().to_vec()).unwrap()
    }

    #[test]
    fn what_is_not_edited_stays_byte_for_byte() {
        let raw = " { \"a\" : 1 ,\n\"b\\u0062\":[ {\"x\":\"}\"} ], \"c\":\"\\\"\" } ";
        assert_eq!(edited(raw, &[], &[]), raw);
        assert_eq!(edited(raw, &["a"], &[]), raw.replace("\"a\" : 1 ,\n", ""));
        assert_eq!(
            edited(raw, &["bb"], &[]),
            raw.replace(" ,\n\"b\\u0062\":[ {\"x\":\"}\"} ]", "")
        );
        assert_eq!(edited(raw, &[], &[("bb", "7")]), raw.replace("[ {\"x\":\"}\"} ]", "7"));
        assert_eq!(
            edited(raw, &["c"], &[("d", "{}")]),
            raw.replace(", \"c\":\"\\\"\" ", " ,\"d\":{}")
        );
        assert_eq!(edited("{}", &[], &[("a", "1"), ("b", "2")]), r#"{"a":1,"b":2}"#);
        assert_eq!(edited(r#"{"x":1}"#, &["x"], &[("a", "1"), ("b", "2")]), r#"{"a":1,"b":2}"#);
    }

    #[test]
    fn an_object_within_is_found_by_its_place() {
        let raw = br#"{"params":{"name":"x","_meta": {"k":1}}}"#;
        let message = Object::of(raw).unwrap();
        let params = message.object(raw, "params").unwrap();
        let meta = params.object(raw, "_meta").unwrap();
        assert_eq!(params.string("name").as_deref(), Some("x"));
        let edits = [meta.edits(&[], &[("l", "2")]), params.edits(&["name"], &[])].concat();
        let out = applied(raw, edits).unwrap();
        assert_eq!(&out[..], br#"{"params":{"_meta": {"k":1,"l":2}}}"#);
    }

    #[test]
    fn what_is_no_object_is_none() {
        for raw in ["", "[]", "1", "{", "{\"a\":1}}", "{\"a\"}", "\u{feff}{}"] {
            assert!(Object::of(raw.as_bytes()).is_none(), "{raw:?}");
        }
        assert!(Object::of(b"{\"a\":\"\xff\"}").is_none());
    }
}
