//! The endpoints that stand for several servers, resolved: which servers, under which names.

use std::collections::BTreeMap;
use std::sync::Arc;

use capture::Str;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::names::Naming;
use crate::config::{Composite, Config, Prefix, Virtual};
use crate::snapshot::{ServerSpec, hex};

/// What `/mcp` is called in captures when it stands for all servers: no server can have this name.
pub const ALL: &str = "*";

/// Every endpoint that is not one server's, by its name.
#[derive(Debug, Default)]
pub struct Faces(BTreeMap<Str, Arc<Face>>);

/// One endpoint that stands for servers.
#[derive(Debug)]
pub struct Face {
    /// What stands for it where a server would stand.
    pub spec: Arc<ServerSpec>,
    /// The servers behind it, by name.
    pub servers: Vec<Arc<ServerSpec>>,
    pub(super) naming: Naming,
    /// What it shows of its servers; everything where there is none.
    pub(super) selection: Option<Selection>,
    /// Whether its tools are searched for.
    pub(super) search: bool,
    /// Its tools of the gateway's own.
    pub(super) composites: BTreeMap<String, Arc<Composite>>,
    /// Names what it is made of: a cursor of another generation leads nowhere.
    pub(super) generation: String,
}

/// What a virtual server shows.
#[derive(Debug)]
pub(super) struct Selection {
    pub(super) instructions: Option<String>,
    pub(super) tools: Vec<Pick>,
    pub(super) prompts: Vec<Pick>,
    /// Server and URI, or URI template.
    pub(super) resources: Vec<(Str, Str)>,
}

/// One item that a virtual server shows.
#[derive(Clone, Debug)]
pub(super) struct Pick {
    pub(super) server: Str,
    pub(super) item: Str,
    pub(super) name: Str,
    pub(super) description: Option<String>,
    pub(super) fixed: Map<String, Value>,
}

impl Faces {
    /// The endpoints of a configuration whose servers these are.
    pub fn build(config: &Config, servers: &BTreeMap<Str, Arc<ServerSpec>>) -> Faces {
        let catalog = &config.catalog;
        let mut faces = BTreeMap::new();
        let many = servers.len() > 1;
        let more = catalog.search || !catalog.tools.is_empty();
        if !servers.is_empty() && (many || more || catalog.prefix == Prefix::Always) {
            let prefixed = match catalog.prefix {
                Prefix::Conditional => many,
                Prefix::Always => true,
                Prefix::Never => false,
            };
            let all = servers.values().cloned().collect();
            let composites = catalog.tools.keys().map(String::as_str).collect();
            let face = face(config, ALL, all, prefixed, catalog.search, composites);
            faces.insert(Str::from(ALL), Arc::new(face));
        }
        for (name, made) in &catalog.r#virtual {
            let used = |server: &&Arc<ServerSpec>| uses(config, made, &server.name);
            let some = servers.values().filter(used).cloned().collect();
            let composites = made.composites.iter().map(String::as_str).collect();
            let mut face = face(config, name, some, false, made.search, composites);
            face.selection = Some(select(made));
            faces.insert(name.as_str().into(), Arc::new(face));
        }
        Faces(faces)
    }

    /// The endpoint of this name.
    pub fn get(&self, name: &str) -> Option<&Arc<Face>> {
        self.0.get(name)
    }

    /// The names of the endpoints below `/mcp/`.
    pub fn names(&self) -> impl Iterator<Item = &Str> {
        self.0.keys().filter(|name| &***name != ALL)
    }
}

impl Face {
    /// One of its servers.
    pub(super) fn server(&self, name: &str) -> Option<&Arc<ServerSpec>> {
        self.servers.iter().find(|server| &*server.name == name)
    }
}

fn face(
    config: &Config,
    name: &str,
    servers: Vec<Arc<ServerSpec>>,
    prefixed: bool,
    search: bool,
    composites: Vec<&str>,
) -> Face {
    let catalog = &config.catalog;
    let naming = Naming {
        prefixed,
        separator: catalog.separator.as_str().into(),
        longest: catalog.max_name,
    };
    let composites = composites.into_iter().filter_map(|name| {
        let tool = catalog.tools.get(name)?;
        Some((name.to_owned(), Arc::new(tool.clone())))
    });
    let mut hash = Sha256::new().chain_update(format!("{name}\0{naming:?}\0{search}"));
    for server in &servers {
        hash.update([0]);
        hash.update(&*server.name);
    }
    Face {
        spec: Arc::new(ServerSpec::child(name)),
        composites: composites.collect(),
        naming,
        servers,
        selection: None,
        search,
        generation: hex(&hash.finalize()[..8]),
    }
}

/// Whether a virtual server shows anything of this one, itself or in a composite tool.
fn uses(config: &Config, made: &Virtual, server: &str) -> bool {
    let steps = made.composites.iter().filter_map(|name| config.catalog.tools.get(name));
    let mut steps = steps.flat_map(|tool| &tool.steps);
    made.tools.iter().any(|tool| tool.server == server)
        || made.prompts.iter().any(|prompt| prompt.server == server)
        || made.resources.iter().any(|resource| resource.server == server)
        || steps.any(|step| step.tool.split('/').next() == Some(server))
}

fn select(made: &Virtual) -> Selection {
    let tools = made.tools.iter().map(|tool| Pick {
        server: tool.server.as_str().into(),
        item: tool.tool.as_str().into(),
        name: tool.name.as_ref().unwrap_or(&tool.tool).as_str().into(),
        description: tool.description.clone(),
        fixed: tool.arguments.clone(),
    });
    let prompts = made.prompts.iter().map(|prompt| Pick {
        server: prompt.server.as_str().into(),
        item: prompt.prompt.as_str().into(),
        name: prompt.name.as_ref().unwrap_or(&prompt.prompt).as_str().into(),
        description: prompt.description.clone(),
        fixed: Map::new(),
    });
    let resources = made.resources.iter();
    Selection {
        instructions: made.instructions.clone(),
        tools: tools.collect(),
        prompts: prompts.collect(),
        resources: resources.map(|r| (r.server.as_str().into(), r.uri.as_str().into())).collect(),
    }
}
