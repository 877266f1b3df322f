//! A regex, checked when rules are compiled and built when a text first needs it: most rules of a large set never meet
//! a text of theirs, and building is what costs time and memory.
//!
//! That building will not fail is told from the syntax tree, by more memory than the automaton can take. A pattern for
//! which that says nothing is built, and thrown away.

use super::bound::bounded;
use regex_automata::meta::{BuildError, Config, Regex};
use regex_automata::{Anchored, Input};
use regex_syntax::ast;
use regex_syntax::hir::translate::TranslatorBuilder;
use regex_syntax::hir::{Class, Hir, HirKind};
use regex_syntax::utf8::Utf8Sequences;
use std::borrow::Cow;
use std::ops::Range;
use std::sync::OnceLock;

/// Bytes a compiled regex may take.
pub(super) const REGEX_SIZE: usize = 2 * 1024 * 1024;
/// How deep a pattern may be nested.
const NESTING: u32 = 100;
/// More than a state of an automaton takes.
const STATE: usize = 40;

/// One regex of a rule.
#[derive(Clone)]
pub(crate) struct Pattern {
    text: Box<str>,
    unicode: bool,
    /// Whether it searches whole texts: a prefilter then pays, which takes most of the time to build.
    prefilter: bool,
    /// `None` when it could not be built, against what was told before.
    built: OnceLock<Option<Regex>>,
}

impl std::fmt::Debug for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pattern({:?})", self.text)
    }
}

impl Pattern {
    /// A pattern and its syntax tree; an error when its automaton would be too large.
    pub(super) fn new(text: &str, unicode: bool, hir: &Hir) -> Result<Self, Box<BuildError>> {
        if size(hir) > REGEX_SIZE {
            build(hir, false)?;
        }
        Ok(Self { text: text.into(), unicode, prefilter: false, built: OnceLock::new() })
    }

    /// The same, for searching whole texts.
    pub(super) fn with_prefilter(self) -> Self {
        Self { prefilter: true, ..self }
    }

    /// Its syntax tree, which is not kept.
    pub(super) fn hir(&self) -> Option<Hir> {
        parser(self.unicode).parse(&self.text).ok()
    }

    /// The regex, built if this is the first time.
    fn regex(&self) -> Option<&Regex> {
        let first = || build(&self.hir()?, self.prefilter).ok();
        self.built.get_or_init(first).as_ref()
    }

    /// Whether there is a regex, as there always should be.
    pub(crate) fn is_sound(&self) -> bool {
        self.regex().is_some()
    }

    pub(crate) fn is_match(&self, text: &[u8]) -> bool {
        self.regex().is_some_and(|regex| regex.is_match(text))
    }

    /// The first match from `at` on, which may look at what stands before.
    pub(crate) fn find_at(&self, text: &[u8], at: usize) -> Option<Range<usize>> {
        Some(self.regex()?.find(Input::new(text).range(at..))?.range())
    }

    /// A group of the match that `find_at` found at `whole`.
    pub(crate) fn group(
        &self,
        text: &[u8],
        whole: &Range<usize>,
        group: usize,
    ) -> Option<Range<usize>> {
        let regex = self.regex()?;
        let mut groups = regex.create_captures();
        let input = Input::new(text).range(whole.start..).anchored(Anchored::Yes);
        regex.search_captures(&input, &mut groups);
        groups.get_group(group).map(|group| group.range())
    }

    /// As it was compiled, for tests that run it in another engine.
    #[cfg(test)]
    pub(crate) fn text(&self) -> (&str, bool) {
        (&self.text, self.unicode)
    }
}

/// What reads a pattern that was read before.
fn parser(unicode: bool) -> regex_syntax::Parser {
    regex_syntax::ParserBuilder::new().unicode(unicode).utf8(false).nest_limit(NESTING).build()
}

/// Reads a pattern; where `bounds` says so, with its white space bounded, as which it is given back.
pub(super) fn read(
    text: &str,
    unicode: bool,
    bounds: bool,
) -> Result<(Hir, Cow<'_, str>), Box<regex_syntax::Error>> {
    let reader = || ast::parse::ParserBuilder::new().nest_limit(NESTING).build();
    let mut translator = TranslatorBuilder::new().unicode(unicode).utf8(false).build();
    let ast = reader().parse(text).map_err(|error| Box::new(error.into()))?;
    if let Some(narrow) = bounds.then(|| bounded(&ast, text, unicode)).flatten()
        && let Ok(ast) = reader().parse(&narrow)
        && let Ok(hir) = translator.translate(&narrow, &ast)
    {
        return Ok((hir, Cow::Owned(narrow)));
    }
    // what cannot be translated is told as it was written
    let hir = translator.translate(text, &ast).map_err(|error| Box::new(error.into()))?;
    Ok((hir, Cow::Borrowed(text)))
}

fn build(hir: &Hir, prefilter: bool) -> Result<Regex, Box<BuildError>> {
    let config = Config::new()
        .utf8_empty(false)
        .nfa_size_limit(Some(REGEX_SIZE))
        .onepass(false)
        .auto_prefilter(prefilter);
    Regex::builder().configure(config).build_from_hir(hir).map_err(Box::new)
}

/// Which group of a pattern has this name.
pub(super) fn group_named(hir: &Hir, name: &str) -> Option<usize> {
    match hir.kind() {
        HirKind::Capture(capture) if capture.name.as_deref() == Some(name) => {
            Some(capture.index as usize)
        }
        HirKind::Capture(capture) => group_named(&capture.sub, name),
        HirKind::Repetition(repetition) => group_named(&repetition.sub, name),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => {
            parts.iter().find_map(|part| group_named(part, name))
        }
        _ => None,
    }
}

/// Bytes that the automaton of a pattern takes at most, forward or backward.
fn size(hir: &Hir) -> usize {
    // what leads in and out of any pattern
    size_of_part(hir).saturating_add(16 * STATE)
}

fn size_of_part(hir: &Hir) -> usize {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => STATE,
        HirKind::Literal(literal) => literal.0.len().saturating_mul(STATE),
        HirKind::Class(Class::Bytes(class)) => 2 * STATE + class.ranges().len() * 8,
        HirKind::Class(Class::Unicode(class)) => {
            let ranges =
                class.iter().flat_map(|range| Utf8Sequences::new(range.start(), range.end()));
            ranges.map(|range| (range.len() + 1) * STATE).sum::<usize>() + 2 * STATE
        }
        HirKind::Capture(capture) => size_of_part(&capture.sub).saturating_add(2 * STATE),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => {
            let each = |part| size_of_part(part).saturating_add(8);
            parts.iter().map(each).fold(2 * STATE, usize::saturating_add)
        }
        HirKind::Repetition(repetition) => {
            let copies = repetition.max.unwrap_or(repetition.min).max(1) as usize;
            let one = size_of_part(&repetition.sub).saturating_add(STATE + 16);
            one.saturating_mul(copies).saturating_add(3 * STATE)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Pattern, group_named, parser, size};
    use regex_automata::nfa::thompson::{Compiler, Config, WhichCaptures};

    #[test]
    fn no_automaton_is_larger_than_was_told() {
        for (pattern, unicode) in [
            (r"\bghp_[0-9A-Za-z]{36}\b", false),
            (r"(?i)ignore\s{1,32}(?:all|any|the){0,3}(?P<x>previous)+?.{0,200}", false),
            (r"(?:a|b|[c-f]|gh|)*x{0,9}(?:(?:y?){3,7}z){2,}$", false),
            (r"\w{3,5}[^a]\p{Greek}*(?i:straße)", true),
            ("(?:[\\x00-\\x20a-fm\\xF0]{1,3}){40}", false),
            ("a", false),
            ("(?:){3,9}(?:a?){5,}(?:|b){50}", false),
            ("[a-z0-9]{200,300}[^a]?(?i:[k-s]{90})", true),
        ] {
            let hir = parser(unicode).parse(pattern).unwrap();
            for reverse in [false, true] {
                let groups = if reverse { WhichCaptures::None } else { WhichCaptures::All };
                let config = Config::new().utf8(false).reverse(reverse).which_captures(groups);
                let config = config.nfa_size_limit(Some(size(&hir)));
                let nfa = Compiler::new().configure(config).build_from_hir(&hir);
                assert!(nfa.is_ok(), "{pattern} takes more than {}", size(&hir));
            }
        }
    }

    #[test]
    fn is_built_when_first_needed_and_refused_before() {
        let pattern = |text: &str| Pattern::new(text, false, &parser(false).parse(text).unwrap());
        let small = pattern("b(?P<x>[0-9]+)").unwrap();
        assert!(small.built.get().is_none());
        assert_eq!(small.find_at(b"ab12 b3", 2), Some(5..7));
        assert!(small.built.get().is_some());
        let group = group_named(&parser(false).parse("(a)?b(?P<x>[0-9]+)").unwrap(), "x");
        assert_eq!(group, Some(2));
        assert_eq!(small.group(b"ab12 b3", &(1..4), 1), Some(2..4));
        assert!(pattern("(?:[a-z0-9]{1000}){1000}").is_err());
    }
}
