//! Floors: what share of attacks a set must catch, and what share of benign lines it may hit.

use std::str::FromStr;

use serde::Serialize;

use super::corpus::{Corpora, Row};
use crate::error::Error;

/// `SHARE`, or `NAME=SHARE` for one class, kind or corpus.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Floor {
    name: String,
    share: f64,
}

impl FromStr for Floor {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, share) = text.rsplit_once('=').unwrap_or(("all", text));
        let share: Option<f64> = share.parse().ok().filter(|share| (0.0..=1.0).contains(share));
        match share {
            Some(share) if !name.is_empty() => Ok(Self { name: name.to_owned(), share }),
            _ => Err("a share is 0 to 1, as `.85` or `secret=.85`".to_owned()),
        }
    }
}

/// What became of a floor.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Held {
    /// `recall` or `false positives`.
    pub(crate) what: &'static str,
    /// `class secret`, `all`.
    pub(crate) of: String,
    /// What was asked for.
    pub(crate) asked: f64,
    /// What was measured.
    pub(crate) share: f64,
    /// Whether it is enough.
    pub(crate) holds: bool,
    /// Where the lines stand.
    pub(crate) corpora: Vec<String>,
}

impl Held {
    /// One line.
    pub(crate) fn line(&self) -> String {
        let Self { what, of, asked, share, holds, .. } = self;
        let sign = if *what == "recall" { "at least" } else { "at most" };
        let holds = if *holds { "holds" } else { "FAILS" };
        format!("{what} of {of}: {share:.3}, {sign} {asked} asked: {holds}")
    }
}

/// Holds the floors against what was measured. One that names nothing measured is the user's error: it would hold
/// for ever.
pub(crate) fn hold(
    corpora: &Corpora,
    recall: &[Floor],
    false_positives: &[Floor],
) -> Result<Vec<Held>, Error> {
    let mut held = Vec::new();
    for floor in recall {
        let share = |row: &Row| row.recall();
        held.extend(one(corpora, floor, "recall", share, |share, asked| share >= asked)?);
    }
    for floor in false_positives {
        let share = |row: &Row| row.false_share();
        held.extend(one(corpora, floor, "false positives", share, |share, asked| share <= asked)?);
    }
    Ok(held)
}

/// One floor over every class, kind and corpus of its name.
fn one(
    corpora: &Corpora,
    floor: &Floor,
    what: &'static str,
    share: impl Fn(&Row) -> Option<f64>,
    enough: impl Fn(f64, f64) -> bool,
) -> Result<Vec<Held>, Error> {
    let named = corpora.rows().filter(|row| row.is_named(&floor.name));
    let held: Vec<Held> = named
        .filter_map(|row| {
            let share = share(row)?;
            Some(Held {
                what,
                of: row.title(),
                asked: floor.share,
                share,
                holds: enough(share, floor.share),
                corpora: row.files().map(str::to_owned).collect(),
            })
        })
        .collect();
    if held.is_empty() {
        let lines = if what == "recall" { "attack" } else { "benign" };
        let name = &floor.name;
        let message = format!("no {lines} line is of a class, kind or corpus named `{name}`");
        return Err(Error::Usage(message));
    }
    Ok(held)
}

#[cfg(test)]
mod tests {
    use super::Floor;

    #[test]
    fn floors_are_shares_with_or_without_a_name() {
        let floor = |text: &str| text.parse::<Floor>().ok().map(|f| (f.name, f.share));
        assert_eq!(floor(".85"), Some(("all".to_owned(), 0.85)));
        assert_eq!(floor("secret=1"), Some(("secret".to_owned(), 1.0)));
        for wrong in ["1.5", "-0.1", "=0.5", "secret=", "secret", "NaN"] {
            assert_eq!(floor(wrong), None, "{wrong}");
        }
    }
}
