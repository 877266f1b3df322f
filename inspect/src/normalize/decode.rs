//! Encodings inside a text: percent, entities, escapes, base64, base32, hex. Each run is decoded in place.
//!
//! Only runs that decode to readable text count, so ids, hashes and media cost a look at their first bytes. The result
//! holds what was decoded and what stands round it, not the whole text.

use super::derived::Derived;
use super::unicode::is_printable;
use crate::message::SEPARATOR;
use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use std::ops::Range;

/// Source bytes kept on each side of what was decoded, so that a rule sees its context.
const CONTEXT: usize = 192;
/// Shortest run of an alphabet that is tried: fifteen bytes in base64.
const MIN_RUN: usize = 20;
/// Bytes looked at before a long run is decoded.
const PROBE: usize = 64;
/// Shortest run of pairs of hexadecimal digits.
const MIN_PAIRS: usize = 9;
/// How many of them the search for one sees at least, wherever it steps into the run. A date with a time has six.
const SEEN_PAIRS: usize = 7;
/// Runs of one text at most.
const MAX_RUNS: usize = 65_536;

/// A part of the source and what it decodes to.
#[derive(Debug)]
struct Run {
    source: Range<usize>,
    text: String,
}

/// Decodes what is encoded in `text`; `None` when nothing is. `deep` also tries encodings that ordinary text is easily
/// taken for.
pub(crate) fn decode(text: &str, deep: bool) -> Option<Derived> {
    let bytes = text.as_bytes();
    let mut runs = Vec::new();
    escapes(text, &mut runs);
    alphabets(bytes, deep, &mut runs);
    pairs(bytes, &mut runs);
    if runs.is_empty() {
        return None;
    }
    runs.sort_by_key(|run| (run.source.start, std::cmp::Reverse(run.source.end)));
    let mut derived = assemble(text, &runs);
    derived.partial = runs.len() >= MAX_RUNS;
    Some(derived)
}

/// Where something may be encoded: a position in each text of an arena that deserves a look, cheaply and from above.
pub(crate) fn suspects(arena: &[u8], mut tell: impl FnMut(usize)) {
    let skip = |at: usize| {
        let rest = arena.get(at..).unwrap_or(&[]);
        at + memchr::memchr(SEPARATOR, rest).unwrap_or(rest.len())
    };
    let mut done = 0;
    for at in memchr::memchr3_iter(b'%', b'&', b'\\', arena) {
        if at < done {
            continue;
        }
        let is_hex = |at: usize| arena.get(at).is_some_and(u8::is_ascii_hexdigit);
        let suspect = match (arena.get(at), arena.get(at + 1)) {
            (Some(b'%'), _) => is_hex(at + 1) && is_hex(at + 2),
            (Some(b'&'), Some(b'#')) => true,
            (Some(b'&'), _) => {
                memchr::memchr(b';', arena.get(at..arena.len().min(at + 12)).unwrap_or(&[]))
                    .is_some()
            }
            (_, next) => matches!(next, Some(b'x' | b'u' | b'U')),
        };
        if suspect {
            tell(at);
            done = skip(at);
        }
    }
    let mut at = 0;
    while at + 8 < arena.len() {
        if !is_run_of_nine(arena, at) {
            at += 8;
            continue;
        }
        let before = (0..at).rev().take_while(|at| in_run(arena, *at)).take(MIN_RUN).count();
        let after = (at..arena.len()).take_while(|at| in_run(arena, *at)).take(MIN_RUN).count();
        if before + after >= MIN_RUN {
            tell(at);
            at = skip(at);
        } else {
            at += 8;
        }
    }
    at = 0;
    while let Some(found) = next_pairs(arena, at) {
        tell(found);
        at = skip(found);
    }
}

/// Puts decoded runs and their context together.
fn assemble(text: &str, runs: &[Run]) -> Derived {
    let mut out = Derived::default();
    // source bytes that are in the result already, or left out of it
    let mut done = 0;
    for (index, run) in runs.iter().enumerate() {
        if run.source.start < done {
            // inside an earlier, longer run
            continue;
        }
        let from = floor(text, run.source.start.saturating_sub(CONTEXT)).max(done);
        if from > done {
            if done > 0 {
                out.gap(done);
            }
            done = from;
        }
        out.same(done, text.get(done..run.source.start).unwrap_or(""));
        out.made(run.source.clone(), &run.text);
        done = run.source.end;
        let next =
            runs.get(index + 1..).unwrap_or(&[]).iter().find(|next| next.source.start >= done);
        let until = match next {
            Some(next) if next.source.start <= done + 2 * CONTEXT => next.source.start,
            _ => ceil(text, done.saturating_add(CONTEXT).min(text.len())),
        };
        out.same(done, text.get(done..until).unwrap_or(""));
        done = until;
    }
    out
}

fn floor(text: &str, at: usize) -> usize {
    (0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

fn ceil(text: &str, at: usize) -> usize {
    (at..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len())
}

/// Percent signs, entities and backslashes: each unit stands for one character or byte.
fn escapes(text: &str, runs: &mut Vec<Run>) {
    let bytes = text.as_bytes();
    let mut done = 0;
    for at in memchr::memchr3_iter(b'%', b'&', b'\\', bytes) {
        if at < done || runs.len() >= MAX_RUNS {
            continue;
        }
        let run = match bytes.get(at) {
            Some(b'%') => octets(bytes, at, percent),
            Some(b'&') => entity(text, at),
            _ => match bytes.get(at + 1) {
                Some(b'x') => octets(bytes, at, backslash_x),
                Some(b'u' | b'U') => backslash_u(text, at),
                _ => None,
            },
        };
        if let Some(run) = run {
            done = run.source.end;
            runs.push(run);
        }
    }
}

/// Units of one byte each that follow each other and are UTF-8 together.
fn octets(bytes: &[u8], at: usize, unit: fn(&[u8], usize) -> Option<u8>) -> Option<Run> {
    let width = if bytes.get(at) == Some(&b'%') { 3 } else { 4 };
    let mut end = at;
    let mut decoded = Vec::new();
    while let Some(byte) = unit(bytes, end) {
        decoded.push(byte);
        end += width;
        // one character is enough: the next unit is a run of its own, so that edits stay small
        if byte < 0x80
            || (decoded.len() > 1 && std::str::from_utf8(&decoded).is_ok())
            || decoded.len() == 4
        {
            break;
        }
    }
    let text = String::from_utf8(decoded).ok().filter(|text| !text.is_empty())?;
    Some(Run { source: at..end, text })
}

fn percent(bytes: &[u8], at: usize) -> Option<u8> {
    match bytes.get(at..at + 3)? {
        [b'%', high, low] => hex_pair(*high, *low),
        _ => None,
    }
}

fn backslash_x(bytes: &[u8], at: usize) -> Option<u8> {
    match bytes.get(at..at + 4)? {
        [b'\\', b'x', high, low] => hex_pair(*high, *low),
        _ => None,
    }
}

fn hex_pair(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|d| u8::try_from(d).ok());
    Some(digit(high)? * 16 + digit(low)?)
}

/// `\u0041`, `\u{41}`, `\U00000041`, and surrogate pairs.
fn backslash_u(text: &str, at: usize) -> Option<Run> {
    let digits = |from: usize, len: usize| {
        let hex = text.get(from..from + len)?;
        hex.bytes().all(|b| b.is_ascii_hexdigit()).then(|| u32::from_str_radix(hex, 16).ok())?
    };
    let rest = text.get(at + 2..)?;
    let (code, mut end) = if let Some(braced) = rest.strip_prefix('{') {
        let len = braced.bytes().take(7).position(|b| b == b'}').filter(|len| *len > 0)?;
        (digits(at + 3, len)?, at + 4 + len)
    } else if text.as_bytes().get(at + 1) == Some(&b'U') {
        (digits(at + 2, 8)?, at + 10)
    } else {
        (digits(at + 2, 4)?, at + 6)
    };
    let c = match code {
        0xd800..0xdc00 => {
            let low = text
                .get(end..end + 2)
                .filter(|next| *next == "\\u")
                .and_then(|_| digits(end + 2, 4))?;
            end += 6;
            char::from_u32(0x10000 + ((code - 0xd800) << 10) + low.checked_sub(0xdc00)?)?
        }
        code => char::from_u32(code)?,
    };
    Some(Run { source: at..end, text: c.to_string() })
}

/// `&#65;`, `&#x41;`, and the names of what markup escapes.
fn entity(text: &str, at: usize) -> Option<Run> {
    let window = text.as_bytes().get(at + 1..text.len().min(at + 12))?;
    let len = memchr::memchr(b';', window)?;
    let name = text.get(at + 1..at + 1 + len)?;
    let c = match name.strip_prefix('#') {
        Some(number) => {
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => number.parse().ok()?,
            };
            char::from_u32(code)?
        }
        None => match name {
            "amp" => '&',
            "lt" => '<',
            "gt" => '>',
            "quot" => '"',
            "apos" => '\'',
            "nbsp" | "ensp" | "emsp" | "Tab" => ' ',
            "NewLine" => '\n',
            "colon" => ':',
            "sol" => '/',
            "lpar" => '(',
            "rpar" => ')',
            "lowbar" => '_',
            "hyphen" | "dash" => '-',
            "period" => '.',
            "equals" => '=',
            "shy" | "zwnj" | "zwj" => '\u{200b}',
            _ => return None,
        },
    };
    Some(Run { source: at..at + len + 2, text: c.to_string() })
}

/// Letters, digits and `+/-_`: base64 in both alphabets, and hex and base32 within it.
const IN_RUN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0_usize;
    while byte < 128 {
        #[expect(clippy::cast_possible_truncation, reason = "below 128")]
        let b = byte as u8;
        table[byte] = b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'-' | b'_');
        byte += 1;
    }
    table
};

fn in_run(bytes: &[u8], at: usize) -> bool {
    bytes.get(at).is_some_and(|b| IN_RUN.get(usize::from(*b)).copied().unwrap_or(false))
}

/// Whether nine bytes in a row are in the alphabets; words mostly end before.
fn is_run_of_nine(bytes: &[u8], at: usize) -> bool {
    let Some(nine) = bytes.get(at..).and_then(<[u8]>::first_chunk::<9>) else { return false };
    [8, 4, 0, 6, 2, 1, 3, 5, 7].iter().all(|at: &usize| in_run(nine, *at))
}

/// Long runs of one alphabet. A run of [`MIN_RUN`] covers two places eight apart on every grid of eight.
fn alphabets(bytes: &[u8], deep: bool, runs: &mut Vec<Run>) {
    let mut at = 0;
    while at + 8 < bytes.len() {
        if !is_run_of_nine(bytes, at) {
            at += 8;
            continue;
        }
        let start = (0..at).rev().take_while(|at| in_run(bytes, *at)).last().unwrap_or(at);
        let end = run_end(bytes, start);
        if end - start >= MIN_RUN && runs.len() < MAX_RUNS {
            alphabet(bytes, start..end, deep, runs);
        }
        at = (end / 8 + 1) * 8;
    }
}

/// The end of a run; lines of base64 that follow each other are one run.
fn run_end(bytes: &[u8], mut at: usize) -> usize {
    let mut line = at;
    let mut first = None;
    loop {
        while in_run(bytes, at) {
            at += 1;
        }
        let first = *first.get_or_insert(at - line);
        let after = match bytes.get(at..) {
            Some([b'\r', b'\n', ..]) => at + 2,
            Some([b'\n', ..]) => at + 1,
            _ => return at,
        };
        // wrapped lines are as long as each other, but for the last
        if first < MIN_RUN || at - line != first || !in_run(bytes, after) {
            return at;
        }
        line = after;
        at = after;
    }
}

/// Tries the encodings that a run may be.
fn alphabet(bytes: &[u8], run: Range<usize>, deep: bool, runs: &mut Vec<Run>) {
    let Some(text) = bytes.get(run.clone()) else { return };
    let end = run.end;
    // padding belongs to the run
    let padding =
        bytes.get(end..).unwrap_or(&[]).iter().take(6).take_while(|b| **b == b'=').count();
    let whole = run.start..end + padding;
    if text.iter().all(u8::is_ascii_hexdigit) {
        if let Some(text) = readable(text, hex) {
            runs.push(Run { source: whole, text });
        }
        return;
    }
    let is_base32 = |b: &u8| b.is_ascii_uppercase() || (b'2'..=b'7').contains(b);
    if deep
        && text.iter().all(is_base32)
        && let Some(text) = readable(text, base32)
    {
        runs.push(Run { source: whole, text });
        return;
    }
    if let Some(text) = readable(text, base64) {
        runs.push(Run { source: whole, text });
        return;
    }
    // a path, a query or a name may lead up to it
    let parts = text.split(|b| matches!(b, b'/' | b'-' | b'_'));
    let mut start = run.start;
    for part in parts {
        let here = start..start + part.len();
        start = here.end + 1;
        if part.len() < MIN_RUN || part.len() == text.len() {
            continue;
        }
        if !begins_readable(part) {
            continue;
        }
        if let Some(text) = readable(part, base64) {
            let padding = if here.end == end { padding } else { 0 };
            runs.push(Run { source: here.start..here.end + padding, text });
        }
    }
}

/// Decodes and keeps what can be read. Media and digests fail at their first bytes.
fn readable(run: &[u8], decode: fn(&[u8]) -> Option<Vec<u8>>) -> Option<String> {
    if let Some(probe) = run.get(..PROBE) {
        as_text(decode(probe)?)?;
    }
    as_text(decode(run)?)
}

/// A quick look at the first letters of base64, since a long run without sense has many parts.
fn begins_readable(run: &[u8]) -> bool {
    let mut bytes = [0; 15];
    let Some(Ok(len)) = run.get(..20).map(|head| STANDARD.decode_slice(head, &mut bytes)) else {
        return true;
    };
    let bytes = bytes.get(..len).unwrap_or(&[]);
    let control = bytes.iter().filter(|b| matches!(b, 1..=8 | 14..=31 | 127)).count();
    let broken: usize = bytes.utf8_chunks().map(|chunk| chunk.invalid().len()).sum();
    control + broken < 5
}

/// Bytes as text, if nearly all of them are.
fn as_text(bytes: Vec<u8>) -> Option<String> {
    // UTF-16 of ASCII: every other byte is zero
    let wide = bytes.len() >= 8 && bytes.iter().skip(1).step_by(2).all(|b| *b == 0);
    let bytes = if wide { bytes.into_iter().step_by(2).collect() } else { bytes };
    let text = match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    };
    is_printable(&text).then_some(text)
}

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_allow_trailing_bits(true)
    .with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&base64::alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&base64::alphabet::URL_SAFE, LENIENT);

fn base64(run: &[u8]) -> Option<Vec<u8>> {
    let mut clean: Vec<u8> = run.iter().copied().filter(|b| !matches!(b, b'\r' | b'\n')).collect();
    // a single character over cannot be decoded
    if clean.len() % 4 == 1 {
        clean.pop();
    }
    let engine = if clean.iter().any(|b| matches!(b, b'-' | b'_')) { &URL_SAFE } else { &STANDARD };
    engine.decode(clean).ok()
}

fn hex(run: &[u8]) -> Option<Vec<u8>> {
    run.chunks_exact(2).map(|pair| hex_pair(*pair.first()?, *pair.get(1)?)).collect()
}

fn base32(run: &[u8]) -> Option<Vec<u8>> {
    let (mut bits, mut held) = (0_u32, 0);
    let mut out = Vec::with_capacity(run.len() * 5 / 8);
    for byte in run {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'2'..=b'7' => byte - b'2' + 26,
            _ => return None,
        };
        bits = (bits << 5) | u32::from(value);
        held += 5;
        if held >= 8 {
            held -= 8;
            out.push(u8::try_from((bits >> held) & 0xff).ok()?);
        }
    }
    Some(out)
}

/// Pairs of hexadecimal digits with something between: `69 67`, `69:67`, `0x69, 0x67`.
fn pairs(bytes: &[u8], runs: &mut Vec<Run>) {
    let mut at = 0;
    while let Some(mut start) = next_pairs(bytes, at) {
        // back to the first pair
        let prefixed = |at: usize| match at.checked_sub(2) {
            Some(before) if bytes.get(before..at) == Some(b"0x") => before,
            _ => at,
        };
        start = prefixed(start);
        while let Some(before) = (1..=6)
            .filter_map(|back| start.checked_sub(back))
            .find(|from| *from >= at && pair_and_mark(bytes, *from) == Some(start))
        {
            start = prefixed(before);
        }
        let mut decoded = Vec::new();
        let (mut end, mut next) = (start, Some(start));
        while let Some((byte, after)) = next.and_then(|next| pair(bytes, next)) {
            decoded.push(byte);
            end = after;
            next = next.and_then(|next| pair_and_mark(bytes, next));
        }
        if decoded.len() >= MIN_PAIRS && runs.len() < MAX_RUNS {
            runs.extend(as_text(decoded).map(|text| Run { source: start..end, text }));
        }
        at = end.max(start + 8);
    }
}

/// A place in the next run of pairs. A run takes 23 bytes or more, so a grid of eight meets it, in one of few phases.
fn next_pairs(bytes: &[u8], mut at: usize) -> Option<usize> {
    let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_hexdigit);
    while let Some([.., sixth, seventh, eighth]) =
        bytes.get(at..).and_then(<[u8]>::first_chunk::<8>)
    {
        // a run that starts at one of the first six goes on through the last three
        if !(in_pairs(*seventh) && in_pairs(*sixth) && in_pairs(*eighth)) {
            at += 8;
            continue;
        }
        let here = (at..at + 6).find(|at| {
            digit(*at)
                && digit(at + 1)
                && !digit(at + 2)
                && (1..SEEN_PAIRS)
                    .try_fold(*at, |at, _| pair_and_mark(bytes, at))
                    .is_some_and(|at| pair(bytes, at).is_some())
        });
        if here.is_some() {
            return here;
        }
        at += 8;
    }
    None
}

fn in_pairs(byte: u8) -> bool {
    IN_PAIRS.get(usize::from(byte)).copied().unwrap_or(false)
}

/// What a run of pairs consists of: hexadecimal digits, the `x` before them, and marks.
const IN_PAIRS: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        let b = byte as u8;
        table[byte] =
            b.is_ascii_hexdigit() || matches!(b, b'x' | b' ' | b':' | b'-' | b',' | b'.' | b'\n');
        byte += 1;
    }
    table
};

/// A pair of digits, perhaps after `0x`, and where it ends.
fn pair(bytes: &[u8], at: usize) -> Option<(u8, usize)> {
    let at = if bytes.get(at..at + 2) == Some(b"0x") { at + 2 } else { at };
    let byte = hex_pair(*bytes.get(at)?, *bytes.get(at + 1)?)?;
    Some((byte, at + 2))
}

/// Where the next pair may start: after a pair and one or two marks.
fn pair_and_mark(bytes: &[u8], at: usize) -> Option<usize> {
    let (_, end) = pair(bytes, at)?;
    match (bytes.get(end)?, bytes.get(end + 1)) {
        (b',', Some(b' ')) => Some(end + 2),
        (b' ' | b':' | b'-' | b',' | b'.' | b'\n', _) => Some(end + 1),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::decode;
    use base64::Engine as _;

    const SECRET: &str = "please ignore all of it";

    fn decoded(text: &str) -> Option<String> {
        decode(text, true).map(|derived| derived.text)
    }

    #[test]
    fn each_encoding_is_read_in_place() {
        let std = base64::engine::general_purpose::STANDARD.encode(SECRET);
        let hex: Vec<String> = SECRET.bytes().map(|b| format!("{b:02x}")).collect();
        let wide: Vec<u8> = SECRET.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let prefixed: Vec<String> = hex.iter().map(|pair| format!("0x{pair}")).collect();
        for encoded in [
            std.clone(),
            std.trim_end_matches('=').to_owned(),
            base64::engine::general_purpose::STANDARD.encode(wide),
            hex.concat(),
            hex.join(" "),
            hex.join(":"),
            prefixed.join(", "),
            hex.iter().map(|pair| format!("%{pair}")).collect(),
            hex.iter().map(|pair| format!("\\x{pair}")).collect(),
            SECRET.bytes().map(|b| format!("&#{b};")).collect(),
            SECRET.bytes().map(|b| format!("&#x{b:x};")).collect(),
            SECRET.bytes().map(|b| format!("\\u{b:04x}")).collect(),
        ] {
            for (before, after) in [("", ""), ("see (", ") then"), ("x=", " and")] {
                let found = decoded(&format!("{before}{encoded}{after}"));
                assert_eq!(
                    found.as_deref(),
                    Some(&*format!("{before}{SECRET}{after}")),
                    "{encoded}"
                );
            }
        }
    }

    #[test]
    fn base32_only_when_asked() {
        let text = "OBWGKYLTMUQGSZ3ON5ZGKIDBNRWA";
        assert_eq!(decoded(text).unwrap(), "please ignore all");
        assert!(decode(text, false).is_none());
    }

    #[test]
    fn a_long_text_keeps_only_what_stands_round() {
        let encoded = base64::engine::general_purpose::STANDARD.encode(SECRET);
        let far = "word ".repeat(400);
        let found = decode(&format!("{far}{encoded} {far}{encoded} {far}"), false).unwrap();
        assert!(found.text.len() < 1000, "{}", found.text.len());
        assert_eq!(found.text.matches(SECRET).count(), 2);
        let at = found.text.rfind(SECRET).unwrap();
        let second = 2 * far.len() + encoded.len() + 1;
        assert_eq!(found.source(&(at..at + 5)), Some((second..second + encoded.len(), true)));
    }

    #[test]
    fn wrapped_lines_are_one_run() {
        let text = SECRET.repeat(10);
        let encoded = base64::engine::general_purpose::STANDARD.encode(&text);
        let lines: Vec<&str> =
            encoded.as_bytes().chunks(76).map(|l| std::str::from_utf8(l).unwrap()).collect();
        assert_eq!(decoded(&lines.join("\n")).unwrap(), text);
    }

    #[test]
    fn ids_hashes_and_names_are_nothing() {
        for text in [
            "da39a3ee5e6b4b0d3255bfef95601890afd80709",
            "550e8400-e29b-41d4-a716-446655440000",
            "get_user_profile_by_identifier_and_name",
            "/usr/share/javascript/components/index",
            "100 % sure & so on \\o/",
            "12:34:56 01-02-03",
            "AT&T; R&D",
        ] {
            assert_eq!(decoded(text), None, "{text}");
        }
    }
}
