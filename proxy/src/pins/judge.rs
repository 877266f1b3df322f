//! One message against the pins: what a list shows, and what a request uses.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use capture::Str;
use inspect::message::Kind;
use inspect::pin::{self, Fingerprint, Item, ItemKind, Listed, Others, PinLimits};
use inspect::{Action, Preset};

use super::store::Sighting;
use super::table::{Entry, ServerPins, Table};
use super::{Pins, State};
use crate::config::{self, OnChanged, OnNew, PinMode};
use crate::envelope::Context;
use crate::policy::Denied;
use crate::policy::inspect::Seen;

/// What was found in one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pinned {
    /// The names of what was found, one for each.
    pub findings: Vec<&'static str>,
    /// What is done about it.
    pub action: Action,
    /// Where the items start that are left out of a list that is blocked. None of them: no part
    /// of the message may pass.
    pub left_out: BTreeSet<usize>,
}

impl Default for Pinned {
    fn default() -> Self {
        Pinned { findings: Vec::new(), action: Action::Allow, left_out: BTreeSet::new() }
    }
}

impl Pinned {
    fn find(&mut self, what: &'static str, action: Action) {
        self.findings.push(what);
        self.action = self.action.max(action);
    }

    /// What a request gets that uses what it may not; `None` when it may.
    pub fn denied(&self) -> Option<Denied> {
        if self.action != Action::Block {
            return None;
        }
        Some(if self.findings.contains(&pin::CHANGED) {
            Denied::unapproved("pin_changed", "the definition has changed and is not approved")
        } else {
            Denied::unapproved("pin_new", "the definition is not approved")
        })
    }
}

/// One item of a list, and what it is remembered by.
struct Shown {
    item: Item,
    /// Where it starts in the message.
    start: usize,
    /// Its name, as the disk may hold it.
    key: Box<str>,
    /// Its definition, likewise.
    definition: Option<String>,
}

impl Pins {
    /// Compares what an answer lists with the pins, and remembers it. `now` is in seconds since
    /// 1970.
    pub fn listed(&self, cx: &Context, seen: &Seen, now: i64) -> Pinned {
        let settings = &cx.snapshot.config.pins;
        let head = &seen.envelope.head;
        let method = seen.exchange.as_deref().map(|asked| &*asked.method);
        // An answer to another request is no list; one nobody asked for may be taken for one.
        let kind = method.map(ItemKind::listed_by);
        let watched = match kind {
            Some(kind) => kind.is_some_and(|kind| settings.watches(kind)),
            None => settings.mode != PinMode::Off,
        };
        if head.kind != Kind::Response || !watched {
            return Pinned::default();
        }
        let limits =
            PinLimits { items: settings.max_items, definition: settings.max_definition.bytes() };
        let listed = pin::list(&seen.envelope.raw, method, &limits);
        let (listed, hidden) = match (listed, hidden(cx, seen)) {
            (Ok(listed), Some(hidden)) => (listed, hidden),
            (Ok(listed), None) if listed.is_empty() => return Pinned::default(),
            // What cannot be read, or not be hidden, cannot be told from what it was.
            _ => {
                let mut found = Pinned::default();
                found.find(pin::UNPINNED, softened(cx, Action::Block));
                return found;
            }
        };
        let mut found = Pinned::default();
        let mut shown = Vec::with_capacity(listed.len());
        for (n, Listed { kind, span, item }) in listed.into_iter().enumerate() {
            match item {
                _ if !settings.watches(kind) => {}
                Ok(item) => shown.push(hidden.show(n, span.start, item)),
                Err(_) => found.leave_out(cx, pin::UNPINNED, Action::Block, span.start),
            }
        }
        let table = self.shared.table.load_full();
        let pins = self.enter(&table, &cx.server.name, &shown, settings, now);
        self.compare(cx, &table, &pins, &shown, &mut found);
        found
    }

    /// Remembers what a list shows, as far as that is news.
    fn enter(
        &self,
        table: &Table,
        server: &Str,
        shown: &[Shown],
        settings: &config::Pins,
        now: i64,
    ) -> Arc<ServerPins> {
        let pins = table.server(server).map(Arc::clone).unwrap_or_default();
        let is_news =
            |shown: &&Shown| pins.is_news(shown.item.kind, &shown.key, shown.item.fingerprint, now);
        let news: Vec<Sighting> = shown
            .iter()
            .filter(is_news)
            .map(|Shown { item, key, definition, .. }| Sighting {
                server: server.clone(),
                kind: item.kind,
                name: key.clone(),
                fingerprint: item.fingerprint,
                definition: definition
                    .as_deref()
                    .filter(|_| !pins.is_kept(item.kind, key, item.fingerprint))
                    .map(Into::into),
                at: now,
            })
            .collect();
        if news.is_empty() {
            return pins;
        }
        let entered = self.shared.enter(server, news, settings.max_items);
        let is_changed = |pins: &ServerPins, shown: &Shown| {
            let entry = pins.get(shown.item.kind, &shown.key);
            entry.is_some_and(|entry| entry.state() == State::Changed)
        };
        let changed = shown.iter().filter(|s| is_changed(&entered, s) && !is_changed(&pins, s));
        // Once for each change; their names are the server's words, and no words for a log.
        match changed.count() {
            0 => {}
            count => {
                tracing::warn!(%server, count, "definitions changed: see `wiregate pins diff`")
            }
        }
        entered
    }

    /// Finds what is not as it was, and tools that are or speak of another server's.
    fn compare(
        &self,
        cx: &Context,
        table: &Table,
        pins: &ServerPins,
        shown: &[Shown],
        found: &mut Pinned,
    ) {
        let server = &cx.server.name;
        let mut unapproved = Vec::new();
        for Shown { item, start, key, .. } in shown {
            let Some(entry) = pins.get(item.kind, key) else {
                found.leave_out(cx, pin::UNPINNED, Action::Block, *start);
                continue;
            };
            if let Some((what, action)) = asked(entry, &cx.snapshot.config.pins) {
                found.leave_out(cx, what, action, *start);
            }
            // Whoever approved it has seen what it is called and what it says.
            if item.kind == ItemKind::Tool && entry.state() != State::Approved {
                unapproved.push(item);
            }
        }
        if unapproved.is_empty() {
            return;
        }
        let own = pins.of(ItemKind::Tool).keys().map(|name| &**name);
        let among = self.neighbours.load();
        let others = Others::new(own, table.tools_beside(server, among.as_deref()));
        for item in unapproved {
            if others.shadowed_by(&item.name).is_some() {
                found.find(pin::SHADOW, Action::Flag);
            }
            if others.referred_to_by(&item.canonical).is_some() {
                found.find(pin::REFERS, Action::Flag);
            }
        }
    }

    /// Compares what a request uses with the pins.
    pub fn used(&self, cx: &Context, seen: &Seen) -> Pinned {
        let settings = &cx.snapshot.config.pins;
        let head = &seen.envelope.head;
        let mut found = Pinned::default();
        let kind = head.method.as_deref().and_then(ItemKind::used_by);
        let (Some(kind), Some(name), Kind::Request) = (kind, &head.name, head.kind) else {
            return found;
        };
        if !settings.watches(kind) {
            return found;
        }
        let table = self.shared.table.load();
        let pins = table.server(&cx.server.name);
        let asked = match pins.and_then(|pins| pins.get(kind, name).or(pins.get(kind, &veil(name))))
        {
            Some(entry) => asked(entry, settings),
            None => {
                let by_template = pins.filter(|_| kind == ItemKind::Resource);
                match by_template.and_then(|pins| templates(pins, name, settings)) {
                    Some(asked) => asked,
                    None => asked_of_new(settings).filter(|(_, action)| *action == Action::Block),
                }
            }
        };
        if let Some((what, action)) = asked {
            found.find(what, softened(cx, action));
        }
        found
    }
}

impl Pinned {
    /// Notes what was found of an item, and where it starts if it is to be left out for that.
    fn leave_out(&mut self, cx: &Context, what: &'static str, action: Action, start: usize) {
        let action = softened(cx, action);
        self.find(what, action);
        if action == Action::Block {
            self.left_out.insert(start);
        }
    }
}

/// No more than the mode and the preset let be done.
fn softened(cx: &Context, action: Action) -> Action {
    let blocks = cx.snapshot.config.pins.mode == PinMode::Block;
    if blocks && cx.snapshot.policy.preset != Preset::Audit {
        return action;
    }
    action.min(Action::Flag)
}

/// What the configuration asks for, of an item that is as its entry says.
fn asked(entry: &Entry, settings: &config::Pins) -> Option<(&'static str, Action)> {
    match entry.state() {
        State::Approved => None,
        State::Pending => asked_of_new(settings),
        State::Changed => Some((
            pin::CHANGED,
            match settings.changed {
                OnChanged::Flag => Action::Flag,
                OnChanged::Block => Action::Block,
            },
        )),
    }
}

fn asked_of_new(settings: &config::Pins) -> Option<(&'static str, Action)> {
    match settings.new {
        OnNew::Allow => None,
        OnNew::Flag => Some((pin::NEW, Action::Flag)),
        OnNew::Block => Some((pin::NEW, Action::Block)),
    }
}

/// What is asked for of a resource that was not listed, but may be one of a template's: the
/// mildest of what its templates ask for. `None` when it is of none.
fn templates(
    pins: &ServerPins,
    uri: &str,
    settings: &config::Pins,
) -> Option<Option<(&'static str, Action)>> {
    let start = |template: &str| template.split('{').next().map(|start| uri.starts_with(start));
    let fitting = pins.of(ItemKind::Template).iter().filter(|(name, _)| start(name) == Some(true));
    let asked = fitting.map(|(_, entry)| asked(entry, settings));
    asked.min_by_key(|asked| asked.map_or(Action::Allow, |(_, action)| action))
}

/// What stands for a name that the disk may not hold.
fn veil(name: &str) -> String {
    let print = Fingerprint::of(name).to_string();
    let digits = print.rsplit(':').next().and_then(|digits| digits.get(..16)).unwrap_or_default();
    format!("[hidden:{digits}]")
}

/// The items of a list as the disk may hold them.
enum Hidden {
    /// As they came.
    Nothing,
    /// With placeholders; `None` for what is no item that way.
    Items(Vec<Option<Item>>),
}

/// What the disk may hold of a list; `None` when that cannot be told.
fn hidden(cx: &Context, seen: &Seen) -> Option<Hidden> {
    if seen.truncated {
        return None;
    }
    if seen.verdict.findings.is_empty() {
        return Some(Hidden::Nothing);
    }
    let raw = &seen.envelope.raw;
    let (masked, _) = inspect::redact(raw, &seen.verdict, &cx.snapshot.rules, true).ok()?;
    let method = seen.exchange.as_deref().map(|asked| &*asked.method);
    // Placeholders may be longer than what they stand for.
    let limits = PinLimits { items: usize::MAX, definition: usize::MAX };
    let items = pin::list(&masked, method, &limits).ok()?;
    Some(Hidden::Items(items.into_iter().map(|listed| listed.item.ok()).collect()))
}

impl Hidden {
    fn show(&self, n: usize, start: usize, item: Item) -> Shown {
        let masked = match self {
            Hidden::Nothing => Some(&item),
            Hidden::Items(items) => items.get(n).and_then(Option::as_ref),
        };
        let definition = masked.map(|masked| masked.canonical.clone());
        let key: Cow<'_, str> = match masked {
            Some(masked) if masked.name == item.name => Cow::Borrowed(&item.name),
            _ => Cow::Owned(veil(&item.name)),
        };
        Shown { start, key: key.into(), definition, item }
    }
}
