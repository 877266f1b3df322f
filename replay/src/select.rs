//! Which rows of a capture: the filters that every verb has which reads one.

pub(crate) mod time;

use capture::{Query, Record};
use clap::Args;
use memchr::memmem::Finder;

use time::parse_time;

/// The filters, all of which must hold.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Filters")]
pub(crate) struct Select {
    /// Only rows from this time on (RFC 3339 or seconds since 1970)
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    since: Option<i64>,

    /// Only rows before this time (RFC 3339 or seconds since 1970)
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    until: Option<i64>,

    /// Only this server
    #[arg(long, value_name = "NAME")]
    server: Option<String>,

    /// Only this tool, prompt or resource
    #[arg(long, value_name = "NAME")]
    tool: Option<String>,

    /// Only this session
    #[arg(long, value_name = "ID")]
    session: Option<String>,

    /// Only rows on which this rule found something
    #[arg(long, value_name = "RULE_ID")]
    rule: Option<String>,

    /// Only rows with this action
    #[arg(long, value_name = "ACTION", value_parser = ["allow", "flag", "redact", "block"])]
    action: Option<String>,

    /// Only rows of this kind
    #[arg(long, value_name = "KIND",
        value_parser = ["request", "response", "notification", "error", "transport", "gap"])]
    kind: Option<String>,

    /// Only messages on their way to the server or to the client
    #[arg(long, value_name = "DIRECTION", value_parser = ["to_server", "to_client"])]
    direction: Option<String>,

    /// Only what crossed this wire
    #[arg(long, value_name = "LEG", value_parser = ["client", "upstream"])]
    leg: Option<String>,

    /// Only rows of this writer (see the samples of `scan`)
    #[arg(long, value_name = "ID")]
    writer: Option<String>,

    /// Only the row of each writer with this number
    #[arg(long, value_name = "N")]
    seq: Option<i64>,

    /// Only what this principal sent or got
    #[arg(long, value_name = "NAME")]
    principal: Option<String>,

    /// Only rows whose recorded body contains this, byte for byte
    #[arg(long, value_name = "SUBSTRING")]
    text: Option<String>,
}

impl Select {
    /// What the reader can find out by itself, reading `columns` and those that the other filters need.
    pub(crate) fn query(&self, columns: &[&str]) -> Query {
        let mut columns: Vec<&str> = columns.to_vec();
        if self.text.is_some() {
            columns.extend(["body", "body_raw"]);
        }
        columns.extend(self.writer.as_ref().map(|_| "writer_id"));
        columns.extend(self.seq.map(|_| "seq"));
        columns.sort_unstable();
        columns.dedup();
        Query { columns: Some(columns.into_iter().map(str::to_owned).collect()), ..self.all() }
    }

    /// As [`Select::query`], reading every column.
    pub(crate) fn all(&self) -> Query {
        Query {
            columns: None,
            from_us: self.since,
            to_us: self.until,
            session: self.session.clone(),
            server: self.server.clone(),
            name: self.tool.clone(),
            rule: self.rule.clone(),
            action: self.action.clone(),
            direction: self.direction.clone(),
            kind: self.kind.clone(),
            leg: self.leg.clone(),
            principal: self.principal.clone(),
        }
    }

    /// The filters that the reader doesn't know.
    pub(crate) fn wanted(&self) -> Wanted<'_> {
        let text = self.text.as_deref().map(|text| Finder::new(text.as_bytes()));
        Wanted { writer: self.writer.as_deref(), seq: self.seq, text }
    }
}

/// What is left to ask of a row that the reader gave.
#[derive(Debug)]
pub(crate) struct Wanted<'a> {
    writer: Option<&'a str>,
    seq: Option<i64>,
    text: Option<Finder<'a>>,
}

impl Wanted<'_> {
    /// Whether the row is asked for.
    pub(crate) fn is(&self, row: &Record) -> bool {
        let holds = |text: &Finder<'_>| row.body.as_deref().is_some_and(|b| text.find(b).is_some());
        self.writer.is_none_or(|id| row.writer_id.as_deref() == Some(id))
            && self.seq.is_none_or(|seq| row.seq == seq)
            && self.text.as_ref().is_none_or(holds)
    }
}
