//! One pass over the arena for all literals of all rules. The only place that knows which algorithm does it.

use aho_corasick::{AhoCorasick, AhoCorasickBuilder, AhoCorasickKind, MatchKind};

/// Up to this many bytes of literals a full automaton is worth its memory.
const DFA_BYTES: usize = 64 * 1024;

/// All literals, compiled.
#[derive(Clone, Debug)]
pub(crate) struct Filter {
    automaton: Option<AhoCorasick>,
}

/// A literal found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LiteralHit {
    /// Which literal, as an index into those given to [`Filter::new`].
    pub(crate) literal: usize,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

impl Filter {
    /// Compiles the literals; `None` when they need more memory than the automaton can address.
    pub(crate) fn new(literals: &[Vec<u8>]) -> Option<Self> {
        if literals.is_empty() {
            return Some(Self { automaton: None });
        }
        let bytes: usize = literals.iter().map(Vec::len).sum();
        let kind =
            if bytes <= DFA_BYTES { AhoCorasickKind::DFA } else { AhoCorasickKind::ContiguousNFA };
        let automaton = AhoCorasickBuilder::new()
            .ascii_case_insensitive(true)
            .match_kind(MatchKind::Standard)
            .kind(Some(kind))
            .build(literals)
            .ok()?;
        Some(Self { automaton: Some(automaton) })
    }

    /// Every occurrence of every literal, overlapping ones too, by increasing end; ASCII case does not matter.
    pub(crate) fn hits<'s>(&'s self, text: &'s [u8]) -> impl Iterator<Item = LiteralHit> + 's {
        self.automaton.iter().flat_map(move |automaton| automaton.find_overlapping_iter(text)).map(
            |found| LiteralHit {
                literal: found.pattern().as_usize(),
                start: found.start(),
                end: found.end(),
            },
        )
    }
}
