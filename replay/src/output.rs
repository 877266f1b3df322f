//! Where text leaves the process: stdout, JSON that is safe to look at, and progress on stderr.

use std::io::{self, BufWriter, IsTerminal as _, StdoutLock, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use serde_json::ser::{CharEscape, CompactFormatter, Formatter, PrettyFormatter};

use crate::error::Error;

/// How a verb ended, which is the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// 0: all is as it should be.
    Fine,
    /// 1: something was found, differs or failed its test.
    Differs,
    /// 2: the answer was printed, yet it is incomplete.
    Broken,
}

/// Buffered stdout. A reader that went away (`… | head`) is no error: writing then stops.
#[derive(Debug)]
pub(crate) struct Out {
    inner: BufWriter<StdoutLock<'static>>,
    closed: bool,
}

impl Out {
    pub(crate) fn stdout() -> Self {
        Self { inner: BufWriter::new(io::stdout().lock()), closed: false }
    }

    /// Whether nobody reads any more.
    pub(crate) fn closed(&self) -> bool {
        self.closed
    }

    pub(crate) fn write(&mut self, text: &str) -> Result<(), Error> {
        let result = self.inner.write_all(text.as_bytes());
        self.note(result)
    }

    pub(crate) fn line(&mut self, text: &str) -> Result<(), Error> {
        self.write(text)?;
        self.write("\n")
    }

    /// One JSON value on one line.
    pub(crate) fn json_line(&mut self, value: &impl Serialize) -> Result<(), Error> {
        self.line(&to_json(value, CompactFormatter)?)
    }

    /// One JSON value, indented.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> Result<(), Error> {
        self.line(&to_json(value, PrettyFormatter::new())?)
    }

    pub(crate) fn finish(mut self) -> Result<(), Error> {
        let result = self.inner.flush();
        self.note(result)
    }

    fn note(&mut self, result: io::Result<()>) -> Result<(), Error> {
        match result {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.closed = true;
                Ok(())
            }
            other => other.map_err(Error::Write),
        }
    }
}

/// One JSON value on one line, safe to look at.
pub(crate) fn to_compact(value: &impl Serialize) -> Result<String, Error> {
    to_json(value, CompactFormatter)
}

fn to_json<F: Formatter>(value: &impl Serialize, formatter: F) -> Result<String, Error> {
    let mut bytes = Vec::new();
    value.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, Visible(formatter)))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// JSON whose strings hold no character a terminal would act on: those become `\uXXXX`, which
/// any JSON reader turns back into the same string.
struct Visible<F>(F);

impl<F: Formatter> Formatter for Visible<F> {
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut from = 0;
        for (at, c) in fragment.char_indices().filter(|(_, c)| scan::text::is_hostile(*c)) {
            self.0.write_string_fragment(writer, &fragment[from..at])?;
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            from = at + c.len_utf8();
        }
        self.0.write_string_fragment(writer, &fragment[from..])
    }

    fn write_char_escape<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        escape: CharEscape,
    ) -> io::Result<()> {
        self.0.write_char_escape(writer, escape)
    }

    fn begin_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_array(writer)
    }

    fn end_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array(writer)
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, w: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_array_value(w, first)
    }

    fn end_array_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array_value(writer)
    }

    fn begin_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object(writer)
    }

    fn end_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object(writer)
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, w: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_object_key(w, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object_value(writer)
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object_value(writer)
    }
}

/// The width to fit tables to: what the user said, else the terminal's, else none (a pipe or a
/// file gets whole cells).
pub(crate) fn table_width(given: Option<u16>) -> Option<usize> {
    if let Some(width) = given {
        return Some(usize::from(width));
    }
    if !io::stdout().is_terminal() {
        return None;
    }
    terminal_size::terminal_size().map_or(Some(80), |(width, _)| Some(usize::from(width.0)))
}

/// A count that ticks on stderr while it is a terminal, else nothing.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    pub(crate) fn new(what: &'static str) -> Self {
        Self::counting(what, "rows")
    }

    /// Counts other things than rows.
    pub(crate) fn counting(what: &'static str, unit: &'static str) -> Self {
        if !io::stderr().is_terminal() {
            return Self { bar: ProgressBar::hidden() };
        }
        let bar = ProgressBar::new_spinner();
        let template =
            format!("{{spinner}} {{msg}}: {{human_pos}} {unit}, {{per_sec}}, {{elapsed}}");
        if let Ok(style) = ProgressStyle::with_template(&template) {
            bar.set_style(style);
        }
        bar.set_message(what);
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { bar }
    }

    pub(crate) fn at(&self, rows: u64) {
        self.bar.set_position(rows);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_holds_no_character_a_terminal_would_act_on() {
        let hostile = "a\u{1b}[2J\u{9b}31m\u{7f}\u{202e}\u{e0041}z\n";
        for json in [
            to_json(&hostile, CompactFormatter).unwrap(),
            to_json(&hostile, PrettyFormatter::new()).unwrap(),
        ] {
            assert!(!json.chars().any(scan::text::is_hostile), "{json:?}");
            assert_eq!(serde_json::from_str::<String>(&json).unwrap(), hostile);
        }
    }
}
