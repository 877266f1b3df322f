//! White space in patterns: `\s+` means up to [`WIDEST`] characters. Longer runs are made one before a rule sees them
//! (the normalised reading), so nothing is lost, and a match gets a length that windows can be cut by.
//!
//! The pattern's own text is changed, operator by operator, and nothing else in it.

use regex_syntax::ast::{Ast, ClassPerlKind, Repetition, RepetitionKind, RepetitionRange};
use regex_syntax::hir::{Class, Hir, HirKind};
use std::ops::Range;

/// White space in a row that a pattern sees at most.
pub(crate) const WIDEST: u32 = 32;

/// A pattern with its unbounded runs of white space bounded; `None` when it has none. `ast` is what it reads as.
pub(super) fn bounded(ast: &Ast, pattern: &str, unicode: bool) -> Option<String> {
    let mut edits = Vec::new();
    collect(ast, pattern, unicode, &mut edits);
    if edits.is_empty() {
        return None;
    }
    edits.sort_by_key(|(range, _)| range.start);
    let mut out = String::with_capacity(pattern.len() + 8 * edits.len());
    let mut done = 0;
    for (range, operator) in edits {
        out.push_str(pattern.get(done..range.start)?);
        out.push_str(&operator);
        done = range.end;
    }
    out.push_str(pattern.get(done..)?);
    Some(out)
}

/// The operators to replace, and by what.
fn collect(ast: &Ast, pattern: &str, unicode: bool, edits: &mut Vec<(Range<usize>, String)>) {
    match ast {
        Ast::Repetition(repetition) => {
            edits.extend(edit(repetition, pattern, unicode));
            collect(&repetition.ast, pattern, unicode, edits);
        }
        Ast::Group(group) => collect(&group.ast, pattern, unicode, edits),
        Ast::Concat(concat) => {
            concat.asts.iter().for_each(|ast| collect(ast, pattern, unicode, edits));
        }
        Ast::Alternation(alternation) => {
            alternation.asts.iter().for_each(|ast| collect(ast, pattern, unicode, edits));
        }
        _ => {}
    }
}

fn edit(repetition: &Repetition, pattern: &str, unicode: bool) -> Option<(Range<usize>, String)> {
    let min = match repetition.op.kind {
        RepetitionKind::ZeroOrMore => 0,
        RepetitionKind::OneOrMore => 1,
        RepetitionKind::Range(RepetitionRange::AtLeast(min)) => min,
        _ => return None,
    };
    if !may_be_space(&repetition.ast) {
        return None;
    }
    let sub = repetition.ast.span();
    let mut parser = regex_syntax::ParserBuilder::new();
    let sub = pattern.get(sub.start.offset..sub.end.offset)?;
    let sub = parser.unicode(unicode).utf8(false).build().parse(sub).ok()?;
    let lazy = if repetition.greedy { "" } else { "?" };
    let span = repetition.op.span;
    is_space(&sub).then(|| {
        let operator = format!("{{{min},{}}}{lazy}", min.max(WIDEST));
        (span.start.offset..span.end.offset, operator)
    })
}

/// Whether a look at the syntax tree of this part is worth its while.
fn may_be_space(ast: &Ast) -> bool {
    match ast {
        Ast::Group(group) => may_be_space(&group.ast),
        Ast::Literal(literal) => literal.c.is_whitespace(),
        Ast::ClassPerl(class) => class.kind == ClassPerlKind::Space || class.negated,
        Ast::Dot(_) => false,
        _ => true,
    }
}

/// Whether one character of white space is all it can match.
fn is_space(hir: &Hir) -> bool {
    match hir.kind() {
        HirKind::Literal(literal) => matches!(literal.0.as_ref(), [b' ' | b'\t'..=b'\r']),
        HirKind::Class(Class::Bytes(class)) => class
            .iter()
            .all(|range| (range.start()..=range.end()).all(|b| matches!(b, b' ' | b'\t'..=b'\r'))),
        HirKind::Class(Class::Unicode(class)) => {
            class.iter().all(|range| (range.start()..=range.end()).all(char::is_whitespace))
        }
        HirKind::Capture(capture) => is_space(&capture.sub),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use regex_syntax::ast::parse::Parser;

    fn bounded(pattern: &str, unicode: bool) -> Option<String> {
        super::bounded(&Parser::new().parse(pattern).unwrap(), pattern, unicode)
    }

    #[test]
    fn only_white_space_is_bounded_and_all_else_stays() {
        for (pattern, unicode, expected) in [
            (r"(?i)\bignore\s+(?P<s>all)\b", false, r"(?i)\bignore\s{1,32}(?P<s>all)\b"),
            (r"a[ \t]*?\d+(?:\s{2,}\w+){2}", false, r"a[ \t]{0,32}?\d+(?:\s{2,32}\w+){2}"),
            (r"забудь\s+всё", true, r"забудь\s{1,32}всё"),
            (
                r"(?:\s+)?(?:[a-z]{2})?x\x20+(?: )*",
                false,
                r"(?:\s{1,32})?(?:[a-z]{2})?x\x20{1,32}(?: ){0,32}",
            ),
            (r"\s{40,}x", false, r"\s{40,40}x"),
        ] {
            assert_eq!(bounded(pattern, unicode).as_deref(), Some(expected));
        }
        assert_eq!(bounded(r"[a-z]+\s{2,5}[\sx]*\S+\s?", false), None);
    }
}
