//! The pins of all servers at one moment: [`Table`]. It never changes; a change makes another.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use capture::Str;
use inspect::pin::{Fingerprint, ItemKind};

/// What is known of one item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The definition seen first, or approved last.
    pub(super) base: Fingerprint,
    /// Whether a person approved it.
    pub(super) approved: bool,
    /// The definition seen last that is another than `base`. Changing back does not clear it.
    pub(super) changed: Option<Fingerprint>,
    /// When it was seen last, as far as the store knows or will: seconds since 1970.
    pub(super) seen: i64,
    /// Whether the store has all this.
    pub(super) saved: Saved,
}

/// Seconds after which being seen is news by itself.
const FRESH: i64 = 60;

/// Whether the store has an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Saved {
    /// It has.
    Yes,
    /// It is on its way there.
    Queued,
    /// It could not be saved, and goes there with the next list that has the item.
    No,
}

/// How the item stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Seen, never approved.
    Pending,
    /// Approved, and not seen otherwise since.
    Approved,
    /// Seen otherwise than it was first, or was approved.
    Changed,
}

impl State {
    /// All of them.
    pub const ALL: [State; 3] = [State::Pending, State::Approved, State::Changed];

    /// The word in tables and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Pending => "pending",
            State::Approved => "approved",
            State::Changed => "changed",
        }
    }

    /// The state of a pin.
    pub(super) fn of(approved: bool, is_changed: bool) -> State {
        match (approved, is_changed) {
            (_, true) => State::Changed,
            (true, false) => State::Approved,
            (false, false) => State::Pending,
        }
    }
}

impl Entry {
    /// An item seen for the first time.
    fn first(fingerprint: Fingerprint, now: i64) -> Entry {
        Entry { base: fingerprint, approved: false, changed: None, seen: now, saved: Saved::No }
    }

    pub(super) fn state(&self) -> State {
        State::of(self.approved, self.changed.is_some())
    }

    /// The definition seen last, as far as it counts.
    fn latest(&self) -> Fingerprint {
        self.changed.unwrap_or(self.base)
    }

    /// Whether seeing this definition says something that the store does not have yet.
    fn is_news(&self, fingerprint: Fingerprint, now: i64) -> bool {
        self.saved == Saved::No || now.saturating_sub(self.seen) >= FRESH || !self.has(fingerprint)
    }

    /// Whether this definition is one of the two that are known.
    fn has(&self, fingerprint: Fingerprint) -> bool {
        fingerprint == self.base || self.changed == Some(fingerprint)
    }
}

/// The pins of one server.
#[derive(Clone, Debug, Default)]
pub(super) struct ServerPins {
    kinds: [HashMap<Box<str>, Entry>; ItemKind::ALL.len()],
}

impl ServerPins {
    pub(super) fn of(&self, kind: ItemKind) -> &HashMap<Box<str>, Entry> {
        let [tools, prompts, resources, templates] = &self.kinds;
        match kind {
            ItemKind::Tool => tools,
            ItemKind::Prompt => prompts,
            ItemKind::Resource => resources,
            ItemKind::Template => templates,
        }
    }

    fn of_mut(&mut self, kind: ItemKind) -> &mut HashMap<Box<str>, Entry> {
        let [tools, prompts, resources, templates] = &mut self.kinds;
        match kind {
            ItemKind::Tool => tools,
            ItemKind::Prompt => prompts,
            ItemKind::Resource => resources,
            ItemKind::Template => templates,
        }
    }

    /// The entry of an item.
    pub(super) fn get(&self, kind: ItemKind, name: &str) -> Option<&Entry> {
        self.of(kind).get(name)
    }

    /// Whether this sighting changes an entry, or is still to be saved.
    pub(super) fn is_news(
        &self,
        kind: ItemKind,
        name: &str,
        fingerprint: Fingerprint,
        now: i64,
    ) -> bool {
        self.get(kind, name).is_none_or(|entry| entry.is_news(fingerprint, now))
    }

    /// Whether the store has this definition, or gets it.
    pub(super) fn is_kept(&self, kind: ItemKind, name: &str, fingerprint: Fingerprint) -> bool {
        let kept = |entry: &Entry| entry.saved != Saved::No && entry.has(fingerprint);
        self.get(kind, name).is_some_and(kept)
    }

    /// Enters a sighting; `false` when there is no room for another item.
    pub(super) fn see(
        &mut self,
        kind: ItemKind,
        name: &str,
        fingerprint: Fingerprint,
        now: i64,
        limit: usize,
    ) -> bool {
        if self.get(kind, name).is_none() && self.len() >= limit {
            return false;
        }
        let items = self.of_mut(kind);
        let entry = items.entry(name.into()).or_insert_with(|| Entry::first(fingerprint, now));
        entry.seen = entry.seen.max(now);
        if fingerprint != entry.base {
            entry.changed = Some(fingerprint);
        }
        true
    }

    /// Says how far a sighting got on its way to the store, unless a later one counts.
    pub(super) fn mark(
        &mut self,
        kind: ItemKind,
        name: &str,
        fingerprint: Fingerprint,
        saved: Saved,
    ) {
        if let Some(entry) = self.of_mut(kind).get_mut(name)
            && entry.latest() == fingerprint
        {
            entry.saved = saved;
        }
    }

    /// Puts an entry out of the store.
    pub(super) fn put(&mut self, kind: ItemKind, name: &str, entry: Entry) {
        self.of_mut(kind).insert(name.into(), entry);
    }

    pub(super) fn len(&self) -> usize {
        self.kinds.iter().map(HashMap::len).sum()
    }

    fn iter(&self) -> impl Iterator<Item = (ItemKind, &str, &Entry)> {
        let of = |kind| self.of(kind).iter().map(move |(name, entry)| (kind, &**name, entry));
        ItemKind::ALL.into_iter().flat_map(of)
    }
}

/// The pins of all servers.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    servers: HashMap<Str, Arc<ServerPins>>,
}

impl Table {
    /// The pins of a server.
    pub(super) fn server(&self, name: &str) -> Option<&Arc<ServerPins>> {
        self.servers.get(name)
    }

    /// The pins of a server, to be changed.
    pub(super) fn server_mut(&mut self, name: &Str) -> &mut ServerPins {
        Arc::make_mut(self.servers.entry(Str::clone(name)).or_default())
    }

    /// The tools of all servers but one: server and name.
    /// Where `among` names servers, only those count.
    pub(super) fn tools_beside<'a>(
        &'a self,
        name: &'a str,
        among: Option<&'a HashSet<Str>>,
    ) -> impl Iterator<Item = (&'a str, &'a str)> {
        let others = self.servers.iter().filter(move |(server, _)| {
            &***server != name && among.is_none_or(|among| among.contains(*server))
        });
        others.flat_map(|(server, pins)| {
            pins.of(ItemKind::Tool).keys().map(move |tool| (&**server, &**tool))
        })
    }

    /// How many pins are in each state, in the order of [`State::ALL`].
    pub(super) fn count(&self) -> [usize; State::ALL.len()] {
        let mut counts = [0; State::ALL.len()];
        for (_, _, entry) in self.servers.values().flat_map(|pins| pins.iter()) {
            let all = State::ALL.iter().zip(&mut counts);
            all.filter(|(state, _)| **state == entry.state()).for_each(|(_, count)| *count += 1);
        }
        counts
    }

    /// What the store says, with what of `self` has not got there yet. An item that the store had
    /// and has no more was reset.
    pub(super) fn merged_into(&self, mut stored: Table) -> Table {
        for (server, pins) in &self.servers {
            for (kind, name, entry) in pins.iter().filter(|(.., e)| e.saved != Saved::Yes) {
                let pins = stored.server_mut(server);
                let latest = entry.latest();
                let merged = match pins.get(kind, name) {
                    None => *entry,
                    Some(stored) if stored.base == latest => *stored,
                    Some(stored) => Entry {
                        changed: Some(latest),
                        seen: stored.seen.max(entry.seen),
                        saved: entry.saved,
                        ..*stored
                    },
                };
                pins.put(kind, name, merged);
            }
        }
        stored
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOOL: ItemKind = ItemKind::Tool;

    fn print(text: &str) -> Fingerprint {
        Fingerprint::of(text)
    }

    fn stored(base: &str, approved: bool) -> Entry {
        Entry { base: print(base), approved, changed: None, seen: 0, saved: Saved::Yes }
    }

    fn table(entries: &[(&str, Entry)]) -> Table {
        let mut table = Table::default();
        let pins = table.server_mut(&"s".into());
        entries.iter().for_each(|(name, entry)| pins.put(TOOL, name, *entry));
        table
    }

    fn entry(table: &Table, name: &str) -> Option<Entry> {
        table.server("s").unwrap().get(TOOL, name).copied()
    }

    #[test]
    fn the_first_sighting_counts_until_another_is_approved() {
        let mut pins = ServerPins::default();
        assert!(pins.see(TOOL, "a", print("1"), 0, 1));
        assert_eq!(pins.get(TOOL, "a").unwrap().state(), State::Pending);
        assert!(pins.see(TOOL, "a", print("2"), 0, 1));
        // Changing back is no way out.
        assert!(pins.see(TOOL, "a", print("1"), 0, 1));
        let entry = pins.get(TOOL, "a").unwrap();
        assert_eq!((entry.state(), entry.changed), (State::Changed, Some(print("2"))));
        assert!(!pins.see(TOOL, "b", print("1"), 0, 1), "there is room for one");
        assert!(!pins.see(ItemKind::Prompt, "a", print("1"), 0, 1), "of all kinds together");
    }

    #[test]
    fn what_is_on_its_way_is_no_news_and_what_was_lost_is() {
        let mut pins = ServerPins::default();
        pins.see(TOOL, "a", print("1"), 0, 9);
        assert!(pins.is_news(TOOL, "a", print("1"), 0));
        pins.mark(TOOL, "a", print("1"), Saved::Queued);
        assert!(pins.is_news(TOOL, "a", print("1"), FRESH), "it was seen again");
        assert!(!pins.is_news(TOOL, "a", print("1"), 0) && pins.is_news(TOOL, "a", print("2"), 0));
        pins.see(TOOL, "a", print("2"), 0, 9);
        pins.mark(TOOL, "a", print("2"), Saved::No);
        pins.mark(TOOL, "a", print("1"), Saved::Yes);
        assert!(
            pins.is_news(TOOL, "a", print("2"), 0),
            "an earlier one that got there says nothing"
        );
    }

    #[test]
    fn the_store_wins_but_for_what_it_does_not_have_yet() {
        let mut here = table(&[("gone", stored("1", true)), ("same", stored("1", false))]);
        let pins = here.server_mut(&"s".into());
        pins.see(TOOL, "fresh", print("1"), 0, 9);
        pins.see(TOOL, "known", print("2"), 0, 9);
        pins.see(TOOL, "equal", print("3"), 0, 9);
        let merged = here.merged_into(table(&[
            ("same", stored("1", true)),
            ("known", stored("1", true)),
            ("equal", stored("3", true)),
        ]));
        assert_eq!(entry(&merged, "gone"), None);
        assert_eq!(entry(&merged, "same"), Some(stored("1", true)));
        assert_eq!(entry(&merged, "equal"), Some(stored("3", true)));
        assert_eq!(entry(&merged, "fresh").unwrap().state(), State::Pending);
        let known = entry(&merged, "known").unwrap();
        assert_eq!((known.base, known.changed), (print("1"), Some(print("2"))));
        assert_eq!(merged.count(), [1, 2, 1]);
    }
}
