//! `judge`: one text or message a line in, one verdict a line out, by the very path of live traffic.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use ::scan::text::{Align, Table};
use clap::Args;
use inspect::{Preset, RuleSet};

use crate::error::Error;
use crate::output::{Out, Outcome, Progress, table_width, to_compact};
use crate::rulefiles;

pub(crate) mod case;
mod wrap;

use case::{Bench, Case, Judged};

/// Lines judged by all cores together before they are written.
const BATCH_LINES: usize = 4096;
/// And not more bytes than this.
const BATCH_BYTES: usize = 64 << 20;
/// One line at most.
const MAX_LINE: usize = 32 << 20;

/// Judge texts or messages, one JSON object a line, exactly as the gateway would.
///
/// A line is `{"id", "surface", "text"}` (the text is wrapped in an MCP message of that surface) or
/// `{"id", "direction", "message"}` with optional `method`, `name` and `server`. The answer is
/// `{"id", "action", "would_be", "flagged", "score", "rules", "spans", "output"}`: `output` is the
/// text or message that would be forwarded, `null` when it is blocked. Where lines have a `label`
/// (`attack` or `benign`), a table per kind is printed.
///
/// Exit code: 0 all lines were judged, 2 a line or file cannot be read.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  wiregate-replay judge --in corpus.jsonl --out verdicts.jsonl --paranoia 2"
)]
pub(crate) struct Judge {
    /// Lines to judge; `-` for standard input
    #[arg(long = "in", value_name = "FILE")]
    input: PathBuf,

    /// Where verdicts go, in the order of the lines; `-` for standard output
    #[arg(long = "out", value_name = "FILE")]
    output: PathBuf,

    /// Rule folders or files; none: the built-in rules
    #[arg(long, value_name = "DIR")]
    rules: Vec<PathBuf>,

    /// Add a built-in pack
    #[arg(long, value_name = "NAME", conflicts_with = "rules")]
    pack: Vec<String>,

    /// How findings become actions
    #[arg(long, value_name = "PRESET", default_value = "balanced")]
    preset: Preset,

    /// Rules above this level stay out
    #[arg(long, value_name = "1-4", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=4))]
    paranoia: u8,

    /// Threads; all cores when not given
    #[arg(long, value_name = "N")]
    threads: Option<std::num::NonZeroUsize>,

    /// Print the table as JSON
    #[arg(long)]
    json: bool,

    /// Fit the table to this many columns instead of the terminal's
    #[arg(long, value_name = "COLUMNS")]
    width: Option<u16>,
}

impl Judge {
    pub(crate) fn run(self) -> Result<Outcome, Error> {
        let sources = if self.rules.is_empty() {
            rulefiles::builtin(&self.pack)?
        } else {
            rulefiles::load(&self.rules)?
        };
        let set = rulefiles::compile(&sources)?;
        let to_stdout = self.output == Path::new("-");
        let mut tally = Tally::default();
        let bad = if to_stdout {
            let mut out = Out::stdout();
            let bad = self.all(&set, &mut tally, &mut |line| out.line(line))?;
            out.finish()?;
            bad
        } else {
            let path = &self.output;
            let failed = |source| Error::WriteFile { path: path.clone(), source };
            let mut file = BufWriter::new(File::create(path).map_err(failed)?);
            let mut put = |line: &str| writeln!(file, "{line}").map_err(failed);
            let bad = self.all(&set, &mut tally, &mut put)?;
            file.flush().map_err(failed)?;
            bad
        };
        if !to_stdout && !tally.kinds.is_empty() {
            let mut out = Out::stdout();
            if self.json {
                out.json(&tally.kinds)?;
            } else {
                out.write(&tally.table().render(table_width(self.width)))?;
            }
            out.finish()?;
        }
        Ok(if bad { Outcome::Broken } else { Outcome::Fine })
    }

    /// Judges every line in batches; tells whether some could not be judged.
    fn all(
        &self,
        set: &RuleSet,
        tally: &mut Tally,
        put: &mut dyn FnMut(&str) -> Result<(), Error>,
    ) -> Result<bool, Error> {
        let path = &self.input;
        let failed = |source| Error::Read { path: path.clone(), source };
        let mut input: Box<dyn BufRead> = if path == Path::new("-") {
            Box::new(io::stdin().lock())
        } else {
            Box::new(BufReader::with_capacity(1 << 20, File::open(path).map_err(failed)?))
        };
        let threads = self
            .threads
            .or_else(|| std::thread::available_parallelism().ok())
            .map_or(1, std::num::NonZeroUsize::get)
            .min(256);
        let bench = || Bench::new(set, self.preset, self.paranoia);
        let mut benches: Vec<Bench<'_>> = (0..threads).map(|_| bench()).collect();
        let progress = Progress::new("judging");
        let mut number = 0_u64;
        let mut bad = false;
        loop {
            let batch = read_batch(&mut *input, MAX_LINE).map_err(failed)?;
            if batch.is_empty() {
                return Ok(bad);
            }
            for (line, judged) in batch.iter().zip(judge_batch(&mut benches, &batch)) {
                number += 1;
                match judged {
                    Ok((case, judged)) => {
                        tally.add(&case, &judged);
                        put(&to_compact(&judged)?)?;
                    }
                    Err(_) if line.trim_ascii().is_empty() => {}
                    Err(error) => {
                        bad = true;
                        eprintln!("{}:{number}: {error}", path.display());
                    }
                }
            }
            progress.at(number);
        }
    }
}

/// Judges the lines of a batch on all threads; answers come in the lines' order.
fn judge_batch<'l>(
    benches: &mut [Bench<'_>],
    batch: &'l [Vec<u8>],
) -> Vec<Result<(Case<'l>, Judged<'l>), String>> {
    let next = std::sync::atomic::AtomicUsize::new(0);
    let answers: Mutex<Vec<_>> = Mutex::new(Vec::with_capacity(batch.len()));
    std::thread::scope(|scope| {
        for bench in benches {
            let (next, answers) = (&next, &answers);
            scope.spawn(move || {
                let mut own = Vec::new();
                loop {
                    // a few at a time, so that one long text does not hold up a share of the batch
                    let from = next.fetch_add(16, std::sync::atomic::Ordering::Relaxed);
                    let Some(lines) = batch.get(from..batch.len().min(from + 16)) else { break };
                    if lines.is_empty() {
                        break;
                    }
                    for (at, line) in (from..).zip(lines) {
                        own.push((at, bench.line(line)));
                    }
                }
                // a poisoned lock means that another thread panicked; the scope tells that
                if let Ok(mut answers) = answers.lock() {
                    answers.append(&mut own);
                }
            });
        }
    });
    let mut answers = answers.into_inner().unwrap_or_default();
    answers.sort_unstable_by_key(|(at, _)| *at);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

/// The next lines, without their ends; none at the end. A longer line is an error.
fn read_batch(input: &mut dyn BufRead, limit: usize) -> io::Result<Vec<Vec<u8>>> {
    let mut batch = Vec::new();
    let mut bytes = 0;
    while batch.len() < BATCH_LINES && bytes < BATCH_BYTES {
        let mut line = Vec::new();
        let room = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
        let read = io::Read::take(&mut *input, room).read_until(b'\n', &mut line)?;
        if read == 0 {
            break;
        }
        if read > limit {
            return Err(io::Error::other(format!("a line is longer than {limit} bytes")));
        }
        bytes += read;
        batch.push(line);
    }
    Ok(batch)
}

/// Counts per kind of labelled lines.
#[derive(Debug, Default)]
struct Tally {
    kinds: BTreeMap<String, Counts>,
}

#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
struct Counts {
    lines: u64,
    flagged: u64,
    redacted: u64,
    blocked: u64,
}

impl Tally {
    fn add(&mut self, case: &Case<'_>, judged: &Judged<'_>) {
        let Some(label) = case.label.as_deref() else { return };
        let kind = case.kind.as_deref().unwrap_or("all");
        let counts = self.kinds.entry(format!("{label}/{kind}")).or_default();
        counts.lines += 1;
        counts.flagged += u64::from(judged.flagged);
        counts.redacted += u64::from(judged.action == inspect::Action::Redact);
        counts.blocked += u64::from(judged.action == inspect::Action::Block);
    }

    fn table(&self) -> Table {
        let right = Align::Right;
        let mut table = Table::new(&[
            ("label", Align::Left),
            ("kind", Align::Left),
            ("lines", right),
            ("flagged or worse", right),
            ("redacted", right),
            ("blocked", right),
        ]);
        let mut sums: BTreeMap<&str, Counts> = BTreeMap::new();
        for (name, counts) in &self.kinds {
            let (label, kind) = name.split_once('/').unwrap_or((name, ""));
            table.push(counts.cells(label, kind));
            let sum = sums.entry(label).or_default();
            sum.lines += counts.lines;
            sum.flagged += counts.flagged;
            sum.redacted += counts.redacted;
            sum.blocked += counts.blocked;
        }
        for (label, sum) in sums {
            table.push(sum.cells(label, "(all)"));
        }
        table
    }
}

impl Counts {
    fn cells(self, label: &str, kind: &str) -> [String; 6] {
        #[expect(clippy::cast_precision_loss, reason = "lines are far below 2^52")]
        let share = |n: u64| format!("{n} ({:.3})", n as f64 / self.lines.max(1) as f64);
        [
            label.to_owned(),
            kind.to_owned(),
            self.lines.to_string(),
            share(self.flagged),
            share(self.redacted),
            share(self.blocked),
        ]
    }
}
