//! `wiregate rules update`: a signed pack is installed after a look at what it would have done to
//! the traffic of the last hours.
//!
//! The gate: both sets judge the same rows under the policy of the configuration. A message that
//! would be blocked and is not now holds the update up until somebody says `--accept`.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use inspect::RuleSet;
use jiff::Timestamp;
use scan::{Options, Report};
use serde_json::{Value, json};

use super::args::RulesUpdateArgs;
use super::diff::Changes;
use super::{CliError, configured, in_use, in_use_with, print, print_json, settings, shelf};
use crate::config::Config;
use crate::packs::Pack;

/// What a replay of the capture says to the update.
#[derive(Debug)]
struct Replay {
    /// The capture.
    dir: Option<PathBuf>,
    report: Option<Report>,
    /// Why the update waits for a person, if it does.
    objection: Option<String>,
}

/// Installs a pack, if nothing speaks against it.
pub(super) fn run(args: &RulesUpdateArgs) -> Result<ExitCode, CliError> {
    let config = configured(&args.using)?;
    let shelf = shelf(&config)?;
    // Who made it, and whether it may follow the one in use: before anything of it is compiled.
    let trust = config.inspect.packs.keys();
    let pack = match args.pack.is_dir() {
        true => Pack::newest(&args.pack, &trust)?,
        false => Pack::open(&args.pack, &trust)?,
    };
    let lock = if args.dry_run { None } else { Some(shelf.lock()?) };
    let from = shelf.installed_of(&pack.manifest.name)?.active.map(|version| version.to_string());
    if shelf.may_install(&pack)? {
        return already(&pack, args.using.json);
    }
    let (now, then) = (in_use(&config)?, in_use_with(&config, &pack)?);
    let changes = Changes::between(&now, &then);
    let replay = replay(args, &config, &now, &then);
    let refused = replay.objection.is_some() && !args.accept;
    let installed = !refused && lock.is_some();
    if let Some(lock) = lock.filter(|_| installed) {
        shelf.install(&lock, &pack)?;
    }
    if args.using.json {
        print_json(&report(&pack, from.as_deref(), &changes, &replay, installed))?;
    } else {
        print(&shown(&pack, from.as_deref(), &changes, &replay))?;
        if let Some(objection) = &replay.objection {
            let said = if args.accept { "accepted" } else { "refused" };
            eprintln!("{said}: {objection}");
        }
        eprintln!("{}", conclusion(refused, installed));
    }
    Ok(if refused { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

fn conclusion(refused: bool, installed: bool) -> &'static str {
    match (refused, installed) {
        (true, _) => "nothing was installed; after a look, `--accept` installs it",
        (false, true) => "installed: in effect when the gateway starts next",
        (false, false) => "nothing was installed: a dry run",
    }
}

fn already(pack: &Pack, as_json: bool) -> Result<ExitCode, CliError> {
    if as_json {
        return print_json(&json!({ "pack": described(pack), "installed": false, "active": true }));
    }
    eprintln!("{} is in use already", pack.label());
    Ok(ExitCode::SUCCESS)
}

/// Judges the capture by both sets.
fn replay(args: &RulesUpdateArgs, config: &Config, now: &RuleSet, then: &RuleSet) -> Replay {
    let Some(dir) = args.capture.clone().or_else(|| config.capture.folder(&settings::env)) else {
        let objection = "no folder to replay: give `--capture DIR`".to_owned();
        return Replay { dir: None, report: None, objection: Some(objection) };
    };
    let ticker = Ticker::new();
    let tick = |rows, _bytes| ticker.at(rows);
    let since = i64::try_from(args.since.get().as_micros()).unwrap_or(i64::MAX);
    let from_us = Timestamp::now().as_microsecond().saturating_sub(since);
    let options = Options { from_us: Some(from_us), progress: Some(&tick), ..Options::default() };
    let compared = scan::compare(&dir, now, then, &config.inspect.policy(), &options);
    drop(ticker);
    let (report, objection) = match compared {
        Ok(report) => {
            let objection = objection(&report, &dir, &args.since.to_string());
            (Some(report), objection)
        }
        Err(error) => (None, Some(format!("nothing to replay: {error}"))),
    };
    Replay { dir: Some(dir), report, objection }
}

/// Why a person should look first, if so.
fn objection(report: &Report, dir: &Path, since: &str) -> Option<String> {
    let blocks = report.newly_blocked.unwrap_or(0);
    if blocks > 0 {
        let them = if blocks == 1 { "message" } else { "messages" };
        return Some(format!(
            "{blocks} {them} would be blocked, or tools in them, that pass today"
        ));
    }
    if report.judged == 0 {
        let dir = dir.display();
        return Some(format!(
            "nothing to replay: {dir} holds no judged message of the last {since}"
        ));
    }
    (report.errors > 0).then(|| format!("the replay is not whole: {} errors", report.errors))
}

fn described(pack: &Pack) -> Value {
    json!({
        "name": pack.manifest.name, "version": pack.manifest.version,
        "digest": pack.manifest.digest, "created": pack.manifest.created,
        "rules": pack.manifest.rules, "signer": pack.signer, "key_id": pack.key_id,
    })
}

fn report(
    pack: &Pack,
    from: Option<&str>,
    changes: &Changes<'_>,
    replay: &Replay,
    installed: bool,
) -> Value {
    json!({
        "pack": described(pack),
        "replaces": from,
        "changes": changes.json(),
        "capture": replay.dir.as_ref().map(|dir| dir.display().to_string()),
        "replay": replay.report,
        "new_blocks": replay.report.as_ref().and_then(|report| report.newly_blocked),
        "objection": replay.objection,
        "installed": installed,
    })
}

fn shown(pack: &Pack, from: Option<&str>, changes: &Changes<'_>, replay: &Replay) -> String {
    let (name, to) = (&pack.manifest.name, &pack.manifest.version);
    let signer = pack.signer.as_deref().unwrap_or_default();
    let head = format!(
        "{name} {} -> {to}, signed by {signer}: {}\n",
        from.unwrap_or("none"),
        changes.summary()
    );
    let report = replay.report.as_ref().map(|report| format!("\n{}", report.render(None)));
    format!("{head}{}{}", changes.text(), report.unwrap_or_default())
}

/// A count on stderr while that is a terminal.
struct Ticker {
    shown: bool,
}

impl Ticker {
    fn new() -> Self {
        Self { shown: std::io::stderr().is_terminal() }
    }

    fn at(&self, rows: u64) {
        if self.shown {
            let mut err = std::io::stderr();
            // A terminal that went away is told nothing.
            let _ = write!(err, "\r{rows} rows replayed").and_then(|()| err.flush());
        }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        if self.shown {
            eprint!("\r\x1b[K");
        }
    }
}
