//! Required literals from a pattern's syntax tree: every match contains one of them, so a text without any needs no
//! regex. Hand-written keywords cannot promise that; this can.
//!
//! A pattern is flattened into pieces that either spell out (a small set of strings) or do not (a gap). Every run of
//! spelt pieces, multiplied out, is a candidate; the one expected least often in ordinary traffic wins.

mod rarity;

pub(crate) use rarity::commonness;
use rarity::{frequency, set_cost};
use regex_syntax::hir::{Class, Hir, HirKind, Repetition};

/// Literals are never shorter.
pub(crate) const MIN_LEN: usize = 4;
/// Literals are not extended beyond this.
const ENOUGH: usize = 10;
/// Literals of one candidate at most.
const MAX_SET: usize = 256;
/// Literals of all branches of an alternation at most.
const MAX_UNION: usize = 1024;
/// Characters of a class that is still spelt out.
const MAX_CLASS: usize = 64;
/// Pieces of one pattern at most; what follows is a gap.
const MAX_PIECES: usize = 512;
/// Copies of a repeated part that are spelt out.
const MAX_COPIES: u32 = 10;

/// A set of literals, lower case, one of which every match contains.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Anchors {
    /// The literals, sorted.
    pub(crate) literals: Vec<Vec<u8>>,
    /// Expected hits per byte of ordinary traffic.
    pub(crate) cost: f64,
    /// How many bytes of a match can stand before the literal at most; `None` when unbounded.
    pub(crate) before: Option<usize>,
}

#[derive(Clone, Debug)]
enum Piece {
    /// One of these strings, exactly.
    Spelt(Vec<Vec<u8>>),
    /// Something else of at most this length, perhaps with literals of its own inside.
    Gap(Option<usize>, Option<Anchors>),
}

impl Piece {
    fn max_len(&self) -> Option<usize> {
        match self {
            Self::Spelt(set) => set.iter().map(Vec::len).max(),
            Self::Gap(max, _) => *max,
        }
    }
}

/// A pattern taken apart.
#[derive(Debug)]
pub(crate) struct Pieces(Vec<Piece>);

impl Pieces {
    /// Takes a pattern apart.
    pub(crate) fn of(hir: &Hir) -> Self {
        let mut pieces = Vec::new();
        flatten(hir, &mut pieces);
        Self(pieces)
    }
}

/// The cheapest set of literals that every match of a pattern contains one of.
pub(crate) fn required(Pieces(pieces): &Pieces) -> Option<Anchors> {
    let mut best: Option<Anchors> = None;
    let mut keep = |candidate: Anchors| {
        if best.as_ref().is_none_or(|best| candidate.cost < best.cost) {
            best = Some(candidate);
        }
    };
    let mut before = Some(0_usize);
    for (first, piece) in pieces.iter().enumerate() {
        match piece {
            Piece::Gap(_, Some(inside)) => {
                keep(Anchors { before: add(before, inside.before), ..inside.clone() })
            }
            Piece::Gap(_, None) => {}
            Piece::Spelt(_) => {
                let rest = pieces.get(first..).unwrap_or(&[]);
                runs(rest, &mut |literals| {
                    keep(Anchors { cost: set_cost(&literals), literals, before });
                });
            }
        }
        before = add(before, piece.max_len());
    }
    best
}

/// The anchors of plain words (keywords), any of which may occur.
pub(crate) fn of_words(words: &[String]) -> Option<Anchors> {
    let literals: Vec<Vec<u8>> =
        words.iter().map(|word| word.to_ascii_lowercase().into_bytes()).collect();
    (!literals.is_empty() && literals.iter().all(|l| l.len() >= MIN_LEN)).then(|| Anchors {
        cost: set_cost(&literals),
        literals,
        before: None,
    })
}

fn add(a: Option<usize>, b: Option<usize>) -> Option<usize> {
    a?.checked_add(b?)
}

/// Multiplies out the spelt pieces at the start of `pieces`, giving every set whose literals are long enough.
fn runs(pieces: &[Piece], give: &mut dyn FnMut(Vec<Vec<u8>>)) {
    let mut set: Vec<Vec<u8>> = vec![Vec::new()];
    for piece in pieces {
        let Piece::Spelt(next) = piece else { return };
        match product(&set, next) {
            Some(longer) => set = longer,
            None => return,
        }
        let shortest = set.iter().map(Vec::len).min().unwrap_or(0);
        if shortest >= MIN_LEN {
            give(set.clone());
        }
        if shortest >= ENOUGH {
            return;
        }
    }
}

fn product(left: &[Vec<u8>], right: &[Vec<u8>]) -> Option<Vec<Vec<u8>>> {
    if left.len() * right.len() > MAX_SET {
        return None;
    }
    let mut set: Vec<Vec<u8>> =
        left.iter().flat_map(|l| right.iter().map(move |r| [l.as_slice(), r].concat())).collect();
    set.sort_unstable();
    set.dedup();
    Some(set)
}

/// Every string `hir` can match, if they are few.
fn spelt(hir: &Hir) -> Option<Vec<Vec<u8>>> {
    // most parts can match far too many: that is told without making them
    if least_strings(hir) > MAX_SET { None } else { spell(hir) }
}

/// How many different strings `hir` can match at least, ASCII case aside.
fn least_strings(hir: &Hir) -> usize {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) | HirKind::Literal(_) => 1,
        HirKind::Class(Class::Bytes(class)) => {
            class.iter().map(|r| r.len()).sum::<usize>().div_ceil(2)
        }
        HirKind::Class(Class::Unicode(class)) => {
            class.iter().map(|r| r.len()).sum::<usize>().div_ceil(2)
        }
        HirKind::Capture(capture) => least_strings(&capture.sub),
        // branches may be alike
        HirKind::Alternation(branches) => branches.iter().map(least_strings).max().unwrap_or(0),
        HirKind::Concat(parts) => parts.iter().map(least_strings).fold(1, usize::saturating_mul),
        HirKind::Repetition(repetition) => match repetition.max {
            Some(max) if max <= 4 => least_strings(&repetition.sub).saturating_pow(max),
            _ => usize::MAX,
        },
    }
}

fn spell(hir: &Hir) -> Option<Vec<Vec<u8>>> {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => Some(vec![Vec::new()]),
        HirKind::Literal(literal) => Some(vec![literal.0.to_ascii_lowercase()]),
        HirKind::Class(class) => class_strings(class),
        HirKind::Capture(capture) => spell(&capture.sub),
        HirKind::Concat(parts) => {
            parts.iter().try_fold(vec![Vec::new()], |set, part| product(&set, &spell(part)?))
        }
        HirKind::Alternation(branches) => {
            let mut set = Vec::new();
            for branch in branches {
                set.extend(spell(branch)?);
                if set.len() > MAX_SET {
                    return None;
                }
            }
            set.sort_unstable();
            set.dedup();
            Some(set)
        }
        HirKind::Repetition(repetition) => {
            let max = repetition.max.filter(|max| *max <= 4)?;
            let one = spell(&repetition.sub)?;
            let mut power = vec![Vec::new()];
            let mut set = Vec::new();
            for count in 0..=max {
                if count >= repetition.min {
                    set.extend(power.iter().cloned());
                }
                if count < max {
                    power = product(&power, &one)?;
                }
            }
            set.sort_unstable();
            set.dedup();
            (set.len() <= MAX_SET).then_some(set)
        }
    }
}

fn class_strings(class: &Class) -> Option<Vec<Vec<u8>>> {
    let mut set: Vec<Vec<u8>> = Vec::new();
    match class {
        Class::Bytes(class) => {
            for range in class.iter() {
                for byte in range.start()..=range.end() {
                    set.push(vec![byte.to_ascii_lowercase()]);
                }
            }
        }
        Class::Unicode(class) => {
            let size: u64 = class
                .iter()
                .map(|r| 1 + u64::from(u32::from(r.end())) - u64::from(u32::from(r.start())))
                .sum();
            if size > 256 {
                return None;
            }
            for range in class.iter() {
                for c in range.start()..=range.end() {
                    set.push(c.to_ascii_lowercase().to_string().into_bytes());
                }
            }
        }
    }
    set.sort_unstable();
    set.dedup();
    // a class that matches nothing spells nothing; the pattern then has no match at all
    (!set.is_empty() && set.len() <= MAX_CLASS).then_some(set)
}

fn flatten(hir: &Hir, pieces: &mut Vec<Piece>) {
    let gap = || Piece::Gap(hir.properties().maximum_len(), None);
    if pieces.len() >= MAX_PIECES {
        pieces.push(gap());
        return;
    }
    match hir.kind() {
        HirKind::Concat(parts) => parts.iter().for_each(|part| flatten(part, pieces)),
        HirKind::Capture(capture) => flatten(&capture.sub, pieces),
        HirKind::Repetition(repetition) if repetition.min > 0 => {
            flatten_repeated(hir, repetition, pieces);
        }
        HirKind::Alternation(branches) => pieces.push(match spelt(hir) {
            Some(set) => Piece::Spelt(set),
            None => Piece::Gap(hir.properties().maximum_len(), one_of(branches)),
        }),
        _ => pieces.push(spelt(hir).map_or_else(gap, Piece::Spelt)),
    }
}

/// A part that occurs at least once: some copies spelt out, then a gap if there may be more.
fn flatten_repeated(hir: &Hir, repetition: &Repetition, pieces: &mut Vec<Piece>) {
    if let Some(set) = spelt(hir) {
        pieces.push(Piece::Spelt(set));
        return;
    }
    let mut one = Vec::new();
    flatten(&repetition.sub, &mut one);
    if one.iter().all(|piece| matches!(piece, Piece::Gap(_, None))) {
        pieces.push(Piece::Gap(hir.properties().maximum_len(), None));
        return;
    }
    let copies = repetition.min.min(MAX_COPIES);
    for _ in 0..copies {
        pieces.extend_from_slice(&one);
    }
    if repetition.max != Some(copies) {
        // what may come beyond the copies
        let more = repetition.max.map(|max| (max - copies) as usize);
        let each = repetition.sub.properties().maximum_len();
        let rest = more.zip(each).and_then(|(more, each)| more.checked_mul(each));
        pieces.push(Piece::Gap(rest, None));
    }
}

/// Literals one of which every match of an alternation contains: all branches must have some.
fn one_of(branches: &[Hir]) -> Option<Anchors> {
    let mut literals = Vec::new();
    let mut before = Some(0_usize);
    for branch in branches {
        let anchors = required(&Pieces::of(branch))?;
        literals.extend(anchors.literals);
        before = match (before, anchors.before) {
            (Some(a), Some(b)) => Some(a.max(b)),
            _ => None,
        };
    }
    literals.sort_unstable();
    literals.dedup();
    (literals.len() <= MAX_UNION).then(|| Anchors { cost: set_cost(&literals), literals, before })
}

/// How many ASCII digits every match contains at least.
pub(crate) fn min_digits(hir: &Hir) -> usize {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => 0,
        HirKind::Literal(literal) => literal.0.iter().filter(|b| b.is_ascii_digit()).count(),
        HirKind::Class(Class::Bytes(class)) => usize::from(
            class.iter().next().is_some()
                && class.iter().all(|r| r.start().is_ascii_digit() && r.end().is_ascii_digit()),
        ),
        HirKind::Class(Class::Unicode(class)) => usize::from(
            class.iter().next().is_some()
                && class.iter().all(|r| r.start().is_ascii_digit() && r.end().is_ascii_digit()),
        ),
        HirKind::Capture(capture) => min_digits(&capture.sub),
        HirKind::Repetition(r) => min_digits(&r.sub).saturating_mul(r.min as usize),
        HirKind::Concat(parts) => parts.iter().map(min_digits).sum(),
        HirKind::Alternation(branches) => branches.iter().map(min_digits).min().unwrap_or(0),
    }
}

/// Whether every match contains a character outside ASCII.
pub(crate) fn needs_non_ascii(hir: &Hir) -> bool {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => false,
        HirKind::Literal(literal) => !literal.0.is_ascii(),
        HirKind::Class(Class::Bytes(class)) => class.iter().all(|r| !r.start().is_ascii()),
        HirKind::Class(Class::Unicode(class)) => class.iter().all(|r| !r.start().is_ascii()),
        HirKind::Capture(capture) => needs_non_ascii(&capture.sub),
        HirKind::Repetition(r) => r.min > 0 && needs_non_ascii(&r.sub),
        HirKind::Concat(parts) => parts.iter().any(needs_non_ascii),
        HirKind::Alternation(branches) => branches.iter().all(needs_non_ascii),
    }
}

/// A punctuation byte that every match contains, the rarest: where a pattern without a literal can still start.
pub(crate) fn rare_byte(Pieces(pieces): &Pieces) -> Option<(u8, Option<usize>)> {
    let mut best: Option<(u8, Option<usize>)> = None;
    let mut before = Some(0_usize);
    for piece in pieces {
        if let Piece::Spelt(set) = piece
            && let [literal] = set.as_slice()
        {
            let rarest = literal
                .iter()
                .filter(|b| b.is_ascii_punctuation())
                .min_by(|a, b| frequency(**a).total_cmp(&frequency(**b)));
            if let Some(byte) = rarest
                && best.is_none_or(|(other, _)| frequency(*byte) < frequency(other))
            {
                best = Some((*byte, add(before, Some(literal.len()))));
            }
        }
        before = add(before, piece.max_len());
    }
    best
}

#[cfg(test)]
mod tests {
    use super::{Anchors, Pieces, min_digits, needs_non_ascii, rare_byte};

    fn hir(pattern: &str) -> regex_syntax::hir::Hir {
        regex_syntax::ParserBuilder::new()
            .unicode(false)
            .utf8(false)
            .build()
            .parse(pattern)
            .unwrap()
    }

    fn required(pattern: &str) -> Option<Anchors> {
        super::required(&Pieces::of(&hir(pattern)))
    }

    fn literals(pattern: &str) -> Vec<String> {
        required(pattern)
            .map(|anchors| anchors.literals)
            .unwrap_or_default()
            .into_iter()
            .map(|l| String::from_utf8(l).unwrap())
            .collect()
    }

    #[test]
    fn finds_what_every_match_contains() {
        assert_eq!(literals(r"\bghp_[0-9A-Za-z]{36}\b")[0].get(..4), Some("ghp_"));
        assert_eq!(literals("(?i)PassPhrase"), ["passphrase"]);
        assert_eq!(literals("(?:alpha|omega)[0-9]+"), ["alpha", "omega"]);
        assert_eq!(literals("(?:alpha[0-9]+z|omega)x"), ["alpha", "omegax"].map(|w| &w[..5]));
        assert!(literals("[a-z]{20}").is_empty());
        assert!(literals("(?:token)?").is_empty());
        assert!(literals("(?:abcdef|[a-z]+)").is_empty());
    }

    #[test]
    fn extends_short_literals() {
        let extended = literals("sk-[a-z0-9]{20}");
        assert_eq!(extended.len(), 36);
        assert!(extended.iter().all(|l| l.starts_with("sk-") && l.len() == 4));
    }

    #[test]
    fn bounds_what_stands_before() {
        assert_eq!(required("[a-z]{3,9}zqxj!").unwrap().before, Some(9));
        assert_eq!(required("[a-z]+zqxj!").unwrap().before, None);
    }

    #[test]
    fn tells_what_ascii_cannot_match() {
        let needs = |pattern| {
            let parser = regex_syntax::ParserBuilder::new().utf8(false).build().parse(pattern);
            needs_non_ascii(&parser.unwrap())
        };
        assert!(needs(r"[\x{E0020}-\x{E007E}]{8,}") && needs("a(?:é|日+)z"));
        assert!(!needs("[aé]") && !needs("é*") && !needs("(?:x|é)"));
    }

    #[test]
    fn counts_digits_and_finds_a_rare_byte() {
        assert_eq!(min_digits(&hir(r"(?:4\d{3}|5[1-5]\d{2})[ -]?\d{4}")), 8);
        assert_eq!(rare_byte(&Pieces::of(&hir("[a-z]{1,64}@[a-z]+"))), Some((b'@', Some(65))));
    }
}
