//! Digests by which a later change shows: the chain over a file's rows, and the tree over its bodies.
//!
//! Content (bodies, contexts) goes into both by its digest only, so that it can be erased without breaking either.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::record::Record;
use crate::{CaptureError, row};

/// A SHA-256 digest.
pub(crate) type Hash = [u8; 32];

/// The digest as 64 hex digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(DIGITS[usize::from(byte >> 4)].into());
        text.push(DIGITS[usize::from(byte & 15)].into());
    }
    text
}

pub(crate) fn sha256(bytes: &[u8]) -> Hash {
    Sha256::digest(bytes).into()
}

/// Length and digest of a file. Memory: 64 KiB.
pub(crate) fn hash_file(path: &Path) -> Result<(u64, String), CaptureError> {
    let mut file = File::open(path).map_err(CaptureError::io("open", path))?;
    let (mut digest, mut bytes) = (Sha256::new(), 0);
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer).map_err(CaptureError::io("read", path))? {
            0 => return Ok((bytes, hex(&digest.finalize()))),
            read => {
                digest.update(&buffer[..read]);
                bytes += read as u64;
            }
        }
    }
}

/// What the rows of one file add up to, row by row.
///
/// The chain of a file begins with its writer and first number, so that files are independent of each other; their
/// order is the manifest's business.
#[derive(Clone, Debug)]
pub(crate) struct Sums {
    /// All rows.
    pub(crate) rows: u64,
    /// Those of kind `gap`.
    pub(crate) gaps: u64,
    /// The sum of `dropped_before`.
    pub(crate) dropped: u64,
    head: Hash,
    bodies: Tree,
    buffer: Vec<u8>,
}

impl Sums {
    pub(crate) fn new(writer: &str, first_seq: i64) -> Sums {
        let begin = format!("wiregate rows v1\n{writer}\n{first_seq}\n");
        Sums {
            rows: 0,
            gaps: 0,
            dropped: 0,
            head: sha256(begin.as_bytes()),
            bodies: Tree::default(),
            buffer: Vec::new(),
        }
    }

    /// Takes the next row in.
    pub(crate) fn add(&mut self, record: &Record) {
        self.rows += 1;
        self.gaps += u64::from(record.kind.as_deref() == Some("gap"));
        self.dropped = self.dropped.saturating_add(record.dropped_before.unsigned_abs());
        self.buffer.clear();
        self.buffer.extend_from_slice(&self.head);
        row::encode_sealed(record, &mut self.buffer);
        self.head = sha256(&self.buffer);
        self.bodies.push(record.body_sha256.as_deref().unwrap_or_default().as_bytes());
    }

    /// The chain's head after the last row.
    pub(crate) fn head(&self) -> String {
        hex(&self.head)
    }

    /// The root of the tree over `body_sha256`.
    pub(crate) fn bodies(&self) -> String {
        hex(&self.bodies.root())
    }
}

/// A Merkle tree (RFC 6962, 2.1) that keeps no leaves: the roots of its full subtrees, largest first.
#[derive(Clone, Debug, Default)]
struct Tree {
    full: Vec<(u32, Hash)>,
}

impl Tree {
    fn push(&mut self, leaf: &[u8]) {
        let mut hash: Hash = Sha256::new().chain_update([0]).chain_update(leaf).finalize().into();
        let mut height = 0;
        while let Some((_, left)) = self.full.pop_if(|(other, _)| *other == height) {
            hash = node(&left, &hash);
            height += 1;
        }
        self.full.push((height, hash));
    }

    fn root(&self) -> Hash {
        let mut subtrees = self.full.iter().rev().map(|(_, hash)| *hash);
        match subtrees.next() {
            None => sha256(b""),
            Some(last) => subtrees.fold(last, |right, left| node(&left, &right)),
        }
    }
}

fn node(left: &Hash, right: &Hash) -> Hash {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    /// The definition of RFC 6962, word for word.
    fn defined(leaves: &[&[u8]]) -> Hash {
        match leaves {
            [] => sha256(b""),
            [leaf] => sha256(&[&[0], *leaf].concat()),
            _ => {
                let half = leaves.len().next_power_of_two() / 2;
                node(&defined(&leaves[..half]), &defined(&leaves[half..]))
            }
        }
    }

    #[test]
    fn the_tree_is_that_of_the_rfc() {
        let leaves: Vec<Vec<u8>> = (0..70).map(|at: u8| vec![at; usize::from(at % 5)]).collect();
        let leaves: Vec<&[u8]> = leaves.iter().map(Vec::as_slice).collect();
        for count in 0..leaves.len() {
            let mut tree = Tree::default();
            leaves[..count].iter().for_each(|leaf| tree.push(leaf));
            assert_eq!(tree.root(), defined(&leaves[..count]), "{count} leaves");
        }
    }

    #[test]
    fn the_chain_tells_rows_apart_and_outlives_their_content() {
        let head = |row: &Record| {
            let mut sums = Sums::new("w1", 1);
            sums.add(row);
            (sums.head(), sums.bodies())
        };
        let row = sample::full(1, b"{}");
        let erased = Record { body: None, ..row.clone() };
        assert_eq!(head(&row), head(&erased));
        for other in [
            Record { seq: 2, ..row.clone() },
            Record { server: None, ..row.clone() },
            Record { rule_ids: vec!["a".into()], ..row.clone() },
            Record { scan_context: None, ..row.clone() },
            Record { body_sha256: Some("other".into()), ..row.clone() },
        ] {
            assert_ne!(head(&row).0, head(&other).0);
        }
        assert_ne!(Sums::new("w1", 1).head(), Sums::new("w2", 1).head());
    }
}
