//! The section `catalog`: how many servers look like one, and what else is offered in their place.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Config, Period, Problem, is_server_name};
use crate::catalog::template;

/// The endpoint `/mcp` when there are several servers, and further endpoints made of their parts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Catalog {
    /// When the names of tools and prompts get their server's name in front.
    pub prefix: Prefix,
    /// What stands between the server's name and the tool's: 1 to 8 letters, digits, `_`, `-` or
    /// `.`. Some model APIs refuse the dot.
    pub separator: String,
    /// Bytes of one name at most, up to 128; a longer one is cut and ends with a part of its
    /// digest. Some clients and model APIs take 64.
    #[schemars(range(min = 32, max = 128))]
    pub max_name: usize,
    /// What happens to a name that two servers have.
    pub on_collision: OnCollision,
    /// What happens to a list when a server fails, or is slower than `deadline`.
    pub on_failure: OnFailure,
    /// How long a list waits for its servers.
    pub deadline: Period,
    /// Pages of one server's list that are put into one page of the gateway's.
    pub pages: usize,
    /// Items of one server's list that are put into one page of the gateway's.
    pub max_items: usize,
    /// Lists whose names are remembered, one a client and kind; the oldest make room.
    pub max_lists: usize,
    /// Offer two tools in place of all: `find_tools` searches, `call_tool` calls what was found.
    pub search: bool,
    /// Further endpoints, `/mcp/NAME`: a selection of what servers have, under names of your own.
    pub r#virtual: BTreeMap<String, Virtual>,
    /// Tools of the gateway's own: each a sequence of calls.
    pub tools: BTreeMap<String, Composite>,
}

/// When names get their server's name in front.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Prefix {
    /// When there is more than one server.
    Conditional,
    /// Always.
    Always,
    /// Never: what two servers call the same is in no list.
    Never,
}

/// What happens to a name that two servers have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnCollision {
    /// It is left out, logged and counted; a call of it is an error that names both servers.
    LeaveOut,
    /// The whole list is an error that names both servers.
    Refuse,
}

/// What happens to a list when a server fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// It goes without that server, and says so in `_meta`, log and metrics.
    Partial,
    /// It is an error that names the server.
    Error,
}

/// A selection of what servers have, as an endpoint of its own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Virtual {
    /// What a client is told of its use, in place of the servers' own instructions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instructions: Option<String>,
    /// Offer `find_tools` and `call_tool` in place of the tools.
    pub search: bool,
    /// Its tools.
    pub tools: Vec<VirtualTool>,
    /// Its prompts.
    pub prompts: Vec<VirtualPrompt>,
    /// Its resources.
    pub resources: Vec<VirtualResource>,
    /// Tools out of `catalog.tools` that it has too.
    pub composites: BTreeSet<String>,
}

/// A tool of a virtual server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VirtualTool {
    /// The server that has it.
    pub server: String,
    /// Its name there.
    pub tool: String,
    /// Its name here. Default: the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its description here. Default: the server's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Arguments that are always these: clients do not see them, and cannot send them.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub arguments: Map<String, Value>,
}

/// A prompt of a virtual server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VirtualPrompt {
    /// The server that has it.
    pub server: String,
    /// Its name there.
    pub prompt: String,
    /// Its name here. Default: the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its description here. Default: the server's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// A resource of a virtual server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VirtualResource {
    /// The server that has it.
    pub server: String,
    /// Its URI there, or its URI template.
    pub uri: String,
}

/// A tool that is a sequence of calls.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Composite {
    /// What a model is told of it.
    pub description: String,
    /// The JSON Schema of its arguments. Default: an object of any members.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub input: Map<String, Value>,
    /// The calls, one after the other: 1 to 32.
    pub steps: Vec<Step>,
    /// A template of what it returns. Default: the last call's result as it came.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub result: Value,
    /// How long all of it may take.
    #[serde(default = "minute")]
    pub timeout: Period,
}

/// One call of a composite tool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// What later steps call its result. Default: its number, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The tool: `server/tool`.
    pub tool: String,
    /// A template of its arguments.
    #[serde(default)]
    pub arguments: Map<String, Value>,
    /// The step is left out unless this holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<When>,
    /// What happens when the call fails.
    #[serde(default)]
    pub on_error: OnStepError,
}

/// A condition on the arguments or an earlier result. All that is written must hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct When {
    /// The JSON Pointer of the value: `/input/…` or `/steps/NAME/…`.
    pub at: String,
    /// The value is this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub equals: Option<Value>,
    /// The value is not this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not: Option<Value>,
    /// Whether there is a value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exists: Option<bool>,
}

/// What happens when a call of a composite tool fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnStepError {
    /// The tool's result is an error that names the step.
    #[default]
    Stop,
    /// The next step follows; `/steps/NAME/isError` is true.
    Continue,
}

/// Calls of one composite tool at most.
const MAX_STEPS: usize = 32;

fn minute() -> Period {
    Period::secs(60)
}

impl Default for Catalog {
    fn default() -> Self {
        Self {
            prefix: Prefix::Conditional,
            separator: "__".into(),
            max_name: 128,
            on_collision: OnCollision::LeaveOut,
            on_failure: OnFailure::Partial,
            deadline: Period::secs(10),
            pages: 16,
            max_items: 10_000,
            max_lists: 1024,
            search: false,
            r#virtual: BTreeMap::new(),
            tools: BTreeMap::new(),
        }
    }
}

/// Whether a name is one that clients and model APIs take: 1 to 128 letters, digits, `_`, `-`, `.`.
fn is_item_name(name: &str) -> bool {
    let good = |b: u8| b.is_ascii_alphanumeric() || b"_-.".contains(&b);
    (1..=128).contains(&name.len()) && name.bytes().all(good)
}

/// What is wrong with the section.
pub(super) fn problems(config: &Config) -> Vec<Problem> {
    let catalog = &config.catalog;
    let mut found = Vec::new();
    let mut add = |at: String, message: &str| {
        found.push(Problem::new(format!("/catalog/{at}"), message));
    };
    if !is_item_name(&catalog.separator) || catalog.separator.len() > 8 {
        add("separator".into(), "1 to 8 letters, digits, `_`, `-` or `.`");
    }
    if !(32..=128).contains(&catalog.max_name) {
        add("max_name".into(), "32 to 128");
    }
    for (name, is_none) in [
        ("deadline", catalog.deadline.get().is_zero()),
        ("pages", catalog.pages == 0),
        ("max_items", catalog.max_items == 0),
        ("max_lists", catalog.max_lists == 0),
    ] {
        if is_none {
            add(name.into(), "may not be 0");
        }
    }
    for (name, made) in &catalog.r#virtual {
        of_virtual(config, name, made, &mut add);
    }
    for (name, tool) in &catalog.tools {
        of_composite(config, name, tool, &mut add);
    }
    found
}

fn of_virtual(config: &Config, name: &str, made: &Virtual, add: &mut impl FnMut(String, &str)) {
    let at = format!("virtual/{name}");
    if !is_server_name(name) {
        add(at.clone(), "a name has lower-case letters, digits and hyphens, at most 64 of them");
    }
    if config.servers.contains_key(name) {
        add(at.clone(), "a server has this name: both would be the same endpoint");
    }
    let tools = made.tools.iter().map(|t| (&t.server, t.name.as_ref().unwrap_or(&t.tool)));
    let prompts = made.prompts.iter().map(|p| (&p.server, p.name.as_ref().unwrap_or(&p.prompt)));
    let resources = made.resources.iter().map(|r| (&r.server, &r.uri));
    let kinds: [(&str, Vec<(&String, &String)>); 3] = [
        ("tools", tools.collect()),
        ("prompts", prompts.collect()),
        ("resources", resources.collect()),
    ];
    for (kind, items) in &kinds {
        let mut seen = BTreeSet::new();
        for (n, (server, shown)) in items.iter().enumerate() {
            if !config.servers.contains_key(*server) {
                add(format!("{at}/{kind}/{n}/server"), "no server has this name");
            }
            if *kind != "resources" && !is_item_name(shown) {
                add(format!("{at}/{kind}/{n}"), "a name has 1 to 128 letters, digits, `_-.`");
            }
            if !seen.insert(*shown) || (*kind == "tools" && made.composites.contains(*shown)) {
                add(format!("{at}/{kind}/{n}"), "another one here has this name");
            }
        }
    }
    for composite in &made.composites {
        if !config.catalog.tools.contains_key(composite) {
            add(format!("{at}/composites"), "`catalog.tools` has no such tool");
        }
    }
}

fn of_composite(config: &Config, name: &str, tool: &Composite, add: &mut impl FnMut(String, &str)) {
    let at = format!("tools/{name}");
    if !is_item_name(name) {
        add(at.clone(), "a name has 1 to 128 letters, digits, `_`, `-` or `.`");
    }
    if !(1..=MAX_STEPS).contains(&tool.steps.len()) {
        add(format!("{at}/steps"), "1 to 32 steps");
    }
    if tool.input.get("type").is_some_and(|kind| kind != "object") {
        add(format!("{at}/input/type"), "arguments are an object");
    }
    if tool.timeout.get().is_zero() {
        add(format!("{at}/timeout"), "may not be 0");
    }
    let mut known = BTreeSet::new();
    for (n, step) in tool.steps.iter().enumerate() {
        let at = format!("{at}/steps/{n}");
        let server = step.tool.split_once('/').map(|(server, _)| server);
        if !server.is_some_and(|server| config.servers.contains_key(server)) {
            add(format!("{at}/tool"), "write `server/tool`, with a server of this configuration");
        }
        for pointer in template::pointers(&Value::Object(step.arguments.clone())) {
            if !template::is_known(&pointer, &known) {
                add(format!("{at}/arguments"), "a pointer is to /input or to an earlier step");
            }
        }
        if step.when.as_ref().is_some_and(|when| !template::is_known(&when.at, &known)) {
            add(format!("{at}/when/at"), "a pointer is to /input or to an earlier step");
        }
        let called = step.name.clone().unwrap_or_else(|| (n + 1).to_string());
        if !is_item_name(&called) || !known.insert(called) {
            add(format!("{at}/name"), "a step has a name of its own, of letters, digits, `_-.`");
        }
    }
    for pointer in template::pointers(&tool.result) {
        if !template::is_known(&pointer, &known) {
            add(format!("{at}/result"), "a pointer is to /input or to a step");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::check::tests::after;

    fn pick(server: &str, tool: &str) -> VirtualTool {
        VirtualTool {
            server: server.into(),
            tool: tool.into(),
            name: None,
            description: None,
            arguments: Map::new(),
        }
    }

    #[test]
    fn a_separator_is_what_model_apis_take() {
        for bad in ["", "::", "/", "_________"] {
            let found = after(|config| config.catalog.separator = bad.into());
            assert_eq!(found, ["/catalog/separator"], "{bad}");
        }
        assert_eq!(after(|config| config.catalog.separator = ".".into()), [""; 0]);
        assert_eq!(after(|config| config.catalog.max_name = 31), ["/catalog/max_name"]);
    }

    #[test]
    fn a_virtual_server_has_a_name_of_its_own_and_known_parts() {
        let with = |name: &str, made: Virtual| {
            after(|config| {
                config.catalog.r#virtual.insert(name.into(), made);
            })
        };
        let same = Virtual { tools: vec![pick("files", "read")], ..Virtual::default() };
        assert_eq!(with("files", same.clone()), ["/catalog/virtual/files"]);
        assert_eq!(with("desk", same), [""; 0]);
        let gone = Virtual { tools: vec![pick("gone", "read")], ..Virtual::default() };
        assert_eq!(with("desk", gone), ["/catalog/virtual/desk/tools/0/server"]);
        let twice = vec![pick("files", "read"), pick("files", "read")];
        let twice = Virtual { tools: twice, ..Virtual::default() };
        assert_eq!(with("desk", twice), ["/catalog/virtual/desk/tools/1"]);
    }

    #[test]
    fn a_step_refers_to_what_is_before_it() {
        let with = |yaml: &str| {
            let tool: Composite = serde_json::from_str(yaml).unwrap();
            after(|config| {
                config.catalog.tools.insert("both".into(), tool);
            })
        };
        let step = |arguments: &str| {
            format!(
                r#"{{"description":"d","steps":[{{"tool":"files/read","arguments":{arguments}}}]}}"#
            )
        };
        assert_eq!(with(&step(r#"{"a":"{{/input/a}}"}"#)), [""; 0]);
        let later = with(&step(r#"{"a":"{{/steps/1/text}}"}"#));
        assert_eq!(later, ["/catalog/tools/both/steps/0/arguments"]);
        let nowhere = with(r#"{"description":"d","steps":[{"tool":"read"}]}"#);
        assert_eq!(nowhere, ["/catalog/tools/both/steps/0/tool"]);
    }
}
