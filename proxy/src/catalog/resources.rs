//! Resources: which server a URI is at, and what links in answers are called here.

use std::sync::Arc;

use bytes::Bytes;
use capture::Str;
use futures::future::join;
use serde_json::value::RawValue;

use super::names::{Names, Target};
use super::page::{Item, Kind};
use super::wire::{Asked, Members, edit, quoted, replaced, span, string};
use super::{Desk, Mirrored, map, unknown, uri};
use crate::envelope::{Head, Reply};
use crate::policy::Denied;

impl Desk {
    /// Passes on a request that names a resource.
    pub(super) async fn resource(
        &self,
        frame: &Bytes,
        head: &Head,
        asked: &Asked<'_>,
    ) -> Result<Reply, Denied> {
        let raw = asked.params.uri.ok_or_else(|| Denied::invalid_params("uri is missing"))?;
        let shown = string(raw).ok_or_else(|| Denied::invalid_params("uri: not a string"))?;
        let modern = self.cx.is_modern(head);
        let target = self.resolve(&shown, asked.params.meta, modern).await?;
        let at = span(frame, raw.get()).ok_or_else(|| Denied::invalid_params("uri"))?;
        let inner = replaced(frame, vec![(at, quoted(&target.name))]);
        let mirror = Mirrored {
            method: head.method.as_deref(),
            name: (head.method.as_deref() == Some("resources/read")).then_some(&*target.name),
            params: true,
        };
        let links = self.links(&target.server, Some((target.name.clone(), (*shown).into())));
        let reply = self.pass(&target.server, inner, head, modern, mirror).await?;
        Ok(map(reply, move |message| links.outward(message)))
    }

    /// Which server a URI is at, and what it is there.
    pub(super) async fn resolve(
        &self,
        shown: &str,
        meta: Option<&RawValue>,
        modern: bool,
    ) -> Result<Target, Denied> {
        let target = |server: &str, name: &str| Target {
            server: server.into(),
            name: name.into(),
            mirrors: Vec::new(),
        };
        let servers = &self.face.servers;
        let found = match (uri::parse(shown), &**servers) {
            // On an endpoint of one server all URIs are as they are.
            (_, [only]) => Some(target(&only.name, shown)),
            (Some((server, theirs)), _) if self.face.server(server).is_some() => {
                Some(target(server, &theirs))
            }
            _ => match self.by_list(shown)? {
                Some(found) => Some(found),
                None => {
                    let all = self.everywhere();
                    let (resources, templates) = join(
                        self.round(Kind::Resources, all.clone(), meta, modern, usize::MAX),
                        self.round(Kind::Templates, all, meta, modern, usize::MAX),
                    )
                    .await;
                    self.learn(Kind::Resources, &resources);
                    self.learn(Kind::Templates, &templates);
                    self.by_list(shown)?
                }
            },
        };
        let found = found.ok_or_else(|| unknown("no server lists this resource"))?;
        match self.selects(&found.server, &found.name) {
            true => Ok(found),
            false => Err(unknown("this resource is not offered here")),
        }
    }

    /// Where a URI is by what was listed: itself, or a template that makes it.
    fn by_list(&self, shown: &str) -> Result<Option<Target>, Denied> {
        if let Some(target) = self.known(Kind::Resources).get(shown) {
            return Ok(Some(target.clone()));
        }
        let templates = self.known(Kind::Templates);
        // A template itself, as completions name it.
        if let Some(target) = templates.get(shown) {
            return Ok(Some(target.clone()));
        }
        let fitting = templates.iter().filter_map(|(template, target)| {
            Some((uri::matches(template, shown)?, &target.server))
        });
        let mut best: Vec<(usize, &Str)> = fitting.collect();
        best.sort_unstable_by(|a, b| b.cmp(a));
        let Some((most, server)) = best.first().copied() else { return Ok(None) };
        if let Some((_, other)) = best.iter().find(|(n, s)| *n == most && *s != server) {
            let message = format!(
                "templates of {server} and of {other} fit; write wiregate://SERVER/ before the URI"
            );
            return Err(unknown(message));
        }
        let name = shown.into();
        Ok(Some(Target { server: server.clone(), name, mirrors: Vec::new() }))
    }

    /// Whether this endpoint shows a server's resource.
    fn selects(&self, server: &str, theirs: &str) -> bool {
        let Some(selection) = &self.face.selection else { return true };
        let mut all = selection.resources.iter().filter(|(at, _)| &**at == server);
        all.any(|(_, uri)| &**uri == theirs || uri::matches(uri, theirs).is_some())
    }

    /// A resource or template as it looks here; nothing of one that is not shown.
    pub(super) fn shown_resource(&self, server: &Str, item: &Item, names: &Names) -> Option<Bytes> {
        let selection = self.face.selection.as_ref();
        if selection
            .is_some_and(|s| !s.resources.iter().any(|(at, uri)| at == server && *uri == item.key))
        {
            return None;
        }
        let shown = self.called_uri(server, &item.key, names);
        if *shown == *item.key {
            return Some(item.raw.clone());
        }
        Some(replaced(&item.raw, vec![(item.span, quoted(&shown))]))
    }

    /// What a server's URI is called here: itself where the lists say that it is this server's.
    pub(super) fn called_uri(&self, server: &str, theirs: &str, names: &Names) -> String {
        let alone = self.face.servers.len() < 2;
        let ours = || names.get(theirs).is_some_and(|target| &*target.server == server);
        match alone || (!uri::is_reserved(theirs) && ours()) {
            true => theirs.to_owned(),
            false => uri::of(server, theirs),
        }
    }

    /// What changes the links in a server's messages.
    pub(super) fn links(&self, server: &Str, asked: Option<(Str, Str)>) -> Links {
        let names = self.known(Kind::Resources);
        Links { desk: self.clone(), server: server.clone(), names, asked }
    }
}

/// Changes the links in a server's messages to what they are called here.
pub(super) struct Links {
    desk: Desk,
    server: Str,
    names: Arc<Names>,
    /// What the client asked for: the server's URI, and what the client calls it.
    asked: Option<(Str, Str)>,
}

impl Links {
    /// What one of the server's URIs is called here.
    pub(super) fn called(&self, theirs: &str) -> String {
        self.desk.called_uri(&self.server, theirs, &self.names)
    }

    /// A message with its links changed, and no other byte.
    pub(super) fn outward(&self, message: Bytes) -> Bytes {
        if self.desk.face.servers.len() < 2 || memchr::memmem::find(&message, b"uri").is_none() {
            return message;
        }
        let Ok(text) = std::str::from_utf8(&message) else { return message };
        let top = Members::of(text);
        let mut found = Vec::new();
        if let Some(result) = top.get("result") {
            in_result(&Members::of(result.get()), &mut found);
        }
        let method = top.get("method").and_then(string);
        if let (Some("notifications/resources/updated"), Some(params)) =
            (method.as_deref(), top.get("params"))
        {
            found.extend(Members::of(params.get()).get("uri"));
        }
        let change = |raw: &RawValue| {
            let theirs = string(raw)?;
            let shown = match &self.asked {
                Some((asked, shown)) if **asked == *theirs => shown.to_string(),
                _ => self.called(&theirs),
            };
            (shown != theirs).then_some((span(&message, raw.get())?, quoted(&shown)))
        };
        let parts: Vec<_> = found.into_iter().filter_map(change).collect();
        if parts.is_empty() {
            return message;
        }
        let edits: Vec<_> = parts.iter().map(|(at, with)| edit(*at, with)).collect();
        match inspect::apply(message.as_ref(), &edits) {
            Ok((edited, _)) => edited.into(),
            Err(_) => message,
        }
    }
}

/// Every link of a result: what was read, and what content refers to.
fn in_result<'a>(result: &Members<'a>, found: &mut Vec<&'a RawValue>) {
    for item in items(result.get("contents")) {
        found.extend(Members::of(item.get()).get("uri"));
    }
    for block in items(result.get("content")) {
        in_block(block, found);
    }
    for message in items(result.get("messages")) {
        let Some(content) = Members::of(message.get()).get("content") else { continue };
        match content.get().starts_with('[') {
            true => items(Some(content)).into_iter().for_each(|block| in_block(block, found)),
            false => in_block(content, found),
        }
    }
}

fn in_block<'a>(block: &'a RawValue, found: &mut Vec<&'a RawValue>) {
    let members = Members::of(block.get());
    match members.get("type").and_then(string).as_deref() {
        Some("resource_link") => found.extend(members.get("uri")),
        Some("resource") => {
            let resource = members.get("resource");
            found.extend(resource.and_then(|raw| Members::of(raw.get()).get("uri")));
        }
        _ => {}
    }
}

fn items(list: Option<&RawValue>) -> Vec<&RawValue> {
    list.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default()
}
