//! Required literals from a pattern's syntax tree: every match contains one of them, so a text without any needs no
//! regex. Hand-written keywords cannot promise that; this can.
//!
//! A pattern is flattened into pieces that either spell out (a small set of strings) or do not (a gap). Every run of
//! spelt pieces, multiplied out, is a candidate; the one expected least often in ordinary traffic wins.

mod rarity;
mod round;

pub(crate) use rarity::commonness;
use rarity::{LEAST_COST, frequency, set_cost};
use regex_syntax::hir::{Class, Hir, HirKind, Repetition};
pub(crate) use round::Rounds;
use smallvec::SmallVec;
use std::rc::Rc;

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

/// Which child of which child: a part of a pattern's tree.
pub(crate) type Path = SmallVec<[u16; 8]>;

/// A set of literals, lower case, one of which every match contains.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Anchors {
    /// The literals, sorted.
    pub(crate) literals: Vec<Vec<u8>>,
    /// Expected hits per byte of ordinary traffic.
    pub(crate) cost: f64,
    /// The literals by where in the pattern they stand.
    pub(crate) groups: Vec<Group>,
}

/// Literals that stand at one place of a pattern.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Group {
    /// As indices into the literals.
    pub(crate) literals: Vec<u16>,
    /// How many bytes of a match can stand before the literal at most; `None` when unbounded.
    pub(crate) before: Option<usize>,
    /// The first and the last part of the pattern that they spell out.
    pub(crate) spot: Option<(Path, Path)>,
}

/// What may become anchors: sets of literals, each at a place of its own.
#[derive(Clone, Debug)]
struct Candidate {
    cost: f64,
    groups: Vec<Spelling>,
}

#[derive(Clone, Debug)]
struct Spelling {
    literals: Rc<[Vec<u8>]>,
    before: Option<usize>,
    spot: (Path, Path),
}

#[derive(Clone, Debug)]
enum Piece {
    /// One of these strings, exactly, as the part there says.
    Spelt(Vec<Vec<u8>>, Path),
    /// Something else of at most this length, perhaps with literals of its own inside.
    Gap(Option<usize>, Option<Candidate>),
}

impl Piece {
    fn max_len(&self) -> Option<usize> {
        match self {
            Self::Spelt(set, _) => set.iter().map(Vec::len).max(),
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
        Self::at(hir, &mut Path::new())
    }

    fn at(hir: &Hir, path: &mut Path) -> Self {
        let mut pieces = Vec::new();
        flatten(hir, path, &mut pieces);
        Self(pieces)
    }
}

/// The cheapest set of literals that every match of a pattern contains one of.
pub(crate) fn required(pieces: &Pieces) -> Option<Anchors> {
    let Candidate { cost, groups } = cheapest(pieces)?;
    let mut literals: Vec<Vec<u8>> =
        groups.iter().flat_map(|group| group.literals.iter().cloned()).collect();
    literals.sort_unstable();
    literals.dedup();
    let index = |literal: &Vec<u8>| u16::try_from(literals.binary_search(literal).ok()?).ok();
    let groups = groups.iter().map(|group| Group {
        literals: group.literals.iter().filter_map(index).collect(),
        before: group.before,
        spot: Some(group.spot.clone()),
    });
    let groups = groups.collect();
    Some(Anchors { literals, cost, groups })
}

fn cheapest(Pieces(pieces): &Pieces) -> Option<Candidate> {
    let mut best: Option<Candidate> = None;
    let mut before = Some(0_usize);
    for (first, piece) in pieces.iter().enumerate() {
        let least = best.as_ref().map_or(f64::INFINITY, |best| best.cost);
        match piece {
            Piece::Gap(_, Some(inside)) if inside.cost < least => {
                let mut inside = inside.clone();
                for group in &mut inside.groups {
                    group.before = add(before, group.before);
                }
                best = Some(inside);
            }
            Piece::Gap(..) => {}
            Piece::Spelt(_, from) => {
                let rest = pieces.get(first..).unwrap_or(&[]);
                if let Some((cost, literals, to)) = best_run(rest, least) {
                    let spot = (from.clone(), to.clone());
                    let groups = vec![Spelling { literals: literals.into(), before, spot }];
                    best = Some(Candidate { cost, groups });
                }
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
        cost: set_cost(literals.iter().map(Vec::as_slice), f64::INFINITY),
        literals,
        groups: Vec::new(),
    })
}

fn add(a: Option<usize>, b: Option<usize>) -> Option<usize> {
    a?.checked_add(b?)
}

/// Multiplies out the spelt pieces at the start of `pieces`: of all sets whose literals are long enough the cheapest, if
/// it costs less than `least`, and where its last piece stands.
fn best_run(pieces: &[Piece], mut least: f64) -> Option<(f64, Vec<Vec<u8>>, &Path)> {
    let mut best = None;
    let mut set: Vec<Vec<u8>> = vec![Vec::new()];
    for piece in pieces {
        let Piece::Spelt(next, path) = piece else { return best };
        // sets only grow, and so does what they cost at least
        if set.len().max(next.len()) as f64 * LEAST_COST > least {
            return best;
        }
        if !grow(&mut set, next) {
            return best;
        }
        let shortest = set.iter().map(Vec::len).min().unwrap_or(0);
        if shortest >= MIN_LEN {
            let cost = set_cost(set.iter().map(Vec::as_slice), least);
            if cost < least {
                least = cost;
                best = Some((cost, set.clone(), path));
            }
        }
        if shortest >= ENOUGH {
            return best;
        }
    }
    best
}

/// Multiplies a set by what follows it; false, and as it was, when they would be too many.
fn grow(set: &mut Vec<Vec<u8>>, next: &[Vec<u8>]) -> bool {
    if let [one] = next {
        // the letters of a word, most often
        set.iter_mut().for_each(|literal| literal.extend_from_slice(one));
        set.sort_unstable();
        set.dedup();
        return true;
    }
    match product(set, next) {
        Some(longer) => *set = longer,
        None => return false,
    }
    true
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

fn flatten(hir: &Hir, path: &mut Path, pieces: &mut Vec<Piece>) {
    let gap = || Piece::Gap(hir.properties().maximum_len(), None);
    if pieces.len() >= MAX_PIECES {
        pieces.push(gap());
        return;
    }
    match hir.kind() {
        HirKind::Concat(parts) => {
            for (at, part) in (0..).zip(parts) {
                within(path, at, |path| flatten(part, path, pieces));
            }
        }
        HirKind::Capture(capture) => {
            within(path, 0, |path| flatten(&capture.sub, path, pieces));
        }
        HirKind::Repetition(repetition) if repetition.min > 0 => {
            flatten_repeated(hir, repetition, path, pieces);
        }
        HirKind::Alternation(branches) => pieces.push(match spelt(hir) {
            Some(set) => Piece::Spelt(set, path.clone()),
            None => Piece::Gap(hir.properties().maximum_len(), one_of(branches, path)),
        }),
        _ => pieces.push(match spelt(hir) {
            Some(set) => Piece::Spelt(set, path.clone()),
            None => gap(),
        }),
    }
}

fn within<T>(path: &mut Path, child: u16, f: impl FnOnce(&mut Path) -> T) -> T {
    path.push(child);
    let done = f(path);
    path.pop();
    done
}

/// A part that occurs at least once: some copies spelt out, then a gap if there may be more.
fn flatten_repeated(hir: &Hir, repetition: &Repetition, path: &mut Path, pieces: &mut Vec<Piece>) {
    if let Some(set) = spelt(hir) {
        pieces.push(Piece::Spelt(set, path.clone()));
        return;
    }
    let mut one = Vec::new();
    within(path, 0, |path| flatten(&repetition.sub, path, &mut one));
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
fn one_of(branches: &[Hir], path: &mut Path) -> Option<Candidate> {
    let mut groups: Vec<Spelling> = Vec::new();
    for (at, branch) in branches.iter().enumerate() {
        let at = u16::try_from(at).ok()?;
        groups.extend(within(path, at, |path| cheapest(&Pieces::at(branch, path)))?.groups);
    }
    let mut literals: Vec<&[u8]> =
        groups.iter().flat_map(|group| group.literals.iter().map(Vec::as_slice)).collect();
    literals.sort_unstable();
    literals.dedup();
    if literals.len() > MAX_UNION {
        return None;
    }
    let cost = set_cost(literals.into_iter(), f64::INFINITY);
    Some(Candidate { cost, groups })
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
        if let Piece::Spelt(set, _) = piece
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
        assert_eq!(required("[a-z]{3,9}zqxj!").unwrap().groups[0].before, Some(9));
        assert_eq!(required("[a-z]+zqxj!").unwrap().groups[0].before, None);
        let branches = required("[0-9]{2}(?:[a-z]zqxj!|[a-z]{9}zqxj-)").unwrap();
        assert_eq!(
            branches.groups.iter().map(|g| g.before).collect::<Vec<_>>(),
            [Some(3), Some(11)]
        );
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
