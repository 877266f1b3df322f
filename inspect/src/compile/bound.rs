//! White space in patterns: `\s+` means up to [`WIDEST`] characters. Longer runs are made one before a rule sees them
//! (the normalised reading), so nothing is lost, and a match gets a length that windows can be cut by.

use regex_syntax::hir::{Capture, Class, Hir, HirKind, Repetition, print::Printer};

/// White space in a row that a pattern sees at most.
pub(crate) const WIDEST: u32 = 32;

/// The pattern with its unbounded runs of white space bounded, as a tree and as text; `None` when it has none. The text
/// is for a builder with Unicode on, whatever the pattern was written for.
pub(super) fn bounded(hir: &Hir) -> Option<(Hir, String)> {
    let (hir, changed) = bound(hir);
    let mut text = String::new();
    // printing to a String cannot fail
    (changed && Printer::new().print(&hir, &mut text).is_ok()).then_some((hir, text))
}

fn bound(hir: &Hir) -> (Hir, bool) {
    let all = |parts: &[Hir]| {
        let bound: Vec<(Hir, bool)> = parts.iter().map(bound).collect();
        let changed = bound.iter().any(|(_, changed)| *changed);
        (bound.into_iter().map(|(hir, _)| hir).collect(), changed)
    };
    match hir.kind() {
        HirKind::Repetition(repetition)
            if repetition.max.is_none() && is_space(&repetition.sub) =>
        {
            let max = Some(repetition.min.max(WIDEST));
            (Hir::repetition(Repetition { max, ..repetition.clone() }), true)
        }
        HirKind::Repetition(repetition) => {
            let (sub, changed) = bound(&repetition.sub);
            let sub = Box::new(sub);
            (Hir::repetition(Repetition { sub, ..repetition.clone() }), changed)
        }
        HirKind::Capture(capture) => {
            let (sub, changed) = bound(&capture.sub);
            (Hir::capture(Capture { sub: Box::new(sub), ..capture.clone() }), changed)
        }
        HirKind::Concat(parts) => {
            let (parts, changed) = all(parts);
            (Hir::concat(parts), changed)
        }
        HirKind::Alternation(parts) => {
            let (parts, changed) = all(parts);
            (Hir::alternation(parts), changed)
        }
        HirKind::Empty | HirKind::Literal(_) | HirKind::Class(_) | HirKind::Look(_) => {
            (hir.clone(), false)
        }
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
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::bounded;
    use regex::bytes::RegexBuilder;

    fn hir(pattern: &str, unicode: bool) -> regex_syntax::hir::Hir {
        let mut parser = regex_syntax::ParserBuilder::new();
        parser.unicode(unicode).utf8(false).build().parse(pattern).unwrap()
    }

    #[test]
    fn only_white_space_is_bounded_and_all_else_matches_as_before() {
        for (pattern, unicode, text) in [
            (r"(?i)\bignore\s+(?P<secret>all)\b", false, "so IGNORE \n ALL."),
            (r"a[ \t]*\d+(?:\s+\w+){2}", false, "a\t12 b  c"),
            (r"(?i)забудь\s+всё", true, "Забудь   ВСЁ"),
            (r"\x20+\xfe?x", false, "   x"),
        ] {
            let (bound, printed) = bounded(&hir(pattern, unicode)).unwrap();
            let build =
                |pattern: &str, unicode| RegexBuilder::new(pattern).unicode(unicode).build();
            let (was, is) = (build(pattern, unicode).unwrap(), build(&printed, true).unwrap());
            assert_eq!(
                is.find(text.as_bytes()).unwrap().range(),
                was.find(text.as_bytes()).unwrap().range()
            );
            assert_eq!(
                is.capture_names().collect::<Vec<_>>(),
                was.capture_names().collect::<Vec<_>>()
            );
            assert_eq!(
                bound.properties().minimum_len(),
                hir(pattern, unicode).properties().minimum_len()
            );
        }
        let (bound, _) = bounded(&hir(r"ignore\s+all", false)).unwrap();
        assert_eq!(bound.properties().maximum_len(), Some(6 + 32 + 3));
        assert!(bounded(&hir(r"[a-z]+\s{2,5}[\sx]*", false)).is_none());
    }
}
