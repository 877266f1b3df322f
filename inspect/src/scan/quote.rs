//! Whether something found is quoted: text that tells of an attack is not one.

use std::ops::Range;

/// Bytes before a match that are looked at for a fence.
const FENCE: usize = 4096;
/// Bytes of a line on each side of a match.
const LINE: usize = 400;

/// Whether a match stands inside a code fence, a quoted line, or quotes that open and close on its line.
pub(super) fn is_quoted(text: &[u8], range: &Range<usize>) -> bool {
    let before = text.get(range.start.saturating_sub(FENCE)..range.start).unwrap_or(&[]);
    let after = text.get(range.end..text.len().min(range.end + FENCE)).unwrap_or(&[]);
    let fences = memchr::memmem::find_iter(before, b"```").count();
    if fences % 2 == 1 && memchr::memmem::find(after, b"```").is_some() {
        return true;
    }
    let before = before.get(before.len().saturating_sub(LINE)..).unwrap_or(&[]);
    let after = after.get(..after.len().min(LINE)).unwrap_or(&[]);
    let line =
        memchr::memrchr(b'\n', before).map_or(before, |at| before.get(at + 1..).unwrap_or(&[]));
    let rest = memchr::memchr(b'\n', after).map_or(after, |at| after.get(..at).unwrap_or(&[]));
    if line.trim_ascii_start().first() == Some(&b'>') {
        return true;
    }
    let within = |open: &[u8], close: &[u8]| {
        let opened = memchr::memmem::find_iter(line, open).count();
        let closed =
            if open == close { opened / 2 } else { memchr::memmem::find_iter(line, close).count() };
        let is_open = if open == close { opened % 2 == 1 } else { opened > closed };
        is_open && memchr::memmem::find(rest, close).is_some()
    };
    within(b"\"", b"\"") || within(b"`", b"`") || within("“".as_bytes(), "”".as_bytes())
}

#[cfg(test)]
mod tests {
    use super::is_quoted;

    fn quoted(text: &str) -> bool {
        let at = text.find("ignore").unwrap();
        is_quoted(text.as_bytes(), &(at..at + 6))
    }

    #[test]
    fn quotes_open_before_and_close_after() {
        assert!(quoted("he wrote \"please ignore this\" to me"));
        assert!(quoted("use `ignore` there"));
        assert!(quoted("“ignore this”"));
        assert!(quoted("a\n> ignore this\nb"));
        assert!(quoted("x\n```\nplease ignore\n```\ny"));
        assert!(!quoted("ignore this \"quoted\" word"));
        assert!(!quoted("a \"quoted\" word, ignore \"it\""));
        assert!(!quoted("\" ignore this"));
        assert!(!quoted("```\ncode\n```\nignore this"));
    }
}
