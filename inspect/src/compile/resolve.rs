//! One rule as written → one rule resolved: every field checked, the regex compiled, anchors derived.

use super::pattern::{self, Pattern, REGEX_SIZE};
use super::ruleset::{Rule, Trigger, ViewSet};
use super::{Code, CompileError, Origin};
use crate::anchor::{self, Anchors, Pieces};
use crate::rule::{AllowDef, AllowTarget, RuleDef};
use crate::surface::SurfaceSet;
use crate::validate::Validator;
use regex_syntax::hir::{Hir, HirKind};
use std::sync::OnceLock;

/// Characters of a pattern as written.
const PATTERN_LEN: usize = 16 * 1024;
/// Bytes of all keywords of a rule.
const MAX_KEYWORDS: usize = 16 * 1024 * 1024;
/// Widest keyword window.
const MAX_WINDOW: usize = 64 * 1024;
/// Longest redaction template.
const MAX_TEMPLATE: usize = 200;
/// A pattern that can match more than this is searched for in the whole text.
const WINDOW_LEN: usize = 4096;

/// Cheap facts about every match of a pattern: what a text lacks them needs no regex.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Gate {
    pub(crate) min_len: usize,
    /// Longest match, when it is short enough to search in windows.
    pub(crate) max_len: Option<usize>,
    /// ASCII digits every match contains at least.
    pub(crate) digits: usize,
    /// A rare byte every match contains, and how many bytes of a match can end before or at it.
    pub(crate) byte: Option<(u8, Option<usize>)>,
    /// Whether every match has a character outside ASCII.
    pub(crate) non_ascii: bool,
}

/// One allow list, compiled.
#[derive(Clone, Debug)]
pub(crate) struct Allow {
    pub(crate) target: AllowTarget,
    pub(crate) regexes: Vec<Pattern>,
    pub(crate) stopwords: Vec<String>,
    pub(crate) hashes: Vec<String>,
}

/// Checks every field, then resolves the rule if nothing was wrong.
pub(super) fn resolve(
    def: &RuleDef,
    origin: &Origin<'_>,
    errors: &mut Vec<CompileError>,
) -> Option<Rule> {
    let before = errors.len();
    plain_fields(def, origin, errors);

    for (index, word) in def.surfaces.iter().enumerate() {
        if SurfaceSet::from_words(std::slice::from_ref(word)).is_none() {
            let field = format!("/surfaces/{index}");
            errors.push(origin.error(
                Code::UnknownSurface,
                &field,
                format!("no surface \"{word}\""),
            ));
        }
    }
    let surfaces = SurfaceSet::from_words(&def.surfaces).unwrap_or(SurfaceSet::ALL);
    let validator = def.validator.as_deref().and_then(|name| {
        let validator = Validator::named(name);
        if validator.is_none() {
            let message = format!("no validator \"{name}\"");
            errors.push(origin.error(Code::UnknownValidator, "/validator", message));
        }
        validator
    });
    let allow = (0_usize..)
        .zip(&def.allow)
        .map(|(index, allow)| resolve_allow(allow, index, def, origin, errors))
        .collect();

    let pattern = compile_regex(&def.pattern, def.unicode, "/pattern", origin, errors);
    let key = def.key.as_deref().map(|key| compile_regex(key, def.unicode, "/key", origin, errors));
    let (pattern, hir) = pattern?;
    let key = match key {
        None => None,
        Some(key) => Some(key?),
    };
    check_empty(&hir, origin, errors);
    let pieces = Pieces::of(&hir);
    let trigger = choose_trigger(def, &pieces, key.as_ref().map(|(_, hir)| hir), origin, errors);
    // too few examples make a rule unfit to ship, not unfit to run
    let unfit = |error: &CompileError| error.code != Code::TooFewTests;
    if errors.get(before..).is_some_and(|new| new.iter().any(unfit)) {
        return None;
    }
    let properties = hir.properties();
    let max_len = properties.maximum_len().filter(|len| *len <= WINDOW_LEN);
    let trigger = trigger?;
    // short windows need none
    let in_windows = matches!(trigger, Trigger::Value(_)) && max_len.is_some();
    Some(Rule {
        secret: pattern::group_named(&hir, "secret"),
        gate: Gate {
            min_len: properties.minimum_len().unwrap_or(1),
            max_len,
            digits: anchor::min_digits(&hir),
            byte: anchor::rare_byte(&pieces),
            non_ascii: anchor::needs_non_ascii(&hir),
        },
        keywords: OnceLock::new(),
        views: ViewSet::of(def),
        def: def.clone(),
        surfaces,
        pattern: if in_windows { pattern } else { pattern.with_prefilter() },
        key: key.map(|(key, _)| key),
        validator,
        allow,
        trigger,
        rounds: OnceLock::new(),
    })
}

/// The fields that need no regex.
fn plain_fields(def: &RuleDef, origin: &Origin<'_>, errors: &mut Vec<CompileError>) {
    let mut tell =
        |code, field: &str, message: &str| errors.push(origin.error(code, field, message));
    let word = |word: &str| {
        word.split('-').all(|part| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        })
    };
    if !def.id.contains('.') || def.id.len() > 80 || !def.id.split('.').all(word) {
        tell(
            Code::BadId,
            "/id",
            "an id is lower-case words in two or more parts, as dlp.aws.access-key",
        );
    }
    if def.tests.matches.len() < 2 {
        tell(Code::TooFewTests, "/tests/match", "two or more examples are needed");
    }
    if def.tests.no_match.len() < 2 {
        tell(Code::TooFewTests, "/tests/no_match", "two or more counter-examples are needed");
    }
    if !(1..=4).contains(&def.paranoia) {
        tell(Code::OutOfRange, "/paranoia", "paranoia is 1 to 4");
    }
    if def.rev == 0 {
        tell(Code::OutOfRange, "/rev", "revisions start at 1");
    }
    if def.window.is_some_and(|window| window > MAX_WINDOW || def.keywords.is_empty()) {
        tell(Code::OutOfRange, "/window", "a window needs keywords and is at most 65536");
    }
    if def.keywords.iter().map(String::len).sum::<usize>() > MAX_KEYWORDS {
        tell(Code::TooLarge, "/keywords", "the keywords are too many for one automaton");
    }
    if def.keywords.iter().any(String::is_empty) {
        tell(Code::OutOfRange, "/keywords", "a keyword is empty");
    }
    if let Some(context) = &def.context
        && (context.words.is_empty()
            || context.words.iter().any(String::is_empty)
            || context.distance > MAX_WINDOW
            || context.score > 100)
    {
        tell(
            Code::OutOfRange,
            "/context",
            "a context needs words, a distance of at most 65536 and a score of at most 100",
        );
    }
    if def.score.is_some_and(|score| score > 100) {
        tell(Code::OutOfRange, "/score", "a score is at most 100");
    }
    if def.entropy.is_some_and(|bits| !(0.0..=8.0).contains(&bits)) {
        tell(Code::Entropy, "/entropy", "entropy is 0 to 8 bits a byte");
    }
    if let Some(template) = &def.redact {
        let rest = template.replace("{id}", "");
        let odd = |c: char| c.is_control() || c == '{' || c == '}';
        if template.is_empty() || template.len() > MAX_TEMPLATE || rest.contains(odd) {
            tell(
                Code::BadTemplate,
                "/redact",
                "one line of 1 to 200 bytes; {id} is the only placeholder",
            );
        }
    }
}

fn resolve_allow(
    allow: &AllowDef,
    index: usize,
    def: &RuleDef,
    origin: &Origin<'_>,
    errors: &mut Vec<CompileError>,
) -> Allow {
    let here = format!("/allow/{index}");
    if allow.regexes.is_empty() && allow.stopwords.is_empty() && allow.hashes.is_empty() {
        errors.push(origin.error(Code::BadAllow, &here, "nothing is listed"));
    }
    if allow.stopwords.iter().any(String::is_empty) {
        errors.push(origin.error(
            Code::BadAllow,
            &here,
            "an empty stopword would allow everything",
        ));
    }
    let is_hash = |hash: &String| hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit());
    if !allow.hashes.iter().all(is_hash) {
        errors.push(origin.error(Code::BadAllow, &here, "a hash is 64 hexadecimal digits"));
    }
    let mut regexes = Vec::new();
    for (at, pattern) in allow.regexes.iter().enumerate() {
        let field = format!("{here}/regexes/{at}");
        if let Some((regex, _)) = compile_regex(pattern, def.unicode, &field, origin, errors) {
            regexes.push(regex);
        }
    }
    Allow {
        target: allow.target,
        regexes,
        stopwords: allow.stopwords.iter().map(|w| w.to_ascii_lowercase()).collect(),
        hashes: allow.hashes.iter().map(|h| h.to_ascii_lowercase()).collect(),
    }
}

fn compile_regex(
    text: &str,
    unicode: bool,
    field: &str,
    origin: &Origin<'_>,
    errors: &mut Vec<CompileError>,
) -> Option<(Pattern, Hir)> {
    let mut tell = |code, message: String| {
        errors.push(origin.error(code, field, message));
        None
    };
    if text.len() > PATTERN_LEN {
        return tell(Code::TooLarge, format!("longer than {PATTERN_LEN} bytes"));
    }
    let (hir, narrowed) = match pattern::read(text, unicode, field == "/pattern") {
        Ok(read) => read,
        Err(error) => {
            let (kind, span) = match &*error {
                regex_syntax::Error::Parse(error) => (error.kind().to_string(), error.span()),
                regex_syntax::Error::Translate(error) => {
                    let hint = if unicode { "" } else { " (without `unicode: true`)" };
                    (format!("{}{hint}", error.kind()), error.span())
                }
                _ => return tell(Code::BadRegex, "the regex cannot be read".to_owned()),
            };
            let column = span.start.offset + 1;
            return tell(Code::BadRegex, format!("{kind}, at character {column}"));
        }
    };
    let lower = text.to_ascii_lowercase();
    if !unicode && (lower.contains("\\xff") || lower.contains("\\x{ff}")) {
        return tell(
            Code::CrossesSeparator,
            "the byte 0xFF separates texts; end the class at \\xFE".to_owned(),
        );
    }
    match Pattern::new(&narrowed, unicode, &hir) {
        Ok(pattern) => Some((pattern, hir)),
        Err(error) if error.size_limit().is_some() => {
            tell(Code::TooLarge, format!("the compiled regex is larger than {REGEX_SIZE} bytes"))
        }
        Err(_) => tell(Code::BadRegex, "the regex cannot be compiled".to_owned()),
    }
}

fn check_empty(hir: &Hir, origin: &Origin<'_>, errors: &mut Vec<CompileError>) {
    if hir.properties().minimum_len().is_none_or(|len| len == 0) {
        errors.push(origin.error(
            Code::MatchesEmpty,
            "/pattern",
            "the pattern can match an empty text, or nothing",
        ));
    } else if secret_can_be_empty(hir) {
        errors.push(origin.error(
            Code::MatchesEmpty,
            "/pattern",
            "the group `secret` can be empty",
        ));
    }
}

fn secret_can_be_empty(hir: &Hir) -> bool {
    match hir.kind() {
        HirKind::Capture(capture) => {
            let own = capture.name.as_deref() == Some("secret")
                && capture.sub.properties().minimum_len().is_none_or(|len| len == 0);
            own || secret_can_be_empty(&capture.sub)
        }
        HirKind::Repetition(repetition) => secret_can_be_empty(&repetition.sub),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => {
            parts.iter().any(secret_can_be_empty)
        }
        _ => false,
    }
}

/// The cheapest sound way to know which texts to look at: literals of the pattern, of the key, or the keywords.
fn choose_trigger(
    def: &RuleDef,
    pieces: &Pieces,
    key: Option<&Hir>,
    origin: &Origin<'_>,
    errors: &mut Vec<CompileError>,
) -> Option<Trigger> {
    // Literals of the pattern also say where in the text to look: others must be clearly cheaper.
    const WORSE: f64 = 4.0;
    let mut options: Vec<(f64, Trigger)> = Vec::new();
    if let Some(anchors) = anchor::required(pieces) {
        options.push((anchors.cost, Trigger::Value(anchors)));
    }
    let mut other = |anchors: Option<Anchors>, make: fn(Anchors) -> Trigger| {
        options.extend(anchors.map(|anchors| (anchors.cost * WORSE, make(anchors))));
    };
    other(key.and_then(|key| anchor::required(&Pieces::of(key))), Trigger::Key);
    other(anchor::of_words(&def.keywords), Trigger::Keyword);
    let best = options.into_iter().min_by(|a, b| a.0.total_cmp(&b.0));
    match best {
        Some((_, trigger)) => Some(trigger),
        None if def.slow => Some(Trigger::Always),
        None => {
            errors.push(origin.error(
                Code::NoAnchor,
                "/pattern",
                "no literal of four bytes is in every match; add one, a key, keywords, or `slow: true`",
            ));
            None
        }
    }
}
