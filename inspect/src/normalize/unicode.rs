//! Characters that are not what they look like: invisible, look-alike, composed, or in another alphabet's clothes.

use super::confusable::latin;
use super::derived::Derived;
use std::sync::LazyLock;

/// White space in a row that patterns see.
const WIDEST: usize = crate::compile::WIDEST as usize;
use unicode_normalization::char::decompose_compatible;

/// What becomes of characters nobody sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Invisible {
    /// They go: `ig<zero width>nore` is one word.
    Drop,
    /// They become spaces: `ignore<zero width>all` is two.
    Space,
}

/// What came of folding a text.
#[derive(Debug)]
pub(crate) struct Folded {
    pub(crate) derived: Derived,
    /// Whether it held characters nobody sees.
    pub(crate) invisible: bool,
}

/// Folds a text to what a reader, or a model, takes it for; `None` when nothing that a rule looks at would change.
pub(crate) fn fold(text: &str, invisible: Invisible) -> Option<Folded> {
    let mut out = Derived::default();
    let (mut changed, mut unseen) = (false, false);
    // bytes of the source already in `out`, and where a character that became a space ended
    let (mut done, mut spaced) = (0, None);
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let end = at + c.len_utf8();
        match known(c) {
            Known::Plain => {
                if let Some(until) = wide_gap(text.as_bytes(), at) {
                    let gap = text.get(at..until).unwrap_or("");
                    out.same(done, text.get(done..at).unwrap_or(""));
                    out.made(at..until, if gap.contains('\n') { "\n" } else { " " });
                    (done, changed) = (until, true);
                    while chars.next_if(|(next, _)| *next < until).is_some() {}
                }
                continue;
            }
            Known::Letter(seen) => {
                changed |= is_looked_at(seen);
                out.same(done, text.get(done..at).unwrap_or(""));
                // spaces of other kinds in a row are one
                match seen == ' ' && spaced == Some(at) {
                    true => out.made(at..end, ""),
                    false => out.made_char(at..end, seen),
                }
                spaced = (seen == ' ').then_some(end);
                done = end;
                continue;
            }
            Known::Not => {}
        }
        // terminal sequences: ESC [ … letter
        if c == '\u{1b}' && text.as_bytes().get(end) == Some(&b'[') {
            let rest = text.as_bytes().get(end + 1..).unwrap_or(&[]);
            let len =
                rest.iter().take(16).position(|b| (0x40..0x7f).contains(b)).map_or(1, |at| at + 2);
            let until = end + len;
            out.same(done, text.get(done..at).unwrap_or(""));
            out.made(at..until, if invisible == Invisible::Space { " " } else { "" });
            done = until;
            (changed, unseen) = (true, true);
            while chars.peek().is_some_and(|(next, _)| *next < until) {
                chars.next();
            }
            continue;
        }
        // selectors and tags carry bytes and letters of their own
        if let Some(byte) = selector(c) {
            let mut bytes = vec![byte];
            let mut until = end;
            while let Some((next, byte)) = chars.peek().and_then(|(n, c)| Some((*n, selector(*c)?)))
            {
                bytes.push(byte);
                until = next + chars.next().map_or(0, |(_, c)| c.len_utf8());
            }
            out.same(done, text.get(done..at).unwrap_or(""));
            done = until;
            match std::str::from_utf8(&bytes) {
                // one selector is how an emoji is coloured; several that spell something are a message
                Ok(hidden) if bytes.len() >= 4 && is_printable(hidden) => {
                    (changed, unseen) = (true, true);
                    out.made(at..until, hidden);
                }
                _ => out.made(at..until, ""),
            }
            continue;
        }
        let folded = if let Some(seen) = tag(c) {
            unseen = true;
            Some(Some(seen))
        } else if is_invisible(c) {
            unseen = true;
            Some((invisible == Invisible::Space).then_some(' '))
        } else if is_mark(c) {
            Some(None)
        } else {
            None
        };
        match folded {
            Some(seen) => {
                changed = true;
                out.same(done, text.get(done..at).unwrap_or(""));
                done = end;
                match seen {
                    Some(seen) => out.made_char(at..end, seen),
                    None => out.made(at..end, ""),
                }
            }
            None => {
                let mut plain = smallvec::SmallVec::<[char; 8]>::new();
                letters(c, &mut plain);
                if plain.as_slice() == [c] {
                    continue;
                }
                changed |= plain.is_empty() || plain.iter().any(|seen| is_looked_at(*seen));
                out.same(done, text.get(done..at).unwrap_or(""));
                done = end;
                out.made_chars(at..end, &plain);
            }
        }
    }
    out.same(done, text.get(done..).unwrap_or(""));
    changed.then_some(Folded { derived: out, invisible: unseen })
}

/// Where the white space that begins here ends, when a pattern would not see across it.
fn wide_gap(bytes: &[u8], at: usize) -> Option<usize> {
    let is_space = |at: usize| bytes.get(at).is_some_and(|b| matches!(b, b' ' | b'\t'..=b'\r'));
    // most is told by the first byte and the last
    if !(is_space(at) && is_space(at + WIDEST) && is_space(at + 1)) {
        return None;
    }
    let end = (at..).find(|at| !is_space(*at))?;
    (end - at > WIDEST).then_some(end)
}

/// Whether a text has white space that patterns don't see across, cheaply and from above: a place in it.
pub(crate) fn wide_gaps(text: &[u8]) -> impl Iterator<Item = usize> + '_ {
    let is_space = |b: &u8| matches!(b, b' ' | b'\t'..=b'\r');
    // every run that is too wide covers one of these whole
    let (stretches, _) = text.as_chunks::<{ WIDEST / 2 }>();
    let wide = stretches
        .iter()
        .enumerate()
        .filter(move |(_, stretch)| stretch.iter().fold(true, |all, byte| all & is_space(byte)));
    wide.map(|(index, _)| index * (WIDEST / 2))
}

/// Whether a character that another is read as matters to rules.
fn is_looked_at(seen: char) -> bool {
    seen.is_ascii_alphanumeric() || matches!(seen, ' ' | '-' | '\n')
}

/// What is known of a character before it is looked at closely.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// It stays.
    Plain,
    /// It is read as another one.
    Letter(char),
    /// It needs a closer look.
    Not,
}

/// Characters below this are known in advance: the letters of most alphabets.
const TABLED: u32 = 0x3000;

fn known(c: char) -> Known {
    static TABLE: LazyLock<Vec<Known>> = LazyLock::new(|| (0..TABLED).map(look_up).collect());
    if (' '..='~').contains(&c) {
        return Known::Plain;
    }
    let tabled = TABLE.get(u32::from(c) as usize).copied();
    tabled.unwrap_or(if is_plain(c) { Known::Plain } else { Known::Not })
}

fn look_up(code: u32) -> Known {
    let Some(c) = char::from_u32(code) else { return Known::Not };
    if matches!(c, '\n' | '\t' | '\r') || is_plain(c) {
        return Known::Plain;
    }
    if c.is_ascii_control() || tag(c).is_some() || is_invisible(c) || is_mark(c) {
        return Known::Not;
    }
    let mut seen = smallvec::SmallVec::<[char; 8]>::new();
    letters(c, &mut seen);
    match seen.as_slice() {
        [same] if *same == c => Known::Plain,
        [other] => Known::Letter(*other),
        _ => Known::Not,
    }
}

/// Whether folding leaves a character alone: most of the world's letters.
fn is_plain(c: char) -> bool {
    matches!(c,
        // Hebrew to Georgian but for marks; CJK, kana, Hangul; emoji
        '\u{5d0}'..='\u{5ff}' | '\u{3041}'..='\u{3096}' | '\u{30a1}'..='\u{30fa}'
        | '\u{4e00}'..='\u{9fff}' | '\u{ac00}'..='\u{d7a3}' | '\u{1f300}'..='\u{1faff}')
}

/// The letters a character is read as.
fn letters(c: char, out: &mut smallvec::SmallVec<[char; 8]>) {
    if let Some(seen) = latin(c) {
        out.push(seen);
        return;
    }
    decompose_compatible(c, |part| {
        // nothing is longer than 18 characters; eight are enough to read
        if out.len() < 8 && !is_mark(part) {
            out.push(latin(part).unwrap_or(part));
        }
    });
}

/// Drawn on or under another character.
fn is_mark(c: char) -> bool {
    matches!(c, '\u{300}'..='\u{36f}' | '\u{483}'..='\u{489}' | '\u{1ab0}'..='\u{1aff}'
        | '\u{1dc0}'..='\u{1dff}' | '\u{20d0}'..='\u{20ff}' | '\u{fe20}'..='\u{fe2f}')
}

/// Drawn as nothing: joiners, direction marks, fillers, control characters.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{7f}'..='\u{84}' | '\u{86}'..='\u{9f}'
        | '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff9}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0001}' | '\u{e007f}')
}

/// The ASCII character that a character of the tag block repeats.
fn tag(c: char) -> Option<char> {
    let offset = u32::from(c).checked_sub(0xe0000)?;
    (0x20..0x7f).contains(&offset).then(|| char::from_u32(offset)).flatten()
}

/// The byte that a variation selector can smuggle.
fn selector(c: char) -> Option<u8> {
    match c {
        '\u{fe00}'..='\u{fe0f}' => u8::try_from(u32::from(c) - 0xfe00).ok(),
        '\u{e0100}'..='\u{e01ef}' => u8::try_from(u32::from(c) - 0xe0100 + 16).ok(),
        _ => None,
    }
}

/// Whether nine of ten characters can be read.
pub(super) fn is_printable(text: &str) -> bool {
    let odd = text
        .chars()
        .filter(|c| (c.is_control() && !matches!(c, '\n' | '\r' | '\t')) || *c == '\u{fffd}')
        .count();
    !text.is_empty() && odd * 10 <= text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::{Invisible, Known, fold};

    fn folded(text: &str) -> Option<String> {
        fold(text, Invisible::Drop).map(|folded| folded.derived.text)
    }

    #[test]
    fn what_looks_alike_becomes_alike() {
        for text in [
            "ignore\u{a0}all",
            "ig\u{200b}nore\u{2003}all",
            "іgnоre аll",
            "ｉｇｎｏｒｅ　ａｌｌ",
            "𝐢𝐠𝐧𝐨𝐫𝐞 𝓪𝓵𝓵",
            "i\u{301}g\u{335}nore a\u{308}ll",
            "ⓘⓖⓝⓞⓡⓔ all",
            "ɪɢɴᴏʀᴇ ᴀʟʟ",
            "ignore\u{2028}all",
            "ig\u{1b}[31mnore\u{1b}[0m all\u{8}",
        ] {
            let plain = folded(text).unwrap().to_lowercase().replace('\n', " ");
            assert_eq!(plain, "ignore all", "{text}");
        }
    }

    #[test]
    fn the_table_says_what_a_closer_look_says() {
        for code in (0..super::TABLED).filter_map(char::from_u32) {
            let mut letters = smallvec::SmallVec::new();
            super::letters(code, &mut letters);
            match super::known(code) {
                Known::Plain => assert!(letters.as_slice() == [code] || super::is_plain(code)),
                Known::Letter(seen) => assert_eq!(letters.as_slice(), [seen]),
                Known::Not => {}
            }
        }
        assert_eq!(super::known('\u{430}'), Known::Letter('a'));
    }

    #[test]
    fn white_space_too_wide_for_patterns_becomes_one() {
        assert_eq!(folded(&format!("ignore{}all", " ".repeat(33))).unwrap(), "ignore all");
        assert_eq!(folded(&format!("a{}\tb", "\n".repeat(500))).unwrap(), "a\nb");
        assert_eq!(folded(&format!("ignore{}all", " ".repeat(32))), None);
        assert_eq!(folded(&format!("ignore{}all", "\u{a0}".repeat(40))).unwrap(), "ignore all");
        assert_eq!(folded("ignore\u{2003}\u{a0}all").unwrap(), "ignore all");
        for before in 0..40 {
            let text = format!("{}{}x", "a".repeat(before), " ".repeat(33));
            assert!(super::wide_gaps(text.as_bytes()).next().is_some());
        }
        assert!(super::wide_gaps("a b".repeat(50).as_bytes()).next().is_none());
    }

    #[test]
    fn hidden_alphabets_are_read() {
        let tags: String =
            "obey".bytes().map(|b| char::from_u32(0xe0000 + u32::from(b)).unwrap()).collect();
        assert_eq!(folded(&format!("hi{tags}.")).unwrap(), "hiobey.");
        let selectors: String = "obey me"
            .bytes()
            .map(|b| char::from_u32(0xe0100 + u32::from(b) - 16).unwrap())
            .collect();
        assert_eq!(folded(&format!("😀{selectors}")).unwrap(), "😀obey me");
    }

    #[test]
    fn other_languages_are_left_alone() {
        for text in [
            "日本語のテキスト",
            "한국어",
            "שלום",
            "👍🏽",
            "“quoted”, he said…",
            "text ❤\u{fe0f} text",
        ] {
            assert_eq!(folded(text), None, "{text}");
        }
    }

    #[test]
    fn what_was_invisible_can_part_words() {
        let spaced = fold("ignore\u{200b}all", Invisible::Space).unwrap();
        assert!(spaced.invisible);
        assert_eq!(spaced.derived.text, "ignore all");
        // the range of the whole covers what was dropped
        assert_eq!(spaced.derived.source(&(0..10)), Some((0..12, true)));
    }
}
