//! `verify`: whether a capture is what its writers stated.

use std::path::PathBuf;

use capture::{VerifyOptions, VerifyReport, key_id, verify};
use clap::Args;
use scan::text::{Align, Table, visible};

use crate::error::Error;
use crate::output::{Out, Outcome, Progress};

/// Breaks that are printed one by one without --json.
const SHOWN: usize = 50;
/// Heads that are: of the newest writers.
const HEADS: usize = 8;

/// Tell whether a capture is whole and unchanged.
///
/// Each writer keeps a manifest of its files: chained line by line and, with a key, signed. Every file is
/// held against it: bytes, rows, bodies, and that none is missing. Files that were removed to make
/// room are no break; they were stated. A writer at work is passed over with a note.
///
/// Without --key the capture's first key is trusted, and a capture that somebody rewrote and signed as a
/// whole would pass: give the key that you trust. Manifests that were cut at their ends are found by the
/// writers that came later, and by heads that were kept elsewhere (--head).
///
/// Exit code: 0 all holds, 1 something is broken: the first break is named, 2 an error.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  wiregate-replay verify ./capture --key ~/.local/state/wiregate/capture-key.pub"
)]
pub(crate) struct Verify {
    /// Capture folder
    #[arg(value_name = "DIR")]
    path: PathBuf,

    /// A key that may have signed: a file of it, the public key in base64, or its id; several times for several
    #[arg(long, value_name = "FILE|KEY|ID")]
    key: Vec<String>,

    /// A head that must be in a manifest: the SHA-256 of one of its lines, as it was printed before
    #[arg(long, value_name = "SHA256")]
    head: Vec<String>,

    /// Compare the files' bytes only, and leave their rows unread
    #[arg(long)]
    quick: bool,

    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

impl Verify {
    pub(crate) fn run(self) -> Result<Outcome, Error> {
        let keys = self.key.iter().map(|key| key_id(key)).collect::<Result<_, _>>()?;
        let heads = self.head.iter().map(|head| head.to_ascii_lowercase()).collect();
        let options = VerifyOptions { keys, heads, quick: self.quick };
        let progress = Progress::counting("verifying", "bytes");
        let report = verify(&self.path, &options, &mut |done, _| progress.at(done))?;
        drop(progress);
        let mut out = Out::stdout();
        if self.json {
            out.json(&report)?;
        } else {
            print(&report, &mut out)?;
        }
        out.finish()?;
        Ok(if report.holds() { Outcome::Fine } else { Outcome::Differs })
    }
}

fn print(report: &VerifyReport, out: &mut Out) -> Result<(), Error> {
    for note in &report.notes {
        eprintln!("wiregate-replay: {}", visible(note));
    }
    for found in report.breaks.iter().take(SHOWN) {
        let at = found.at.map_or(String::new(), |at| format!(" at {at}"));
        let kind = found.kind.as_str();
        out.line(&visible(&format!("{kind} {}{at}: {}", found.path, found.detail)))?;
    }
    if report.broken > SHOWN as u64 {
        out.line(&format!("and {} more", report.broken - SHOWN as u64))?;
    }
    if report.broken > 0 {
        out.line("")?;
    }
    let mut table = Table::new(&[("", Align::Left), ("", Align::Right)]);
    let mut count = |name: &str, value: u64| table.push([name.to_owned(), value.to_string()]);
    count("writers", report.writers);
    count("files", report.files);
    count("files removed, and stated so", report.removed);
    count("files from before manifests", report.unstated);
    count("bytes", report.bytes);
    count("rows", report.rows);
    count("gap rows", report.gaps);
    count("rows lost, by their gap rows", report.dropped);
    for (id, entries) in &report.signed_by {
        count(&format!("entries signed by {id}"), *entries);
    }
    count("entries without signature", report.unsigned);
    count("breaks", report.broken);
    let widths = table.widths(None);
    out.write(&table.body(&widths, None))?;
    let newest = report.heads.len().saturating_sub(HEADS);
    if newest > 0 {
        out.line(&format!("heads of the {HEADS} newest writers; --json has all"))?;
    }
    for head in &report.heads[newest..] {
        out.line(&visible(&format!("head {} {} {}", head.writer, head.n, head.head)))?;
    }
    Ok(())
}
