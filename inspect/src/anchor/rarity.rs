//! How rare a literal is in ordinary MCP traffic: a rough table, enough to tell `sk-` from `the `.

/// Expected occurrences of any literal of a set, per byte of ordinary traffic.
pub(super) fn set_cost(literals: &[Vec<u8>]) -> f64 {
    // every literal also makes the automaton larger: a little for each
    literals.iter().map(|l| cost(l) + 1e-7).sum()
}

/// Words met so often in MCP traffic that a part of one is a poor anchor, whatever its letters.
const COMMON: &[&str] = &[
    "https://",
    "http://",
    "www.",
    "content",
    "description",
    "arguments",
    "properties",
    "required",
    "result",
    "string",
    "number",
    "object",
    "token",
    "password",
    "secret",
    "access",
    "private",
    "public",
    "service",
    "account",
    "application",
    "authorization",
    "bearer",
    "version",
    "true",
    "false",
    "null",
    "name",
    "type",
    "text",
    "data",
    "file",
    "path",
    "user",
    "email",
    "code",
    "json",
    "this",
    "that",
    "with",
    "from",
    "have",
    "will",
    "your",
    "what",
    "when",
    "which",
    "function",
    "return",
    "error",
    "message",
    "request",
    "response",
    "server",
    "client",
    "http",
    "000000000000",
    "ffffffffffff",
    "------------",
    "============",
    "            ",
];

/// Expected occurrences of one literal per byte of ordinary traffic.
pub(crate) fn cost(literal: &[u8]) -> f64 {
    let by_letters: f64 = literal.iter().map(|b| frequency(*b)).product();
    let common = COMMON.iter().any(|word| memchr::memmem::find(word.as_bytes(), literal).is_some());
    if common { by_letters + 1e-4 } else { by_letters }
}

/// How often a byte (lower case) occurs in ordinary traffic: English, code, JSON and some base64, rounded.
pub(super) fn frequency(byte: u8) -> f64 {
    let per_thousand = match byte {
        b' ' => 140.0,
        b'e' => 90.0,
        b't' => 70.0,
        b'a' | b'o' | b'i' | b'n' | b's' => 60.0,
        b'r' => 55.0,
        b'l' | b'd' | b'h' | b'c' => 35.0,
        b'u' | b'm' | b'p' => 27.0,
        b'f' | b'g' => 20.0,
        b'y' | b'b' | b'w' => 16.0,
        b'v' | b'k' => 9.0,
        b'x' => 5.0,
        b'j' | b'q' | b'z' => 3.0,
        b'0' | b'1' => 15.0,
        b'2'..=b'9' => 9.0,
        b'.' | b',' | b'"' | b'-' | b'_' | b'/' | b'\n' => 12.0,
        b':' | b'(' | b')' | b'=' | b'\'' => 7.0,
        b'{' | b'}' | b'[' | b']' | b'<' | b'>' | b';' => 4.0,
        0x80.. => 3.0,
        _ => 1.5,
    };
    per_thousand / 1000.0
}
