//! `catalogue`: rules as a page for people, or as JSON.

use std::path::PathBuf;

use clap::Args;
use inspect::catalogue::{Section, action, markdown};
use inspect::rule::{RuleDef, RuleDefs};
use serde::Serialize;

use crate::error::Error;
use crate::output::{Out, Outcome};
use crate::rulefiles::{self, Source};

/// Print rules as a Markdown page: a summary, a table for each file, every rule explained.
///
/// Without folders it is the catalogue of the built-in rules and packs. Rules need not hold their
/// tests to be printed, only to be readable.
///
/// Exit code: 0 printed, 2 a file cannot be read.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  wiregate-replay catalogue ./my-rules > RULES.md")]
pub(crate) struct Catalogue {
    /// Rule folders or files; none: all rules built into this binary
    #[arg(value_name = "DIR")]
    dirs: Vec<PathBuf>,

    /// Heading of the page of your own rules
    #[arg(long, value_name = "TEXT", default_value = "Rules")]
    title: String,

    /// Print one JSON object a rule instead
    #[arg(long)]
    json: bool,
}

/// A rule with the file it stands in.
#[derive(Serialize)]
struct Listed<'r> {
    file: &'r str,
    #[serde(flatten)]
    rule: RuleDef,
}

impl Catalogue {
    pub(crate) fn run(self) -> Result<Outcome, Error> {
        let own = !self.dirs.is_empty();
        let sources = if own {
            rulefiles::load(&self.dirs)?
        } else {
            rulefiles::builtin(&rulefiles::known_packs())?
        };
        let files = read(&sources)?;
        let mut out = Out::stdout();
        if self.json {
            for (file, rules) in &files {
                for rule in rules {
                    let rule = RuleDef { action: Some(action(rule)), ..rule.clone() };
                    out.json_line(&Listed { file, rule })?;
                }
            }
        } else if own {
            let section = |(file, rules): (String, Vec<RuleDef>)| Section {
                title: file.clone(),
                name: file,
                rules,
            };
            let sections: Vec<Section> = files.into_iter().map(section).collect();
            out.write(&shown(&markdown(&format!("# {}\n", self.title), &sections)))?;
        } else {
            out.write(&shown(&markdown(rules::INTRO, &builtin_sections(files))))?;
        }
        out.finish()?;
        Ok(Outcome::Fine)
    }
}

/// The built-in rules under the headings of their folders.
fn builtin_sections(files: Vec<(String, Vec<RuleDef>)>) -> Vec<Section> {
    let mut sections = rules::SECTIONS.map(|(folder, title)| Section {
        name: format!("{folder}/"),
        title: title.to_owned(),
        rules: Vec::new(),
    });
    for (file, rules) in files {
        if let Some(section) = sections.iter_mut().find(|section| file.starts_with(&section.name)) {
            section.rules.extend(rules);
        }
    }
    sections.into()
}

/// The rules of each file; every error of all files at once.
fn read(sources: &[Source]) -> Result<Vec<(String, Vec<RuleDef>)>, Error> {
    let mut files = Vec::new();
    let mut errors = Vec::new();
    for Source { name, text, .. } in sources {
        match inspect::yaml::from_str::<RuleDefs>(name, text, None) {
            Ok((defs, _)) => files.push((name.clone(), defs.rules)),
            Err(told) => errors.extend(told.iter().map(ToString::to_string)),
        }
    }
    if errors.is_empty() { Ok(files) } else { Err(Error::Rules(errors.join("\n"))) }
}

/// The page with what a terminal would act on made visible; line ends stay.
fn shown(page: &str) -> String {
    page.split('\n').map(::scan::text::visible).collect::<Vec<_>>().join("\n")
}
