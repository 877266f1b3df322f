//! JSON as it lies in the bytes: members found, replaced and put together without a byte of the
//! others being written anew.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use inspect::{Edit, Span};
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// A request or notification of a client, as far as the catalogue looks into it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Asked<'a> {
    #[serde(borrow)]
    pub(super) params: Params<'a>,
}

/// The parameters that say where a message goes.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Params<'a> {
    #[serde(borrow, rename = "_meta")]
    pub(super) meta: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) name: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) uri: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) arguments: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) cursor: Option<&'a RawValue>,
    #[serde(borrow, rename = "ref")]
    pub(super) reference: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) notifications: Option<&'a RawValue>,
    #[serde(borrow, rename = "requestId")]
    pub(super) request_id: Option<&'a RawValue>,
}

/// An answer of a server.
#[derive(Debug, Deserialize)]
pub(super) struct Answer<'a> {
    #[serde(default, borrow)]
    pub(super) result: Option<&'a RawValue>,
    #[serde(default)]
    pub(super) error: Option<Failure<'a>>,
}

/// The error of an answer.
#[derive(Debug, Deserialize)]
pub(super) struct Failure<'a> {
    #[serde(default)]
    pub(super) code: i64,
    #[serde(default, borrow)]
    pub(super) message: Option<&'a RawValue>,
}

/// The string that a raw value is.
pub(super) fn string(raw: &RawValue) -> Option<Cow<'_, str>> {
    serde_json::from_str::<Text<'_>>(raw.get()).ok().map(|text| text.0)
}

/// Borrows where there are no escapes: `Cow` alone would always copy.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// A text as JSON.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Where `inner`, a part of `outer`, lies in it.
pub(super) fn span(outer: &[u8], inner: &str) -> Option<Span> {
    let start = (inner.as_ptr() as usize).checked_sub(outer.as_ptr() as usize)?;
    let end = start.checked_add(inner.len())?;
    (end <= outer.len()).then_some(Span { start, end })
}

/// An edit of ours.
pub(super) fn edit(span: Span, replacement: &str) -> Edit {
    Edit { span, replacement: replacement.as_bytes().into(), rules: Default::default() }
}

/// `outer` with these parts of it replaced; unchanged when they are none.
pub(super) fn replaced(outer: &Bytes, mut parts: Vec<(Span, String)>) -> Bytes {
    if parts.is_empty() {
        return outer.clone();
    }
    parts.sort_by_key(|(span, _)| *span);
    let edits: Vec<Edit> = parts.iter().map(|(span, with)| edit(*span, with)).collect();
    inspect::apply(outer, &edits).map_or_else(|_| outer.clone(), |(bytes, _)| bytes.into())
}

/// The members of an object in their order, each value as it is written.
#[derive(Debug, Default)]
pub(super) struct Members<'a>(pub(super) Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each;
        impl<'de> Visitor<'de> for Each {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut all = Vec::new();
                while let Some((key, value)) = map.next_entry::<Text<'de>, &'de RawValue>()? {
                    all.push((key.0, value));
                }
                Ok(Members(all))
            }
        }
        deserializer.deserialize_map(Each)
    }
}

impl<'a> Members<'a> {
    /// The members of an object; none of anything else.
    pub(super) fn of(text: &'a str) -> Members<'a> {
        serde_json::from_str(text).unwrap_or_default()
    }

    /// One member's value.
    pub(super) fn get(&self, key: &str) -> Option<&'a RawValue> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| *value)
    }

    /// One member's value, when it is there once.
    pub(super) fn only(&self, key: &str) -> Option<&'a RawValue> {
        let mut all = self.0.iter().filter(|(name, _)| name == key);
        let (_, value) = all.next()?;
        all.next().is_none().then_some(*value)
    }
}

/// An object written member by member, values as they are.
#[derive(Debug)]
pub(super) struct Object(String);

impl Object {
    pub(super) fn new() -> Object {
        Object("{".into())
    }

    /// Adds a member whose value is JSON text.
    pub(super) fn raw(mut self, key: &str, value: &str) -> Object {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        self.0.push_str(&quoted(key));
        self.0.push(':');
        self.0.push_str(value);
        self
    }

    /// Adds a member.
    pub(super) fn with(self, key: &str, value: &(impl Serialize + ?Sized)) -> Object {
        // Values and maps of ours, with string keys: nothing in them can fail.
        let text = serde_json::to_string(value).unwrap_or_else(|_| "null".into());
        self.raw(key, &text)
    }

    pub(super) fn end(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

/// An array of values as they are written.
pub(super) fn array<'a>(items: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut out = vec![b'['];
    for (n, item) in items.enumerate() {
        if n > 0 {
            out.push(b',');
        }
        out.extend_from_slice(item);
    }
    out.push(b']');
    out
}

/// The answer to `id` (JSON text) with this result (JSON text).
pub(super) fn result(id: Option<&str>, result: &str) -> Bytes {
    let id = id.unwrap_or("null");
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#).into()
}

/// A request of the gateway's own.
pub(super) fn request(id: &str, method: &str, params: &str) -> Bytes {
    let method = quoted(method);
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":{method},"params":{params}}}"#).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_part_is_replaced_and_no_other_byte() {
        let raw = Bytes::from_static(br#"{ "a" : "x\u0041" ,"name":  "old" , "b":1.0}"#);
        let params: Params<'_> = serde_json::from_slice(&raw).unwrap();
        let name = params.name.unwrap();
        assert_eq!(string(name).as_deref(), Some("old"));
        let at = span(&raw, name.get()).unwrap();
        let edited = replaced(&raw, vec![(at, quoted("n\"w"))]);
        assert_eq!(&edited[..], br#"{ "a" : "x\u0041" ,"name":  "n\"w" , "b":1.0}"#);
    }

    #[test]
    fn what_is_no_part_has_no_span() {
        let text = String::from("elsewhere");
        assert_eq!(span(b"here", &text), None);
    }

    #[test]
    fn members_keep_their_order_and_their_text() {
        let members = Members::of(r#"{"b": 1.0, "a\n": {"x" :2}}"#);
        let all: Vec<_> = members.0.iter().map(|(k, v)| (&**k, v.get())).collect();
        assert_eq!(all, [("b", "1.0"), ("a\n", r#"{"x" :2}"#)]);
        assert!(Members::of("[1]").0.is_empty());
        let built = Object::new().raw("b", "1.0").with("a", &"x").end();
        assert_eq!(built, r#"{"b":1.0,"a":"x"}"#);
    }
}
