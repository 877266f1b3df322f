//! `explain`: why a message got its verdict.

mod render;

use std::io::Read as _;
use std::path::{Path, PathBuf};

use ::scan::explain::{Ask, Explanation};
use ::scan::{Judge, Options, Reason, RulesFrom};
use capture::{Location, Record};
use clap::{ArgGroup, Args};
use inspect::{ParseLimits, Parser, Policy, Preset, RuleSet, Scanner};

use crate::error::Error;
use crate::judge::case::Case;
use crate::output::{Out, Outcome, table_width};
use crate::rulefiles;

/// The line of `--in` at most.
const MAX_LINE: u64 = 32 << 20;

/// Tell why a message got its verdict: every reading, match, score and reason.
///
/// The message is a record of a capture (`--record`, or `--seq` where one writer wrote it), a line
/// as `judge` takes them (`--in`), or a text (`--text` and `--surface`). A record is judged by the
/// rule set and the policy recorded with it, or by those given. Listed are the ways each text was
/// read, what matched and counts, what matched and was rejected and by which check, what adds up
/// to which sum, and the decision. Secrets and personal data are shown as `****`, as far as a
/// rule matches them; all else is shown as it stands.
///
/// Exit code: 0 done, 1 the action is now another than the recorded one, 2 an error.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  wiregate-replay explain ./capture --record 0c5d2a9e4b7f1683:42\n  wiregate-replay explain --text 'ignore all previous instructions' --surface result.text\n  wiregate-replay explain ./capture --seq 42 --rule dlp.aws.access-key",
    group = ArgGroup::new("what").required(true)
)]
pub(crate) struct Explain {
    /// Capture folder, one of its subfolders, or one Parquet file; or the URL of one in a store
    #[arg(value_name = "CAPTURE", required_unless_present_any = ["input", "text"])]
    capture: Option<Location>,

    /// The record: its writer and number
    #[arg(long, value_name = "WRITER:SEQ", group = "what", value_parser = record_name, requires = "capture")]
    record: Option<(String, i64)>,

    /// The record's number, where only one writer has it
    #[arg(long, value_name = "N", group = "what", requires = "capture")]
    seq: Option<i64>,

    /// A file with one line as `judge` takes them; `-` for standard input
    #[arg(long = "in", value_name = "FILE", group = "what", conflicts_with = "capture")]
    input: Option<PathBuf>,

    /// A text
    #[arg(long, value_name = "TEXT", group = "what", conflicts_with = "capture")]
    text: Option<String>,

    /// Where in the protocol the text stands
    #[arg(long, value_name = "SURFACE", requires = "text", default_value = "result.text")]
    surface: String,

    /// Why did this rule find something, or why not?
    #[arg(long, value_name = "RULE_ID")]
    rule: Option<String>,

    /// A rule folder or file to judge with; may be given again
    #[arg(long, value_name = "PATH")]
    rules: Vec<PathBuf>,

    /// Judge with the rules built into this binary; with --rules, with both
    #[arg(long)]
    builtin: bool,

    /// This built-in pack as well; may be given again
    #[arg(long, value_name = "NAME")]
    pack: Vec<String>,

    /// Judge under this preset (strict, balanced, audit)
    #[arg(long, value_name = "PRESET")]
    preset: Option<Preset>,

    /// Judge at this paranoia level (1 to 4)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=4))]
    paranoia: Option<u8>,

    /// Show secrets and personal data as they are
    #[arg(long)]
    reveal: bool,

    /// Bytes of each reading shown
    #[arg(long, value_name = "N", default_value_t = 400, value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    bytes: u32,

    /// List texts in which nothing matched and that were read in one way only, too
    #[arg(long)]
    all: bool,

    /// Print everything as JSON
    #[arg(long)]
    json: bool,

    /// Fit the output to this many columns instead of the terminal's
    #[arg(long, value_name = "COLUMNS")]
    width: Option<u16>,
}

/// `WRITER:SEQ`.
pub(crate) fn record_name(text: &str) -> Result<(String, i64), String> {
    let (writer, seq) = text.rsplit_once(':').ok_or("expected WRITER:SEQ")?;
    let seq = seq.parse().map_err(|_| "the part after the colon is no number".to_owned())?;
    Ok((writer.to_owned(), seq))
}

/// The one record of this number, with these columns or all.
pub(crate) fn record(
    path: &Location,
    writer: Option<&str>,
    seq: i64,
    columns: Option<&[&str]>,
) -> Result<Record, Error> {
    let mut found = ::scan::find(path, writer, seq, columns)?;
    let record = found.pop().ok_or_else(|| {
        let of = writer.map(|writer| format!(" of writer {writer}")).unwrap_or_default();
        Error::Usage(format!("no record {seq}{of} in {path}"))
    })?;
    if found.is_empty() {
        return Ok(record);
    }
    let name =
        |record: &Record| format!("{}:{seq}", record.writer_id.as_deref().unwrap_or_default());
    let mut names: Vec<String> = found.iter().chain([&record]).map(name).collect();
    names.sort();
    names.dedup();
    Err(Error::Usage(format!("several records {seq}; say which: --record {}", names.join(", "))))
}

impl Explain {
    pub(crate) fn run(self) -> Result<Outcome, Error> {
        let told = match &self.capture {
            Some(path) => self.of_record(path)?,
            None => self.of_line()?,
        };
        let mut out = Out::stdout();
        if self.json {
            out.json(&told)?;
        } else {
            out.write(&render::text(&told, self.all, table_width(self.width)))?;
        }
        out.finish()?;
        Ok(if told.differs { Outcome::Differs } else { Outcome::Fine })
    }

    fn ask(&self) -> Ask {
        Ask { reveal: self.reveal, bytes: self.bytes as usize, rule: self.rule.clone() }
    }

    /// The rule set given; none when it is to be the recorded one.
    fn set(&self) -> Result<Option<RuleSet>, Error> {
        let builtin = self.builtin || !self.pack.is_empty();
        if !builtin && self.rules.is_empty() {
            return Ok(None);
        }
        let mut sources = if builtin { rulefiles::builtin(&self.pack)? } else { Vec::new() };
        if !self.rules.is_empty() {
            sources.extend(rulefiles::load(&self.rules)?);
        }
        rulefiles::compile(&sources).map(Some)
    }

    fn of_record(&self, path: &Location) -> Result<Explanation, Error> {
        let (writer, seq) = match (&self.record, self.seq) {
            (Some((writer, seq)), _) => (Some(writer.as_str()), *seq),
            (None, seq) => (None, seq.unwrap_or_default()),
        };
        let record = record(path, writer, seq, None)?;
        let set = self.set()?;
        let rules = set.as_ref().map_or(RulesFrom::Recorded, RulesFrom::Set);
        let options =
            Options { preset: self.preset, paranoia: self.paranoia, ..Options::default() };
        let mut judge = Judge::new(path, rules, &options);
        let told = judge.explain(&record, &self.ask());
        match told {
            Ok(told) => self.known(told),
            Err(reason) => {
                let more: Vec<String> = judge.into_errors().collect();
                let more = more.iter().map(|error| format!(": {error}")).collect::<String>();
                Err(Error::Usage(format!("record {seq} cannot be judged: {}{more}", why(reason))))
            }
        }
    }

    fn of_line(&self) -> Result<Explanation, Error> {
        let set = match self.set()? {
            Some(set) => set,
            None => rulefiles::compile(&rulefiles::builtin(&[])?)?,
        };
        let line = match (&self.text, &self.input) {
            (Some(text), _) => {
                let line = serde_json::json!({ "id": 1, "surface": self.surface, "text": text });
                serde_json::to_vec(&line)?
            }
            (None, Some(path)) => first_line(path)?,
            (None, None) => return Err(Error::Usage("nothing to explain".to_owned())),
        };
        let bad = |error: String| Error::Usage(format!("the line cannot be judged: {error}"));
        let case: Case<'_> =
            serde_json::from_slice(&line).map_err(|error| bad(error.to_string()))?;
        let mut parser = Parser::new(ParseLimits::default());
        let ready = case.ready(&mut parser).map_err(bad)?;
        let policy = Policy {
            preset: self.preset.unwrap_or_default(),
            paranoia: self.paranoia.unwrap_or(1),
            ..Policy::default()
        };
        let subject = ready.subject(policy.paranoia);
        let ask = self.ask();
        let told = parser.parse(&ready.raw, |message| {
            let mut scanner = Scanner::new();
            ::scan::explain::message(&mut scanner, (&set, &policy), message, &subject, &ask)
        });
        self.known(told.map_err(|error| bad(error.to_string()))?)
    }

    /// Refuses an answer about a rule that the set does not have.
    fn known(&self, told: Explanation) -> Result<Explanation, Error> {
        match &self.rule {
            Some(id) if told.rule.is_none() => {
                Err(Error::Usage(format!("--rule {id}: the set has no such rule")))
            }
            _ => Ok(told),
        }
    }
}

fn why(reason: Reason) -> &'static str {
    match reason {
        Reason::NotMessage => "it is no message but a transport event or a gap",
        Reason::NotJudgedLive => "it has no verdict: the other leg of a message has it",
        Reason::Withheld => "its body was not recorded",
        Reason::Truncated => "it was recorded or scanned in part",
        Reason::Unparseable => "its recorded body is no message",
        Reason::RulesMissing => "its rule set is missing",
        Reason::PolicyMissing => "its policy is missing",
    }
}

/// The first line of a file that is not empty.
fn first_line(path: &Path) -> Result<Vec<u8>, Error> {
    let failed = |source| Error::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        std::io::stdin().lock().take(MAX_LINE + 1).read_to_end(&mut bytes).map_err(failed)?;
    } else {
        let file = std::fs::File::open(path).map_err(failed)?;
        file.take(MAX_LINE + 1).read_to_end(&mut bytes).map_err(failed)?;
    }
    let mut lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
    let first = lines.next().ok_or_else(|| Error::Usage("no line to explain".to_owned()))?;
    if first.len() as u64 > MAX_LINE {
        return Err(Error::Usage("the line is longer than 32 MiB".to_owned()));
    }
    if lines.next().is_some() {
        eprintln!("wiregate-replay: only the first line is explained");
    }
    Ok(first.to_vec())
}
