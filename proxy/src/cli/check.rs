//! `wiregate check`: a configuration and its rules, with every error at its place.

use std::path::Path;
use std::process::ExitCode;

use inspect::yaml::Located;
use serde_json::json;

use super::settings::env;
use super::{CliError, print};
use crate::config::{Listed, LoadError, Use, Written};
use crate::snapshot::Snapshot;

/// Prints what is wrong with `file`; exit code 1 when anything is.
pub(super) fn run(file: &Path, as_json: bool) -> Result<ExitCode, CliError> {
    let outcome = match load(file) {
        Ok(snapshot) => Ok(snapshot),
        Err(LoadError::Invalid(errors)) => Err(errors),
        Err(error) => return Err(error.into()),
    };
    let report = if as_json { json(file, &outcome) } else { text(file, &outcome) };
    print(&report)?;
    Ok(if outcome.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn load(file: &Path) -> Result<Snapshot, LoadError> {
    let config = Written::load(file, &env)?.finish(Use::Serve, &env).map_err(LoadError::Invalid)?;
    Snapshot::build(config).map_err(LoadError::Invalid)
}

fn text(file: &Path, outcome: &Result<Snapshot, Vec<Located>>) -> String {
    match outcome {
        Ok(snapshot) => format!(
            "{}: fine, {} and {}\n",
            file.display(),
            count(snapshot.servers.len(), "server"),
            count(snapshot.rules.len(), "rule"),
        ),
        Err(errors) => format!("{}\n{}\n", Listed(errors), count(errors.len(), "error")),
    }
}

fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

fn json(file: &Path, outcome: &Result<Snapshot, Vec<Located>>) -> String {
    let report = match outcome {
        Ok(snapshot) => json!({
            "file": file.display().to_string(),
            "ok": true,
            "errors": [],
            "servers": snapshot.servers.keys().collect::<Vec<_>>(),
            "rules": snapshot.rules.len(),
            "sets": snapshot.rules.sets(),
            "ruleset_digest": snapshot.ruleset_digest,
            "policy_digest": snapshot.policy_digest,
            "config_digest": snapshot.config_digest,
        }),
        Err(errors) => json!({
            "file": file.display().to_string(),
            "ok": false,
            "errors": errors.iter().map(|error| json!({
                "file": error.file,
                "line": (error.line > 0).then_some(error.line),
                "column": (error.line > 0).then_some(error.column),
                "path": error.path,
                "message": error.message,
            })).collect::<Vec<_>>(),
        }),
    };
    format!("{report:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten errors: two of shape, eight of meaning.
    const WRONG: &str = "\
listen: somewhere
admin: 0.0.0.0:8809
auth:
  keys:
    - { name: alice, sha256: abc }
servers:
  Files!:
    url: ftp://files.example/mcp
  mail:
    url: https://user:secret@mail.example/mcp
    headers: { Host: other.example }
    retries: 3
inspect:
  paranoia: 5
capture:
  rotate_every: 60
log:
  level: inof
";

    #[test]
    fn ten_errors_are_told_at_once() {
        let env = |name: &str| (name == "HOME").then(|| "/home/someone".to_owned());
        let outcome = Written::parse("wiregate.yaml", WRONG, &env)
            .and_then(|written| written.finish(Use::Serve, &env))
            .and_then(Snapshot::build);
        let report = text(Path::new("wiregate.yaml"), &outcome);
        assert!(!report.contains("secret") && report.ends_with("\n10 errors\n"), "{report}");
        insta::assert_snapshot!(report);
    }
}
