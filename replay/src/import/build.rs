//! Foreign rules → rules that compile: the compiler says what does not fit, and what can be changed is changed and told.

use std::collections::{BTreeMap, BTreeSet};

use inspect::rule::{Class, Docs, Example, RuleDef, Severity, Tests};
use inspect::{Code, CompileErrors, RuleSet, template};

use super::emit::{NEEDED, tested};
use super::note::What;
use super::sample::{Sample, sample};
use super::{Foreign, Read, pattern};
use crate::error::Error;

/// Examples of the source that are kept, of each kind.
const KEPT: usize = 8;
/// Examples made from a pattern and tried, at most.
const TRIED: u64 = 18;
/// Attempts to please the compiler: each takes away at least one thing that was told.
const ROUNDS: usize = 64;

/// An example that may be taken.
#[derive(Clone, Debug)]
struct Candidate {
    text: String,
    own: bool,
}

/// A rule on its way.
struct Draft {
    foreign: usize,
    def: RuleDef,
    matches: Vec<Candidate>,
    no_match: Vec<Candidate>,
}

/// The rules that compile, in the source's order. `at` is told how many are done.
pub(super) fn build(
    read: &mut Read,
    prefix: Option<&str>,
    severity: Severity,
    shadow: bool,
    at: &dyn Fn(u64),
) -> Result<Vec<RuleDef>, Error> {
    let foreign = std::mem::take(&mut read.rules);
    let mut ids = BTreeSet::new();
    let mut drafts = Vec::new();
    for (index, rule) in foreign.iter().enumerate() {
        at(index as u64);
        let id = free_id(rule, prefix, &mut ids, read);
        if let Some(def) = fit(rule, id, severity, shadow, read) {
            let mut draft = candidates(rule, index, def, read);
            settle_alone(rule, &mut draft, read);
            drafts.push(draft);
        }
    }
    settle_together(&foreign, &mut drafts, read)?;
    for draft in &drafts {
        let (rule, tests) = (&foreign[draft.foreign], &draft.def.tests);
        if !tested(&draft.def) {
            let (found, spared) = (tests.matches.len(), tests.no_match.len());
            let message = format!("{found} examples and {spared} counter-examples");
            read.note(What::NoTests, &rule.file, rule.line, &rule.id, message);
        } else if draft.made() {
            read.note(
                What::Made,
                &rule.file,
                rule.line,
                &rule.id,
                "examples were made from the pattern",
            );
        }
    }
    Ok(drafts.into_iter().map(|draft| draft.def).collect())
}

/// The rule's id in our form, and no other's.
fn free_id(
    rule: &Foreign,
    prefix: Option<&str>,
    ids: &mut BTreeSet<String>,
    read: &mut Read,
) -> String {
    let word = |part: &str| -> String {
        let plain = part.to_lowercase().replace(|c: char| !c.is_ascii_alphanumeric(), "-");
        let words: Vec<&str> = plain.split('-').filter(|word| !word.is_empty()).collect();
        words.join("-")
    };
    let parts: Vec<String> = rule.id.split('.').map(word).filter(|part| !part.is_empty()).collect();
    let mut id = parts.join(".");
    let plain = id == rule.id;
    match prefix {
        Some(prefix) => id = format!("{prefix}.{id}"),
        None if !id.contains('.') => id = format!("imported.{id}"),
        None => {}
    }
    id.truncate(72); // ASCII only
    let id = id.trim_end_matches(['.', '-']).to_owned();
    let mut free = id.clone();
    let mut n = 2_u32;
    while !ids.insert(free.clone()) {
        free = format!("{id}-{n}");
        n += 1;
    }
    if !plain || free != id {
        read.note(What::Renamed, &rule.file, rule.line, &rule.id, format!("the id became {free}"));
    }
    free
}

/// The rule without tests, as the compiler takes it; none when it cannot.
fn fit(
    rule: &Foreign,
    id: String,
    severity: Severity,
    shadow: bool,
    read: &mut Read,
) -> Option<RuleDef> {
    let (file, line) = (&*rule.file, rule.line);
    let plain = pattern::translate(&rule.pattern, rule.dialect);
    let (named, mut exact) = pattern::name_secret(&plain, rule.secret);
    let mut def = define(rule, id, named, severity, shadow);
    for _ in 0..ROUNDS {
        let Err(errors) = RuleSet::from_defs(std::slice::from_ref(&def)) else { break };
        let mut told = errors.iter().filter(|error| error.code != Code::TooFewTests).peekable();
        let first = match told.peek() {
            None => break,
            Some(first) => (first.code, first.message.clone()),
        };
        let in_allow: Vec<(usize, usize)> = told.filter_map(|e| allow_index(&e.label)).collect();
        if !in_allow.is_empty() {
            drop_allowed(&mut def, &in_allow);
            let message = format!("{} of its regexes cannot be compiled", in_allow.len());
            read.note(What::Allow, file, line, &rule.id, message);
            continue;
        }
        match first {
            (Code::MatchesEmpty, _) if def.pattern != plain => {
                def.pattern.clone_from(&plain);
                exact = false;
            }
            (Code::NoAnchor, _) => {
                def.slow = true;
                read.note(
                    What::Slow,
                    file,
                    line,
                    &rule.id,
                    "no literal of four bytes: `slow: true`",
                );
            }
            (Code::BadRegex, message) if message.contains("unicode") && !def.unicode => {
                def.unicode = true;
                read.note(What::Unicode, file, line, &rule.id, "`unicode: true`");
            }
            (_, message) => {
                read.note(What::Refused, file, line, &rule.id, message);
                return None;
            }
        }
    }
    if !exact {
        let message = "what is redacted may be more than the secret";
        read.note(What::Groups, file, line, &rule.id, message);
    }
    Some(def)
}

fn define(
    rule: &Foreign,
    id: String,
    pattern: String,
    severity: Severity,
    shadow: bool,
) -> RuleDef {
    let title = if rule.title.is_empty() { rule.id.clone() } else { rule.title.clone() };
    let finds = if rule.finds.is_empty() { title.clone() } else { rule.finds.clone() };
    let lines = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    RuleDef {
        id,
        rev: 1,
        title: lines(&title),
        class: Class::Secret,
        severity: rule.severity.unwrap_or(severity),
        confidence: rule.confidence,
        paranoia: 1,
        score: None,
        surfaces: Vec::new(),
        views: Vec::new(),
        pattern,
        key: None,
        keywords: rule.keywords.clone(),
        window: None,
        slow: false,
        unicode: false,
        entropy: rule.entropy.map(|entropy| entropy.min(8.0)),
        validator: None,
        context: None,
        quotable: false,
        shadow: shadow || rule.shadow,
        allow: rule.allow.clone(),
        action: None,
        redact: None,
        docs: Docs {
            finds: lines(&finds),
            why: format!("It is a finding of {}, whose rule {} this is.", rule.tool, rule.id),
            example: None,
            instead: None,
            references: rule.references.clone(),
        },
        tests: Tests::default(),
    }
}

/// Which list and which of its regexes a label `id: allow.1.regexes.3` names.
fn allow_index(label: &str) -> Option<(usize, usize)> {
    let field = label.split_once(": allow.")?.1;
    let (list, rest) = field.split_once(".regexes.")?;
    Some((list.parse().ok()?, rest.parse().ok()?))
}

fn drop_allowed(def: &mut RuleDef, gone: &[(usize, usize)]) {
    for (list, allow) in def.allow.iter_mut().enumerate() {
        let mut at = 0;
        allow.regexes.retain(|_| {
            at += 1;
            !gone.contains(&(list, at - 1))
        });
    }
    def.allow.retain(|a| !a.regexes.is_empty() || !a.stopwords.is_empty() || !a.hashes.is_empty());
}

/// The examples of the source, then made ones.
fn candidates(rule: &Foreign, foreign: usize, def: RuleDef, read: &mut Read) -> Draft {
    let mut own = |texts: &[String]| -> Vec<Candidate> {
        let mut kept = Vec::new();
        for text in texts.iter().take(KEPT) {
            if template::expand(text, "").is_ok_and(|expanded| expanded == *text) {
                kept.push(Candidate { text: text.clone(), own: true });
            } else {
                let message = "an example has `{{…}}`";
                read.note(What::Template, &rule.file, rule.line, &rule.id, message);
            }
        }
        kept
    };
    let (mut matches, mut no_match) = (own(&rule.examples), own(&rule.counter_examples));
    let made = |text: String| Candidate { text, own: false };
    let hir = regex_syntax::ParserBuilder::new()
        .unicode(def.unicode)
        .utf8(false)
        .nest_limit(100)
        .build()
        .parse(&def.pattern);
    let samples: Vec<Sample> =
        hir.iter().flat_map(|hir| (0..TRIED).filter_map(|n| sample(hir, n))).collect();
    let texts: Vec<String> = samples.iter().filter_map(Sample::text).collect();
    for around in [["", ""], ["key: ", ""], ["see ", " there"], ["\"", "\""]] {
        for text in &texts {
            let lower = text.to_lowercase();
            let keyword = rule.keywords.iter().find(|word| !word.is_empty());
            let has = rule.keywords.iter().any(|word| lower.contains(&word.to_lowercase()));
            let [before, after] = around;
            matches.push(made(match keyword.filter(|_| !has) {
                Some(word) => format!("{word} {before}{text}{after}"),
                None => format!("{before}{text}{after}"),
            }));
        }
    }
    let misses = samples.iter().take(4).flat_map(Sample::near_misses);
    no_match.extend(misses.filter_map(|miss| miss.text()).map(made));
    for word in &rule.keywords {
        no_match.push(made(format!("{word} is not set")));
    }
    let title = def.title.replace(['{', '}'], " ");
    no_match.push(made(format!("about {title}, without one")));
    no_match.push(made("nothing of the kind stands in this line".to_owned()));
    let mut seen = BTreeSet::new();
    matches.retain(|candidate| seen.insert(candidate.text.clone()));
    no_match.retain(|candidate| seen.insert(candidate.text.clone()));
    Draft { foreign, def, matches, no_match }
}

impl Draft {
    /// Takes all candidates.
    fn choose_all(&mut self) {
        let take = |pool: &[Candidate]| -> Vec<Example> {
            pool.iter().map(|candidate| Example::Text(candidate.text.clone())).collect()
        };
        self.def.tests = Tests { matches: take(&self.matches), no_match: take(&self.no_match) };
    }

    /// Takes the first candidates: all of the source's, and made ones up to what is needed.
    fn choose(&mut self) {
        let take = |pool: &[Candidate]| -> Vec<Example> {
            let own = pool.iter().filter(|candidate| candidate.own).count();
            let texts = pool.iter().take(own.max(NEEDED));
            texts.map(|candidate| Example::Text(candidate.text.clone())).collect()
        };
        self.def.tests = Tests { matches: take(&self.matches), no_match: take(&self.no_match) };
    }

    fn made(&self) -> bool {
        let made = |pool: &[Candidate]| pool.iter().take(NEEDED).any(|candidate| !candidate.own);
        made(&self.matches) || made(&self.no_match)
    }

    /// Takes out what the compiler told of; whether there was any.
    fn drop_told(&mut self, errors: &[(Code, &str)], rule: &Foreign, read: &mut Read) -> bool {
        // from the last to the first, so that places stay
        let mut gone: Vec<(bool, usize, Code)> = Vec::new();
        for (code, label) in errors {
            let place = label.split_once(": tests.").and_then(|(_, field)| field.split_once('.'));
            if let Some((list, at)) = place
                && let Ok(at) = at.parse()
            {
                gone.push((list == "match", at, *code));
            }
        }
        gone.sort_by_key(|(list, at, code)| (*list, std::cmp::Reverse(*at), *code));
        gone.dedup_by_key(|(list, at, _)| (*list, *at));
        for (is_match, at, code) in &gone {
            let pool = if *is_match { &mut self.matches } else { &mut self.no_match };
            if *at >= pool.len() {
                continue;
            }
            let gone = pool.remove(*at);
            if gone.own {
                let (what, message) = match code {
                    Code::MatchMisses => why_missed(&self.def, &gone.text),
                    Code::NoMatchHits => (What::Hits, "a counter-example is found"),
                    Code::NoMatchHitsOther => {
                        (What::OtherHits, "a counter-example is found by another rule")
                    }
                    _ => (What::Template, "an example has `{{…}}`"),
                };
                read.note(what, &rule.file, rule.line, &rule.id, message);
            }
        }
        !gone.is_empty()
    }
}

/// Why an example of the source is not found: by its own pattern and entropy, or because of what is read here.
fn why_missed(def: &RuleDef, text: &str) -> (What, &'static str) {
    let built = regex::bytes::RegexBuilder::new(&def.pattern).unicode(def.unicode).build();
    let found = built.is_ok_and(|regex| regex.is_match(text.as_bytes()));
    match serde_json::from_str(text) {
        Ok(serde_json::Value::Object(_)) if found => (
            What::Misses,
            "an example is not found: it is JSON, whose keys and values are read apart",
        ),
        _ if !found || def.entropy.is_some() => {
            (What::Dull, "an example is not found by its own pattern and entropy")
        }
        _ => (What::Misses, "an example is not found"),
    }
}

/// Tries the rule by itself until every example holds: first all of them, then those that are chosen, since what a
/// template makes depends on its place.
fn settle_alone(rule: &Foreign, draft: &mut Draft, read: &mut Read) {
    draft.choose_all();
    settle(rule, draft, read);
    draft.choose();
    while settle(rule, draft, read) {
        draft.choose();
    }
}

/// Takes out what does not hold; whether anything went. Pools only shrink, so this ends.
fn settle(rule: &Foreign, draft: &mut Draft, read: &mut Read) -> bool {
    let Err(errors) = RuleSet::from_defs(std::slice::from_ref(&draft.def)) else { return false };
    let told: Vec<(Code, &str)> = errors.iter().map(|e| (e.code, e.label.as_str())).collect();
    draft.drop_told(&told, rule, read)
}

/// Tries all rules together: a counter-example may be another rule's finding.
fn settle_together(
    foreign: &[Foreign],
    drafts: &mut [Draft],
    read: &mut Read,
) -> Result<(), Error> {
    let by_id: BTreeMap<String, usize> =
        drafts.iter().enumerate().map(|(at, draft)| (draft.def.id.clone(), at)).collect();
    for _ in 0..ROUNDS {
        let defs: Vec<RuleDef> = drafts.iter().map(|draft| draft.def.clone()).collect();
        let Err(errors) = RuleSet::from_defs(&defs) else { return Ok(()) };
        let mut dropped = false;
        for (at, told) in by_rule(&errors, &by_id)? {
            let draft = &mut drafts[at];
            dropped |= draft.drop_told(&told, &foreign[draft.foreign], read);
            draft.choose();
        }
        if !dropped {
            return Ok(());
        }
    }
    Ok(())
}

/// Codes and labels of errors, by the draft they are about.
type Told<'e> = BTreeMap<usize, Vec<(Code, &'e str)>>;

fn by_rule<'e>(
    errors: &'e CompileErrors,
    by_id: &BTreeMap<String, usize>,
) -> Result<Told<'e>, Error> {
    let mut told = Told::new();
    for error in errors {
        let id = error.label.split(": ").next().unwrap_or_default();
        match by_id.get(id) {
            Some(at) => told.entry(*at).or_default().push((error.code, &error.label)),
            // the whole set is over a limit
            None => return Err(Error::Rules(error.to_string())),
        }
    }
    Ok(told)
}
