//! Text for terminals: hostile strings made visible, and tables that fit the width.
//!
//! Captures hold what attackers sent. Nothing of it may reach a terminal as a control character,
//! an escape sequence or an invisible mark, so every cell goes through [`visible`].

use std::borrow::Cow;
use std::fmt::Write as _;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Space between two columns.
const GAP: usize = 2;
/// Other columns are squeezed to this width before a firm one gives way.
const NARROW: usize = 6;
/// A column is never squeezed below this many cells.
const NARROWEST: usize = 4;
/// No cell is shown wider than this, however wide the terminal is.
const WIDEST: usize = 4096;

/// Whether a character must not reach a terminal as it is: controls, and the invisible or
/// order-changing marks that make text look like other text.
#[must_use]
pub fn is_hostile(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
            | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}')
}

/// The text with every hostile character written as an escape: `\n`, `\t`, `\u{1b}`.
#[must_use]
pub fn visible(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_hostile) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_hostile(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// Where a column's text stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// Rows of cells under a heading. Cells are made [`visible`] on the way in.
#[derive(Clone, Debug)]
pub struct Table {
    columns: Vec<(String, Align)>,
    firm: Option<usize>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table with these headings.
    #[must_use]
    pub fn new(columns: &[(&str, Align)]) -> Self {
        Self {
            columns: columns.iter().map(|(title, align)| ((*title).to_owned(), *align)).collect(),
            firm: None,
            rows: Vec::new(),
        }
    }

    /// The column of this heading is cut last: half a time is no time.
    #[must_use]
    pub fn firm(mut self, title: &str) -> Self {
        self.firm = self.columns.iter().position(|(known, _)| known == title);
        self
    }

    /// Adds a row; missing cells stay empty, cells too many are left out.
    pub fn push<I>(&mut self, cells: I)
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let mut row: Vec<String> = cells
            .into_iter()
            .take(self.columns.len())
            .map(|cell| visible(cell.as_ref()).into_owned())
            .collect();
        row.resize(self.columns.len(), String::new());
        self.rows.push(row);
    }

    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether no row was added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Takes the rows out and keeps the headings: a long listing is printed in portions.
    pub fn clear(&mut self) {
        self.rows.clear();
    }

    /// One width per column, so that a line fits `width` cells (`None`: as wide as needed).
    #[must_use]
    pub fn widths(&self, width: Option<usize>) -> Vec<usize> {
        let mut widths: Vec<usize> = self.columns.iter().map(|(title, _)| title.width()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.width()).min(WIDEST);
            }
        }
        let Some(limit) = width else { return widths };
        let gaps = GAP * widths.len().saturating_sub(1);
        // Lower one common ceiling until the line fits: wide columns pay, narrow ones don't.
        for (firm, narrowest) in [(self.firm, NARROW), (None, NARROWEST)] {
            let mut ceiling = widths.iter().copied().max().unwrap_or(0);
            while widths.iter().sum::<usize>() + gaps > limit && ceiling > narrowest {
                ceiling -= 1;
                for (at, width) in widths.iter_mut().enumerate() {
                    if firm != Some(at) {
                        *width = (*width).min(ceiling);
                    }
                }
            }
        }
        widths
    }

    /// The heading as a line, cut to `limit` cells when one is given.
    #[must_use]
    pub fn heading(&self, widths: &[usize], limit: Option<usize>) -> String {
        let titles: Vec<&str> = self.columns.iter().map(|(title, _)| title.as_str()).collect();
        clip(&self.line(&titles, widths), limit.unwrap_or(usize::MAX)).into_owned()
    }

    /// The rows as lines, each ended by a line feed, cut to `limit` cells when one is given.
    #[must_use]
    pub fn body(&self, widths: &[usize], limit: Option<usize>) -> String {
        let mut out = String::new();
        for row in &self.rows {
            let cells: Vec<&str> = row.iter().map(String::as_str).collect();
            let line = self.line(&cells, widths);
            out.push_str(&clip(&line, limit.unwrap_or(usize::MAX)));
            out.push('\n');
        }
        out
    }

    /// Heading and rows.
    #[must_use]
    pub fn render(&self, width: Option<usize>) -> String {
        let widths = self.widths(width);
        let mut out = self.heading(&widths, width);
        out.push('\n');
        out.push_str(&self.body(&widths, width));
        out
    }

    fn line(&self, cells: &[&str], widths: &[usize]) -> String {
        let mut out = String::new();
        for (i, ((cell, width), (_, align))) in
            cells.iter().zip(widths).zip(&self.columns).enumerate()
        {
            if i > 0 {
                let _ = write!(out, "{:GAP$}", "");
            }
            let cell = clip(cell, *width);
            let pad = width.saturating_sub(cell.width());
            if *align == Align::Right {
                let _ = write!(out, "{:pad$}{cell}", "");
            } else {
                let _ = write!(out, "{cell}{:pad$}", "");
            }
        }
        out.truncate(out.trim_end().len());
        out
    }
}

/// Cuts a text to so many terminal cells; what is cut ends in an ellipsis.
#[must_use]
pub fn clip(text: &str, cells: usize) -> Cow<'_, str> {
    if text.width() <= cells {
        return Cow::Borrowed(text);
    }
    let mut out = String::new();
    let mut used = 0;
    for c in text.chars() {
        let width = c.width().unwrap_or(0);
        if used + width + 1 > cells {
            break;
        }
        used += width;
        out.push(c);
    }
    if cells > 0 {
        out.push('…');
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_characters_become_escapes() {
        assert_eq!(visible("a\u{1b}[2Jb\nc"), "a\\u{1b}[2Jb\\nc");
        assert_eq!(visible("\u{9b}31m \u{202e}x\u{200b}"), "\\u{9b}31m \\u{202e}x\\u{200b}");
        assert_eq!(visible("grüße 你好"), "grüße 你好");
    }

    #[test]
    fn a_table_fits_its_width() {
        let mut table = Table::new(&[("name", Align::Left), ("n", Align::Right)]);
        table.push(["a very long name that does not fit", "12"]);
        table.push(["你好你好你好你好你好你好", "3456"]);
        for line in table.render(Some(20)).lines() {
            assert!(line.width() <= 20, "{line:?} is wider than 20");
        }
        assert_eq!(
            table.render(Some(20)),
            "name               n\na very long n…    12\n你好你好你好…   3456\n"
        );
        assert!(table.render(None).contains("that does not fit"));
    }

    #[test]
    fn a_firm_column_is_cut_last() {
        let mut table = Table::new(&[("time", Align::Left), ("text", Align::Left)]).firm("time");
        table.push(["2026-11-22T09:00:00Z", "a text that is longer than the time"]);
        assert_eq!(table.widths(Some(40)), [20, 18]);
        assert_eq!(table.widths(Some(28)), [20, 6]);
        assert_eq!(table.widths(Some(20)), [12, 6]);
    }

    #[test]
    fn a_terminal_too_narrow_still_gets_no_longer_lines() {
        let mut table = Table::new(&[("aaaaaa", Align::Left), ("bbbbbb", Align::Left)]);
        table.push(["xxxxxxxx", "yyyyyyyy"]);
        for line in table.render(Some(5)).lines() {
            assert!(line.width() <= 5, "{line:?}");
        }
    }
}
