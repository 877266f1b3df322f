//! A secret said twice: a tool's structured content repeats its text, and what names the secret there is missing here.

use super::Part;
use super::pass::{Found, Pass};
use crate::message::{Entry, Kind, Message, ValueKind};
use crate::rule::{Class, View};
use crate::surface::Surface;
use smallvec::SmallVec;
use std::ops::Range;

/// Shortest secret whose repetitions are looked for: shorter ones stand in other words too.
const MIN_ECHO: usize = 8;
/// Secrets of one message whose repetitions are looked for, at most.
const MAX_SECRETS: usize = 128;
/// Repetitions of one secret, at most.
const MAX_ECHOES: usize = 1024;

impl Pass<'_, '_, '_> {
    /// Finds the secrets of a result again wherever they stand in it.
    pub(super) fn echoes(&mut self, message: &Message<'_>) {
        if message.kind() != Kind::Response || self.memory.found.is_empty() {
            return;
        }
        let mut secrets: Vec<(usize, &str)> = Vec::new();
        for (index, found) in self.memory.found.iter().enumerate() {
            let Some(secret) = self.secret(message, found) else { continue };
            if !secrets.iter().any(|(_, known)| *known == secret) {
                secrets.push((index, secret));
            }
            if secrets.len() == MAX_SECRETS {
                self.truncated = true;
                break;
            }
        }
        let mut echoes: Vec<(u32, Range<usize>, usize)> = Vec::new();
        for (index, secret) in secrets {
            if !self.charge(message.arena().len() / 8) {
                return;
            }
            let all = memchr::memmem::find_iter(message.arena(), secret.as_bytes());
            for (number, at) in all.enumerate() {
                if number == MAX_ECHOES {
                    self.truncated = true;
                    break;
                }
                let entry = entry_at(message.entries(), at).filter(|entry| !entry.is_key);
                let Some(entry) = entry else { continue };
                let start = at - entry.start as usize;
                let range = start..start + secret.len();
                if !self.is_known(entry.node, &range) {
                    echoes.push((entry.node, range, index));
                }
            }
        }
        // in the order of the message, which is how places are walked to
        echoes.sort_by_key(|(node, range, _)| (*node, range.start));
        for (node, range, index) in echoes {
            self.echo(index, node, range);
        }
    }

    /// The text of a secret that stands as it is in a result.
    fn secret<'t>(&self, message: &Message<'t>, found: &Found) -> Option<&'t str> {
        let is_result = matches!(found.surface, Surface::ResultText | Surface::ResultStructured);
        let is_secret = self.rules.rule(found.rule).class() == Class::Secret;
        let [(node, range)] = found.places.as_slice() else { return None };
        let whole = is_result && is_secret && found.kind == ValueKind::String;
        let text = message.string(*node).get(range.clone())?;
        (whole && found.part == Part::This && text.len() >= MIN_ECHO).then_some(text)
    }

    fn is_known(&self, node: u32, range: &Range<usize>) -> bool {
        let places = self.memory.found.iter().flat_map(|found| &found.places);
        places
            .into_iter()
            .any(|(of, known)| *of == node && known.start <= range.start && range.end <= known.end)
    }

    fn echo(&mut self, of: usize, node: u32, range: Range<usize>) {
        let Some(found) = self.memory.found.get(of) else { return };
        let (ix, score) = (found.rule, found.score);
        let rule = self.rules.rule(ix);
        let Some((surface, path)) = self.place(rule, ValueKind::String, node) else { return };
        if self.memory.found.len() == super::MAX_FINDINGS {
            self.truncated = true;
            return;
        }
        if self.trace.is_some() {
            self.tell_echo(ix, node, &range);
        }
        self.memory.found.push(Found {
            around: (0, 0),
            rule: ix,
            places: SmallVec::from_elem((node, range), 1),
            kind: ValueKind::String,
            surface,
            path,
            score,
            view: View::Raw,
            quoted: false,
            part: Part::This,
        });
    }
}

fn entry_at(entries: &[Entry], at: usize) -> Option<&Entry> {
    let after = entries.partition_point(|entry| entry.start as usize <= at);
    entries.get(after.checked_sub(1)?)
}
