//! What a server says it offers, one item at a time: canonical form, fingerprint, drift and shadowing.
//!
//! The central types: [`Item`] (one tool, prompt, resource or resource template of a list), its [`Fingerprint`], and
//! [`Change`], one place where two definitions differ. What was seen before, and what is done about a difference, is not
//! decided here.
//!
//! The canonical form is that of RFC 8785 with one exception: members sorted by the UTF-16 code units of their names, no
//! white space, shortest escapes, but **numbers stay as they were written**. `1.0` and `1` are two definitions: to call
//! them one would take number parsing that every peer agrees upon. Members that share a name all stay, in their order.

mod diff;
mod json;
mod shadow;

pub use diff::{Change, diff};
pub use shadow::{Others, is_distinctive};

use std::fmt;

use json::Node;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::scan::Span;

/// What an item is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ItemKind {
    /// A tool.
    Tool,
    /// A prompt.
    Prompt,
    /// A resource.
    Resource,
    /// A template of resources.
    Template,
}

impl ItemKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Tool, Self::Prompt, Self::Resource, Self::Template];

    /// The lower-case word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tool => "tool",
            Self::Prompt => "prompt",
            Self::Resource => "resource",
            Self::Template => "template",
        }
    }

    /// The kind of this word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }

    /// What the method lists; `None` when it lists nothing of these.
    #[must_use]
    pub fn listed_by(method: &str) -> Option<Self> {
        Some(match method {
            "tools/list" => Self::Tool,
            "prompts/list" => Self::Prompt,
            "resources/list" => Self::Resource,
            "resources/templates/list" => Self::Template,
            _ => return None,
        })
    }

    /// What the method uses, by its name or URI; `None` when it uses nothing of these.
    #[must_use]
    pub fn used_by(method: &str) -> Option<Self> {
        Some(match method {
            "tools/call" => Self::Tool,
            "prompts/get" => Self::Prompt,
            "resources/read" | "resources/subscribe" => Self::Resource,
            _ => return None,
        })
    }

    /// The member of a definition that names it.
    fn key(self) -> &'static str {
        match self {
            Self::Tool | Self::Prompt => "name",
            Self::Resource => "uri",
            Self::Template => "uriTemplate",
        }
    }
}

/// What is found by comparing definitions: the names that stand in records and metrics beside those of rules.
pub const FINDINGS: [&str; 5] = [CHANGED, NEW, REFERS, SHADOW, UNPINNED];
/// A definition is not the one seen first, or approved.
pub const CHANGED: &str = "pin.changed";
/// A definition was not approved yet.
pub const NEW: &str = "pin.new";
/// A tool's definition speaks of another server's tool.
pub const REFERS: &str = "pin.refers";
/// A tool has the name of another server's.
pub const SHADOW: &str = "pin.shadow";
/// A definition has no fingerprint, or there is no room for it.
pub const UNPINNED: &str = "pin.unpinned";

/// The BLAKE3 hash of a definition's canonical form.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

/// What a fingerprint starts with in text.
const PREFIX: &str = "blake3:";

impl Fingerprint {
    /// Of a canonical text.
    #[must_use]
    pub fn of(canonical: &str) -> Self {
        Self(blake3::hash(canonical.as_bytes()).into())
    }

    /// Reads what `Display` wrote.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        blake3::Hash::from_hex(text.strip_prefix(PREFIX)?).ok().map(|hash| Self(hash.into()))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One listed item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// What it is.
    pub kind: ItemKind,
    /// A tool's or prompt's name, a resource's URI, a template's URI template.
    pub name: String,
    /// The hash of `canonical`.
    pub fingerprint: Fingerprint,
    /// The definition in canonical form. A resource's `size` and `annotations.lastModified` are left out: they tell of
    /// its content, and change with it.
    pub canonical: String,
}

/// One element of a list: where it stands, and what it is, if that can be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// What the list holds.
    pub kind: ItemKind,
    /// Its bytes in the message.
    pub span: Span,
    /// What it is.
    pub item: Result<Item, PinError>,
}

/// The most of one list that is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PinLimits {
    /// Elements of one list.
    pub items: usize,
    /// Bytes of one definition as it was written.
    pub definition: usize,
}

/// The longest name, in bytes: names are kept beyond their message.
pub const LONGEST_NAME: usize = 1024;

/// Levels of nesting in one definition.
pub const DEEPEST: usize = 128;

/// Why a list or a definition has no fingerprint. Caused by the server that sent it; holds nothing it wrote.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PinError {
    /// The answer is no list: not JSON, another shape, or a member twice.
    #[error("the list cannot be read")]
    NotAList,
    /// More elements than the limit.
    #[error("the list has more than {limit} items")]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// A definition larger than the limit.
    #[error("a definition has {bytes} bytes; the limit is {limit}")]
    TooLarge {
        /// Its length in bytes.
        bytes: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// A definition nested more deeply than [`DEEPEST`].
    #[error("a definition has more than {DEEPEST} levels")]
    TooDeep,
    /// A definition that is no object, or without exactly one name, or with one that is empty or longer than
    /// [`LONGEST_NAME`].
    #[error("a definition has no usable name")]
    Unnamed,
    /// Not JSON.
    #[error("a definition is not JSON")]
    Syntax,
}

/// Where the items of an answer stand: one entry for each array. `method` is that of its request; where it is not known,
/// whatever the answer holds that looks like a list counts as one, since a client may take it for the answer it waits
/// for. A page is a list like any other.
///
/// # Errors
/// The answer as a whole is no list.
pub fn places(raw: &[u8], method: Option<&str>) -> Result<Vec<(ItemKind, Vec<Span>)>, PinError> {
    let text = std::str::from_utf8(raw).map_err(|_| PinError::NotAList)?;
    let answer: Answer<'_> = serde_json::from_str(text).map_err(|_| PinError::NotAList)?;
    let Some(result) = answer.result else {
        return Ok(Vec::new());
    };
    let known = method.and_then(ItemKind::listed_by);
    let mut places = Vec::new();
    for (kind, items) in [
        (ItemKind::Tool, result.tools),
        (ItemKind::Prompt, result.prompts),
        (ItemKind::Resource, result.resources),
        (ItemKind::Template, result.templates),
    ] {
        if known.is_some_and(|known| known != kind) {
            continue;
        }
        let items = match items.map(|raw| serde_json::from_str::<Vec<&RawValue>>(raw.get())) {
            None => continue,
            Some(Ok(items)) => items,
            // Only where a list is due is something else in its place an error.
            Some(Err(_)) if known.is_none() => continue,
            Some(Err(_)) => return Err(PinError::NotAList),
        };
        // Slices of one text: their distance is their place in it.
        let place = |item: &&RawValue| {
            let start = item.get().as_ptr() as usize - text.as_ptr() as usize;
            Span { start, end: start + item.get().len() }
        };
        places.push((kind, items.iter().map(place).collect()));
    }
    Ok(places)
}

/// The items of an answer, as [`places`] finds them.
///
/// # Errors
/// The answer as a whole is no list, or longer than the limit. What is wrong with one item is told in its place.
pub fn list(raw: &[u8], method: Option<&str>, limits: &PinLimits) -> Result<Vec<Listed>, PinError> {
    let places = places(raw, method)?;
    if places.iter().map(|(_, spans)| spans.len()).sum::<usize>() > limits.items {
        return Err(PinError::TooMany { limit: limits.items });
    }
    let all =
        places.into_iter().flat_map(|(kind, spans)| spans.into_iter().map(move |s| (kind, s)));
    Ok(all
        .map(|(kind, span)| {
            let text = raw.get(span.start..span.end).and_then(|raw| std::str::from_utf8(raw).ok());
            let item = text
                .ok_or(PinError::Syntax)
                .and_then(|text| Item::of(kind, text, limits.definition));
            Listed { kind, span, item }
        })
        .collect())
}

impl Item {
    /// The item of this definition, a JSON object.
    ///
    /// # Errors
    /// It has more than `limit` bytes, is nested too deeply, or has no usable name.
    pub fn of(kind: ItemKind, definition: &str, limit: usize) -> Result<Self, PinError> {
        if definition.len() > limit {
            return Err(PinError::TooLarge { bytes: definition.len(), limit });
        }
        let mut node = json::read(definition)?;
        let Node::Object(members) = &mut node else {
            return Err(PinError::Unnamed);
        };
        let mut names = members.iter().filter(|(key, _)| key == kind.key());
        let name = match (names.next(), names.next()) {
            (Some((_, Node::Text(name))), None) => name.clone().into_owned(),
            _ => return Err(PinError::Unnamed),
        };
        if name.is_empty() || name.len() > LONGEST_NAME {
            return Err(PinError::Unnamed);
        }
        if kind == ItemKind::Resource {
            leave_out_content(members);
        }
        let canonical = node.to_canonical();
        Ok(Self { kind, name, fingerprint: Fingerprint::of(&canonical), canonical })
    }
}

/// Takes out what tells of a resource's content rather than of the resource.
fn leave_out_content(members: &mut Vec<(std::borrow::Cow<'_, str>, Node<'_>)>) {
    members.retain(|(key, _)| key != "size");
    for (key, node) in members {
        if let (true, Node::Object(annotations)) = (key == "annotations", node) {
            annotations.retain(|(key, _)| key != "lastModified");
        }
    }
}

/// The canonical form of a JSON text.
///
/// # Errors
/// It is not JSON, or nested too deeply.
pub fn canonical(text: &str) -> Result<String, PinError> {
    Ok(json::read(text)?.to_canonical())
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    result: Option<Lists<'a>>,
}

#[derive(Deserialize)]
struct Lists<'a> {
    #[serde(borrow)]
    tools: Option<&'a RawValue>,
    #[serde(borrow)]
    prompts: Option<&'a RawValue>,
    #[serde(borrow)]
    resources: Option<&'a RawValue>,
    #[serde(borrow, rename = "resourceTemplates")]
    templates: Option<&'a RawValue>,
}

#[cfg(test)]
mod tests;
