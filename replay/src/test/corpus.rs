//! Labelled corpora held against a rule set: what share of the attacks is caught, what share of the rest is hit.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use ::scan::text::{Align, Table};
use inspect::{Action, Preset, RuleSet, template};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::judge::case::Bench;
use crate::judge::{MAX_LINE, judge_batch, read_batch, threads};
use crate::output::Progress;

/// Corpus files of one run at most.
const MAX_FILES: usize = 10_000;
/// Folders in folders, at most.
const MAX_DEPTH: usize = 16;
/// Wrong lines told at most.
const MAX_WRONG: usize = 20;
/// Classes, kinds and corpora at most.
const MAX_ROWS: usize = 1_000;
/// Missed attacks and benign lines hit that are kept by name, at most, of each.
const MAX_NAMED: usize = 1_000;
/// Bytes of text kept for measuring time.
const MAX_TEXT: usize = 512 << 10;

/// How lines are judged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct How {
    pub(crate) preset: Preset,
    pub(crate) paranoia: u8,
    /// The least action that counts as caught.
    pub(crate) at: Action,
}

/// A corpus, read where it is.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    File(PathBuf),
    Text(&'static str, &'static str),
}

/// What a line says of itself; the rest is the judge's.
#[derive(Debug, Deserialize)]
struct Labels {
    id: serde_json::Value,
    label: Option<String>,
    kind: Option<String>,
    class: Option<String>,
    /// In the built-in corpus: the rules that must find it; the first gives the class.
    #[serde(default)]
    rules: serde_json::Value,
    text: Option<String>,
}

/// What was measured.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Corpora {
    rows: BTreeMap<String, Row>,
    /// Per rule: attack and benign lines it found something in.
    rules: BTreeMap<String, Hits>,
    pub(crate) missed: Vec<Named>,
    pub(crate) false_positives: Vec<Named>,
    /// Texts to measure time on, and their bytes.
    #[serde(skip)]
    pub(crate) texts: Vec<String>,
    #[serde(skip)]
    kept: usize,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Hits {
    attack: u64,
    benign: u64,
}

/// A line by name.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Named {
    pub(crate) file: String,
    pub(crate) line: u64,
    pub(crate) id: String,
    pub(crate) rules: Vec<String>,
}

/// The counts of one class, kind or corpus, or of all.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Row {
    by: &'static str,
    name: String,
    attacks: u64,
    caught: u64,
    benign: u64,
    hit: u64,
    #[serde(skip)]
    files: BTreeSet<String>,
}

impl Row {
    /// The share of attacks caught; none without attacks.
    pub(crate) fn recall(&self) -> Option<f64> {
        share(self.caught, self.attacks)
    }
    /// The share of benign lines hit; none without any.
    pub(crate) fn false_share(&self) -> Option<f64> {
        share(self.hit, self.benign)
    }
    /// `class secret`, `all`.
    pub(crate) fn title(&self) -> String {
        format!("{} {}", self.by, self.name).trim().to_owned()
    }
    /// Whether a floor of this name is about it: `secret`, or `class:secret` to be exact.
    pub(crate) fn is_named(&self, name: &str) -> bool {
        match name.split_once(':') {
            Some((by, name)) if self.by == by => self.name == name,
            _ if self.by == "all" => name == "all",
            _ => self.name == name,
        }
    }
    pub(crate) fn files(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(String::as_str)
    }
}

#[expect(clippy::cast_precision_loss, reason = "lines are far below 2^52")]
fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// The corpora at these paths: files, or folders of `.jsonl` files.
pub(crate) fn inputs(paths: &[PathBuf]) -> Result<Vec<Input>, Error> {
    let mut files = Vec::new();
    for path in paths {
        let before = files.len();
        collect(path, 0, &mut files)?;
        if files.len() == before {
            return Err(Error::Usage(format!("no .jsonl file in {}", path.display())));
        }
    }
    files.sort();
    files.dedup();
    Ok(files.into_iter().map(Input::File).collect())
}

/// The corpus of the built-in rules.
pub(crate) fn builtin() -> Vec<Input> {
    rules::corpus().iter().map(|(name, text)| Input::Text(name, text)).collect()
}

fn collect(path: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), Error> {
    let failed = |source| Error::Read { path: path.to_owned(), source };
    if !fs::metadata(path).map_err(failed)?.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    if depth > MAX_DEPTH {
        return Err(Error::Usage(format!("folders too deep at {}", path.display())));
    }
    for entry in fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?.path();
        if entry.extension().is_some_and(|ext| ext == "jsonl") || entry.is_dir() {
            collect(&entry, depth + 1, files)?;
        }
        if files.len() > MAX_FILES {
            return Err(Error::Usage(format!("more than {MAX_FILES} files in {}", path.display())));
        }
    }
    Ok(())
}

/// Judges every line of every corpus, on all cores.
pub(crate) fn measure(set: &RuleSet, inputs: &[Input], how: How) -> Result<Corpora, Error> {
    let mut corpora = Corpora::default();
    let mut benches: Vec<Bench<'_>> =
        (0..threads(None)).map(|_| Bench::new(set, how.preset, how.paranoia)).collect();
    let progress = Progress::counting("judging corpora", "lines");
    let mut done = 0;
    for input in inputs {
        let (name, mut reader): (String, Box<dyn std::io::BufRead>) = match input {
            Input::Text(name, text) => ((*name).to_owned(), Box::new(text.as_bytes())),
            Input::File(path) => {
                let failed = |source| Error::Read { path: path.clone(), source };
                let file = fs::File::open(path).map_err(failed)?;
                (path.display().to_string(), Box::new(BufReader::with_capacity(1 << 20, file)))
            }
        };
        let failed = |source| Error::Read { path: PathBuf::from(&name), source };
        let mut line = 0;
        let mut wrong = Vec::new();
        loop {
            let batch = read_batch(&mut *reader, MAX_LINE).map_err(failed)?;
            if batch.is_empty() {
                break;
            }
            corpora.batch(set, &mut benches, how.at, &name, &mut line, batch, &mut wrong);
            progress.at(done + line);
            if wrong.len() > MAX_WRONG {
                break;
            }
        }
        done += line;
        if !wrong.is_empty() {
            return Err(Error::Usage(wrong.join("\n")));
        }
        if corpora.rows.len() > MAX_ROWS {
            return Err(Error::Usage(format!("more than {MAX_ROWS} classes, kinds and corpora")));
        }
    }
    Ok(corpora)
}

impl Corpora {
    /// The rows, `all` first.
    pub(crate) fn rows(&self) -> impl Iterator<Item = &Row> {
        self.rows.values()
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one loop's body, which would be no plainer inside it"
    )]
    fn batch(
        &mut self,
        set: &RuleSet,
        benches: &mut [Bench<'_>],
        at: Action,
        file: &str,
        number: &mut u64,
        batch: Vec<Vec<u8>>,
        wrong: &mut Vec<String>,
    ) {
        let mut labels = Vec::with_capacity(batch.len());
        let mut lines = Vec::with_capacity(batch.len());
        for line in batch {
            *number += 1;
            if line.trim_ascii().is_empty() {
                continue;
            }
            match read(file, &line) {
                Ok((label, line)) => {
                    labels.push((*number, label));
                    lines.push(line);
                }
                Err(message) => wrong.push(format!("{file}:{number}: {message}")),
            }
        }
        for ((number, label), judged) in labels.into_iter().zip(judge_batch(benches, &lines)) {
            match judged {
                Ok((_, judged)) => {
                    self.add(set, file, number, label, judged.action >= at, judged.rules);
                }
                Err(message) => wrong.push(format!("{file}:{number}: {message}")),
            }
        }
    }

    /// Counts a judged line.
    fn add(
        &mut self,
        set: &RuleSet,
        file: &str,
        line: u64,
        labels: Labels,
        found: bool,
        rules: Vec<String>,
    ) {
        let attack = labels.label.as_deref() == Some("attack");
        let corpus = Path::new(file).file_stem().and_then(|stem| stem.to_str()).unwrap_or(file);
        let class = labels.class.or_else(|| {
            let first = labels.rules.get(0)?.as_str()?;
            Some(set.rule(set.find(first)?).class().to_string())
        });
        let names = [
            ("all", Some(String::new())),
            ("class", class),
            ("kind", labels.kind),
            ("corpus", Some(corpus.to_owned())),
        ];
        for (by, name) in names {
            let Some(name) = name else { continue };
            let row = self.rows.entry(format!("{by}:{name}")).or_default();
            (row.by, row.name) = (by, name);
            if !row.files.contains(file) {
                row.files.insert(file.to_owned());
            }
            row.attacks += u64::from(attack);
            row.caught += u64::from(attack && found);
            row.benign += u64::from(!attack);
            row.hit += u64::from(!attack && found);
        }
        for rule in &rules {
            let hits = self.rules.entry(rule.clone()).or_default();
            *(if attack { &mut hits.attack } else { &mut hits.benign }) += 1;
        }
        let list = match (attack, found) {
            (true, false) => Some(&mut self.missed),
            (false, true) => Some(&mut self.false_positives),
            _ => None,
        };
        if let Some(list) = list.filter(|list| list.len() < MAX_NAMED) {
            let id = labels.id.as_str().map_or_else(|| labels.id.to_string(), str::to_owned);
            list.push(Named { file: file.to_owned(), line, id, rules });
        }
        let fits = |text: &String| self.kept + text.len() <= MAX_TEXT;
        if let Some(text) = labels.text.filter(fits) {
            self.kept += text.len();
            self.texts.push(text);
        }
    }

    /// One row a class, kind and corpus, the sum first.
    pub(crate) fn table(&self) -> Table {
        let right = Align::Right;
        let mut table = Table::new(&[
            ("of", Align::Left),
            ("attacks", right),
            ("caught", right),
            ("recall", right),
            ("benign", right),
            ("hit", right),
            ("false", right),
        ]);
        let part = |share: Option<f64>| share.map_or_else(String::new, |s| format!("{s:.3}"));
        let count = |n: u64, of: u64| if of == 0 { String::new() } else { n.to_string() };
        for row in self.rows() {
            table.push([
                row.title(),
                count(row.attacks, row.attacks),
                count(row.caught, row.attacks),
                part(row.recall()),
                count(row.benign, row.benign),
                count(row.hit, row.benign),
                part(row.false_share()),
            ]);
        }
        table
    }
}

/// A line's labels, and the line with its templates expanded.
fn read(file: &str, line: &[u8]) -> Result<(Labels, Vec<u8>), String> {
    let line = std::str::from_utf8(line).map_err(|_| "not UTF-8".to_owned())?;
    let id: Labels = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let seed = id.id.as_str().map_or_else(|| id.id.to_string(), str::to_owned);
    // templates make letters, digits and signs that JSON does not escape; what is no template stays
    let line = template::expand(line, &seed).unwrap_or_else(|_| line.to_owned());
    let mut labels: Labels = serde_json::from_str(&line).map_err(|error| error.to_string())?;
    if labels.label.is_none() {
        let mut folders = Path::new(file).components().filter_map(|part| part.as_os_str().to_str());
        labels.label = folders.rfind(|f| ["attack", "benign"].contains(f)).map(str::to_owned);
    }
    match labels.label.as_deref() {
        Some("attack" | "benign") => Ok((labels, line.into_bytes())),
        Some(_) => Err("a label is `attack` or `benign`".to_owned()),
        None => Err("no `label`, and not in a folder `attack` or `benign`".to_owned()),
    }
}
