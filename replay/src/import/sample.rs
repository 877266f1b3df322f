//! Texts that a pattern matches, from its syntax tree: the long random parts as templates, so that the output holds no
//! secret. And near misses of them. Always the same for the same pattern. Whether one really matches, the engine says.

use regex_syntax::hir::{Class, Hir, HirKind};

/// Longest text.
const MAX_LEN: usize = 2048;
/// A run of a class from this length on is a template.
const TEMPLATE_FROM: u32 = 6;
/// A class of more printable characters than this is nearly any.
const WIDE: usize = 80;
/// Most characters asked of one open-ended run.
const MAX_RUN: u32 = 512;

/// The classes of templates, the widest first.
const ALPHABETS: [(&str, &str); 10] = [
    ("alnum", "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"),
    ("loweralnum", "0123456789abcdefghijklmnopqrstuvwxyz"),
    ("upperalnum", "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
    ("base58", "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"),
    ("base32", "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"),
    ("lower", "abcdefghijklmnopqrstuvwxyz"),
    ("upper", "ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
    ("hex", "0123456789abcdef"),
    ("upperhex", "0123456789ABCDEF"),
    ("digits", "0123456789"),
];

/// A part of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Fixed(String),
    Made(&'static str, u32),
}

/// A text in parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sample(Vec<Piece>);

/// The n-th text for a pattern; none when it has a part that no text can be written for.
pub(super) fn sample(hir: &Hir, n: u64) -> Option<Sample> {
    let mut maker = Maker {
        random: 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(n + 1),
        // first the shortest, then longer ones and those with the optional parts
        extra: [0, 0, 8, 16, 3, 30][usize::try_from(n % 6).unwrap_or(0)],
        optional: !n.is_multiple_of(3),
        own: u32::try_from(n / 6 * 2).unwrap_or(0),
        pieces: Vec::new(),
        len: 0,
    };
    maker.make(hir)?;
    Some(Sample(maker.pieces))
}

impl Sample {
    /// The text as a rule file has it; none when fixed text would read as a template.
    pub(super) fn text(&self) -> Option<String> {
        let mut out = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Fixed(text) => out.push_str(text),
                Piece::Made(class, len) => out.push_str(&format!("{{{{{class}:{len}}}}}")),
            }
        }
        let opened = out.matches("{{").count();
        let made = self.0.iter().filter(|piece| matches!(piece, Piece::Made(..))).count();
        (opened == made).then_some(out)
    }

    /// Texts that look alike and lack something: the random part too short, or another letter before it.
    pub(super) fn near_misses(&self) -> Vec<Sample> {
        let longest = self.0.iter().enumerate().filter_map(|(at, piece)| match piece {
            Piece::Made(class, len) => Some((*len, at, *class)),
            Piece::Fixed(_) => None,
        });
        let mut misses = Vec::new();
        if let Some((len, at, class)) = longest.max_by_key(|(len, ..)| *len) {
            for short in [len / 2, 3] {
                let mut pieces = self.0.clone();
                pieces[at] = Piece::Made(class, short.max(1));
                misses.push(Self(pieces));
            }
            let mut pieces = self.0.clone();
            pieces[at] = Piece::Fixed("...".to_owned());
            misses.push(Self(pieces));
        }
        let fixed = self.0.iter().enumerate().filter_map(|(at, piece)| match piece {
            Piece::Fixed(text) => Some((text, at)),
            Piece::Made(..) => None,
        });
        if let Some((text, at)) = fixed.max_by_key(|(text, _)| text.len()) {
            let mut letters = text.char_indices().filter(|(_, c)| c.is_ascii_alphanumeric());
            if let Some((place, letter)) = letters.next_back() {
                let other = if letter == 'x' { 'y' } else { 'x' };
                let mut changed = text.clone();
                changed.replace_range(place..=place, &other.to_string());
                let mut pieces = self.0.clone();
                pieces[at] = Piece::Fixed(changed);
                misses.push(Self(pieces));
            }
        }
        misses
    }
}

struct Maker {
    random: u64,
    /// Characters beyond the fewest, where a run is open.
    extra: u32,
    /// Whether optional parts are there.
    optional: bool,
    /// Characters that stand before a template and are not of it.
    own: u32,
    pieces: Vec<Piece>,
    len: usize,
}

impl Maker {
    /// SplitMix64.
    fn below(&mut self, bound: usize) -> usize {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) >> 33).unwrap_or(0) % bound.max(1)
    }

    fn push(&mut self, text: &str) -> Option<()> {
        self.len += text.len();
        match self.pieces.last_mut() {
            Some(Piece::Fixed(last)) => last.push_str(text),
            _ => self.pieces.push(Piece::Fixed(text.to_owned())),
        }
        (self.len <= MAX_LEN).then_some(())
    }

    fn make(&mut self, hir: &Hir) -> Option<()> {
        match hir.kind() {
            HirKind::Empty | HirKind::Look(_) => Some(()),
            HirKind::Literal(literal) => self.push(std::str::from_utf8(&literal.0).ok()?),
            HirKind::Class(class) => {
                let members = members(class);
                if members.len() > WIDE && has(class, ' ') {
                    // nearly anything: a blank keeps the words around it apart
                    return self.push(" ");
                }
                let c = self.one_of(&members)?;
                self.push(c.encode_utf8(&mut [0; 4]))
            }
            HirKind::Capture(capture) => self.make(&capture.sub),
            HirKind::Concat(parts) => parts.iter().try_for_each(|part| self.make(part)),
            HirKind::Alternation(branches) => {
                let branch = self.below(branches.len());
                self.make(branches.get(branch)?)
            }
            HirKind::Repetition(repetition) => {
                let most = repetition.max.unwrap_or(MAX_RUN);
                let least = repetition.min;
                let class = match repetition.sub.kind() {
                    HirKind::Class(class) => Some(class),
                    HirKind::Capture(capture) => match capture.sub.kind() {
                        HirKind::Class(class) => Some(class),
                        _ => None,
                    },
                    _ => None,
                };
                let count = match (least, class) {
                    (0, _) => u32::from(self.optional).min(most),
                    (_, Some(_)) => most.min(least.saturating_add(self.extra)),
                    _ => least,
                };
                match class {
                    // a gap: a blank keeps the words around it apart
                    Some(class) if least == 0 && count == 1 && has(class, ' ') => self.push(" "),
                    Some(class) => self.run(&members(class), count),
                    None => (0..count).try_for_each(|_| self.make(&repetition.sub)),
                }
            }
        }
    }

    /// So many of a class: a template where one fits.
    fn run(&mut self, members: &[char], count: u32) -> Option<()> {
        let fits = |alphabet: &str| alphabet.chars().all(|c| members.contains(&c));
        let alphabet = ALPHABETS.iter().find(|(_, alphabet)| fits(alphabet));
        if let (Some((name, _)), TEMPLATE_FROM..) = (alphabet, count) {
            self.len += count as usize;
            // some characters of its own: an example's place may draw a dull lot for the template
            let own = if count >= 2 * TEMPLATE_FROM { self.own } else { 0 };
            for _ in 0..own {
                let c = self.one_of(members)?;
                self.push(c.encode_utf8(&mut [0; 4]))?;
            }
            self.pieces.push(Piece::Made(name, count - own));
            return (self.len <= MAX_LEN).then_some(());
        }
        for _ in 0..count {
            let c = self.one_of(members)?;
            self.push(c.encode_utf8(&mut [0; 4]))?;
        }
        Some(())
    }

    /// A character of a class: of a pair of cases the small one, else rather a letter or digit.
    fn one_of(&mut self, members: &[char]) -> Option<char> {
        let small: Vec<char> = members
            .iter()
            .copied()
            .filter(|c| !c.is_ascii_uppercase() || !members.contains(&c.to_ascii_lowercase()))
            .collect();
        let plain: Vec<char> = small.iter().copied().filter(char::is_ascii_alphanumeric).collect();
        let from = if plain.is_empty() { &small } else { &plain };
        let at = self.below(from.len());
        from.get(at).copied()
    }
}

/// The printable ASCII characters of a class; a line end or a blank when there is nothing else; else its first.
fn members(class: &Class) -> Vec<char> {
    let has = |c| has(class, c);
    let printable: Vec<char> = ('!'..='~').filter(|c| has(*c)).collect();
    if !printable.is_empty() {
        return printable;
    }
    let blanks: Vec<char> = [' ', '\n', '\t', '\r'].into_iter().filter(|c| has(*c)).collect();
    if !blanks.is_empty() {
        return blanks[..1].to_vec();
    }
    match class {
        Class::Unicode(class) => class.iter().next().map(|r| r.start()).into_iter().collect(),
        Class::Bytes(_) => Vec::new(),
    }
}

fn has(class: &Class, c: char) -> bool {
    match class {
        Class::Unicode(class) => class.iter().any(|r| (r.start()..=r.end()).contains(&c)),
        Class::Bytes(class) => {
            u8::try_from(c).is_ok_and(|b| class.iter().any(|r| (r.start()..=r.end()).contains(&b)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::sample;

    fn texts(pattern: &str) -> Vec<String> {
        let hir = regex_syntax::ParserBuilder::new()
            .unicode(false)
            .utf8(false)
            .build()
            .parse(pattern)
            .unwrap();
        (0..6).filter_map(|n| sample(&hir, n)?.text()).collect()
    }

    #[test]
    fn texts_match_their_pattern_once_expanded() {
        for pattern in [
            r"\b(gh[pousr]_[0-9A-Za-z]{36})\b",
            r"(?i)acme[_-]?(?:key|token)\s{0,3}[:=]\s*['\x22]?([a-z0-9]{20,40})",
            r"^-----BEGIN (?:RSA|EC) KEY-----\n[A-Za-z0-9+/=\s]{64,}",
            r"[\w.+-]{1,20}@[a-z]+\.(?:com|org)",
        ] {
            let regex = regex::bytes::RegexBuilder::new(pattern).unicode(false).build().unwrap();
            let texts = texts(pattern);
            assert!(texts.len() >= 5, "{pattern}: {texts:?}");
            for text in texts {
                let text = inspect::template::expand(&text, "seed").unwrap();
                assert!(regex.is_match(text.as_bytes()), "{pattern}: {text}");
            }
        }
    }

    #[test]
    fn long_runs_are_templates_and_equal_every_time() {
        let first = texts("tok_[0-9a-f]{40}");
        assert_eq!(first[0], "tok_{{hex:40}}");
        assert_eq!(first, texts("tok_[0-9a-f]{40}"));
    }

    #[test]
    fn near_misses_differ() {
        let hir = regex_syntax::parse("tok_[0-9a-f]{40}").unwrap();
        let misses = sample(&hir, 0).unwrap().near_misses();
        let texts: Vec<String> = misses.iter().filter_map(super::Sample::text).collect();
        assert_eq!(texts, ["tok_{{hex:20}}", "tok_{{hex:3}}", "tok_...", "tox_{{hex:40}}"]);
    }

    #[test]
    fn what_would_read_as_a_template_is_no_text() {
        assert!(texts(r"\{\{[a-z]+\}\}x").is_empty());
    }
}
