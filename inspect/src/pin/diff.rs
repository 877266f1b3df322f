//! Where two definitions differ.

use std::borrow::Cow;

use super::PinError;
use super::json::{self, Node};

/// One place where two definitions differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The JSON Pointer of the value; of several members with one name, all are meant.
    pub path: String,
    /// What stood there, as canonical JSON; `None` where nothing did.
    pub old: Option<String>,
    /// What stands there now, likewise.
    pub new: Option<String>,
}

/// The places where `new` differs from `old`, in the order of their paths' members: as deep as both are objects, or
/// both arrays (which are compared element by element).
///
/// # Errors
/// One of them is not JSON, or nested too deeply.
pub fn diff(old: &str, new: &str) -> Result<Vec<Change>, PinError> {
    let (old, new) = (json::read(old)?, json::read(new)?);
    let mut changes = Vec::new();
    compare(&mut String::new(), Some(&old), Some(&new), &mut changes);
    Ok(changes)
}

fn compare(
    path: &mut String,
    old: Option<&Node<'_>>,
    new: Option<&Node<'_>>,
    changes: &mut Vec<Change>,
) {
    match (old, new) {
        (Some(old), Some(new)) if old == new => {}
        (Some(Node::Array(old)), Some(Node::Array(new))) => {
            for n in 0..old.len().max(new.len()) {
                below(path, &n.to_string(), old.get(n), new.get(n), changes);
            }
        }
        (Some(Node::Object(old)), Some(Node::Object(new))) => {
            let (mut old, mut new) = (old.iter().peekable(), new.iter().peekable());
            // Both are sorted: the smaller of the two first names is next.
            while let Some(key) = smaller(old.peek(), new.peek()) {
                let was = old.next_if(|(name, _)| name == key);
                let is = new.next_if(|(name, _)| name == key);
                below(path, key, was.map(|(_, v)| v), is.map(|(_, v)| v), changes);
            }
        }
        (old, new) => {
            let text = |node: Option<&Node<'_>>| node.map(Node::to_canonical);
            changes.push(Change { path: path.clone(), old: text(old), new: text(new) });
        }
    }
}

type Member<'a> = (Cow<'a, str>, Node<'a>);

/// The name that comes first, of two members.
fn smaller<'n>(one: Option<&&'n Member<'_>>, other: Option<&&'n Member<'_>>) -> Option<&'n str> {
    let name = |member: &&'n Member<'_>| -> &'n str { &member.0 };
    let (one, other) = (one.map(name), other.map(name));
    match (one, other) {
        (Some(a), Some(b)) if b.encode_utf16().lt(a.encode_utf16()) => Some(b),
        _ => one.or(other),
    }
}

/// Compares what stands under `part` of `path`.
fn below(
    path: &mut String,
    part: &str,
    old: Option<&Node<'_>>,
    new: Option<&Node<'_>>,
    changes: &mut Vec<Change>,
) {
    let length = path.len();
    path.push('/');
    path.push_str(&part.replace('~', "~0").replace('/', "~1"));
    compare(path, old, new, changes);
    path.truncate(length);
}
