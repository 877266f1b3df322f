//! `redact`: a capture with its secrets hidden after the fact.

mod columns;
mod hide;

use std::path::PathBuf;

use capture::{Pseudonyms, Record};
use clap::Args;
use inspect::RuleSet;

use crate::derived::{Source, Summary, Target};
use crate::error::Error;
use crate::output::{Outcome, Progress};
use crate::rulefiles;
use crate::select::Select;
use crate::slice::put;
use columns::Mask;
use hide::{Hidden, Hider};

/// Copy a capture with what rules find in it hidden.
///
/// Bodies are scanned and redacted as the gateway does before it records: every secret and personal
/// datum that the rules find, and what else they redact or block, whatever a preset would let pass. Names, headers, ids and the
/// recorded tails of streams are treated alike. A body that cannot be read, or that cannot be made clean, is
/// withheld. Verdict columns stay as they were recorded.
///
/// What no rule finds stays: try `--drop-bodies` where that is not enough. The capture it was made from is
/// left as it is.
///
/// Exit code: 0 done, 1 no row matched and nothing was written, 2 an error.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  wiregate-replay redact ./capture --out ./for-support --builtin --mask principal=pseudonym --mask tenant=drop"
)]
pub(crate) struct Redact {
    /// Capture folder, one of its subfolders, or one Parquet file
    #[arg(value_name = "CAPTURE")]
    path: PathBuf,

    #[command(flatten)]
    target: Target,

    /// A rule folder or file to redact by; may be given again. Without any, the built-in rules
    #[arg(long, value_name = "PATH")]
    rules: Vec<PathBuf>,

    /// Redact by the rules built into this binary; with --rules, by both
    #[arg(long)]
    builtin: bool,

    /// Beside the built-in rules: this stricter pack as well; may be given again
    #[arg(long, value_name = "NAME")]
    pack: Vec<String>,

    /// Rules above this level stay out
    #[arg(long, value_name = "1-4", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=4))]
    paranoia: u8,

    /// Withhold every body
    #[arg(long)]
    drop_bodies: bool,

    /// Treat a column of names as a whole: FIELD=pseudonym (the same name gets the same one, within this capture only)
    /// or FIELD=drop; fields: principal, tenant, session, client, server, name
    #[arg(long, value_name = "FIELD=HOW", value_parser = Mask::parse)]
    mask: Vec<Mask>,

    #[command(flatten)]
    select: Select,
}

/// What was done.
#[derive(Debug, Default, serde::Serialize)]
struct Done {
    /// Bodies in which something was hidden now.
    redacted: u64,
    /// Places hidden in them.
    hidden: u64,
    /// Bodies withheld now.
    withheld: u64,
    /// The set that was used.
    rules: String,
}

impl Redact {
    pub(crate) fn run(self) -> Result<Outcome, Error> {
        let set = self.set()?;
        let source = Source::open(&self.path)?;
        let mut before = source.size();
        let how = self.how(&set);
        let derived = self.target.create("redact", Some(how), &source)?;
        let mut derived = derived.with_bare_labels();
        let names = Pseudonyms::new()?;
        let mut hider = Hider::new(&set, self.paranoia);
        let mut done = Done { rules: set.digest().to_owned(), ..Done::default() };
        let wanted = self.select.wanted();
        let progress = Progress::new("redacting");
        let mut kept = 0_u64;
        before.rows = source.each(&self.select.all(), &progress, |partition, row| {
            if wanted.is(&row) {
                kept += 1;
                put(&mut derived, partition, self.treat(row, &mut hider, &names, &mut done))?;
            }
            Ok(())
        })?;
        drop(progress);
        if kept == 0 {
            eprintln!("wiregate-replay: no row matches; nothing was written");
            return Ok(Outcome::Differs);
        }
        let after = derived.finish()?;
        Summary { before, after, more: done }.print(self.target.json)?;
        Ok(Outcome::Fine)
    }

    fn set(&self) -> Result<RuleSet, Error> {
        let builtin = self.builtin || self.rules.is_empty() || !self.pack.is_empty();
        let mut sources = if builtin { rulefiles::builtin(&self.pack)? } else { Vec::new() };
        if !self.rules.is_empty() {
            sources.extend(rulefiles::load(&self.rules)?);
        }
        rulefiles::compile(&sources)
    }

    /// For the manifest.
    fn how(&self, set: &RuleSet) -> String {
        let mut how = format!("rules {}, paranoia {}", set.digest(), self.paranoia);
        if self.drop_bodies {
            how.push_str(", bodies dropped");
        }
        for mask in &self.mask {
            how.push_str(&format!(", {mask}"));
        }
        how
    }

    fn treat(
        &self,
        mut row: Record,
        hider: &mut Hider<'_>,
        names: &Pseudonyms,
        done: &mut Done,
    ) -> Record {
        let had = row.body.is_some();
        if self.drop_bodies && had {
            hide::withhold(&mut row);
        }
        match hider.row(&mut row) {
            Hidden::Nothing => {}
            Hidden::Places(places) => {
                done.redacted += 1;
                done.hidden += places;
            }
            Hidden::Body => {}
        }
        done.withheld += u64::from(had && row.body.is_none());
        self.mask.iter().for_each(|mask| mask.apply(&mut row, names));
        row
    }
}
