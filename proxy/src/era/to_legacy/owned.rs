//! Clients with a session that spans several servers, before one of them: the session with the
//! server is the gateway's, and this client's alone. Its requests keep their ids; what the server
//! asks gets an id that names the server, so that the answer finds its way back.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use capture::Str;
use futures::StreamExt;
use http::StatusCode;
use inspect::message::Kind;

use super::Core;
use crate::envelope::{Body, Context, Event, Reply};
use crate::era::session_pool::{NoSession, Owner};
use crate::era::splice::{Object, applied};
use crate::era::upstream_session::{Client, InUse, messages};
use crate::policy::Denied;
use crate::upstream::{Outgoing, UpstreamError};

/// What servers asked and clients have not answered, oldest first; beyond the limit the oldest go.
#[derive(Clone, Default)]
pub(super) struct Questions(Arc<Mutex<Table>>);

#[derive(Default)]
struct Table {
    next: u64,
    /// The session of the client that was asked, and the server's id as JSON text.
    asked: BTreeMap<u64, (Str, Str)>,
}

impl Questions {
    /// The id of a server's question towards the client, as JSON text.
    fn ask(&self, server: &str, front: &Str, id: &str, limit: usize) -> String {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        table.next += 1;
        let number = table.next;
        table.asked.insert(number, (front.clone(), id.into()));
        while table.asked.len() > limit {
            table.asked.pop_first();
        }
        format!(r#""{server}/{number}""#)
    }

    /// The server's own id of the question that this client answers.
    fn answered(&self, server: &str, front: &Str, id: &str) -> Option<Str> {
        let number = id.strip_prefix('"')?.strip_suffix('"')?;
        let number: u64 = number.strip_prefix(server)?.strip_prefix('/')?.parse().ok()?;
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (asked, _) = table.asked.get(&number)?;
        if asked != front {
            return None;
        }
        table.asked.remove(&number).map(|(_, id)| id)
    }

    /// What a question is called towards the client.
    fn called(&self, server: &str, front: &Str, id: &str) -> Option<String> {
        let table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut asked = table.asked.iter().rev();
        let (number, _) = asked.find(|(_, (session, own))| session == front && &**own == id)?;
        Some(format!(r#""{server}/{number}""#))
    }
}

impl Core {
    /// A message of such a client.
    pub(super) async fn owned_call(
        &self,
        cx: &Context,
        mut message: Outgoing,
    ) -> Result<Reply, UpstreamError> {
        let Some(front) = &cx.session else { return Ok(no_session(&message)) };
        match message.head.kind {
            // It was said when the gateway opened the session.
            Kind::Notification
                if message.head.method.as_deref() == Some("notifications/initialized") =>
            {
                return Ok(Reply::empty(StatusCode::ACCEPTED));
            }
            Kind::Response | Kind::Error => {
                let id = message.head.id.as_deref().unwrap_or_default();
                let own = self.questions.answered(&self.spec.name, front, id);
                let raw = Object::of(&message.raw)
                    .zip(own)
                    .and_then(|(all, own)| applied(&message.raw, all.edits(&[], &[("id", &own)])));
                // To a question that was not asked there is no answer.
                let Some(raw) = raw else { return Ok(Reply::empty(StatusCode::ACCEPTED)) };
                message.raw = raw;
            }
            _ => {}
        }
        let mut reply = self.owned_send(cx, front, &message).await;
        if let Err(NoSession::Denied(denied)) = reply {
            let answer = denied.answer(message.head.id.as_deref());
            return Ok(Reply::one(denied.status, answer));
        }
        if let Ok(reply) = &mut reply {
            reply.session = None;
        }
        reply.map(|reply| self.renamed(cx, front, reply)).map_err(failed)
    }

    async fn owned_send(
        &self,
        cx: &Context,
        front: &Str,
        message: &Outgoing,
    ) -> Result<Reply, NoSession> {
        let session = self.owned_session(cx, front).await?;
        let reply = session.send(message.clone()).await?;
        // An answer belongs to the session that is gone.
        if !session.is_unknown(&reply) || message.head.is_answer() {
            return Ok(reply);
        }
        self.pool.lost(&session);
        Ok(self.owned_session(cx, front).await?.send(message.clone()).await?)
    }

    pub(super) async fn owned_listen(&self, cx: &Context) -> Result<Reply, UpstreamError> {
        let Some(front) = &cx.session else { return Ok(Reply::empty(StatusCode::BAD_REQUEST)) };
        let session = match self.owned_session(cx, front).await {
            Ok(session) => session,
            Err(NoSession::Denied(denied)) => {
                return Ok(Reply::one(denied.status, denied.answer(None)));
            }
            Err(NoSession::Failed(error)) => return Err(error),
        };
        let after = cx.headers.last_event_id.as_ref().and_then(|id| id.to_str().ok());
        let mut reply = session.listen(after).await?;
        if let Body::Stream(events) = reply.body {
            // As long as the client listens, its session is in use.
            let held = move |event| {
                let _in_use = &session;
                event
            };
            reply.body = Body::Stream(events.map(held).boxed());
        }
        Ok(self.renamed(cx, front, reply))
    }

    pub(super) async fn owned_close(&self, cx: &Context) -> Result<Reply, UpstreamError> {
        let owner = cx.session.as_ref().map(|front| owner(cx, front));
        if let Some(owner) = owner
            && let Some(session) = self.pool.take(&owner).await
        {
            return session.close().await.map(|reply| Reply { session: None, ..reply });
        }
        Ok(Reply::empty(StatusCode::OK))
    }

    async fn owned_session(&self, cx: &Context, front: &Str) -> Result<InUse, NoSession> {
        self.pool.get(cx, &owner(cx, front)).await
    }

    /// A reply in which the server's questions have the ids of this gateway.
    fn renamed(&self, cx: &Context, front: &Str, mut reply: Reply) -> Reply {
        let questions = self.questions.clone();
        let (server, front) = (self.spec.name.clone(), front.clone());
        let limit = cx.snapshot.config.limits.exchanges;
        if let Body::Stream(events) = reply.body {
            let rename = move |mut event: Event| {
                event.data =
                    event.data.map(|frame| rename(&questions, &server, &front, limit, frame));
                event
            };
            reply.body = Body::Stream(events.map(move |event| event.map(&rename)).boxed());
        }
        reply
    }
}

fn owner(cx: &Context, front: &Str) -> Owner {
    let said = cx.front.get();
    let text = |text: Option<&Str>, default: &str| match text {
        Some(text) if text.starts_with('{') => text.clone(),
        _ => default.into(),
    };
    let client = Client {
        capabilities: text(said.map(|front| &front.capabilities), "{}"),
        info: text(
            said.map(|front| &front.client),
            concat!(r#"{"name":"wiregate","version":""#, env!("CARGO_PKG_VERSION"), r#""}"#),
        ),
    };
    Owner { principal: cx.principal.clone(), client, front: Some(front.clone()) }
}

/// One frame, a message or a batch, with the ids of what the server asks renamed.
fn rename(questions: &Questions, server: &str, front: &Str, limit: usize, frame: Bytes) -> Bytes {
    let one = |raw: &Bytes| -> Option<Bytes> {
        let message = Object::of(raw)?;
        let method = message.string("method")?;
        match message.get("id") {
            Some(id) => {
                let name = questions.ask(server, front, id.text, limit);
                applied(raw, vec![id.replaced(&name)])
            }
            None if method == "notifications/cancelled" => {
                let params = message.object(raw, "params")?;
                let id = params.get("requestId")?;
                let name = questions.called(server, front, id.text)?;
                applied(raw, vec![id.replaced(&name)])
            }
            None => None,
        }
    };
    let all = messages(&frame);
    if all.len() == 1 && all[0].len() == frame.len() {
        return one(&frame).unwrap_or(frame);
    }
    let renamed: Vec<Bytes> =
        all.into_iter().map(|raw| one(&raw).unwrap_or_else(|| raw.clone())).collect();
    crate::batch::join(&renamed)
}

/// What a message gets that names no session.
fn no_session(message: &Outgoing) -> Reply {
    let denied = Denied::invalid_request("there is no session");
    Reply::one(denied.status, denied.answer(message.head.id.as_deref()))
}

fn failed(why: NoSession) -> UpstreamError {
    match why {
        NoSession::Failed(error) => error,
        NoSession::Denied(denied) => UpstreamError::Protocol { detail: denied.message },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_finds_its_server_once_and_only_from_the_client_that_was_asked() {
        let questions = Questions::default();
        let (alice, bob) = (Str::from("alice"), Str::from("bob"));
        let frame = Bytes::from_static(br#"{"jsonrpc":"2.0","id":"own","method":"roots/list"}"#);
        let asked = rename(&questions, "files", &alice, 10, frame);
        assert_eq!(asked, &br#"{"jsonrpc":"2.0","id":"files/1","method":"roots/list"}"#[..]);
        let answered = |server, front, id| questions.answered(server, front, id);
        assert_eq!(answered("files", &bob, r#""files/1""#), None);
        assert_eq!(answered("mail", &alice, r#""files/1""#), None);
        assert_eq!(answered("files", &alice, "1"), None);
        let cancel = r#"{"method":"notifications/cancelled","params":{"requestId":"own"}}"#;
        let cancelled = rename(&questions, "files", &alice, 10, cancel.into());
        assert_eq!(cancelled, cancel.replace("own", "files/1"));
        assert_eq!(answered("files", &alice, r#""files/1""#).as_deref(), Some("\"own\""));
        assert_eq!(answered("files", &alice, r#""files/1""#), None);
    }

    #[test]
    fn the_oldest_question_makes_room_and_a_batch_stays_one() {
        let questions = Questions::default();
        let front = Str::from("alice");
        let batch = Bytes::from_static(
            br#"[{"id":1,"method":"ping"},{"id":2,"method":"ping"},{"id":3,"result":{}}]"#,
        );
        let renamed = rename(&questions, "s", &front, 1, batch);
        assert_eq!(
            renamed,
            &br#"[{"id":"s/1","method":"ping"},{"id":"s/2","method":"ping"},{"id":3,"result":{}}]"#
                [..]
        );
        assert_eq!(questions.answered("s", &front, r#""s/1""#), None);
        assert_eq!(questions.answered("s", &front, r#""s/2""#).as_deref(), Some("2"));
    }
}
