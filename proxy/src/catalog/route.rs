//! Calls: found by their name here, renamed, and passed on to the one server they are for.

use bytes::Bytes;
use capture::Str;
use serde_json::value::RawValue;

use super::lists::{Start, collision};
use super::names::Target;
use super::page::Kind;
use super::wire::{Answer, Asked, Members, quoted, replaced, span, string};
use super::{Desk, Mirrored, headers, map, selection, unknown};
use crate::envelope::{Head, Reply};
use crate::policy::{BAD_UPSTREAM, Denied, TIMEOUT, UNREACHABLE};

impl Desk {
    /// Passes on a `tools/call`, or runs a tool of the gateway's own.
    pub(super) async fn call(
        &self,
        frame: &Bytes,
        head: &Head,
        asked: &Asked<'_>,
    ) -> Result<Reply, Denied> {
        let (raw, shown) = named(asked)?;
        match (&*shown, self.face.search) {
            ("find_tools", true) => return self.find_tools(head, asked).await,
            ("call_tool", true) => return self.call_found(frame, head, asked).await,
            _ => {}
        }
        if let Some(tool) = self.face.composites.get(&*shown) {
            return self
                .compose(&shown, tool, head, asked.params.arguments, asked.params.meta)
                .await;
        }
        let modern = self.cx.is_modern(head);
        let target = self.find(Kind::Tools, &shown, asked.params.meta, modern).await?;
        let at = span(frame, raw.get()).ok_or_else(not_there)?;
        let mut parts = vec![(at, quoted(&target.name))];
        let mirror =
            Mirrored { method: Some("tools/call"), name: Some(&target.name), params: true };
        let fixed = self.face.pick(Kind::Tools, &shown).map(|pick| &pick.fixed);
        let Some(fixed) = fixed.filter(|fixed| !fixed.is_empty()) else {
            return self.pass_linked(&target, replaced(frame, parts), head, modern, mirror).await;
        };
        let arguments = selection::with_fixed(asked.params.arguments, fixed).map_err(|name| {
            unknown(format!("the argument {name} is set here and cannot be sent"))
        })?;
        match asked.params.arguments {
            Some(old) => {
                parts.push((span(frame, old.get()).ok_or_else(not_there)?, arguments.clone()));
            }
            None => parts[0].1 = format!(r#"{},"arguments":{arguments}"#, parts[0].1),
        }
        self.pass_made(&target, replaced(frame, parts), head, modern, &arguments).await
    }

    /// Passes on a call whose arguments the gateway made, with the headers that mirror them.
    pub(super) async fn pass_made(
        &self,
        target: &Target,
        frame: Bytes,
        head: &Head,
        modern: bool,
        arguments: &str,
    ) -> Result<Reply, Denied> {
        let mirror =
            Mirrored { method: Some("tools/call"), name: Some(&target.name), params: false };
        let mut desk = self.clone();
        if modern && self.cx.transport.has_headers() {
            let mut cx = crate::envelope::Context::clone(&self.cx);
            let arguments = serde_json::from_str(arguments).unwrap_or_default();
            cx.headers.params = headers::of_call(&target.mirrors, &arguments);
            desk.cx = cx.into();
        }
        desk.pass_linked(target, frame, head, modern, Mirrored { params: true, ..mirror }).await
    }

    /// Passes on a `prompts/get`.
    pub(super) async fn get_prompt(
        &self,
        frame: &Bytes,
        head: &Head,
        asked: &Asked<'_>,
    ) -> Result<Reply, Denied> {
        let (raw, shown) = named(asked)?;
        let modern = self.cx.is_modern(head);
        let target = self.find(Kind::Prompts, &shown, asked.params.meta, modern).await?;
        let at = span(frame, raw.get()).ok_or_else(not_there)?;
        let inner = replaced(frame, vec![(at, quoted(&target.name))]);
        let mirror =
            Mirrored { method: Some("prompts/get"), name: Some(&target.name), params: true };
        self.pass_linked(&target, inner, head, modern, mirror).await
    }

    /// Passes on a `completion/complete` to the server whose prompt or template it is about.
    pub(super) async fn complete(
        &self,
        frame: &Bytes,
        head: &Head,
        asked: &Asked<'_>,
    ) -> Result<Reply, Denied> {
        let missing = || Denied::invalid_params("ref: a prompt's name or a resource's uri");
        let modern = self.cx.is_modern(head);
        let meta = asked.params.meta;
        let reference = Members::of(asked.params.reference.ok_or_else(missing)?.get());
        let is_prompt = reference.get("type").and_then(string).as_deref() == Some("ref/prompt");
        let raw = reference.get(if is_prompt { "name" } else { "uri" }).ok_or_else(missing)?;
        let shown = string(raw).ok_or_else(missing)?;
        let target = match is_prompt {
            true => self.find(Kind::Prompts, &shown, meta, modern).await?,
            false => self.resolve(&shown, meta, modern).await?,
        };
        let at = span(frame, raw.get()).ok_or_else(not_there)?;
        let inner = replaced(frame, vec![(at, quoted(&target.name))]);
        let mirror = Mirrored { method: Some("completion/complete"), ..Mirrored::default() };
        self.pass(&target.server, inner, head, modern, mirror).await
    }

    /// Where a name leads. Lists are fetched when it is not known: first of the servers that it may
    /// be of by its beginning, then of all.
    pub(super) async fn find(
        &self,
        kind: Kind,
        shown: &str,
        meta: Option<&RawValue>,
        modern: bool,
    ) -> Result<Target, Denied> {
        if let Some(known) = self.look_up(kind, shown)? {
            return Ok(known);
        }
        let all = self.everywhere();
        let of_pick = self.face.pick(kind, shown).map(|pick| pick.server.clone());
        let likely: Vec<Start> = all
            .iter()
            .filter(|start| match &of_pick {
                Some(server) => start.server.name == *server,
                None => self.face.naming.may_be_of(&start.server.name, shown),
            })
            .cloned()
            .collect();
        let mut missing = Vec::new();
        let some = (1..all.len()).contains(&likely.len()).then_some(likely);
        for from in some.into_iter().chain([all]) {
            let round = self.round(kind, from, meta, modern, usize::MAX).await;
            self.learn(kind, &round);
            if let Some(found) = self.look_up(kind, shown)? {
                return Ok(found);
            }
            missing = round.missing;
        }
        let word = kind.word();
        Err(unknown(match missing.is_empty() {
            true => format!("unknown {word}"),
            false => format!("unknown {word}, and no answer from {}", missing.join(", ")),
        }))
    }

    fn look_up(&self, kind: Kind, shown: &str) -> Result<Option<Target>, Denied> {
        let names = self.known(kind);
        if let Some([one, other]) = names.clash(shown) {
            return Err(collision(kind, shown, one, other));
        }
        Ok(names.get(shown).filter(|target| !target.server.is_empty()).cloned())
    }

    /// Passes a request on, with the links of its answer as they are called here.
    async fn pass_linked(
        &self,
        target: &Target,
        frame: Bytes,
        head: &Head,
        modern: bool,
        mirror: Mirrored<'_>,
    ) -> Result<Reply, Denied> {
        let links = self.links(&target.server, None);
        let reply = self.pass(&target.server, frame, head, modern, mirror).await?;
        Ok(map(reply, move |message| links.outward(message)))
    }

    /// Passes a request on to a server. An error that tells of the way to it names it.
    pub(super) async fn pass(
        &self,
        server: &str,
        frame: Bytes,
        head: &Head,
        modern: bool,
        mirror: Mirrored<'_>,
    ) -> Result<Reply, Denied> {
        let spec = self.face.server(server).ok_or_else(|| unknown("no such server"))?;
        let cx = self.to(spec, modern, mirror);
        if let (Some(id), false) = (&head.id, modern && cx.transport.has_headers()) {
            let limit = cx.snapshot.config.limits.exchanges;
            let catalog = &self.pipeline.catalog;
            catalog.went(self.cx.sender(), id.clone(), spec.name.clone(), limit);
        }
        let reply = self.send(cx, frame).await;
        let name: Str = spec.name.clone();
        Ok(map(reply, move |message| blamed(message, &name)))
    }
}

/// The name a call is for, as it stands and as it reads.
fn named<'a>(asked: &Asked<'a>) -> Result<(&'a RawValue, std::borrow::Cow<'a, str>), Denied> {
    let raw = asked.params.name.ok_or_else(|| Denied::invalid_params("name is missing"))?;
    let name = string(raw).ok_or_else(|| Denied::invalid_params("name: not a string"))?;
    Ok((raw, name))
}

fn not_there() -> Denied {
    Denied::invalid_request("params")
}

/// An error of the gateway's own about the way to a server, with that server's name.
fn blamed(message: Bytes, server: &str) -> Bytes {
    if memchr::memmem::find(&message, b"\"wiregate: ").is_none() {
        return message;
    }
    let Ok(Answer { error: Some(error), .. }) = serde_json::from_slice::<Answer<'_>>(&message)
    else {
        return message;
    };
    let ours = [UNREACHABLE, TIMEOUT, BAD_UPSTREAM].map(i64::from).contains(&error.code);
    let said = error.message.and_then(|raw| Some((span(&message, raw.get())?, string(raw)?)));
    match said {
        Some((at, said)) if ours => {
            let said = said.strip_prefix("wiregate: ").unwrap_or(&said);
            replaced(&message, vec![(at, quoted(&format!("wiregate: {server}: {said}")))])
        }
        _ => message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::StatusCode;

    #[test]
    fn an_error_about_the_way_to_a_server_names_it_and_any_other_is_left_alone() {
        let denied = Denied::new(StatusCode::BAD_GATEWAY, UNREACHABLE, "x", "no connection");
        let told = blamed(denied.answer(Some("1")), "files");
        assert!(String::from_utf8_lossy(&told).contains("wiregate: files: no connection"));
        let other = Bytes::from_static(br#"{"id":1,"error":{"code":5,"message":"wiregate: x"}}"#);
        assert_eq!(blamed(other.clone(), "files"), other);
    }
}
