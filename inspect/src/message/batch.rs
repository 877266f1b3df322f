//! Splits a JSON-RPC batch into the raw bytes of its elements.

use super::{ParseError, ParseLimits};
use std::ops::Range;

/// The elements of a batch as byte ranges of `raw`, or `None` when `raw` is no array. Elements are parsed one by one
/// afterwards: this only finds their borders, and refuses what has none.
///
/// # Errors
/// Too large, too deep, too many elements, an empty array, or brackets that do not close.
pub fn split_batch(
    raw: &[u8],
    limits: &ParseLimits,
    max_items: usize,
) -> Result<Option<Vec<Range<usize>>>, ParseError> {
    if raw.iter().find(|b| !is_space(**b)) != Some(&b'[') {
        return Ok(None);
    }
    if raw.len() > limits.max_bytes {
        return Err(ParseError::TooLarge { len: raw.len(), limit: limits.max_bytes });
    }
    let syntax = |detail: &str| ParseError::Syntax { detail: detail.to_owned() };
    let mut items: Vec<Range<usize>> = Vec::new();
    let mut depth = 0_usize;
    let mut start = 0;
    let mut at = 0;
    let mut closed = false;
    while let Some(&byte) = raw.get(at) {
        at += 1;
        if closed {
            if !is_space(byte) {
                return Err(syntax("data after the batch"));
            }
            continue;
        }
        match byte {
            b'[' | b'{' => {
                depth += 1;
                // the batch itself is one level more than its elements may have
                if depth > limits.max_depth.saturating_add(1) {
                    return Err(ParseError::TooDeep { limit: limits.max_depth });
                }
                if depth == 1 {
                    start = at;
                }
            }
            b',' | b']' | b'}' => {
                if byte != b',' {
                    depth -= 1;
                }
                if depth == 0 && byte != b']' {
                    return Err(syntax("a batch ends with a bracket"));
                }
                let ends_item = (byte == b',' && depth == 1) || depth == 0;
                if ends_item {
                    let item = trim(raw, start..at - 1);
                    closed = depth == 0;
                    if item.is_empty() {
                        return Err(if closed && items.is_empty() {
                            ParseError::NotAMessage { reason: "an empty batch" }
                        } else {
                            syntax("an empty batch element")
                        });
                    }
                    if items.len() == max_items {
                        return Err(ParseError::TooManyValues { limit: max_items });
                    }
                    items.push(item);
                    start = at;
                }
            }
            b'"' => at = skip_string(raw, at).ok_or_else(|| syntax("unterminated string"))?,
            _ => {}
        }
    }
    if !closed {
        return Err(syntax("unterminated batch"));
    }
    Ok(Some(items))
}

/// The index after the string whose first content byte is at `at`.
fn skip_string(raw: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let found = memchr::memchr2(b'"', b'\\', raw.get(at..)?)?;
        if raw.get(at + found) == Some(&b'"') {
            return Some(at + found + 1);
        }
        at += found + 2;
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

fn trim(raw: &[u8], range: Range<usize>) -> Range<usize> {
    let Range { mut start, mut end } = range;
    while start < end && raw.get(start).is_some_and(|b| is_space(*b)) {
        start += 1;
    }
    while start < end && raw.get(end - 1).is_some_and(|b| is_space(*b)) {
        end -= 1;
    }
    start..end
}
