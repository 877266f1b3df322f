//! `wiregate servers`: which servers stand behind the gateway, adding and removing those of the
//! registry's folder, and asking them what they are.

mod ask;
mod probe;
mod vet;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{CliError, print, settings};
use crate::config::{Config, Listed, Server, is_server_name};
use crate::registry::definition::Definition;
use crate::registry::import::{self, Imported};
use crate::registry::{self, folder};

/// See and change which servers stand behind the gateway.
#[derive(Debug, Subcommand)]
pub(super) enum ServersCommand {
    List(ListArgs),
    Add(AddArgs),
    Remove(RemoveArgs),
    Probe(probe::ProbeArgs),
    Vet(vet::VetArgs),
}

/// The configuration and the folder of servers.
#[derive(Debug, Args)]
struct Place {
    /// The configuration file
    #[arg(short, long, value_name = "FILE", default_value = "wiregate.yaml")]
    config: PathBuf,
    /// The folder of servers, instead of the configuration's `registry.dir`
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Print the outcome as JSON
    #[arg(long)]
    json: bool,
}

/// List the servers, those of the configuration file and those of the registry's folder.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  wiregate servers list --config wiregate.yaml")]
pub(super) struct ListArgs {
    #[command(flatten)]
    place: Place,
}

/// Add a server to the registry's folder, or all servers of another program's file.
///
/// --from takes what MCP clients have (`.mcp.json`, `mcp.json`, `claude_desktop_config.json`) and
/// the `server.json` of the official MCP Registry. Nothing is fetched or started. A running gateway
/// that watches the folder serves what is new.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  wiregate servers add files --dir servers -- npx -y @modelcontextprotocol/server-filesystem /srv
  wiregate servers add web --url https://mcp.example.com/mcp --owner web-team
  wiregate servers add --from .mcp.json --dry-run")]
pub(super) struct AddArgs {
    #[command(flatten)]
    place: Place,
    /// The server's name: a-z, 0-9 and `-`
    #[arg(value_name = "NAME", required_unless_present = "from")]
    name: Option<String>,
    /// Its endpoint
    #[arg(long, value_name = "URL", conflicts_with = "command")]
    url: Option<String>,
    /// The file to take servers from
    #[arg(long, value_name = "FILE", conflicts_with_all = ["url", "command"])]
    from: Option<PathBuf>,
    /// Who answers for it
    #[arg(long, value_name = "WHO")]
    owner: Option<String>,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// A word to find it by; may be given more than once
    #[arg(long, value_name = "WORD")]
    tag: Vec<String>,
    /// Show what would be written, and write nothing
    #[arg(long)]
    dry_run: bool,
    /// Replace a server of the same name
    #[arg(long)]
    replace: bool,
    /// Its command and the command's arguments
    #[arg(last = true, value_name = "CMD")]
    command: Vec<String>,
}

/// Remove a server from the registry's folder.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  wiregate servers remove files")]
pub(super) struct RemoveArgs {
    #[command(flatten)]
    place: Place,
    /// The server
    #[arg(value_name = "NAME")]
    name: String,
}

/// Does what was asked.
pub(super) fn run(command: ServersCommand) -> Result<ExitCode, CliError> {
    match command {
        ServersCommand::List(args) => list(&args.place),
        ServersCommand::Add(args) => add(&args),
        ServersCommand::Remove(args) => remove(&args),
        ServersCommand::Probe(args) => probe::run(&args),
        ServersCommand::Vet(args) => vet::run(&args),
    }
}

impl Place {
    /// The configuration as written; the defaults where there is no file and none was asked for.
    fn config(&self) -> Result<Config, CliError> {
        let missing = !self.config.exists() && self.dir.is_some();
        let mut written = settings::written((!missing).then_some(self.config.as_path()))?;
        if let Some(dir) = &self.dir {
            written.config.registry.dir = Some(dir.clone());
        }
        Ok(written.config)
    }

    fn dir(&self) -> Result<PathBuf, CliError> {
        match &self.dir {
            Some(dir) => Ok(dir.clone()),
            None => self.config()?.registry.dir.ok_or(CliError::NoRegistry),
        }
    }
}

fn list(place: &Place) -> Result<ExitCode, CliError> {
    let config = place.config()?;
    let mut all: Vec<(String, Server, String)> = config
        .servers
        .iter()
        .map(|(name, server)| (name.clone(), server.clone(), "configuration".to_owned()))
        .collect();
    let mut wrong = Vec::new();
    if let Some(dir) = &config.registry.dir {
        for file in registry::files(dir).map_err(|error| listed(vec![error]))? {
            match registry::read(&file, &settings::env) {
                Ok((name, server)) => all.push((name, server, file.display().to_string())),
                Err(errors) => wrong.extend(errors),
            }
        }
    }
    all.sort_by(|one, other| one.0.cmp(&other.0));
    if place.json {
        let servers: Vec<Value> = all.iter().map(|(name, server, from)| {
            json!({"name": name, "from": from, "reached": reached(server), "owner": server.owner,
                   "description": server.description, "tags": server.tags, "origin": server.origin})
        }).collect();
        let errors: Vec<String> = wrong.iter().map(ToString::to_string).collect();
        print(&format!("{:#}\n", json!({"servers": servers, "errors": errors})))?;
    } else {
        let mut out = String::new();
        for (name, server, from) in &all {
            let owner = server.owner.as_deref().unwrap_or("-");
            out += &format!("{name:<24} {:<40} {owner:<16} {from}\n", reached(server));
        }
        print(&out)?;
    }
    if wrong.is_empty() { Ok(ExitCode::SUCCESS) } else { Err(listed(wrong)) }
}

/// How a server is reached, in a word that holds no secret.
fn reached(server: &Server) -> String {
    match (&server.url, &server.command) {
        (Some(url), _) => url.to_string(),
        (None, Some(command)) => match server.origin.as_ref().and_then(|of| of.package.as_ref()) {
            Some(package) => format!("{command} {package}"),
            None => command.clone(),
        },
        (None, None) => "nowhere".into(),
    }
}

fn add(args: &AddArgs) -> Result<ExitCode, CliError> {
    let dir = args.place.dir()?;
    let servers = wanted(args)?;
    let mut outcome = Vec::new();
    for server in &servers {
        let file = folder::file_of(&dir, &server.name);
        let there = file.exists();
        if there && !args.replace {
            return Err(CliError::ServerThere(server.name.clone()));
        }
        let text = server.definition.to_yaml();
        // Variables that are not set here may be set where the gateway runs.
        let anything = |_: &str| Some("http://127.0.0.1/".to_owned());
        folder::check(&file, &server.name, &text, &anything).map_err(listed)?;
        outcome.push((server, file, text));
    }
    let mut told = Vec::new();
    for (server, file, text) in outcome {
        if !args.dry_run {
            let failed = CliError::io("the server's file can't be written");
            folder::put(&file, &text).map_err(failed)?;
        }
        for note in &server.notes {
            eprintln!("{}: {note}", server.name);
        }
        if args.place.json {
            let file = file.display().to_string();
            told.push(json!({"name": server.name, "file": file, "notes": server.notes}));
        } else if args.dry_run {
            print(&format!("# {}\n{text}", file.display()))?;
        } else {
            eprintln!("{}: written to {}", server.name, file.display());
        }
    }
    if args.place.json {
        print(&format!("{:#}\n", json!({"added": told, "dry_run": args.dry_run})))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn wanted(args: &AddArgs) -> Result<Vec<Imported>, CliError> {
    let mut servers = match (&args.from, &args.name) {
        (Some(from), name) => {
            let text = fs::read_to_string(from).map_err(CliError::io("the file to import"))?;
            let wrong = |source| CliError::Import { file: from.clone(), source };
            let mut servers = import::read(&text).map_err(wrong)?;
            if let Some(name) = name {
                match servers.as_mut_slice() {
                    [one] => one.name.clone_from(name),
                    // Of many, the one of that name.
                    _ => servers.retain(|server| server.name == *name),
                }
            }
            servers
        }
        (None, Some(name)) => {
            let mut definition = Definition::default();
            definition.set("url", args.url.clone());
            if let Some((program, rest)) = args.command.split_first() {
                definition.set("command", program.as_str());
                definition.set("args", json!(rest));
            }
            vec![Imported { name: name.clone(), definition, notes: Vec::new() }]
        }
        (None, None) => Vec::new(),
    };
    for server in &mut servers {
        if !is_server_name(&server.name) {
            return Err(CliError::ServerName);
        }
        server.definition.set("owner", args.owner.clone());
        server.definition.set("description", args.description.clone());
        server.definition.set("tags", json!(args.tag));
    }
    if servers.is_empty() { Err(CliError::NothingToAdd) } else { Ok(servers) }
}

fn remove(args: &RemoveArgs) -> Result<ExitCode, CliError> {
    if !is_server_name(&args.name) {
        return Err(CliError::ServerName);
    }
    let dir = args.place.dir()?;
    let failed = CliError::io("the server's file can't be removed");
    if !folder::remove(&dir, &args.name).map_err(failed)? {
        return Err(CliError::NoServer(args.name.clone()));
    }
    if args.place.json {
        let file = folder::file_of(&dir, &args.name).display().to_string();
        return print(&format!("{:#}\n", json!({"removed": args.name, "file": file})));
    }
    eprintln!("{}: removed", args.name);
    Ok(ExitCode::SUCCESS)
}

fn listed(errors: Vec<inspect::yaml::Located>) -> CliError {
    CliError::Config(Listed(&errors).to_string())
}
