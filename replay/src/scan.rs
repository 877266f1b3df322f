//! `scan`: recorded traffic against a rule set, and what would have been different.

use std::path::PathBuf;

use ::scan::{Options, Report, RulesFrom};
use capture::Location;
use clap::{ArgGroup, Args};
use inspect::Preset;

use crate::error::Error;
use crate::output::{Out, Outcome, Progress, table_width};
use crate::rulefiles;
use crate::select::time::parse_time;

/// Judge recorded messages again and report what differs.
///
/// Every recorded message with a verdict is scanned with the rules given, under the policy
/// recorded with it (or the one given), and compared with what was recorded: findings newly
/// caught or newly missed per rule, actions that change. Bodies recorded redacted show new rules
/// their placeholders only; the report says how many there are.
///
/// Exit code: 0 no difference, 1 differences, 2 an error or an incomplete answer.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  wiregate-replay scan ./capture --builtin --rules ./my-rules --since 2026-11-21T00:00:00Z",
    override_usage = "wiregate-replay scan <DIR> <--recorded | [--builtin] [--rules <PATH>]...> [OPTIONS]",
    group = ArgGroup::new("set").required(true).multiple(true)
)]
pub(crate) struct Scan {
    /// Capture folder, one of its subfolders, or one Parquet file; or the URL of one in a store
    #[arg(value_name = "DIR")]
    dir: Location,

    /// A rule folder or file to judge with; may be given again
    #[arg(long, value_name = "PATH", group = "set")]
    rules: Vec<PathBuf>,

    /// Judge each row with the rule set recorded with it: the check of the tool itself
    #[arg(long, group = "set", conflicts_with_all = ["rules", "builtin"])]
    recorded: bool,

    /// Judge with the rules built into this binary; with --rules, with both
    #[arg(long, group = "set")]
    builtin: bool,

    /// With --builtin: this stricter pack as well; may be given again
    #[arg(long, value_name = "NAME", requires = "builtin", conflicts_with = "recorded")]
    pack: Vec<String>,

    /// Leave this rule out; may be given again
    #[arg(long, value_name = "RULE_ID")]
    without: Vec<String>,

    /// Judge under this preset (strict, balanced, audit) instead of the recorded one
    #[arg(long, value_name = "PRESET")]
    preset: Option<Preset>,

    /// Judge at this paranoia level (1 to 4) instead of the recorded one
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=4))]
    paranoia: Option<u8>,

    /// Only rows from this time on (RFC 3339 or seconds since 1970)
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    since: Option<i64>,

    /// Only rows before this time (RFC 3339 or seconds since 1970)
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    until: Option<i64>,

    /// Differing findings listed per rule and kind of difference
    #[arg(long, value_name = "N", default_value_t = 5)]
    samples: usize,

    /// Print the report as JSON
    #[arg(long)]
    json: bool,

    /// Fit tables to this many columns instead of the terminal's
    #[arg(long, value_name = "COLUMNS")]
    width: Option<u16>,
}

impl Scan {
    pub(crate) fn run(self) -> Result<Outcome, Error> {
        let report = self.report()?;
        let mut out = Out::stdout();
        if self.json {
            out.json(&report)?;
        } else {
            out.write(&report.render(table_width(self.width)))?;
        }
        out.finish()?;
        Ok(match (report.errors, report.differs()) {
            (0, false) => Outcome::Fine,
            (0, true) => Outcome::Differs,
            _ => Outcome::Broken,
        })
    }

    fn report(&self) -> Result<Report, Error> {
        let progress = Progress::new("scanning");
        let tick = |rows, _bytes| progress.at(rows);
        let options = Options {
            preset: self.preset,
            paranoia: self.paranoia,
            without: self.without.clone(),
            from_us: self.since,
            to_us: self.until,
            samples_per_rule: self.samples,
            progress: Some(&tick),
        };
        if self.recorded {
            return Ok(::scan::scan(&self.dir, RulesFrom::Recorded, &options)?);
        }
        let mut sources = if self.builtin { rulefiles::builtin(&self.pack)? } else { Vec::new() };
        if !self.rules.is_empty() {
            sources.extend(rulefiles::load(&self.rules)?);
        }
        let set = rulefiles::compile(&sources)?;
        if let Some(unknown) = self.without.iter().find(|id| set.find(id).is_none()) {
            return Err(Error::Usage(format!("--without {unknown}: the set has no such rule")));
        }
        Ok(::scan::scan(&self.dir, RulesFrom::Set(&set), &options)?)
    }
}
