//! The binary form of a row inside a journal frame: `(column number, length, bytes)` for each value that is not null.
//!
//! Lengths are LEB128, integers 8 bytes little-endian. A reader passes over columns it does not know, so an older
//! program recovers what it can of a newer one's journal. Decoding trusts nothing: bodies are an attacker's.

use bytes::Bytes;

use crate::cells::{Cell, Value};
use crate::record::{Record, Str};
use crate::schema::{ColumnType, WIDTH, columns};
use crate::seal;

/// Why bytes are not a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadRow(pub(crate) &'static str);

/// Columns that a seal leaves out: `body_sha256` stands for them.
const BODIES: [&str; 2] = ["body", "body_raw"];
/// Columns with content of which a seal covers the digest.
const DIGESTED: [&str; 2] = ["scan_context", "body_sealed"];

/// Appends the row to `out`.
pub(crate) fn encode(row: &Record, out: &mut Vec<u8>) {
    for (at, value) in row.values().into_iter().enumerate() {
        let Some(value) = value else { continue };
        write(at, value, out);
    }
}

/// Appends what a seal covers of the row: no content, only digests of it. Columns that come later change nothing for
/// a row that lacks them.
pub(crate) fn encode_sealed(row: &Record, out: &mut Vec<u8>) {
    for (at, value) in row.values().into_iter().enumerate() {
        match value {
            None => {}
            Some(_) if BODIES.contains(&columns()[at].name) => {}
            Some(Value::Bytes(content)) if DIGESTED.contains(&columns()[at].name) => {
                write(at, Value::Bytes(&seal::sha256(content)), out);
            }
            Some(value) => write(at, value, out),
        }
    }
}

fn write(at: usize, value: Value<'_>, out: &mut Vec<u8>) {
    // WIDTH is far below 256 columns; a test says so
    out.push(at as u8);
    match value {
        Value::Int32(value) => put(out, &i64::from(value).to_le_bytes()),
        Value::Int64(value) => put(out, &value.to_le_bytes()),
        Value::Bool(value) => put(out, &[value.into()]),
        Value::Text(value) => put(out, value.as_bytes()),
        Value::Bytes(value) => put(out, value),
        Value::List(values) => {
            let mut list = Vec::new();
            values.iter().for_each(|value| put(&mut list, value.as_bytes()));
            put(out, &list);
        }
    }
}

/// The row in `input`.
pub(crate) fn decode(mut input: &[u8]) -> Result<Record, BadRow> {
    let mut cells = [const { Cell::Null }; WIDTH];
    while let [at, rest @ ..] = input {
        input = rest;
        let bytes = get(&mut input)?;
        let at = usize::from(*at);
        if let Some(slot) = cells.get_mut(at) {
            if *slot != Cell::Null {
                return Err(BadRow("column twice"));
            }
            *slot = cell(at, bytes)?;
        }
    }
    Ok(Record::from_cells(cells))
}

fn cell(at: usize, bytes: &[u8]) -> Result<Cell, BadRow> {
    Ok(match columns()[at].ty {
        ColumnType::Int32 | ColumnType::Int64 | ColumnType::Timestamp => {
            let bytes = bytes.try_into().map_err(|_| BadRow("integer length"))?;
            Cell::Int(i64::from_le_bytes(bytes))
        }
        ColumnType::Bool => match bytes {
            [value @ (0 | 1)] => Cell::Bool(*value == 1),
            _ => return Err(BadRow("boolean")),
        },
        // the one text column that a record holds as bytes
        ColumnType::Text if columns()[at].name == "body" => {
            text(bytes)?;
            Cell::Bytes(Bytes::copy_from_slice(bytes))
        }
        ColumnType::Text => Cell::Text(text(bytes)?.into()),
        ColumnType::Binary => Cell::Bytes(Bytes::copy_from_slice(bytes)),
        ColumnType::TextList => {
            let mut items: Vec<Str> = Vec::new();
            let mut list = bytes;
            while !list.is_empty() {
                items.push(text(get(&mut list)?)?.into());
            }
            Cell::List(items)
        }
    })
}

fn text(bytes: &[u8]) -> Result<&str, BadRow> {
    std::str::from_utf8(bytes).map_err(|_| BadRow("text is not UTF-8"))
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    let mut length = bytes.len();
    while length >= 0x80 {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(bytes);
}

/// Takes a length and as many bytes off the front.
fn get<'a>(input: &mut &'a [u8]) -> Result<&'a [u8], BadRow> {
    let mut length = 0usize;
    for shift in [0, 7, 14, 21, 28] {
        let (byte, rest) = input.split_first().ok_or(BadRow("ends in a length"))?;
        *input = rest;
        length |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            let (bytes, rest) = input.split_at_checked(length).ok_or(BadRow("ends in a value"))?;
            *input = rest;
            return Ok(bytes);
        }
    }
    Err(BadRow("length too long"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;
    use proptest::prelude::*;

    #[test]
    fn column_numbers_fit_a_byte() {
        const { assert!(WIDTH < 256) };
    }

    #[test]
    fn unknown_columns_are_passed_over() {
        let row = sample::full(3, b"{\"a\":1}");
        let mut bytes = Vec::new();
        encode(&row, &mut bytes);
        bytes.push(255);
        put(&mut bytes, &[7; 300]);
        assert_eq!(decode(&bytes), Ok(row));
    }

    proptest! {
        #[test]
        fn rows_survive(row in sample::any_record()) {
            let mut bytes = Vec::new();
            encode(&row, &mut bytes);
            prop_assert_eq!(decode(&bytes), Ok(row));
        }

        #[test]
        fn garbage_is_an_error_or_a_row(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = decode(&bytes);
        }
    }
}
