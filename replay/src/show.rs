//! `show`: the rows of a capture as a table or as JSON lines.

mod columns;
mod sealed;

use std::io::{IsTerminal as _, stdout};
use std::path::PathBuf;

use ::scan::Rows;
use ::scan::text::{Align, Table, visible};
use capture::{Location, Query, Record};
use clap::Args;

use self::sealed::Opener;
use crate::error::Error;
use crate::output::{Out, Outcome, Progress, table_width};
use crate::select::Select;

/// Rows that decide the widths of the table's columns, and are held in memory for that.
const PORTION: usize = 500;

/// List the rows of a capture.
///
/// A row is one message (or a transport event, or a gap) as it crossed the client's or the
/// upstream's wire (--columns leg tells which). Times are UTC. Bodies are not shown without --body; control characters in
/// them, and in everything else, are shown as escapes.
///
/// Exit code: 0 done, 2 an error or a damaged file (the other files are shown).
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  wiregate-replay show ./capture --server files --action block --since 2026-11-21T00:00:00Z"
)]
pub(crate) struct Show {
    /// Capture folder, one of its subfolders, or one Parquet file; or the URL of one in a store
    #[arg(value_name = "DIR|FILE|URL")]
    path: Location,

    #[command(flatten)]
    select: Select,

    /// Stop after so many rows
    #[arg(long, value_name = "N")]
    limit: Option<usize>,

    /// Columns to show, separated by commas, instead of the usual ones
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = columns::known)]
    columns: Vec<&'static str>,

    /// Show the recorded bodies as well
    #[arg(long)]
    body: bool,

    /// Show sealed bodies as they crossed the wire, opened with the private keys in this file (AGE-SECRET-KEY-1…)
    #[arg(long, value_name = "FILE")]
    identity: Option<PathBuf>,

    /// Print one JSON object per row: every column that is not null, or those of --columns
    #[arg(long)]
    json: bool,

    /// Fit the table to this many columns instead of the terminal's
    #[arg(long, value_name = "COLUMNS")]
    width: Option<u16>,
}

impl Show {
    pub(crate) fn run(self) -> Result<Outcome, Error> {
        let shown = self.shown();
        let rows = Rows::open(&self.path, self.query(&shown))?;
        let mut printer = Printer::new(&self, &shown);
        let mut outcome = Outcome::Fine;
        let mut opener = self.identity.as_deref().map(Opener::load).transpose()?;
        let wanted = self.select.wanted();
        let progress = (!stdout().is_terminal()).then(|| Progress::new("reading"));
        let mut read = 0_u64;

        for row in rows {
            if self.limit.is_some_and(|limit| printer.rows >= limit) || printer.out.closed() {
                break;
            }
            read += 1;
            if let Some(progress) = &progress {
                progress.at(read);
            }
            let row = row.map(|row| match &mut opener {
                Some(opener) => opener.open(row),
                None => row,
            });
            match row {
                Ok(row) if wanted.is(&row) => printer.row(&row)?,
                Ok(_) => {}
                Err(error) => {
                    outcome = Outcome::Broken;
                    eprintln!("wiregate-replay: {}", visible(&error.to_string()));
                }
            }
        }
        drop(progress);
        if printer.rows == 0 {
            eprintln!("wiregate-replay: no row to show");
        }
        printer.finish()?;
        opener.iter().for_each(Opener::tell);
        Ok(outcome)
    }

    /// The columns of the output.
    fn shown(&self) -> Vec<&'static str> {
        let bodies = |name: &&'static str| self.body || !columns::BODIES.contains(name);
        match (self.columns.is_empty(), self.json) {
            (false, _) => self.columns.clone(),
            (true, false) => columns::DEFAULT.to_vec(),
            (true, true) => {
                capture::schema::columns().iter().map(|c| c.name).filter(bodies).collect()
            }
        }
    }

    /// The filters, and only the columns needed: bodies are nearly all of a file.
    fn query(&self, shown: &[&'static str]) -> Query {
        let mut needed: Vec<&str> = shown.to_vec();
        if self.body || shown.iter().any(|c| columns::BODIES.contains(c)) {
            needed.extend(["body", "body_raw"]);
        }
        needed.extend(self.identity.iter().map(|_| "body_sealed"));
        // Whether a row was judged decides if it has rule_ids at all.
        needed.extend(["ts", "ruleset_digest", "writer_id", "seq"]);
        self.select.query(&needed)
    }
}

/// Writes rows as they come; of a table, the first portion settles the widths.
struct Printer<'a> {
    out: Out,
    rows: usize,
    shown: &'a [&'static str],
    json: bool,
    bodies: bool,
    table: Table,
    pending: Vec<String>,
    widths: Option<Vec<usize>>,
    width: Option<usize>,
}

impl<'a> Printer<'a> {
    fn new(show: &Show, shown: &'a [&'static str]) -> Self {
        let columns: Vec<(&str, Align)> = shown.iter().map(|name| (*name, Align::Left)).collect();
        Self {
            out: Out::stdout(),
            rows: 0,
            shown,
            json: show.json,
            bodies: show.body,
            table: Table::new(&columns).firm("ts"),
            pending: Vec::new(),
            widths: None,
            width: table_width(show.width),
        }
    }

    fn row(&mut self, row: &Record) -> Result<(), Error> {
        self.rows += 1;
        if self.json {
            return self.out.json_line(&columns::object(row, self.shown));
        }
        self.table.push(self.shown.iter().map(|column| columns::cell(row, column)));
        if self.bodies {
            self.pending.push(body(row));
        }
        if self.table.len() >= PORTION { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), Error> {
        if self.table.is_empty() {
            return Ok(());
        }
        if self.widths.is_none() {
            let widths = self.table.widths(self.width);
            self.out.line(&self.table.heading(&widths, self.width))?;
            self.widths = Some(widths);
        }
        let lines = self.table.body(self.widths.as_deref().unwrap_or_default(), self.width);
        let mut bodies = self.pending.drain(..);
        for line in lines.lines() {
            self.out.line(line)?;
            if let Some(body) = bodies.next() {
                self.out.line(&body)?;
            }
        }
        drop(bodies);
        self.table.clear();
        Ok(())
    }

    fn finish(mut self) -> Result<(), Error> {
        self.flush()?;
        self.out.finish()
    }
}

/// A body as one indented line of harmless characters.
fn body(row: &Record) -> String {
    match (&row.body, columns::body_text(row)) {
        (None, _) => "    (no body recorded)".to_owned(),
        (Some(_), Some(text)) => format!("    {}", visible(text)),
        (Some(bytes), None) => {
            format!("    (not UTF-8) {}", visible(&bytes.escape_ascii().to_string()))
        }
    }
}
