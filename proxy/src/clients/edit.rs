//! Changing one server in the text of a client's configuration. Comments, order, indentation and
//! every other entry stay: the files are people's own.

use jsonc_parser::ParseOptions;
use jsonc_parser::cst::{CstInputValue, CstObject, CstObjectProp, CstRootNode};
use toml_edit::{Array, DocumentMut, InlineTable, Item, Table, Value as TomlValue};

use super::{Entry, Kind, Value};

/// Why a text can't be changed. All of it is the user's to mend.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EditError {
    /// The text is no JSON, comments allowed.
    #[error("not JSON: {0}")]
    Json(String),
    /// The text is no TOML.
    #[error("not TOML: {0}")]
    Toml(String),
    /// What should hold servers holds something else.
    #[error("`{0}` is there, but it is no mapping of servers")]
    Section(&'static str),
}

/// The text with this server in it, in place of one of the same name.
///
/// # Errors
/// When the text is not what the client would read.
pub fn put(kind: Kind, text: &str, name: &str, entry: &Entry) -> Result<String, EditError> {
    if kind == Kind::Codex {
        let mut document = parse_toml(text)?;
        let section = toml_section(kind, &mut document)?;
        let mut table = Table::new();
        for (member, value) in entry {
            table.insert(member, Item::Value(toml(value)));
        }
        section.insert(name, Item::Table(table));
        return Ok(document.to_string());
    }
    let root = parse_json(text)?;
    let section = json_section(kind, &root)?;
    let value = CstInputValue::Object(
        entry.iter().map(|(member, value)| ((*member).to_owned(), json(value))).collect(),
    );
    match section.get(name) {
        Some(there) => there.set_value(value),
        None => {
            section.append(name, value);
        }
    }
    Ok(root.to_string())
}

/// The text with every server that is started as a child started by `program wrap` instead, and
/// the names of those that were changed.
///
/// # Errors
/// When the text is not what the client would read.
pub fn wrap(kind: Kind, text: &str, program: &str) -> Result<(String, Vec<String>), EditError> {
    let mut wrapped = Vec::new();
    if kind == Kind::Codex {
        let mut document = parse_toml(text)?;
        for (name, item) in toml_section(kind, &mut document)?.iter_mut() {
            if let Some(server) = item.as_table_like_mut()
                && let Some(command) = server.get("command").and_then(Item::as_str)
                && !is_ours(command, program)
            {
                let args = server.get("args").and_then(Item::as_array).cloned().unwrap_or_default();
                let args = args.iter().filter_map(|arg| arg.as_str().map(str::to_owned));
                let args: Array = wrapping(&name, command, args).into_iter().collect();
                server.insert("command", Item::Value(program.into()));
                server.insert("args", Item::Value(TomlValue::Array(args)));
                wrapped.push(name.to_string());
            }
        }
        return Ok((document.to_string(), wrapped));
    }
    let root = parse_json(text)?;
    for server in json_section(kind, &root)?.properties() {
        let (Some(name), Some(object)) = (server.decoded_name(), server.object_value()) else {
            continue;
        };
        let Some(command) = object.get("command") else { continue };
        let Some(was) = string(&command).filter(|was| !is_ours(was, program)) else { continue };
        let args: Vec<String> = object.array_value("args").map_or_else(Vec::new, |args| {
            let texts = args.elements().into_iter().filter_map(|arg| arg.as_string_lit());
            texts.filter_map(|text| text.decoded_value().ok()).collect()
        });
        let args = wrapping(&name, &was, args.into_iter());
        let args = CstInputValue::Array(args.into_iter().map(CstInputValue::String).collect());
        command.set_value(CstInputValue::String(program.into()));
        match object.get("args") {
            Some(there) => there.set_value(args),
            None => {
                object.append("args", args);
            }
        }
        wrapped.push(name);
    }
    Ok((root.to_string(), wrapped))
}

/// The arguments with which `wiregate` starts what a client started itself.
fn wrapping(name: &str, command: &str, args: impl Iterator<Item = String>) -> Vec<String> {
    let start = ["wrap", "--name", &server_name(name), "--", command].map(str::to_owned);
    start.into_iter().chain(args).collect()
}

/// A client's name for a server in the letters that names have here.
fn server_name(name: &str) -> String {
    let letters = name.to_ascii_lowercase();
    let letters = letters.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' });
    let name: String = letters.take(64).collect();
    if name.is_empty() { "server".into() } else { name }
}

/// Whether a command is `wiregate` already, by this path or another.
fn is_ours(command: &str, program: &str) -> bool {
    let file = |path: &str| std::path::Path::new(path).file_stem().map(ToOwned::to_owned);
    command == program || file(command).is_some_and(|stem| stem == "wiregate")
}

fn string(property: &CstObjectProp) -> Option<String> {
    property.value()?.as_string_lit()?.decoded_value().ok()
}

fn parse_json(text: &str) -> Result<CstRootNode, EditError> {
    let text = if text.trim().is_empty() { "{}\n" } else { text };
    CstRootNode::parse(text, &ParseOptions::default()).map_err(|e| EditError::Json(e.to_string()))
}

fn json_section(kind: Kind, root: &CstRootNode) -> Result<CstObject, EditError> {
    let whole = || EditError::Json("not an object".into());
    let object = root.object_value_or_create().ok_or_else(whole)?;
    object.object_value_or_create(kind.section()).ok_or(EditError::Section(kind.section()))
}

fn json(value: &Value) -> CstInputValue {
    match value {
        Value::Text(text) => CstInputValue::String(text.clone()),
        Value::List(items) => {
            CstInputValue::Array(items.iter().cloned().map(CstInputValue::String).collect())
        }
        Value::Map(members) => {
            let member = |(name, value): &(&str, String)| {
                ((*name).to_owned(), CstInputValue::String(value.clone()))
            };
            CstInputValue::Object(members.iter().map(member).collect())
        }
    }
}

fn parse_toml(text: &str) -> Result<DocumentMut, EditError> {
    text.parse().map_err(|e: toml_edit::TomlError| EditError::Toml(e.message().to_owned()))
}

fn toml_section(kind: Kind, document: &mut DocumentMut) -> Result<&mut Table, EditError> {
    let section = document.entry(kind.section()).or_insert_with(|| {
        let mut table = Table::new();
        // Its servers are tables with headers of their own.
        table.set_implicit(true);
        Item::Table(table)
    });
    section.as_table_mut().ok_or(EditError::Section(kind.section()))
}

fn toml(value: &Value) -> TomlValue {
    match value {
        Value::Text(text) => text.as_str().into(),
        Value::List(items) => TomlValue::Array(items.iter().map(String::as_str).collect()),
        Value::Map(members) => {
            let members = members.iter().map(|(name, value)| (*name, value.as_str()));
            TomlValue::InlineTable(members.collect::<InlineTable>())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Gateway;
    use super::*;

    fn gateway(key_env: Option<&str>) -> Gateway {
        let (url, program) = ("http://127.0.0.1:8808/mcp".into(), "/usr/bin/wiregate".into());
        Gateway { url, key_env: key_env.map(Into::into), program }
    }

    const JSON: &str = "{\n  // mine\n  \"theme\": \"dark\",\n  \"SECTION\": {\n    \"files\": { \"command\": \"npx\", \"args\": [\"-y\", \"files\"], \"env\": { \"A\": \"b\" } },\n    \"far\": { \"url\": \"https://a.example\" }, // last\n  },\n}\n";
    const TOML: &str = "# mine\nmodel = \"x\"\n\n[mcp_servers.files]\ncommand = \"npx\" # here\nargs = [\"-y\", \"files\"]\n\n[other]\na = 1\n";

    fn text(kind: Kind) -> String {
        if kind == Kind::Codex { TOML.into() } else { JSON.replace("SECTION", kind.section()) }
    }

    const ALL: [Kind; 8] = [
        Kind::ClaudeCode,
        Kind::ClaudeDesktop,
        Kind::Cursor,
        Kind::Vscode,
        Kind::Windsurf,
        Kind::Zed,
        Kind::Codex,
        Kind::Gemini,
    ];

    /// What a change did, as the lines that are gone and those that are new.
    fn changed(before: &str, after: &str) -> String {
        let gone = before.lines().filter(|line| !after.lines().any(|l| l == *line));
        let new = after.lines().filter(|line| !before.lines().any(|l| l == *line));
        let gone = gone.map(|line| format!("-{line}\n"));
        gone.chain(new.map(|line| format!("+{line}\n"))).collect()
    }

    #[test]
    fn each_client_gets_the_gateway_in_its_own_words_and_keeps_the_rest() {
        let mut all = String::new();
        for kind in ALL {
            for key in [None, Some("WIREGATE_KEY")] {
                let Some(entry) = kind.entry(&gateway(key)) else {
                    all += &format!("== {kind:?} with a key: has no way to name a variable\n");
                    continue;
                };
                let before = text(kind);
                let after = put(kind, &before, "wiregate", &entry).unwrap();
                all += &format!("== {kind:?}\n{}", changed(&before, &after));
                assert_eq!(put(kind, &after, "wiregate", &entry).unwrap(), after, "{kind:?}");
                assert!(put(kind, "", "wiregate", &entry).unwrap().contains("8808"), "{kind:?}");
            }
        }
        insta::assert_snapshot!(all);
    }

    #[test]
    fn what_a_client_starts_itself_is_wrapped_once_and_what_it_reaches_is_left() {
        for kind in ALL {
            let (after, names) = wrap(kind, &text(kind), "/usr/bin/wiregate").unwrap();
            assert_eq!(names, ["files"], "{kind:?}");
            let (again, names) = wrap(kind, &after, "/opt/wiregate").unwrap();
            assert!(names.is_empty() && again == after, "{kind:?}");
            assert!(after.contains("mine"), "{kind:?}: {after}");
            if kind != Kind::Codex {
                let read: serde_json::Value = CstRootNode::parse(&after, &ParseOptions::default())
                    .unwrap()
                    .to_serde_value()
                    .unwrap();
                let files = &read[kind.section()]["files"];
                let args = ["wrap", "--name", "files", "--", "npx", "-y", "files"];
                assert_eq!(files["args"], serde_json::json!(args), "{kind:?}");
                assert_eq!(files["env"]["A"], "b", "{kind:?}");
            }
        }
    }

    #[test]
    fn what_is_no_configuration_is_told_and_not_replaced() {
        let entry = Kind::Cursor.entry(&gateway(None)).unwrap();
        for bad in ["{", "[]", "\"a\"", "{\"mcpServers\": 1}", "{\"mcpServers\": []}"] {
            assert!(put(Kind::Cursor, bad, "wiregate", &entry).is_err(), "{bad}");
            assert!(wrap(Kind::Cursor, bad, "wiregate").is_err(), "{bad}");
        }
        for bad in ["a = ", "mcp_servers = 1"] {
            assert!(put(Kind::Codex, bad, "wiregate", &entry).is_err(), "{bad}");
        }
    }
}
