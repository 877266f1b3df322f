//! The members of a message that say whose it is, with their places in the raw bytes, so that they
//! can be replaced where clients share a process and nothing else changes.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;
use capture::Str;
use inspect::{Edit, Span};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// A value as it is written, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Written {
    /// Its JSON text.
    pub(super) text: Str,
    /// Where it stands in the message.
    pub(super) at: Range<usize>,
}

/// What a message says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Peek {
    /// The method of a request or notification.
    pub(super) method: Option<Str>,
    /// `id`, unless it is null.
    pub(super) id: Option<Written>,
    /// `params.progressToken`: what a progress notification is about.
    pub(super) progress_of: Option<Written>,
    /// `params.requestId`: what a cancellation is about.
    pub(super) cancels: Option<Written>,
    /// `params._meta.progressToken`: what a request wants its progress to be called.
    pub(super) progress_token: Option<Written>,
    /// The subscription that `params._meta` or `result._meta` names.
    pub(super) subscription: Option<Written>,
    /// Whether the request asks for log messages.
    pub(super) wants_log: bool,
    /// `error.code`.
    pub(super) error_code: Option<i64>,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    method: Option<Cow<'a, str>>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    error: Option<Code>,
}

#[derive(Deserialize)]
struct Code {
    code: Option<Value>,
}

#[derive(Default, Deserialize)]
struct Params<'a> {
    #[serde(borrow, rename = "_meta")]
    meta: Option<&'a RawValue>,
    #[serde(borrow, rename = "progressToken")]
    progress_of: Option<&'a RawValue>,
    #[serde(borrow, rename = "requestId")]
    cancels: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
struct Meta<'a> {
    #[serde(borrow, rename = "progressToken")]
    progress_token: Option<&'a RawValue>,
    #[serde(borrow, rename = "io.modelcontextprotocol/subscriptionId")]
    subscription: Option<&'a RawValue>,
    #[serde(borrow, rename = "io.modelcontextprotocol/logLevel")]
    log_level: Option<&'a RawValue>,
}

impl Peek {
    /// Reads a message; `None` when it is none, or says one of these things twice.
    pub(super) fn of(raw: &[u8]) -> Option<Peek> {
        let envelope: Envelope<'_> = serde_json::from_slice(raw).ok()?;
        let written = |value: &RawValue| {
            // The value was borrowed from `raw`: its address tells where it stands.
            let start = (value.get().as_ptr() as usize).checked_sub(raw.as_ptr() as usize)?;
            let at = start..start + value.get().len();
            Some(Written { text: value.get().into(), at })
        };
        let params: Params<'_> = members(envelope.params)?;
        // A result is looked into for its `_meta` alone.
        let inner = params.meta.or(members::<Params<'_>>(envelope.result)?.meta);
        let meta: Meta<'_> = members(inner)?;
        Some(Peek {
            method: envelope.method.map(|method| Str::from(&*method)),
            id: envelope.id.and_then(written),
            progress_of: params.progress_of.and_then(written),
            cancels: params.cancels.and_then(written),
            progress_token: meta.progress_token.and_then(written),
            subscription: meta.subscription.and_then(written),
            wants_log: meta.log_level.is_some(),
            error_code: envelope.error.and_then(|error| error.code?.as_i64()),
        })
    }
}

/// The members of an object; those of nothing where there is none.
fn members<'a, T: Deserialize<'a> + Default>(value: Option<&'a RawValue>) -> Option<T> {
    match value {
        Some(object) if object.get().starts_with('{') => serde_json::from_str(object.get()).ok(),
        _ => Some(T::default()),
    }
}

/// A value's text in the one form by which equal values are equal: `"a"` for `"\u0061"`.
pub(super) fn canonical(text: &str) -> Str {
    match serde_json::from_str::<Value>(text) {
        Ok(value) => value.to_string().into(),
        Err(_) => text.into(),
    }
}

/// The same message with other values in these places.
pub(super) fn replaced(raw: &Bytes, values: &mut [(Range<usize>, &str)]) -> Option<Bytes> {
    values.sort_unstable_by_key(|(at, _)| at.start);
    let edit = |(at, text): &(Range<usize>, &str)| Edit {
        span: Span { start: at.start, end: at.end },
        replacement: text.as_bytes().into(),
        rules: Default::default(),
    };
    let edits: Vec<Edit> = values.iter().map(edit).collect();
    Some(inspect::apply(raw, &edits).ok()?.0.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_replaced_stands_where_it_was_found_and_the_rest_stays() {
        let raw = Bytes::from_static(
            br#" { "params" : {"_meta":{ "progressToken" : "a\u0062", "x":[1.50] } }, "method":"tools/call", "id" :7 }"#,
        );
        let peek = Peek::of(&raw).unwrap();
        let (id, token) = (peek.id.unwrap(), peek.progress_token.unwrap());
        assert_eq!((&*id.text, &*token.text), ("7", r#""a\u0062""#));
        assert_eq!(&*canonical(&token.text), r#""ab""#);
        let new = replaced(&raw, &mut [(id.at, "12"), (token.at, "12")]).unwrap();
        let wanted = br#" { "params" : {"_meta":{ "progressToken" : 12, "x":[1.50] } }, "method":"tools/call", "id" :12 }"#;
        assert_eq!(&new[..], wanted);
    }

    #[test]
    fn everything_that_names_a_call_is_found() {
        let cancelled =
            Peek::of(br#"{"method":"notifications/cancelled","params":{"requestId":"r"}}"#);
        assert_eq!(&*cancelled.unwrap().cancels.unwrap().text, "\"r\"");
        let ended = br#"{"id":3,"result":{"_meta":{"io.modelcontextprotocol/subscriptionId":3}}}"#;
        assert_eq!(Peek::of(ended).unwrap().subscription.unwrap().at, 68..69);
        let refused = Peek::of(br#"{"id":null,"error":{"code":-32601,"message":"x"}}"#).unwrap();
        assert_eq!((refused.id, refused.error_code), (None, Some(-32601)));
    }

    #[test]
    fn what_says_one_thing_twice_is_no_message() {
        for twice in [
            r#"{"id":1,"id":2,"method":"x"}"#,
            r#"{"id":1,"method":"x","params":{"_meta":{"progressToken":1,"progressToken":2}}}"#,
            r#"{"id":1,"method":"x","params":{"_meta":{},"_meta":{}}}"#,
        ] {
            assert_eq!(Peek::of(twice.as_bytes()), None, "{twice}");
        }
        assert_eq!(Peek::of(b"[]"), None);
        assert!(Peek::of(br#"{"id":1,"method":"x","params":[1]}"#).is_some());
    }
}
