//! `wiregate servers vet`: what a careful operator asks before approving a server, and the
//! approval.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use inspect::pin::ItemKind;
use jiff::Timestamp;
use scan::text::{Align, Table};
use serde_json::json;

use super::{Place, ask};
use crate::cli::{CliError, print, settings};
use crate::config::{Config, Server};
use crate::pins::{Definitions, Missing, Sqlite, Store};
use crate::registry::vet::{self, Check, Outcome, Record};
use crate::registry::{folder, shadow};

/// Check a server before it is approved, and approve it.
///
/// Looks at its definition, asks it for everything it lists, and inspects that. What fails at its
/// definition is not started or asked without --force. Exits 1 when a check fails. An approval is
/// of the definition as it is now: the gateway refuses other servers where
/// `registry.require_vetted` is set.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  wiregate servers vet files
  wiregate servers vet files --approve")]
pub(in crate::cli) struct VetArgs {
    #[command(flatten)]
    place: Place,
    /// The server
    #[arg(value_name = "NAME")]
    name: String,
    /// Approve it, unless a check fails
    #[arg(long)]
    approve: bool,
    /// Ask it, and approve it, whatever fails
    #[arg(long)]
    force: bool,
}

/// Checks, prints, and approves when that was asked for.
pub(super) fn run(args: &VetArgs) -> Result<ExitCode, CliError> {
    let config = args.place.servers(Some(&args.name))?;
    let server = config.servers.get(&args.name).cloned().unwrap_or_default();
    let records = config.registry.records(&settings::env);
    let checks = checks(args, &server, config)?;
    let fails = checks.iter().any(|check| check.outcome == Outcome::Fail);
    let approved = match args.approve && (!fails || args.force) {
        true => Some(approve(&args.name, &server, records)?),
        false => None,
    };
    if args.place.json {
        let report = json!({
            "server": args.name, "definition": vet::identity(&server), "checks": checks,
            "fails": fails, "approved": approved,
        });
        print(&format!("{report:#}\n"))?;
    } else {
        print(&table(&checks))?;
        match &approved {
            Some(file) => eprintln!("{}: approved in {}", args.name, file.display()),
            None if args.approve => eprintln!("{}: not approved: a check fails", args.name),
            None => {}
        }
    }
    Ok(if fails && !args.force { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

fn checks(args: &VetArgs, server: &Server, config: Config) -> Result<Vec<Check>, CliError> {
    let path = settings::env("PATH").unwrap_or_default();
    let mut checks = vet::definition(server, &path, Timestamp::now());
    let reached = |outcome, detail| Check { id: "reached", outcome, detail };
    if !args.force && checks.iter().any(|check| check.outcome == Outcome::Fail) {
        let detail = "not asked, since its definition fails: `--force` asks it".to_owned();
        checks.push(reached(Outcome::Unknown, detail));
        return Ok(checks);
    }
    let others = tools_of_others(&args.name, &config);
    for asked in ask::all(config)? {
        match asked.outcome {
            Ok(answers) => {
                checks.extend(vet::answers(&answers));
                checks.push(shadow::check(&answers.tools, others.as_deref()));
            }
            Err(error) => checks.push(reached(Outcome::Fail, error)),
        }
    }
    Ok(checks)
}

/// The tools that are pinned of other servers; none where there is no store of pins.
fn tools_of_others(name: &str, config: &Config) -> Option<Vec<(String, String)>> {
    let file = config.pins.file(&settings::env)?;
    let mut store = Sqlite::open(&file, Missing::Refuse).ok()?;
    let pins = store.pins(None, Definitions::Without).ok()?;
    let tools = pins.into_iter().filter(|pin| pin.kind == ItemKind::Tool && &*pin.server != name);
    Some(tools.map(|pin| (pin.server.to_string(), pin.name)).collect())
}

fn approve(name: &str, server: &Server, records: Option<PathBuf>) -> Result<PathBuf, CliError> {
    let by = settings::env("USER").or_else(|| settings::env("LOGNAME"));
    let record = Record {
        definition: vet::identity(server),
        at: Timestamp::now().to_string(),
        by: by.unwrap_or_else(|| "unknown".into()),
    };
    let file = vet::record_file(&records.ok_or(CliError::NoRegistry)?, name);
    // Three strings serialise.
    let text = format!("{:#}\n", json!(record));
    folder::put(&file, &text).map_err(CliError::io("the approval can't be written"))?;
    Ok(file)
}

fn table(checks: &[Check]) -> String {
    let mut table =
        Table::new(&[("check", Align::Left), ("outcome", Align::Left), ("found", Align::Left)]);
    for check in checks {
        let outcome = match check.outcome {
            Outcome::Pass => "pass",
            Outcome::Unknown => "unknown",
            Outcome::Warn => "warn",
            Outcome::Fail => "FAIL",
        };
        table.push([check.id, outcome, &check.detail]);
    }
    table.render(None)
}
