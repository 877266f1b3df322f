//! Parser events → tree, with limits, and variables put in.

use super::tree::{Data, Member, Tree};
use super::{Env, Tell};
use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Tag};
use serde_json::{Number, Value};

/// Bytes of a document.
const MAX_BYTES: usize = 4 * 1024 * 1024;
/// Nested collections.
const MAX_DEPTH: usize = 64;
/// Scalars and collections together.
const MAX_NODES: usize = 500_000;

/// A collection being read.
struct Open {
    place: (usize, usize),
    data: Data,
    /// In a mapping: the key read last, waiting for its value. `None` inside: the key was bad, its value is dropped.
    key: Option<(Option<String>, (usize, usize))>,
}

/// Reads the only document of `text`; `None` when it is no YAML at all.
pub(super) fn read(text: &str, env: Option<Env<'_>>, tell: &mut Tell<'_>) -> Option<Tree> {
    if text.len() > MAX_BYTES {
        tell((1, 1), String::new(), format!("longer than {MAX_BYTES} bytes"));
        return None;
    }
    let mut parser = Parser::new_from_str(text);
    let mut stack: Vec<Open> = Vec::new();
    let mut root: Option<Tree> = None;
    let mut nodes = 0_usize;
    while let Some(event) = parser.next_event() {
        let (event, span) = match event {
            Ok(event) => event,
            Err(error) => {
                tell(place(error.marker()), String::new(), error.info().to_owned());
                return None;
            }
        };
        let at = place(&span.start);
        let fatal = |tell: &mut Tell<'_>, message: String| {
            tell(at, String::new(), message);
            None
        };
        let node = match event {
            Event::Scalar(text, style, anchor, tag) => {
                if anchor != 0 {
                    return fatal(tell, "anchors are not supported".to_owned());
                }
                let value = scalar(&text, style, tag.as_deref(), env);
                let told = value.is_err();
                let value = value.unwrap_or_else(|message| {
                    tell(at, String::new(), message);
                    Value::Null
                });
                Tree { place: at, data: Data::Scalar(value), told }
            }
            Event::SequenceStart(anchor, ref tag) | Event::MappingStart(anchor, ref tag) => {
                if anchor != 0 {
                    return fatal(tell, "anchors are not supported".to_owned());
                }
                if tag.as_ref().is_some_and(|tag| !tag.is_yaml_core_schema()) {
                    return fatal(tell, "tags are not supported".to_owned());
                }
                if stack.len() == MAX_DEPTH {
                    return fatal(tell, format!("nested deeper than {MAX_DEPTH}"));
                }
                let data = match event {
                    Event::SequenceStart(..) => Data::Seq(Vec::new()),
                    _ => Data::Map(Vec::new()),
                };
                stack.push(Open { place: at, data, key: None });
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match stack.pop() {
                Some(Open { place, data, .. }) => Tree { place, data, told: false },
                None => return fatal(tell, "unbalanced document".to_owned()),
            },
            Event::Alias(_) => return fatal(tell, "aliases are not supported".to_owned()),
            Event::DocumentStart(_) if root.is_some() => {
                return fatal(tell, "more than one document".to_owned());
            }
            _ => continue,
        };
        nodes += 1;
        if nodes > MAX_NODES {
            return fatal(tell, format!("more than {MAX_NODES} nodes"));
        }
        match stack.last_mut() {
            None => root = Some(node),
            Some(open) => put(open, node, tell),
        }
    }
    // an empty file is an empty mapping, so that every default applies
    let empty = Tree { place: (1, 1), data: Data::Map(Vec::new()), told: false };
    Some(match root {
        Some(Tree { data: Data::Scalar(Value::Null), .. }) | None => empty,
        Some(tree) => tree,
    })
}

/// Puts a finished node into the collection it belongs to.
fn put(open: &mut Open, node: Tree, tell: &mut Tell<'_>) {
    let members = match &mut open.data {
        Data::Seq(items) => {
            items.push((items.len(), node));
            return;
        }
        Data::Map(members) => members,
        Data::Scalar(_) => return,
    };
    match open.key.take() {
        Some((Some(key), key_place)) => members.push(Member { key, key_place, value: node }),
        Some((None, _)) => {}
        None => {
            let key = match node.data {
                Data::Scalar(Value::String(key)) => Some(key),
                Data::Scalar(value @ (Value::Number(_) | Value::Bool(_))) => {
                    Some(value.to_string())
                }
                _ => {
                    tell(node.place, String::new(), "a key must be a word".to_owned());
                    None
                }
            };
            let key = key.filter(|key| {
                let repeated = members.iter().any(|m| m.key == *key);
                if repeated {
                    tell(node.place, String::new(), format!("duplicate key `{key}`"));
                }
                !repeated
            });
            open.key = Some((key, node.place));
        }
    }
}

fn place(marker: &Marker) -> (usize, usize) {
    (marker.line(), marker.col() + 1)
}

/// A scalar by the core schema, variables put in first.
fn scalar(
    text: &str,
    style: ScalarStyle,
    tag: Option<&Tag>,
    env: Option<Env<'_>>,
) -> Result<Value, String> {
    let is_string = match tag {
        None => style != ScalarStyle::Plain,
        Some(tag) if tag.is_yaml_core_schema() && tag.suffix == "str" => true,
        Some(_) => return Err("tags are not supported".to_owned()),
    };
    let text = match env {
        Some(env) => substitute(text, env)?,
        None => text.to_owned(),
    };
    if is_string {
        return Ok(Value::String(text));
    }
    Ok(match text.as_str() {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        ".nan" | ".NaN" | ".NAN" | ".inf" | ".Inf" | ".INF" | "-.inf" | "-.Inf" | "-.INF" => {
            return Err("a number must be finite".to_owned());
        }
        _ => match number(&text)? {
            Some(number) => Value::Number(number),
            None => Value::String(text),
        },
    })
}

/// The number a plain scalar is, if it is one.
fn number(text: &str) -> Result<Option<Number>, String> {
    let digits = text.strip_prefix('+').unwrap_or(text);
    if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '-' || c == '.') {
        return Ok(None);
    }
    for (prefix, radix) in [("0x", 16), ("0o", 8)] {
        if let Some(rest) = digits.strip_prefix(prefix) {
            return Ok(u64::from_str_radix(rest, radix).ok().map(Number::from));
        }
    }
    if let Ok(n) = digits.parse::<i64>() {
        return Ok(Some(n.into()));
    }
    if let Ok(n) = digits.parse::<u64>() {
        return Ok(Some(n.into()));
    }
    // Rust also reads `1_0`-free forms only, but takes `inf` and `nan`: the first character excludes those
    if digits.bytes().any(|b| b.is_ascii_digit())
        && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E'))
        && let Ok(n) = digits.parse::<f64>()
    {
        return Number::from_f64(n).map(Some).ok_or_else(|| "a number must be finite".to_owned());
    }
    Ok(None)
}

/// Puts in `${NAME}` and `${NAME:-default}`; `$${` stays as `${`.
fn substitute(text: &str, env: Env<'_>) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(found) = rest.find("${") {
        let (before, after) =
            (rest.get(..found).unwrap_or(""), rest.get(found + 2..).unwrap_or(""));
        if let Some(before) = before.strip_suffix('$') {
            out.push_str(before);
            out.push_str("${");
            rest = after;
            continue;
        }
        out.push_str(before);
        let Some((inside, after)) = after.split_once('}') else {
            return Err("`${` without `}`".to_owned());
        };
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inside, None),
        };
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty() || !name.chars().all(fits) {
            return Err("`${…}` names no variable".to_owned());
        }
        match (env(name).filter(|value| default.is_none() || !value.is_empty()), default) {
            (Some(value), _) => out.push_str(&value),
            (None, Some(default)) => out.push_str(default),
            (None, None) => return Err(format!("the variable {name} is not set")),
        }
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}
