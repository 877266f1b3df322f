//! Other readings of the texts that deserve one: look-alikes, encodings, JSON in strings, letter games.
//!
//! A clean message pays for a few cheap looks over all its texts; only texts with a reason are read again.

use super::pass::{Pass, Place};
use super::verify::{Back, Piece};
use crate::message::{Entry, Message, NO_KEY, ValueKind};
use crate::normalize::{
    Derived, Invisible, LetterGame, decode, fold, nested, next_spaced, spaced, suspects, wide_gaps,
};
use crate::rule::View;
use smallvec::SmallVec;

/// Readings within readings, at most.
const MAX_DEPTH: usize = 3;
/// Bytes of all other readings of a message for each of its own, at most; beyond it the scan says `truncated`.
const DERIVED_PER_BYTE: usize = 4;
/// And at least this many.
const MIN_DERIVED: usize = 256 * 1024;
/// Bytes of a message that letter games are played with, at most; what lies beyond is read without.
const GAMES: usize = 64 * 1024;
/// The level from which letter games are played.
const GAMES_FROM: u8 = 2;
/// Shortest text worth a game.
const MIN_GAME: usize = 12;

/// What folding is called.
const NORMALISED: &str = "normalised";

/// Reasons to read a text again.
const UNICODE: u8 = 1;
const ENCODED: u8 = 2;
const SPACED: u8 = 4;
const NESTED: u8 = 8;
const GAME: u8 = 16;

impl Pass<'_, '_, '_> {
    /// Reads again what deserves it.
    pub(super) fn views(&mut self, message: &Message<'_>) {
        let limit = message.arena().len().min(self.subject.budget);
        let arena = message.arena().get(..limit).unwrap_or(&[]);
        let entries = message.entries();
        let texts = entries.partition_point(|entry| (entry.start as usize) < limit);
        let entries = entries.get(..texts).unwrap_or(entries);
        self.suspect(message, entries, arena);
        if self.memory.suspects.is_empty() {
            return;
        }
        self.memory.path.reset();
        let mut room = arena.len().saturating_mul(DERIVED_PER_BYTE).max(MIN_DERIVED);
        let suspects = std::mem::take(&mut self.memory.suspects);
        let mut next = 0;
        while let Some((at, mut why)) = suspects.get(next).copied() {
            next += 1;
            while let Some((_, more)) = suspects.get(next).filter(|(more, _)| *more == at) {
                why |= more;
                next += 1;
            }
            let Some(piece) = Self::piece(message, entries, limit, at as usize) else { continue };
            if self.is_over() || self.is_opaque(message, &piece) {
                continue;
            }
            // a text of the message is UTF-8, and a cut one ends between characters
            let Some(text) = message.string(piece.node).get(..piece.text.len()) else { continue };
            self.again(&piece, text, why, &mut room);
        }
        self.memory.suspects = suspects;
    }

    /// Collects which texts deserve which readings.
    fn suspect(&mut self, message: &Message<'_>, entries: &[Entry], arena: &[u8]) {
        let suspects_of = &mut self.memory.suspects;
        let mut tell = |at: usize, why: u8| {
            let entry = entries.partition_point(|entry| entry.start as usize <= at);
            let suspect = (u32::try_from(entry.saturating_sub(1)).unwrap_or(NO_KEY), why);
            if suspects_of.last() != Some(&suspect) {
                suspects_of.push(suspect);
            }
        };
        suspects(arena, |at| tell(at, ENCODED));
        wide_gaps(arena).for_each(|at| tell(at, UNICODE));
        let mut from = 0;
        while let Some(at) = next_spaced(arena, from) {
            tell(at, SPACED);
            let rest = arena.get(at..).unwrap_or(&[]);
            from = at + memchr::memchr(crate::message::SEPARATOR, rest).unwrap_or(rest.len());
        }
        if message.has_odd_characters() {
            let odd = entries.iter().filter(|entry| entry.is_odd);
            odd.for_each(|entry| tell(entry.start as usize, UNICODE));
        }
        for at in &self.memory.nested {
            suspects_of.push((*at, NESTED));
        }
        // JSON in a string with escapes of its own, whatever its keys
        for (at, entry) in (0_u32..).zip(entries) {
            let start = entry.start as usize;
            if matches!(arena.get(start), Some(b'{' | b'[' | b' ' | b'\n')) {
                let end =
                    entries.get(at as usize + 1).map_or(arena.len(), |next| next.start as usize);
                let text = arena.get(start..end).unwrap_or(&[]);
                if memchr::memchr(b'\\', text).is_some() {
                    suspects_of.push((at, NESTED));
                }
            }
        }
        if self.subject.paranoia >= GAMES_FROM && !matches!(self.place, Place::Example) {
            let mut room = GAMES;
            for (at, entry) in (0_u32..).zip(entries) {
                let end =
                    entries.get(at as usize + 1).map_or(arena.len(), |next| next.start as usize);
                let len = end - entry.start as usize;
                if len > MIN_GAME && len <= room {
                    room -= len;
                    suspects_of.push((at, GAME));
                }
            }
        }
        suspects_of.sort_unstable();
    }

    fn is_opaque(&mut self, message: &Message<'_>, piece: &Piece<'_>) -> bool {
        if piece.kind == ValueKind::Key || !matches!(self.place, Place::In(_)) {
            return false;
        }
        let nodes = message.nodes();
        if !self.go_to(nodes, piece.node) {
            return false;
        }
        let words = self.memory.path.words(nodes);
        let parent = self.memory.path.parent();
        super::exempt::is_opaque(&words, nodes, parent, &mut self.media)
    }

    /// All other readings of one text.
    fn again(&mut self, piece: &Piece<'_>, text: &str, why: u8, room: &mut usize) {
        let mut chain: Vec<Derived> = Vec::new();
        if why & UNICODE != 0
            && let Some(mut folded) = fold(text, Invisible::Drop)
        {
            folded.derived.how = NORMALISED;
            let spaced = folded.invisible.then(|| fold(text, Invisible::Space)).flatten();
            if let Some(mut spaced) = spaced {
                spaced.derived.how = "invisible characters as spaces";
                self.read(piece, &[&spaced.derived], View::Normalised, room);
            }
            self.read(piece, &[&folded.derived], View::Normalised, room);
            // what was between blanks is gone: the gap may be too wide for a pattern now
            let again = wide_gaps(folded.derived.text.as_bytes()).next().is_some();
            let closed = again.then(|| fold(&folded.derived.text, Invisible::Drop)).flatten();
            chain.push(folded.derived);
            if let Some(closed) = closed {
                chain.push(closed.derived);
                let refs: SmallVec<[&Derived; 2]> = chain.iter().collect();
                self.read(piece, &refs, View::Normalised, room);
            }
        }
        if why & (ENCODED | UNICODE) != 0 {
            self.decoded(piece, text, chain.clone(), room);
        }
        let plain: SmallVec<[&Derived; 2]> = chain.iter().collect();
        let top = chain.last().map_or(text, |derived| derived.text.as_str());
        if why & (SPACED | UNICODE) != 0
            && let Some(mut joined) = spaced(top)
        {
            joined.how = "spaced letters joined";
            self.read_on(piece, &plain, &joined, View::Folded, room);
        }
        if why & NESTED != 0 {
            self.nested(piece, text, &[], 1, room);
        }
        if why & GAME != 0 {
            for game in LetterGame::ALL {
                if let Some(mut undone) = game.undo(top) {
                    undone.how = game.name();
                    self.read_on(piece, &plain, &undone, View::Folded, room);
                }
            }
        }
    }

    /// Encodings within encodings, each folded again.
    fn decoded(
        &mut self,
        piece: &Piece<'_>,
        text: &str,
        mut chain: Vec<Derived>,
        room: &mut usize,
    ) {
        let deep = self.subject.paranoia >= GAMES_FROM;
        for _ in 0..MAX_DEPTH {
            let top = chain.last().map_or(text, |derived| derived.text.as_str());
            let Some(mut derived) = decode(top, deep) else { return };
            derived.how = "decoded";
            self.truncated |= derived.partial;
            let odd = derived.text.bytes().any(|b| !(b' '..=b'~').contains(&b) && b != b'\n')
                || wide_gaps(derived.text.as_bytes()).next().is_some();
            chain.push(derived);
            self.read_chain(piece, &chain, room);
            if odd
                && let Some(mut folded) =
                    chain.last().and_then(|top| fold(&top.text, Invisible::Drop))
            {
                folded.derived.how = NORMALISED;
                chain.push(folded.derived);
                self.read_chain(piece, &chain, room);
            }
            let refs: SmallVec<[&Derived; 8]> = chain.iter().collect();
            let top = chain.last().map_or(text, |derived| derived.text.as_str());
            if matches!(top.trim_ascii_start().as_bytes(), [b'{' | b'[', ..]) {
                self.nested(piece, top, &refs, MAX_DEPTH, room);
            }
            if *room == 0 || self.is_over() {
                return;
            }
        }
    }

    /// The values of JSON that stands in a string, each with its key.
    fn nested(
        &mut self,
        piece: &Piece<'_>,
        text: &str,
        chain: &[&Derived],
        depth: usize,
        room: &mut usize,
    ) {
        if !self.charge(text.len()) {
            return;
        }
        let (values, partial) = nested(text);
        self.truncated |= partial;
        let first_key = self.pieces;
        self.pieces += u32::try_from(values.len()).unwrap_or(u32::MAX / 4);
        for value in &values {
            let refs: SmallVec<[&Derived; 8]> =
                chain.iter().copied().chain(std::iter::once(&value.derived)).collect();
            let inner = Piece {
                key: value.key.as_ref().map(|(_, key)| &**key),
                key_id: value.key.as_ref().map_or(NO_KEY, |(id, _)| NESTED_KEYS | (first_key + id)),
                kind: if value.is_number { ValueKind::Number } else { piece.kind },
                ..*piece
            };
            self.read(&inner, &refs, View::Raw, room);
            let text = value.derived.text.as_str();
            if wide_gaps(text.as_bytes()).next().is_some()
                && let Some(folded) = fold(text, Invisible::Drop)
            {
                self.read_on(&inner, &refs, &folded.derived, View::Normalised, room);
            }
            if depth < MAX_DEPTH && matches!(text.trim_ascii_start().as_bytes(), [b'{' | b'[', ..])
            {
                self.nested(&inner, text, &refs, depth + 1, room);
            }
            if *room == 0 || self.is_over() {
                return;
            }
        }
    }

    fn read_chain(&mut self, piece: &Piece<'_>, chain: &[Derived], room: &mut usize) {
        let refs: SmallVec<[&Derived; 8]> = chain.iter().collect();
        self.read(piece, &refs, View::Decoded, room);
    }

    fn read_on(
        &mut self,
        piece: &Piece<'_>,
        chain: &[&Derived],
        last: &Derived,
        view: View,
        room: &mut usize,
    ) {
        let refs: SmallVec<[&Derived; 4]> =
            chain.iter().copied().chain(std::iter::once(last)).collect();
        self.read(piece, &refs, view, room);
    }

    /// Runs the rules over one reading.
    fn read(&mut self, piece: &Piece<'_>, chain: &[&Derived], view: View, room: &mut usize) {
        let Some(derived) = chain.last() else { return };
        if derived.text.len() > *room {
            *room = 0;
            self.truncated = true;
            return;
        }
        *room -= derived.text.len();
        let id = self.number_piece();
        let back = Back::Chain(chain);
        self.piece_alone(&Piece { text: derived.text.as_bytes(), id, view, back, ..*piece }, true);
    }

    /// A number for a text that is in no message.
    pub(super) fn number_piece(&mut self) -> u32 {
        self.pieces = self.pieces.wrapping_add(1);
        NESTED_KEYS | self.pieces
    }
}

/// Numbers of texts and keys that are no nodes of the message.
const NESTED_KEYS: u32 = 0x8000_0000;
