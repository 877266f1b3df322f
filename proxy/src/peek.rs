//! What a connection must know of a message before the pipeline reads it: whose it is. Nothing is
//! decided by it but where the message goes; what it is, the pipeline finds out for itself.

use std::borrow::Cow;

use capture::Str;
use serde::Deserialize;
use serde_json::value::RawValue;

/// The members that tell request, notification and answer apart.
#[derive(Deserialize)]
pub(crate) struct Peek<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    /// The method of a request or notification.
    #[serde(borrow)]
    pub method: Option<Cow<'a, str>>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
}

/// The parameters that somebody waits by, or that a session begins with.
#[derive(Deserialize)]
pub(crate) struct Params<'a> {
    #[serde(borrow, rename = "progressToken")]
    token: Option<&'a RawValue>,
    /// `_meta`.
    #[serde(borrow, rename = "_meta")]
    pub meta: Option<Meta<'a>>,
    /// `capabilities` of an `initialize`.
    #[serde(borrow)]
    pub capabilities: Option<&'a RawValue>,
    /// `clientInfo` of an `initialize`.
    #[serde(borrow, rename = "clientInfo")]
    pub client: Option<&'a RawValue>,
}

/// `_meta` of a request.
#[derive(Deserialize)]
pub(crate) struct Meta<'a> {
    #[serde(borrow, rename = "progressToken")]
    token: Option<&'a RawValue>,
}

impl<'a> Peek<'a> {
    /// `None` for what is no single JSON object, or not one with these members once each.
    pub(crate) fn of(frame: &'a [u8]) -> Option<Peek<'a>> {
        serde_json::from_slice(frame).ok()
    }

    /// The id as JSON text; none where it is null.
    pub(crate) fn id(&self) -> Option<Str> {
        canonical(self.id?)
    }

    /// The parameters, where they are an object.
    pub(crate) fn params(&self) -> Option<Params<'a>> {
        serde_json::from_str(self.params?.get()).ok()
    }
}

impl Params<'_> {
    /// The progress token that a notification is about.
    pub(crate) fn token(&self) -> Option<Str> {
        canonical(self.token?)
    }
}

impl Meta<'_> {
    /// The progress token that a request asks for.
    pub(crate) fn token(&self) -> Option<Str> {
        canonical(self.token?)
    }
}

/// A value in one way of writing it, as [`crate::envelope::Head`] has ids.
fn canonical(raw: &RawValue) -> Option<Str> {
    let value: serde_json::Value = serde_json::from_str(raw.get()).ok()?;
    Some(value.to_string().into())
}
