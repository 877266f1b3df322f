//! `wiregate servers probe`: whether servers answer, and what they say they are.

use std::process::ExitCode;

use clap::Args;
use scan::text::{Align, Table};
use serde_json::{Value, json};

use super::Place;
use super::ask::{self, Asked};
use crate::cli::{CliError, print};

/// Ask servers whether they answer, what they are and what they list.
///
/// Each is opened as the gateway would open it: a `command` is started, and ended afterwards.
/// Exits 1 when one can't be reached.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  wiregate servers probe files
  wiregate servers probe --all --json")]
pub(in crate::cli) struct ProbeArgs {
    #[command(flatten)]
    place: Place,
    /// The server
    #[arg(value_name = "NAME", required_unless_present = "all", conflicts_with = "all")]
    name: Option<String>,
    /// Every server of the configuration and of the folder
    #[arg(long)]
    all: bool,
}

/// Asks, and prints a line for each.
pub(super) fn run(args: &ProbeArgs) -> Result<ExitCode, CliError> {
    let asked = ask::all(args.place.servers(args.name.as_deref())?)?;
    if args.place.json {
        let servers: Vec<Value> = asked.iter().map(as_json).collect();
        print(&format!("{:#}\n", json!({ "servers": servers })))?;
    } else {
        print(&table(&asked))?;
    }
    let all_there = asked.iter().all(|asked| asked.outcome.is_ok());
    Ok(if all_there { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn table(asked: &[Asked]) -> String {
    let heads = ["server", "reached", "says it is", "lists", "findings", "ms", "detail"];
    let columns = heads.map(|head| match head {
        "lists" | "findings" | "ms" => (head, Align::Right),
        _ => (head, Align::Left),
    });
    let mut table = Table::new(&columns);
    for Asked { name, outcome, took } in asked {
        let ms = took.as_millis().to_string();
        match outcome {
            Ok(answers) => table.push([
                name.as_str(),
                "yes",
                &format!("{} {}", answers.name, answers.version),
                &answers.items.to_string(),
                &answers.findings.len().to_string(),
                &ms,
                &answers.failed.join("; "),
            ]),
            Err(error) => table.push([name.as_str(), "no", "-", "-", "-", &ms, error]),
        }
    }
    table.render(None)
}

fn as_json(asked: &Asked) -> Value {
    let ms = u64::try_from(asked.took.as_millis()).unwrap_or(u64::MAX);
    match &asked.outcome {
        Err(error) => json!({"server": asked.name, "reached": false, "ms": ms, "error": error}),
        Ok(answers) => json!({
            "server": asked.name, "reached": true, "ms": ms,
            "name": answers.name, "version": answers.version, "revisions": answers.revisions,
            "capabilities": answers.offers, "items": answers.items, "tools": answers.tools,
            "findings": answers.findings.iter().map(|found| json!({
                "rule": found.rule, "list": found.list, "blocks": found.blocks,
            })).collect::<Vec<_>>(),
            "failed": answers.failed,
        }),
    }
}
