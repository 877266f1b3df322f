//! `wiregate connect`: an MCP client's own configuration, changed so that it comes through here.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::{CliError, print, settings};
use crate::clients::file::{self, FileError};
use crate::clients::{Gateway, Kind, Scope, edit};

/// Put the gateway into an MCP client's own configuration.
///
/// Adds one server that is the gateway, or with --wrap puts `wiregate wrap` in front of every
/// server that the client starts itself. What the file was is kept beside it, and --rollback
/// brings it back. Nothing else in the file changes: comments and order stay.
///
/// Exits 0 when the file is as it should be, 1 when --dry-run found something to change, 2 when it
/// could not be done.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  wiregate connect cursor --dry-run
  wiregate connect claude-code --scope project --url http://127.0.0.1:8808/mcp --key-env WIREGATE_KEY
  wiregate connect claude-desktop --wrap
  wiregate connect cursor --rollback")]
pub(super) struct ConnectArgs {
    /// The client
    #[arg(value_enum, value_name = "CLIENT")]
    client: Kind,
    /// Whose configuration
    #[arg(long, value_enum, default_value = "user")]
    scope: Scope,
    /// The file, where it is not in its usual place
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// The server's name in the file
    #[arg(long, value_name = "NAME", default_value = "wiregate")]
    name: String,
    /// The gateway's endpoint
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8808/mcp")]
    url: String,
    /// The environment variable in which the client finds its key
    #[arg(long, value_name = "VARIABLE")]
    key_env: Option<String>,
    /// Wrap every server that the client starts itself, instead of adding one
    #[arg(long, conflicts_with_all = ["name", "url", "key_env"])]
    wrap: bool,
    /// Show what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Bring back what the file was before
    #[arg(long, conflicts_with_all = ["name", "url", "key_env", "wrap", "dry_run"])]
    rollback: bool,
    /// Print what was done as JSON
    #[arg(long)]
    json: bool,
}

/// Does what was asked.
pub(super) fn run(args: &ConnectArgs) -> Result<ExitCode, CliError> {
    let project = std::env::current_dir().map_err(CliError::io("no current folder"))?;
    let usual = || args.client.path(args.scope, &project, &settings::env);
    let path = args.file.clone().or_else(usual).ok_or(CliError::NoClientFile)?;
    if args.rollback {
        let used = file::restore(&path)?;
        return told(args, &path, &["rolled back"], Some(used), &[]);
    }
    let old = file::read(&path)?;
    let text = old.as_deref().unwrap_or_default();
    let program = std::env::current_exe().map_err(CliError::io("this program's own path"))?;
    let program = program.display().to_string();
    let wrong = |source| CliError::Client { file: path.clone(), source };
    let (new, what) = if args.wrap {
        edit::wrap(args.client, text, &program).map_err(wrong)?
    } else {
        let gateway = Gateway { url: args.url.clone(), key_env: args.key_env.clone(), program };
        let entry = args.client.entry(&gateway).ok_or(CliError::NoKeyNotation)?;
        let new = edit::put(args.client, text, &args.name, &entry).map_err(wrong)?;
        (new, vec![args.name.clone()])
    };
    if old.as_deref() == Some(&*new) || (args.wrap && what.is_empty()) {
        return told(args, &path, &["nothing to change"], None, &[]);
    }
    if args.dry_run {
        if !args.json {
            print(&difference(text, &new))?;
        }
        told(args, &path, &["would change"], None, &what)?;
        return Ok(ExitCode::from(1));
    }
    let backup = file::write(&path, old.as_deref(), &new)?;
    told(args, &path, &["changed"], Some(backup), &what)
}

fn told(
    args: &ConnectArgs,
    path: &std::path::Path,
    outcome: &[&str],
    backup: Option<PathBuf>,
    servers: &[String],
) -> Result<ExitCode, CliError> {
    let (file, outcome) = (path.display().to_string(), outcome.concat());
    let backup = backup.map(|backup| backup.display().to_string());
    if args.json {
        let told = json!({"file": file, "outcome": outcome, "servers": servers, "backup": backup});
        return print(&format!("{told:#}\n"));
    }
    eprintln!("{file}: {outcome}");
    if !servers.is_empty() {
        eprintln!("servers: {}", servers.join(", "));
    }
    if let (Some(backup), false) = (backup, args.rollback) {
        eprintln!("what it was is in {backup}; `--rollback` brings it back");
    }
    Ok(ExitCode::SUCCESS)
}

/// The lines that go and come, with those around them left out.
fn difference(old: &str, new: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let start = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let (old, new) = (&old[start..], &new[start..]);
    let end = old.iter().rev().zip(new.iter().rev()).take_while(|(a, b)| a == b).count();
    let gone = old[..old.len() - end].iter().map(|line| format!("-{line}\n"));
    let come = new[..new.len() - end].iter().map(|line| format!("+{line}\n"));
    format!("@@ line {}\n", start + 1) + &gone.chain(come).collect::<String>()
}

impl From<FileError> for CliError {
    fn from(source: FileError) -> CliError {
        CliError::ClientFile(source)
    }
}
