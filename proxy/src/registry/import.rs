//! Servers from elsewhere: what MCP clients have in `.mcp.json` and its relatives, and the
//! `server.json` of the official MCP Registry. Text in, definitions out; nothing is fetched.

use serde_json::{Map, Value, json};

use super::definition::Definition;
use crate::config::is_server_name;

/// Servers in one file.
const MOST: usize = 1000;

/// A server found, and what a person should know of it.
#[derive(Clone, Debug)]
pub struct Imported {
    /// Its name here, made of the name there.
    pub name: String,
    /// How it is reached.
    pub definition: Definition,
    /// What could not be carried over as it was, one sentence each.
    pub notes: Vec<String>,
}

/// Why nothing could be imported. The file's fault.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ImportError {
    /// It is no JSON.
    #[error("not JSON: {0}")]
    Json(String),
    /// It is JSON, but of no known kind.
    #[error(
        "neither servers of a client (`mcpServers`, `servers`, `context_servers`) nor a \
         registry's server (`name` with `packages` or `remotes`)"
    )]
    Unknown,
    /// More servers than anybody has.
    #[error("more than {MOST} servers")]
    TooMany,
    /// A registry's server that can't be reached in any way known here.
    #[error("{0}: no package and no remote of a known kind")]
    Unreachable(String),
    /// A name of which nothing is left.
    #[error("{0:?}: no name for a server can be made of it")]
    Name(String),
}

/// Reads a file of either kind; comments are allowed, as clients allow them.
///
/// # Errors
/// When it is neither.
pub fn read(text: &str) -> Result<Vec<Imported>, ImportError> {
    let options = jsonc_parser::ParseOptions::default();
    let value: Value = jsonc_parser::parse_to_serde_value(text, &options)
        .map_err(|error| ImportError::Json(error.to_string()))?;
    let whole = value.as_object().ok_or(ImportError::Unknown)?;
    // The registry's API wraps a server into an envelope with its own metadata.
    if let Some(server) = whole.get("server").and_then(Value::as_object) {
        return Ok(vec![registered(server, whole.get("_meta"))?]);
    }
    if whole.contains_key("packages") || whole.contains_key("remotes") {
        return Ok(vec![registered(whole, whole.get("_meta"))?]);
    }
    let sections = ["mcpServers", "servers", "context_servers"];
    let section = sections.iter().find_map(|name| whole.get(*name)?.as_object());
    let section = section.ok_or(ImportError::Unknown)?;
    if section.len() > MOST {
        return Err(ImportError::TooMany);
    }
    section
        .iter()
        .map(|(name, server)| of_client(name, server.as_object().ok_or(ImportError::Unknown)?))
        .collect()
}

/// A server as clients have it: `command`, `args`, `env`, or `url`, `headers`, `type`.
fn of_client(name: &str, server: &Map<String, Value>) -> Result<Imported, ImportError> {
    let (mut definition, mut notes) = (Definition::default(), Vec::new());
    let text = |member: &str| server.get(member).and_then(Value::as_str);
    let url = ["url", "serverUrl", "httpUrl"].iter().find_map(|member| text(member));
    match (text("command"), url) {
        (Some(command), _) => {
            definition.set("command", variables(command, &mut notes));
            definition.set("args", texts(server.get("args"), &mut notes));
            definition.set("env", strings(server.get("env"), &mut notes));
            definition.set("cwd", text("cwd").unwrap_or_default());
        }
        (None, Some(url)) => {
            definition.set("url", variables(url, &mut notes));
            if text("type").or_else(|| text("transport")) == Some("sse") {
                definition.set("transport", "sse");
            }
            definition.set("headers", strings(server.get("headers"), &mut notes));
        }
        (None, None) => return Err(ImportError::Unreachable(name.to_owned())),
    }
    if server.get("disabled").and_then(Value::as_bool) == Some(true) {
        notes.push("the client has it disabled".into());
    }
    Ok(Imported { name: name_of(name)?, definition, notes })
}

/// A server of the official registry: the first package that can be started, else a remote.
fn registered(server: &Map<String, Value>, meta: Option<&Value>) -> Result<Imported, ImportError> {
    let text = |of: &Map<String, Value>, member: &str| {
        of.get(member).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let full = text(server, "name");
    let (mut definition, mut notes) = (Definition::default(), Vec::new());
    let objects = |member: &str| {
        let list = server.get(member).and_then(Value::as_array).cloned().unwrap_or_default();
        list.into_iter().filter_map(|item| match item {
            Value::Object(object) => Some(object),
            _ => None,
        })
    };
    let mut package_name = None;
    let mut sha256 = String::new();
    let started = objects("packages").find_map(|package| {
        let started = start(&package, &mut notes)?;
        sha256 = text(&package, "fileSha256");
        package_name = Some(started.package.clone());
        Some((started, package))
    });
    if let Some((command, package)) = started {
        definition.set("command", command.program);
        definition.set("args", json!(command.args));
        definition.set("env", needed(package.get("environmentVariables"), &mut notes));
    } else {
        let mut remotes = objects("remotes");
        let remote = remotes.find(|remote| !text(remote, "url").is_empty());
        let remote = remote.ok_or_else(|| ImportError::Unreachable(full.clone()))?;
        definition.set("url", text(&remote, "url"));
        if text(&remote, "type") == "sse" {
            definition.set("transport", "sse");
        }
        definition.set("headers", needed(remote.get("headers"), &mut notes));
    }
    definition.set("description", text(server, "description"));
    let mut origin = Map::new();
    origin.insert("name".into(), full.clone().into());
    origin.insert("version".into(), text(server, "version").into());
    let repository = server.get("repository").and_then(|of| of.get("url")).cloned();
    let official = meta.and_then(|meta| meta.get("io.modelcontextprotocol.registry/official"));
    let told = |member: &str| official.and_then(|of| of.get(member)).cloned();
    for (member, value) in [
        ("repository", repository),
        ("package", package_name.map(Into::into)),
        ("sha256", (!sha256.is_empty()).then(|| sha256.into())),
        ("published", told("publishedAt")),
        ("updated", told("updatedAt")),
    ] {
        if let Some(value) = value.filter(Value::is_string) {
            origin.insert(member.into(), value);
        }
    }
    definition.set("origin", origin);
    let last = full.rsplit('/').next().unwrap_or_default();
    Ok(Imported { name: name_of(last)?, definition, notes })
}

/// A package's program and its arguments.
struct Started {
    program: String,
    args: Vec<String>,
    /// The package with its version, as `npm:@scope/name@1.2.3`.
    package: String,
}

/// How a package is started, and its name with its version; `None` for a kind nobody here knows.
fn start(package: &Map<String, Value>, notes: &mut Vec<String>) -> Option<Started> {
    let text = |member: &str| package.get(member).and_then(Value::as_str).unwrap_or_default();
    let transport = package.get("transport").and_then(|of| of.get("type"));
    if transport.and_then(Value::as_str).is_some_and(|of| of != "stdio") {
        return None;
    }
    let (identifier, version) = (text("identifier"), text("version"));
    let kind = [text("registryType"), text("registry_type")].concat();
    let (runner, package_name, name) = match kind.as_str() {
        "npm" => ("npx", at(identifier, "@", version), "npm"),
        "pypi" => ("uvx", at(identifier, "==", version), "pypi"),
        "oci" => ("docker", at(identifier, ":", version), "oci"),
        _ => return None,
    };
    let runner = match text("runtimeHint") {
        "" => runner,
        hint => hint,
    };
    let mut args = Vec::new();
    let given = arguments(package.get("runtimeArguments"), notes);
    match (runner, given.is_empty()) {
        ("npx", true) => args.push("-y".into()),
        ("docker", true) => args.extend(["run", "-i", "--rm"].map(str::to_owned)),
        _ => args.extend(given),
    }
    args.push(package_name.clone());
    args.extend(arguments(package.get("packageArguments"), notes));
    let package = format!("{name}:{package_name}");
    Some(Started { program: runner.to_owned(), args, package })
}

fn at(identifier: &str, separator: &str, version: &str) -> String {
    match version.is_empty() || identifier.contains(&format!("{separator}{version}")) {
        true => identifier.to_owned(),
        false => format!("{identifier}{separator}{version}"),
    }
}

/// Arguments of a registry's package: a fixed value, else a place for one.
fn arguments(list: Option<&Value>, notes: &mut Vec<String>) -> Vec<String> {
    let mut args = Vec::new();
    for argument in list.and_then(Value::as_array).into_iter().flatten() {
        let text = |member: &str| argument.get(member).and_then(Value::as_str);
        let value = text("value").or_else(|| text("default"));
        let is_required = argument.get("isRequired").and_then(Value::as_bool) == Some(true);
        let hint = text("valueHint").or_else(|| text("name")).unwrap_or("argument");
        let value = match value {
            Some(value) => value.to_owned(),
            None if is_required => place_for(hint, "an argument", notes),
            None => continue,
        };
        if text("type") == Some("named")
            && let Some(name) = text("name")
        {
            args.push(name.to_owned());
        }
        args.push(value);
    }
    args
}

/// Variables or headers of a registry's package: a fixed value, else a place for one.
fn needed(list: Option<&Value>, notes: &mut Vec<String>) -> Value {
    let mut map = Map::new();
    for item in list.and_then(Value::as_array).into_iter().flatten() {
        let text = |member: &str| item.get(member).and_then(Value::as_str);
        let Some(name) = text("name") else { continue };
        let is = |member: &str| item.get(member).and_then(Value::as_bool) == Some(true);
        let value = match text("value").or_else(|| text("default")) {
            Some(value) if !value.contains('{') => value.to_owned(),
            _ if is("isRequired") || is("isSecret") => place_for(name, name, notes),
            _ => continue,
        };
        map.insert(name.to_owned(), value.into());
    }
    Value::Object(map)
}

/// A reference to an environment variable, and the word that it must be set.
fn place_for(name: &str, what: &str, notes: &mut Vec<String>) -> String {
    let upper: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' })
        .collect();
    notes.push(format!("{what} is needed: set {upper} in the gateway's environment"));
    format!("${{{upper}}}")
}

fn texts(list: Option<&Value>, notes: &mut Vec<String>) -> Value {
    let items = list.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    items.map(|item| Value::from(variables(item, notes))).collect()
}

fn strings(map: Option<&Value>, notes: &mut Vec<String>) -> Value {
    let members = map.and_then(Value::as_object).into_iter().flatten();
    let members = members.filter_map(|(name, value)| Some((name, value.as_str()?)));
    let members = members.map(|(name, value)| (name.clone(), variables(value, notes).into()));
    Value::Object(members.collect())
}

/// Clients' notations for environment variables, in ours: `${env:A}` is `${A}`. A question the
/// client would ask (`${input:a}`) becomes a variable, and a note.
fn variables(text: &str, notes: &mut Vec<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let (before, from) = rest.split_at(start);
        out.push_str(before);
        let Some(end) = from.find('}') else {
            // No reference: it stands for itself, which is written with a second sign.
            out.push('$');
            out.push_str(from);
            return out;
        };
        let inner = &from[2..end];
        match inner.split_once(':') {
            Some(("env", name)) => out.push_str(&format!("${{{name}}}")),
            Some(("input", name)) => out.push_str(&place_for(name, name, notes)),
            _ => out.push_str(&from[..=end]),
        }
        rest = &from[end + 1..];
    }
    out.push_str(rest);
    out
}

/// A name in the letters that names have here.
fn name_of(theirs: &str) -> Result<String, ImportError> {
    let letters = theirs.to_ascii_lowercase();
    let letters = letters.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' });
    let name: String = letters.take(64).collect();
    let name = name.trim_matches('-').to_owned();
    if is_server_name(&name) { Ok(name) } else { Err(ImportError::Name(theirs.to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn yaml(text: &str) -> String {
        let servers = read(text).unwrap();
        let one = |server: Imported| {
            let notes: String = server.notes.iter().map(|note| format!("# {note}\n")).collect();
            format!("== {}\n{notes}{}", server.name, server.definition.to_yaml())
        };
        servers.into_iter().map(one).collect()
    }

    #[test]
    fn servers_of_clients() {
        insta::assert_snapshot!(yaml(
            r#"{ // a comment
              "mcpServers": {
                "File System": { "command": "npx", "args": ["-y", "files", "${env:ROOT}"], "env": { "A": "${A}", "N": 1 } },
                "far": { "type": "sse", "url": "https://a.example/sse", "headers": { "Authorization": "Bearer ${input:token}" } },
                "near": { "httpUrl": "http://127.0.0.1:9/mcp", "disabled": true }, // trailing
              }
            }"#
        ));
    }

    #[test]
    fn a_server_of_the_registry() {
        insta::assert_snapshot!(yaml(
            r#"{
              "server": {
                "name": "io.github.someone/weather", "version": "1.2.3", "description": "The weather",
                "repository": { "url": "https://github.com/someone/weather", "source": "github" },
                "packages": [
                  { "registryType": "mcpb", "identifier": "https://a.example/x.mcpb" },
                  { "registryType": "npm", "identifier": "@someone/weather", "version": "1.2.3",
                    "transport": { "type": "stdio" },
                    "packageArguments": [
                      { "type": "named", "name": "--unit", "value": "celsius" },
                      { "type": "positional", "valueHint": "city", "isRequired": true } ],
                    "environmentVariables": [
                      { "name": "WEATHER_KEY", "isRequired": true, "isSecret": true },
                      { "name": "COLOUR", "default": "no" }, { "name": "OPTIONAL" } ] } ]
              },
              "_meta": { "io.modelcontextprotocol.registry/official": {
                "publishedAt": "2026-01-02T03:04:05Z", "updatedAt": "2026-02-03T04:05:06Z", "isLatest": true } }
            }"#
        ));
        insta::assert_snapshot!(yaml(
            r#"{ "name": "com.example/far", "version": "1", "remotes": [
                { "type": "streamable-http", "url": "https://a.example/mcp",
                  "headers": [ { "name": "X-Key", "isSecret": true } ] } ] }"#
        ));
    }

    #[test]
    fn what_is_neither_is_told() {
        assert!(matches!(read("{"), Err(ImportError::Json(_))));
        assert_eq!(read("[]").unwrap_err(), ImportError::Unknown);
        assert_eq!(read("{\"a\":1}").unwrap_err(), ImportError::Unknown);
        assert_eq!(read("{\"mcpServers\":{\"a\":1}}").unwrap_err(), ImportError::Unknown);
        let name = read("{\"mcpServers\":{\"--\":{\"command\":\"a\"}}}").unwrap_err();
        assert_eq!(name, ImportError::Name("--".into()));
        let nowhere = read("{\"name\":\"a/b\",\"packages\":[{\"registryType\":\"zip\"}]}");
        assert_eq!(nowhere.unwrap_err(), ImportError::Unreachable("a/b".into()));
    }
}
