//! The routing members of a message: read once, strictly. Two readers must not be able to see two messages.

use super::{Id, Kind, ParseError, Scalar};
use simd_json::Node;

/// What routing reads of a message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head<'a> {
    pub(super) kind: Kind,
    pub(super) id: Option<Id<'a>>,
    pub(super) method: Option<&'a str>,
}

const TOP: [&str; 6] = ["jsonrpc", "id", "method", "params", "result", "error"];
const PARAMS: [&str; 6] = ["name", "uri", "_meta", "arguments", "taskId", "protocolVersion"];
const RESULT: [&str; 1] = ["protocolVersion"];
const META: [&str; 2] = ["io.modelcontextprotocol/protocolVersion", "protocolVersion"];

/// The members of the object at node `at`, as (key, node of the value).
pub(super) fn members<'n, 'a>(
    nodes: &'n [Node<'a>],
    at: usize,
) -> impl Iterator<Item = (&'a str, usize)> + 'n {
    let mut left = match nodes.get(at) {
        Some(Node::Object { len, .. }) => *len,
        _ => 0,
    };
    let mut next = at + 1;
    std::iter::from_fn(move || {
        if left == 0 {
            return None;
        }
        left -= 1;
        let Some(Node::String(key)) = nodes.get(next) else {
            return None;
        };
        let value = next + 1;
        next = value + span(nodes, value);
        Some((*key, value))
    })
}

/// How many nodes the value at `at` takes, itself included.
fn span(nodes: &[Node<'_>], at: usize) -> usize {
    match nodes.get(at) {
        Some(Node::Object { count, .. } | Node::Array { count, .. }) => 1 + count,
        _ => 1,
    }
}

/// The value of member `key` of the object at `at`; the last one when repeated.
pub(crate) fn member(nodes: &[Node<'_>], at: usize, key: &str) -> Option<usize> {
    members(nodes, at).filter(|(k, _)| *k == key).last().map(|(_, value)| value)
}

/// Whether a reader that does not tell cases apart takes `key` for `name`: some fold by Unicode, so
/// that the long s and the Kelvin sign are letters of ASCII too.
fn reads_as(key: &str, name: &str) -> bool {
    let fold = |c: char| match c {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        c => c.to_ascii_lowercase(),
    };
    key.chars().map(fold).eq(name.chars().map(fold))
}

/// Finds each of `names` among the members at `at`, refusing repeats, and what others would read
/// as one of them.
fn unique<const N: usize>(
    nodes: &[Node<'_>],
    at: usize,
    names: &[&'static str; N],
) -> Result<[Option<usize>; N], ParseError> {
    let mut found = [None; N];
    for (key, value) in members(nodes, at) {
        for (name, slot) in names.iter().zip(&mut found) {
            if *name == key {
                if slot.replace(value).is_some() {
                    return Err(ParseError::DuplicateKey { key: name });
                }
            } else if reads_as(key, name) {
                return Err(ParseError::AlteredKey { key: name });
            }
        }
    }
    Ok(found)
}

/// Reads and checks the head of the message whose root is node 0.
pub(super) fn read<'a>(nodes: &[Node<'a>]) -> Result<Head<'a>, ParseError> {
    let wrong = |reason| Err(ParseError::NotAMessage { reason });
    if !matches!(nodes.first(), Some(Node::Object { .. })) {
        return wrong("not an object");
    }
    let [jsonrpc, id, method, params, result, error] = unique(nodes, 0, &TOP)?;
    let value = |at: Option<usize>| at.and_then(|at| nodes.get(at)).map(Scalar::of);

    // jsonrpc: the version, exactly
    if value(jsonrpc) != Some(Scalar::Str("2.0")) {
        return wrong("jsonrpc is not \"2.0\"");
    }

    // params: structured; what routing reads in it occurs once
    match value(params) {
        None | Some(Scalar::Array(_)) => {}
        Some(Scalar::Object(_)) => {
            let at = params.unwrap_or_default();
            let [_, _, meta, ..] = unique(nodes, at, &PARAMS)?;
            if let Some(meta) = meta {
                unique(nodes, meta, &META)?;
            }
        }
        Some(_) => return wrong("params is neither an object nor an array"),
    }

    // a handshake names one version
    if let Some(result) = result {
        unique(nodes, result, &RESULT)?;
    }

    // id: a string or an integer
    let id = match value(id) {
        None => None,
        Some(Scalar::Int(n)) => Some(Id::Int(n)),
        Some(Scalar::Uint(n)) => Some(Id::Uint(n)),
        Some(Scalar::Str(s)) => Some(Id::Str(s)),
        Some(Scalar::Null) if error.is_some() => Some(Id::Null),
        Some(_) => return Err(ParseError::BadId),
    };

    // exactly one of method, result and error
    let method = match value(method) {
        None => None,
        Some(Scalar::Str(name)) => Some(name),
        Some(_) => return wrong("method is not a string"),
    };
    let kind = match (method, result, error) {
        (Some(_), None, None) if id.is_some() => Kind::Request,
        (Some(_), None, None) => Kind::Notification,
        (None, Some(_), None) if id.is_some() => Kind::Response,
        (None, Some(_), None) => return wrong("a result without an id"),
        (None, None, Some(at)) => {
            let code = member(nodes, at, "code");
            if !matches!(value(code), Some(Scalar::Int(_))) {
                return wrong("error is not an object with an integer code");
            }
            Kind::Error
        }
        (None, None, None) => return wrong("neither method nor result nor error"),
        _ => return wrong("more than one of method, result and error"),
    };
    if params.is_some() && method.is_none() {
        return wrong("params on an answer");
    }
    Ok(Head { kind, id, method })
}
