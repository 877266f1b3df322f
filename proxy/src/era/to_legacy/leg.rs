//! One request of a client's within a call: the first, or one that brings the answer to what the
//! server asked. It ends with the call's answer, or with the next thing that the server asks.

use std::sync::Arc;

use bytes::Bytes;
use capture::Str;
use futures::stream::{self, BoxStream, StreamExt};
use http::StatusCode;
use tokio::time::{Instant, timeout};

use super::Core;
use super::call::{Call, Said};
use super::request::Terms;
use super::result;
use crate::envelope::{Body, Event, Reply};
use crate::era::parked::Whose;
use crate::era::splice::{Object, applied};
use crate::policy::{Denied, LIMIT};
use crate::snapshot::Snapshot;
use crate::upstream::UpstreamError;

pub(super) struct Leg {
    pub(super) core: Arc<Core>,
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) principal: Option<Str>,
    pub(super) terms: Terms,
    pub(super) call: Call,
    pub(super) deadline: Instant,
}

/// What goes to the client.
enum Piece {
    /// Something before the end.
    Part(Bytes),
    /// The end, and its status where nothing went before it.
    Last(StatusCode, Bytes),
}

type Pieces = BoxStream<'static, Result<Piece, UpstreamError>>;

impl Leg {
    /// What the client gets: one message where that comes soon and alone, else a stream.
    pub(super) async fn reply(self) -> Result<Reply, UpstreamError> {
        let soon = self.snapshot.config.timeouts.keep_alive.get();
        let next = |leg: Option<Leg>| async {
            Some(match leg?.step().await {
                Ok((piece, leg)) => (Ok(piece), leg),
                Err(error) => (Err(error), None),
            })
        };
        let mut pieces: Pieces = stream::unfold(Some(self), next).boxed();
        let first = match timeout(soon, pieces.next()).await {
            Ok(Some(Ok(Piece::Last(status, last)))) => return Ok(Reply::one(status, last)),
            Ok(Some(Ok(part))) => Some(Ok(part)),
            Ok(Some(Err(error))) => return Err(error),
            Ok(None) | Err(_) => None,
        };
        let event = |piece| match piece {
            Piece::Part(data) | Piece::Last(_, data) => {
                Event { data: Some(data), ..Event::default() }
            }
        };
        let events = stream::iter(first).chain(pieces).map(move |piece| piece.map(event));
        Ok(Reply { body: Body::Stream(events.boxed()), ..Reply::empty(StatusCode::OK) })
    }

    async fn step(mut self) -> Result<(Piece, Option<Leg>), UpstreamError> {
        loop {
            match self.call.next(self.deadline).await? {
                Said::Answer(raw) => {
                    let hello = &self.call.session.hello;
                    let (status, answer) =
                        result::answer(&raw, &self.terms, hello, self.call.status)?;
                    return Ok((Piece::Last(status, answer), None));
                }
                Said::Tells { raw } => {
                    if let Some(told) = result::told(&raw, self.call.id, &self.terms) {
                        return Ok((Piece::Part(told), Some(self)));
                    }
                }
                Said::Asks { id, method, .. } if method == "ping" => {
                    self.call.session.respond(&id, "{}").await?;
                }
                Said::Asks { id, method, raw } => match question(&self.terms, &method, &raw) {
                    Some(question) => {
                        self.call.asked = Some(id);
                        return Ok((self.park(&question), None));
                    }
                    None => {
                        self.call
                            .session
                            .refuse(&id, -32601, "the client has no such method")
                            .await;
                    }
                },
            }
        }
    }

    /// Puts the server's question to the client, and lets the call wait for the answer.
    fn park(self, question: &str) -> Piece {
        let Leg { core, snapshot, principal, terms, mut call, .. } = self;
        let limits = &snapshot.config.legacy;
        call.rounds += 1;
        let refused = |denied: &Denied| Piece::Last(denied.status, denied.answer(Some(&terms.id)));
        if call.rounds > limits.rounds {
            let message = format!("the server asked more than {} times", limits.rounds);
            return refused(&Denied::new(StatusCode::OK, LIMIT, "parked_rounds", message));
        }
        let (key, server) = (key(call.rounds), call.session.hello.server.clone());
        let name = &core.spec.name;
        let whose = Whose { principal: principal.as_ref(), server: name, request: &terms.digest };
        let state = match core.lot.park(limits, whose, call) {
            Ok(state) => serde_json::Value::from(state),
            Err(full) => return refused(&full.denied()),
        };
        let meta = server.map_or_else(String::new, |server| {
            format!(r#","_meta":{{"{}":{server}}}"#, result::SERVER)
        });
        let asked = format!(
            r#"{{"jsonrpc":"2.0","id":{},"result":{{"resultType":"input_required","inputRequests":{{"{key}":{question}}},"requestState":{state}{meta}}}}}"#,
            terms.id
        );
        Piece::Last(StatusCode::OK, asked.into())
    }
}

/// What the answer to the question of this round goes by.
pub(super) fn key(round: usize) -> String {
    format!("question-{round}")
}

/// What a server asks in the middle of a call, as the client is asked it: method and parameters as
/// JSON text. Nothing when it can't be asked this, or not in this call.
fn question(terms: &Terms, method: &str, raw: &Bytes) -> Option<String> {
    if !matches!(&*terms.method, "tools/call" | "prompts/get" | "resources/read") {
        return None;
    }
    let message = Object::of(raw)?;
    let params = message.object(raw, "params");
    let has = |key| params.as_ref().is_some_and(|params| params.get(key).is_some());
    let mode = params.as_ref().and_then(|params| params.string("mode"));
    let can = match (method, mode.as_deref()) {
        ("elicitation/create", Some("url")) => terms.can(&["elicitation", "url"]),
        // A client that names no modes means forms.
        ("elicitation/create", None | Some("form")) => {
            terms.can(&["elicitation", "form"])
                || terms.can(&["elicitation"]) && !terms.can(&["elicitation", "url"])
        }
        ("sampling/createMessage", _) => {
            terms.can(&["sampling"]) && (!has("tools") || terms.can(&["sampling", "tools"]))
        }
        ("roots/list", _) => terms.can(&["roots"]),
        _ => false,
    };
    if !can {
        return None;
    }
    let Some(params) = params else { return Some(format!(r#"{{"method":"{method}"}}"#)) };
    // These belong to the older revisions' way of asking.
    let mut edits = params.edits(&["elicitationId", "task"], &[]);
    if let Some(meta) = params.object(raw, "_meta") {
        edits.extend(meta.edits(&["progressToken"], &[]));
    }
    let edited = applied(raw, edits)?;
    let params = Object::of(&edited)?.get("params")?.text.to_owned();
    Some(format!(r#"{{"method":"{method}","params":{params}}}"#))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::era::upstream_session::head;
    use inspect::message::Kind;

    fn asked(method: &str, capabilities: &str, raw: &str) -> Option<String> {
        let request = format!(
            r#"{{"params":{{"_meta":{{"io.modelcontextprotocol/clientCapabilities":{capabilities}}}}}}}"#
        );
        let head = head(Kind::Request, Some(method), Some("1"));
        let terms = Terms::of(&request.into(), &head).unwrap();
        let asks = Object::of(raw.as_bytes()).unwrap().string("method").unwrap();
        question(&terms, &asks, &Bytes::from(raw.to_owned()))
    }

    #[test]
    fn a_client_is_asked_what_it_said_it_can_do() {
        let form = r#"{"method":"elicitation/create","params":{"message":"m","_meta":{"progressToken":1}}}"#;
        let url = r#"{"method":"elicitation/create","params":{"mode":"url","elicitationId":"e","url":"u"}}"#;
        let roots = r#"{"method":"roots/list"}"#;
        let sample = r#"{"method":"sampling/createMessage","params":{"tools":[]}}"#;
        for (raw, capabilities, is_asked) in [
            (form, "{}", false),
            (form, r#"{"elicitation":{}}"#, true),
            (form, r#"{"elicitation":{"form":{}}}"#, true),
            (form, r#"{"elicitation":{"url":{}}}"#, false),
            (url, r#"{"elicitation":{}}"#, false),
            (url, r#"{"elicitation":{"url":{}}}"#, true),
            (roots, r#"{"roots":{}}"#, true),
            (roots, r#"{"sampling":{}}"#, false),
            (sample, r#"{"sampling":{}}"#, false),
            (sample, r#"{"sampling":{"tools":{}}}"#, true),
        ] {
            let got = asked("tools/call", capabilities, raw);
            assert_eq!(got.is_some(), is_asked, "{raw} {capabilities}");
            assert!(asked("tools/list", capabilities, raw).is_none());
        }
        let got = asked("prompts/get", r#"{"elicitation":{"url":{}}}"#, url);
        assert_eq!(
            got.as_deref(),
            Some(r#"{"method":"elicitation/create","params":{"mode":"url","url":"u"}}"#)
        );
    }
}
