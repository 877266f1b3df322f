//! A server's definition on its way into a file: the YAML of the registry, written so that it is
//! read back as what was meant.

use serde_json::{Map, Value};

/// What is to be written, member by member, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Definition(Map<String, Value>);

impl Definition {
    /// What these members say.
    pub fn of(members: Map<String, Value>) -> Definition {
        Definition(members)
    }

    /// Sets a member, unless there is nothing to say.
    pub fn set(&mut self, member: &str, value: impl Into<Value>) {
        let value = value.into();
        let nothing = match &value {
            Value::Null => true,
            Value::String(text) => text.is_empty(),
            Value::Array(items) => items.is_empty(),
            Value::Object(members) => members.is_empty(),
            _ => false,
        };
        if !nothing {
            self.0.insert(member.to_owned(), value);
        }
    }

    /// A member.
    pub fn get(&self, member: &str) -> Option<&Value> {
        self.0.get(member)
    }

    /// The definition as YAML.
    pub fn to_yaml(&self) -> String {
        let mut out = String::new();
        members(&mut out, &self.0, 0);
        out
    }
}

fn members(out: &mut String, map: &Map<String, Value>, depth: usize) {
    for (name, value) in map {
        out.push_str(&"  ".repeat(depth));
        out.push_str(&key(name));
        out.push(':');
        match value {
            Value::Object(inner) if !inner.is_empty() => {
                out.push('\n');
                members(out, inner, depth + 1);
            }
            Value::Array(items) if !items.is_empty() => {
                out.push('\n');
                for item in items {
                    out.push_str(&"  ".repeat(depth + 1));
                    out.push_str("- ");
                    out.push_str(&scalar(item));
                    out.push('\n');
                }
            }
            other => {
                out.push(' ');
                out.push_str(&scalar(other));
                out.push('\n');
            }
        }
    }
}

/// A name as it is where nothing could be misread, else quoted.
fn key(name: &str) -> String {
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
        && name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic())
        && !["true", "false", "null", "yes", "no", "on", "off", "y", "n"]
            .contains(&name.to_ascii_lowercase().as_str());
    if plain { name.to_owned() } else { scalar(&Value::from(name)) }
}

/// JSON is YAML, and in double quotes nothing is misread.
fn scalar(value: &Value) -> String {
    value.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Server;
    use serde_json::json;

    #[test]
    fn what_is_written_is_read_back_whatever_is_in_it() {
        let mut definition = Definition::default();
        definition.set("command", "npx");
        let args = ["-y", "yes", "1e3", "a: b # c", "\"q\"\\", "line\nbreak", "[x", "ü", "~"];
        definition.set("args", json!(args));
        definition.set("env", json!({ "A": "1", "no": "x", "B-C": "" }));
        definition.set("tags", json!([]));
        definition.set("description", "");
        let text = definition.to_yaml();
        assert!(!text.contains("tags") && !text.contains("description"), "{text}");
        let (server, _) =
            inspect::yaml::from_str::<Server>("f", &text, Some(&|_: &str| None)).unwrap();
        let read: Vec<&str> = server.args.iter().map(|arg| arg.expose()).collect();
        assert_eq!(read, args);
        assert_eq!(server.env.get("no").unwrap().expose(), "x");
        assert_eq!(server.env.get("B-C").unwrap().expose(), "");
    }
}
