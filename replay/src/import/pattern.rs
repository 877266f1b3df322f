//! Patterns of other engines → this one's: what is spelt differently is rewritten, what does not exist is refused later
//! by the compiler, and the group that is the secret gets its name.

use regex_syntax::ast::{self, Ast, GroupKind};
use std::borrow::Cow;

use super::{Dialect, Secret};

/// A pattern in this engine's spelling.
pub(super) fn translate(pattern: &str, dialect: Dialect) -> String {
    match dialect {
        Dialect::Go => from_go(pattern),
        Dialect::Rust => without_comments(pattern).into_owned(),
    }
}

/// Hyperscan's `(?#…)`, which the regex crate does not know.
fn without_comments(pattern: &str) -> Cow<'_, str> {
    let Some(open) = pattern.find("(?#") else { return Cow::Borrowed(pattern) };
    let mut out = String::with_capacity(pattern.len());
    let (mut rest, mut open) = (pattern, Some(open));
    while let Some(at) = open {
        let escaped = rest[..at].bytes().rev().take_while(|b| *b == b'\\').count() % 2 == 1;
        let close = rest[at..].find(')').filter(|_| !escaped);
        let end = match close {
            Some(close) => {
                out.push_str(&rest[..at]);
                at + close + 1
            }
            None => {
                out.push_str(&rest[..at + 3]);
                at + 3
            }
        };
        rest = &rest[end..];
        open = rest.find("(?#");
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// Go takes a brace that is no repetition, a bracket inside a class, `&&`, `~~` and `--` there, and `\<` as they stand;
/// the regex crate gives each a meaning.
fn from_go(pattern: &str) -> String {
    let chars: Vec<char> = pattern.chars().collect();
    let mut out = String::with_capacity(pattern.len() + 8);
    let mut at = 0;
    while let Some(&c) = chars.get(at) {
        match c {
            '\\' => at = escape(&chars, at, &mut out),
            '[' => at = class(&chars, at, &mut out),
            '{' if !is_repetition(&chars[at..]) => {
                out.push_str("\\{");
                at += 1;
            }
            '{' => {
                // the bounds, so that their brace is not met again
                while let Some(&c) = chars.get(at) {
                    out.push(c);
                    at += 1;
                    if c == '}' {
                        break;
                    }
                }
            }
            '}' => {
                out.push_str("\\}");
                at += 1;
            }
            c => {
                out.push(c);
                at += 1;
            }
        }
    }
    out
}

/// One escape from `at`; gives what comes after.
fn escape(chars: &[char], at: usize, out: &mut String) -> usize {
    match chars.get(at + 1) {
        // from \Q to \E, or to the end, all is literal
        Some('Q') => {
            let rest = &chars[at + 2..];
            let end = rest.windows(2).position(|two| two == ['\\', 'E']);
            let text: String = rest[..end.unwrap_or(rest.len())].iter().collect();
            out.push_str(&regex_syntax::escape(&text));
            at + 2 + end.map_or(rest.len(), |end| end + 2)
        }
        Some(sign @ ('<' | '>')) => {
            out.push(*sign);
            at + 2
        }
        // \x{…}, \p{…}: their braces are no repetition
        Some(letter @ ('x' | 'p' | 'P')) if chars.get(at + 2) == Some(&'{') => {
            out.extend(['\\', *letter]);
            let mut at = at + 2;
            while let Some(&c) = chars.get(at) {
                out.push(c);
                at += 1;
                if c == '}' {
                    break;
                }
            }
            at
        }
        Some(c) => {
            out.extend(['\\', *c]);
            at + 2
        }
        None => {
            out.push('\\');
            at + 1
        }
    }
}

/// A class from its bracket; gives what comes after.
fn class(chars: &[char], start: usize, out: &mut String) -> usize {
    out.push('[');
    let mut at = start + 1;
    if chars.get(at) == Some(&'^') {
        out.push('^');
        at += 1;
    }
    let first = at;
    while let Some(&c) = chars.get(at) {
        match c {
            ']' if at > first => {
                out.push(']');
                return at + 1;
            }
            ']' => out.push_str("\\]"),
            '\\' => {
                at = escape(chars, at, out);
                continue;
            }
            '[' if chars.get(at + 1) == Some(&':') => {
                let end = chars[at..].windows(2).position(|two| two == [':', ']']);
                if let Some(end) = end {
                    out.extend(&chars[at..at + end + 2]);
                    at += end + 2;
                    continue;
                }
                out.push_str("\\[");
            }
            '[' | '&' | '~' => out.extend(['\\', c]),
            // a dash at an end, or one that is itself an end of a range
            '-' if at == first
                || chars.get(at + 1) == Some(&']')
                || chars.get(at - 1) == Some(&'-') =>
            {
                out.push_str("\\-");
            }
            c => out.push(c),
        }
        at += 1;
    }
    at
}

/// Whether a brace opens `{n}`, `{n,}` or `{n,m}`.
fn is_repetition(chars: &[char]) -> bool {
    let Some(end) = chars.iter().position(|c| *c == '}') else { return false };
    let inside: String = chars[1..end].iter().collect();
    let number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match inside.split_once(',') {
        None => number(&inside),
        Some((from, to)) => number(from) && (to.is_empty() || number(to)),
    }
}

/// A capture group as it stands in a pattern.
struct Group {
    start: usize,
    /// The name's place, if it has one.
    name: Option<(usize, usize)>,
    /// Whether every match goes through it.
    always: bool,
}

/// The pattern with its secret's group named, and whether that group is exactly the secret.
pub(super) fn name_secret(pattern: &str, secret: Secret) -> (String, bool) {
    let Ok(ast) = ast::parse::ParserBuilder::new().nest_limit(100).build().parse(pattern) else {
        // the compiler will say what is wrong with it
        return (pattern.to_owned(), true);
    };
    let mut groups = Vec::new();
    walk(&ast, true, &mut groups);
    let chosen = match secret {
        Secret::Match => None,
        Secret::Group(index) => groups.get((index as usize).wrapping_sub(1)),
        Secret::First => {
            let named = |group: &&Group| {
                let name = group.name.and_then(|(from, to)| pattern.get(from..to));
                name.is_some_and(|name| ["token", "secret"].contains(&&*name.to_ascii_lowercase()))
            };
            groups.iter().find(named).or_else(|| groups.first())
        }
    };
    let Some(group) = chosen else {
        return (pattern.to_owned(), groups.is_empty() || secret == Secret::Match);
    };
    let exact = group.always || groups.len() == 1 && secret != Secret::First;
    let named = match group.name {
        Some((from, to)) => format!("{}secret{}", &pattern[..from], &pattern[to..]),
        None => {
            let open = group.start + 1;
            format!("{}?P<secret>{}", &pattern[..open], &pattern[open..])
        }
    };
    (named, exact)
}

/// Capture groups in the order of their indices.
fn walk(ast: &Ast, always: bool, out: &mut Vec<Group>) {
    match ast {
        Ast::Group(group) => {
            let name = match &group.kind {
                GroupKind::CaptureIndex(_) => Some(None),
                GroupKind::CaptureName { name, .. } => {
                    Some(Some((name.span.start.offset, name.span.end.offset)))
                }
                GroupKind::NonCapturing(_) => None,
            };
            if let Some(name) = name {
                out.push(Group { start: group.span.start.offset, name, always });
            }
            walk(&group.ast, always, out);
        }
        Ast::Repetition(repetition) => {
            let optional = match &repetition.op.kind {
                ast::RepetitionKind::ZeroOrOne | ast::RepetitionKind::ZeroOrMore => true,
                ast::RepetitionKind::OneOrMore => false,
                ast::RepetitionKind::Range(range) => match range {
                    ast::RepetitionRange::Exactly(n)
                    | ast::RepetitionRange::AtLeast(n)
                    | ast::RepetitionRange::Bounded(n, _) => *n == 0,
                },
            };
            walk(&repetition.ast, always && !optional, out);
        }
        Ast::Alternation(alternation) => {
            alternation.asts.iter().for_each(|branch| walk(branch, false, out));
        }
        Ast::Concat(concat) => concat.asts.iter().for_each(|part| walk(part, always, out)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::{Dialect, Secret, name_secret, translate};

    #[test]
    fn what_go_takes_literally_is_escaped() {
        for (go, ours) in [
            (r"^\${(?:[A-Z_]+)}$", r"^\$\{(?:[A-Z_]+)\}$"),
            (r"a{2,3}b{4}c{5,}", r"a{2,3}b{4}c{5,}"),
            (r"[[a&&b~~]x", r"[\[a\&\&b\~\~]x"),
            (r"[]a]b[^]]", r"[\]a]b[^\]]"),
            (r"[a-z_-]+", r"[a-z_\-]+"),
            (r"[+--]", r"[+-\-]"),
            (r"[[:alpha:]\]{]{3}", r"[[:alpha:]\]{]{3}"),
            (r"\<b\>\Qa.b\E+", r"<b>a\.b+"),
            (r"\x{41}\pL\p{Lu}", r"\x{41}\pL\p{Lu}"),
            (r"'{{[ \t]*}}", r"'\{\{[ \t]*\}\}"),
        ] {
            let got = translate(go, Dialect::Go);
            assert_eq!(got, ours, "{go}");
            assert!(regex::Regex::new(&got).is_ok(), "{got}");
        }
    }

    #[test]
    fn comments_go() {
        let got = translate(r"a(?#one)b\(?#two)c(?# three )", Dialect::Rust);
        assert_eq!(got, r"ab\(?#two)c");
    }

    #[test]
    fn the_secret_gets_its_name() {
        for (pattern, secret, named, exact) in [
            ("a(b)(c)", Secret::Group(2), "a(b)(?P<secret>c)", true),
            ("a(b)(c)", Secret::First, "a(?P<secret>b)(c)", true),
            ("a(?:x(b)|y(c))", Secret::First, "a(?:x(?P<secret>b)|y(c))", false),
            ("a(?<TOKEN>b)(c)", Secret::First, "a(?<secret>b)(c)", true),
            ("(q)a(?P<TOKEN>b)", Secret::First, "(q)a(?P<secret>b)", true),
            ("(?i)(a)?(b)", Secret::First, "(?i)(?P<secret>a)?(b)", false),
            ("abc", Secret::First, "abc", true),
            ("a(b)", Secret::Match, "a(b)", true),
        ] {
            assert_eq!(name_secret(pattern, secret), (named.to_owned(), exact), "{pattern}");
        }
    }

    #[test]
    fn any_pattern_is_translated_without_a_panic() {
        let parts = [
            "(",
            "(?:",
            "(?#",
            "(?P<a>",
            "(?<TOKEN>",
            ")",
            "[",
            "[^",
            "]",
            "[:alpha:]",
            "[:",
            "{",
            "}",
            "{2",
            "{2,}",
            "\\",
            "\\Q",
            "\\E",
            "\\x{",
            "\\p{",
            "-",
            "--",
            "&&",
            "~",
            "ä",
            "€",
            "a",
            "|",
            "*",
            "?",
            "$",
            "^",
            "#",
            " ",
        ];
        let mut random = 1_u64;
        for _ in 0..20_000 {
            let mut text = String::new();
            for _ in 0..12 {
                random = random
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                text.push_str(parts[usize::try_from(random >> 40).unwrap() % parts.len()]);
            }
            for dialect in [Dialect::Go, Dialect::Rust] {
                let ours = translate(&text, dialect);
                for secret in [Secret::First, Secret::Group(1), Secret::Group(9), Secret::Match] {
                    let (named, _) = name_secret(&ours, secret);
                    // naming a group makes no valid pattern invalid, but for a name that is there twice
                    let twice = named.matches("<secret>").count() > 1;
                    let valid = |pattern: &str| regex_syntax::Parser::new().parse(pattern).is_ok();
                    assert!(twice || valid(&ours) == valid(&named), "{ours} {named}");
                }
            }
        }
    }
}
