//! Lists: asked of every server at once, each part through that server's pipeline, and merged in a
//! fixed order. A server that fails or is slow costs the list its part and nothing more, and that
//! is said.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use capture::Str;
use futures::future::join_all;
use http::StatusCode;
use serde_json::value::RawValue;
use tokio::time::{Instant, timeout_at};

use super::cursor::{self, Position};
use super::names::{Names, Target};
use super::page::{Item, Kind, Page};
use super::wire::{Asked, Object, array, request, string};
use super::{Desk, Mirrored, headers};
use crate::config::{OnCollision, OnFailure};
use crate::envelope::{Head, Reply};
use crate::policy::{Denied, UNREACHABLE};
use crate::session::seal::bind;
use crate::snapshot::ServerSpec;

/// What one server listed.
#[derive(Debug)]
pub(super) struct Drawn {
    pub(super) server: Arc<ServerSpec>,
    pub(super) items: Vec<Item>,
    /// The server's cursor for the rest.
    next: Option<String>,
    /// Whether this began at the beginning.
    from_start: bool,
    ttl: u64,
    private: bool,
}

/// What all of them listed.
#[derive(Debug, Default)]
pub(super) struct Round {
    pub(super) drawn: Vec<Drawn>,
    /// Who failed or was too slow.
    pub(super) missing: Vec<Str>,
}

impl Desk {
    /// Answers a list.
    pub(super) async fn list(
        &self,
        kind: Kind,
        head: &Head,
        asked: &Asked<'_>,
    ) -> Result<Reply, Denied> {
        let from = self.position(kind, asked)?;
        let modern = self.cx.is_modern(head);
        if kind == Kind::Tools && self.face.search {
            return Ok(self.tell(head, &self.search_tools(modern)));
        }
        let own = kind == Kind::Tools && asked.params.cursor.is_none();
        let pages = self.config().pages;
        let round = self.round(kind, from, asked.params.meta, modern, pages).await;
        self.report(kind, &round, own && !self.face.composites.is_empty())?;
        let names = self.learn(kind, &round);
        self.tell_clashes(kind, &names)?;
        self.tell_absent(kind, &round, &names);
        let mut items = if own { self.own_tools() } else { Vec::new() };
        for drawn in &round.drawn {
            items.extend(self.shown(kind, drawn, &names));
        }
        let next = self.rest(kind, &round);
        let mut result = Object::new();
        let list = array(items.iter().map(|item| &**item));
        // Each item is a slice of a message that was read as UTF-8, on character boundaries.
        result = result.raw(kind.member(), &String::from_utf8_lossy(&list));
        if let Some(next) = &next {
            result = result.with("nextCursor", next);
        }
        if modern {
            // What is not whole is asked for again at once.
            let whole = round.missing.is_empty();
            let ttl = round.drawn.iter().map(|d| d.ttl).min().filter(|_| whole).unwrap_or(0);
            let private = !whole || round.drawn.iter().any(|d| d.private);
            let scope = if private { "private" } else { "public" };
            let result_type = "complete";
            result = result.with("resultType", &result_type).with("ttlMs", &ttl);
            result = result.with("cacheScope", &scope);
        }
        if !round.missing.is_empty() {
            let missing = Object::new().with(MISSING, &round.missing).end();
            result = result.raw("_meta", &missing);
        }
        Ok(self.tell(head, &result.end()))
    }

    /// Where the client wants to go on: at the beginning of every server, or where its cursor says.
    fn position(&self, kind: Kind, asked: &Asked<'_>) -> Result<Vec<Start>, Denied> {
        let Some(cursor) = asked.params.cursor.filter(|raw| raw.get() != "null") else {
            return Ok(self.everywhere());
        };
        let cursor = string(cursor).ok_or_else(bad_cursor)?;
        let position = cursor::open(&self.cx.snapshot.sealer, &self.owner(kind), &cursor);
        let position = position.filter(|p| p.generation == self.face.generation);
        let mut from = Vec::new();
        for (server, cursor) in position.ok_or_else(bad_cursor)?.left {
            let server = self.face.server(&server).ok_or_else(bad_cursor)?;
            from.push(Start { server: Arc::clone(server), cursor: Some(cursor) });
        }
        Ok(from)
    }

    /// Every server, from its beginning.
    pub(super) fn everywhere(&self) -> Vec<Start> {
        let start = |server: &Arc<ServerSpec>| Start { server: Arc::clone(server), cursor: None };
        self.face.servers.iter().map(start).collect()
    }

    /// Whose cursor it is: nobody else can use it, for nothing else.
    fn owner(&self, kind: Kind) -> Vec<u8> {
        let principal = self.cx.principal.as_deref().unwrap_or_default();
        let parts = ["cursor", principal, &self.face.spec.name, kind.method()];
        bind(&parts.map(str::as_bytes))
    }

    /// The cursor for what is left; a rest that no cursor can hold is told.
    fn rest(&self, kind: Kind, round: &Round) -> Option<String> {
        let left = round
            .drawn
            .iter()
            .filter_map(|drawn| Some((drawn.server.name.to_string(), drawn.next.clone()?)));
        let position = Position { generation: self.face.generation.clone(), left: left.collect() };
        if position.left.is_empty() {
            return None;
        }
        let cursor = cursor::close(&self.cx.snapshot.sealer, &self.owner(kind), &position);
        if cursor.is_none() {
            tracing::warn!(list = kind.method(), "the rest is left out: its cursor is too long");
        }
        cursor
    }

    /// Asks these servers at once; none holds up the others beyond the deadline.
    pub(super) async fn round(
        &self,
        kind: Kind,
        from: Vec<Start>,
        meta: Option<&RawValue>,
        modern: bool,
        pages: usize,
    ) -> Round {
        let until = Instant::now() + self.config().deadline.get();
        let calls = from.into_iter().map(|start| async move {
            let name = start.server.name.clone();
            (name, self.draw(kind, start, meta, modern, pages, until).await)
        });
        let mut round = Round::default();
        for (server, drawn) in join_all(calls).await {
            match drawn {
                Ok(drawn) => round.drawn.push(drawn),
                Err(why) => {
                    tracing::warn!(%server, list = kind.method(), why, "missing in a list");
                    self.pipeline.metrics.left_out(&server, "missing");
                    round.missing.push(server);
                }
            }
        }
        round
    }

    /// Draws the pages of one server's list.
    async fn draw(
        &self,
        kind: Kind,
        start: Start,
        meta: Option<&RawValue>,
        modern: bool,
        pages: usize,
        until: Instant,
    ) -> Result<Drawn, &'static str> {
        let Start { server, cursor } = start;
        let (mut ttl, mut private) = (u64::MAX, false);
        let (mut items, mut next) = (Vec::new(), cursor);
        let from_start = next.is_none();
        let most = self.config().max_items;
        let mirror = Mirrored { method: Some(kind.method()), ..Mirrored::default() };
        for page in 0..pages {
            let mut params = Object::new();
            if let Some(meta) = meta {
                params = params.raw("_meta", meta.get());
            }
            if let Some(cursor) = &next {
                params = params.with("cursor", cursor);
            }
            let id = self.pipeline.catalog.next_id();
            let frame = request(&id, kind.method(), &params.end());
            let cx = self.to(&server, modern, mirror);
            let answer = match timeout_at(until, self.ask(cx, frame)).await {
                Ok(answer) => answer.and_then(|answer| Page::of(kind, answer)),
                Err(_) => Err("slower than the deadline"),
            };
            match answer {
                Ok(page) => {
                    items.extend(page.items);
                    (ttl, private) = (ttl.min(page.ttl), private || page.private);
                    next = page.next;
                }
                // What came before is the server's, and the rest has a cursor.
                Err(_) if page > 0 => break,
                Err(why) => return Err(why),
            }
            if next.is_none() || items.len() >= most {
                break;
            }
        }
        let ttl = if ttl == u64::MAX { 0 } else { ttl };
        Ok(Drawn { server, items, next, from_start, ttl, private })
    }

    /// Refuses a list that has nothing of anybody, or not of all where that is asked.
    pub(super) fn report(&self, kind: Kind, round: &Round, has_own: bool) -> Result<(), Denied> {
        let nothing = round.drawn.is_empty() && !has_own;
        let strict = self.config().on_failure == OnFailure::Error;
        if round.missing.is_empty() || !(nothing || strict) {
            return Ok(());
        }
        let message = format!("{}: no answer from {}", kind.method(), round.missing.join(", "));
        Err(Denied::new(StatusCode::BAD_GATEWAY, UNREACHABLE, "upstream_missing", message))
    }

    /// Remembers the names of a round as a new generation, and gives it back.
    pub(super) fn learn(&self, kind: Kind, round: &Round) -> Arc<Names> {
        let mut names = Names::default();
        if kind == Kind::Tools {
            for name in self.face.composites.keys() {
                names.add(name.as_str().into(), Target::own(name));
            }
        }
        for drawn in &round.drawn {
            let server = &drawn.server.name;
            for item in &drawn.items {
                let mut target =
                    Target { server: server.clone(), name: item.key.clone(), mirrors: Vec::new() };
                if kind == Kind::Tools {
                    target.mirrors = headers::mirrors(&String::from_utf8_lossy(&item.raw));
                }
                match kind {
                    Kind::Tools | Kind::Prompts => {
                        for shown in self.called(kind, server, &item.key) {
                            names.add(shown, target.clone());
                        }
                    }
                    // Of a URI that two servers have, the later one's is called otherwise.
                    Kind::Resources | Kind::Templates if names.get(&item.key).is_none() => {
                        names.add(item.key.clone(), target);
                    }
                    Kind::Resources | Kind::Templates => {}
                }
            }
        }
        let whole: HashSet<&str> = round
            .drawn
            .iter()
            .filter(|drawn| drawn.from_start && drawn.next.is_none())
            .map(|drawn| &*drawn.server.name)
            .collect();
        let key = (self.face.spec.name.clone(), kind, self.cx.principal.clone());
        if let Some(earlier) = self.pipeline.catalog.lists.get(&key) {
            names.keep(&earlier, |server| !whole.contains(server));
        }
        let names = Arc::new(names);
        self.pipeline.catalog.lists.put(key, Arc::clone(&names), self.config().max_lists);
        names
    }

    /// The names last listed to this client.
    pub(super) fn known(&self, kind: Kind) -> Arc<Names> {
        let key = (self.face.spec.name.clone(), kind, self.cx.principal.clone());
        self.pipeline.catalog.lists.get(&key).unwrap_or_default()
    }

    /// Tells of names that two servers have, or refuses the list for them.
    fn tell_clashes(&self, kind: Kind, names: &Names) -> Result<(), Denied> {
        for (name, [one, other]) in names.clashes() {
            if self.config().on_collision == OnCollision::Refuse {
                return Err(collision(kind, name, one, other));
            }
            tracing::warn!(%name, %one, %other, "a name of two servers is left out");
            self.pipeline.metrics.left_out(other, "collision");
        }
        Ok(())
    }

    /// Tells of what a virtual server selects and its server does not list.
    fn tell_absent(&self, kind: Kind, round: &Round, names: &Names) {
        for pick in self.face.picks(kind).unwrap_or_default() {
            let there = !round.missing.contains(&pick.server);
            if there && names.get(&pick.name).is_none() {
                let (server, item) = (&pick.server, &pick.item);
                tracing::warn!(%server, %item, "selected, but its server does not list it");
            }
        }
    }

    /// What one server's part of a list looks like here.
    pub(super) fn shown(&self, kind: Kind, drawn: &Drawn, names: &Names) -> Vec<Bytes> {
        let server = &drawn.server.name;
        let mut seen = HashSet::new();
        let mut out = Vec::with_capacity(drawn.items.len());
        for item in &drawn.items {
            if !seen.insert(&item.key) {
                continue;
            }
            match kind {
                Kind::Tools | Kind::Prompts => {
                    for shown in self.called(kind, server, &item.key) {
                        if names.get(&shown).is_some_and(|target| target.server == *server) {
                            out.extend(self.dressed(kind, server, item, &shown));
                        }
                    }
                }
                Kind::Resources | Kind::Templates => {
                    out.extend(self.shown_resource(server, item, names));
                }
            }
        }
        out
    }
}

/// The vendor key that names the servers a list is without.
pub(super) const MISSING: &str = "dev.wiregate/missing";

/// Where one server's list is to go on.
#[derive(Clone, Debug)]
pub(super) struct Start {
    pub(super) server: Arc<ServerSpec>,
    pub(super) cursor: Option<String>,
}

fn bad_cursor() -> Denied {
    Denied::new(StatusCode::OK, -32602, "bad_cursor", "the cursor is not one of this list's")
}

/// The error for a name that two servers have.
pub(super) fn collision(kind: Kind, name: &str, one: &str, other: &str) -> Denied {
    let word = kind.word();
    let message = format!("the {word} {name} is there twice: at {one} and at {other}");
    Denied::new(StatusCode::OK, -32602, "collision", message)
}
