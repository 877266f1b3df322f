//! `subscriptions/listen` before a server with sessions: what it says unasked in the session, as
//! far as the client asked for it, and a subscription for each resource.

use std::sync::Arc;

use bytes::Bytes;
use capture::Str;
use futures::stream::{self, StreamExt};
use http::StatusCode;
use serde_json::{Map, Value};

use super::request::Terms;
use crate::envelope::{Body, Event, Reply};
use crate::era::feed::Listener;
use crate::era::splice::{Object, applied};
use crate::era::upstream_session::InUse;
use crate::upstream::UpstreamError;

const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";

/// A client that listens. Its subscriptions end with it.
struct Subscription {
    session: InUse,
    /// None when the server says nothing unasked.
    listener: Option<Listener>,
    /// The id of the client's request, as JSON text.
    id: Str,
    /// The notifications it gets.
    methods: Vec<&'static str>,
    resources: Vec<String>,
    stage: Stage,
}

enum Stage {
    Acknowledges(Bytes),
    Listens,
    Over,
}

/// The stream for a client that listens. What it asks for in `params.notifications` is honoured as
/// far as the server can do it, and it is told that first. `None`: the session is lost.
pub(super) async fn listen(
    session: InUse,
    terms: &Terms,
    raw: &Bytes,
) -> Result<Option<Reply>, UpstreamError> {
    let listener = Listener::of(session.session()).await?;
    if session.is_lost() {
        return Ok(None);
    }
    let wanted = wanted(raw);
    let mut subscription = Subscription {
        session,
        listener,
        id: terms.id.clone(),
        methods: Vec::new(),
        resources: Vec::new(),
        stage: Stage::Over,
    };
    let mut honoured = Map::new();
    for (key, capability, method) in [
        ("toolsListChanged", "tools", "notifications/tools/list_changed"),
        ("promptsListChanged", "prompts", "notifications/prompts/list_changed"),
        ("resourcesListChanged", "resources", "notifications/resources/list_changed"),
    ] {
        let can = subscription.session.can(&[capability, "listChanged"]);
        if can && subscription.listener.is_some() && wanted.get(key) == Some(&Value::Bool(true)) {
            honoured.insert(key.to_owned(), true.into());
            subscription.methods.push(method);
        }
    }
    let uris = wanted.get("resourceSubscriptions").and_then(Value::as_array);
    if subscription.listener.is_some() && subscription.session.can(&["resources", "subscribe"]) {
        for uri in uris.into_iter().flatten().filter_map(Value::as_str) {
            let known = subscription.resources.iter().any(|known| known == uri);
            if !known && subscription.session.subscribe(uri).await {
                subscription.resources.push(uri.to_owned());
            }
        }
        if uris.is_some() {
            honoured
                .insert("resourceSubscriptions".to_owned(), subscription.resources.clone().into());
        }
    }
    let acknowledged = format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{{"notifications":{},"_meta":{{"{SUBSCRIPTION}":{}}}}}}}"#,
        Value::Object(honoured),
        terms.id
    );
    subscription.stage = Stage::Acknowledges(acknowledged.into());
    let events = stream::unfold(subscription, |mut subscription| async {
        let data = subscription.next().await?;
        Some((Ok(Event { data: Some(data), ..Event::default() }), subscription))
    });
    let body = Body::Stream(events.boxed());
    Ok(Some(Reply { body, open_ended: true, ..Reply::empty(StatusCode::OK) }))
}

fn wanted(raw: &Bytes) -> Map<String, Value> {
    let message = Object::of(raw);
    let params = message.as_ref().and_then(|message| message.object(raw, "params"));
    let wanted = params.as_ref().and_then(|params| params.get("notifications"));
    wanted.and_then(|wanted| serde_json::from_str(wanted.text).ok()).unwrap_or_default()
}

impl Subscription {
    async fn next(&mut self) -> Option<Bytes> {
        match std::mem::replace(&mut self.stage, Stage::Listens) {
            Stage::Acknowledges(first) => return Some(first),
            Stage::Listens => {}
            Stage::Over => return None,
        }
        while let Some(listener) = &mut self.listener {
            match listener.next().await {
                Some(raw) => {
                    if let Some(told) = self.told(&raw) {
                        return Some(told);
                    }
                }
                None => {
                    self.stage = Stage::Over;
                    let id = &self.id;
                    return Some(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"resultType":"complete","_meta":{{"{SUBSCRIPTION}":{id}}}}}}}"#).into());
                }
            }
        }
        // The server says nothing unasked: the stream is as quiet until the client leaves.
        std::future::pending().await
    }

    /// A notification under this subscription's id; nothing when it was not asked for.
    fn told(&self, raw: &Bytes) -> Option<Bytes> {
        let message = Object::of(raw)?;
        let method = message.string("method")?;
        let params = message.object(raw, "params");
        if method == "notifications/resources/updated" {
            // A server may tell of a part of what was subscribed to.
            let uri = params.as_ref()?.string("uri")?;
            self.resources.iter().find(|known| uri.starts_with(*known))?;
        } else if !self.methods.contains(&method.as_str()) {
            return None;
        }
        let (id, key) = (&*self.id, SUBSCRIPTION);
        let meta = format!(r#"{{"{key}":{id}}}"#);
        let edits = match &params {
            None => message.edits(&[], &[("params", &format!(r#"{{"_meta":{meta}}}"#))]),
            Some(params) => match params.object(raw, "_meta") {
                Some(meta) => meta.edits(&[], &[(key, id)]),
                None => params.edits(&[], &[("_meta", &meta)]),
            },
        };
        applied(raw, edits)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let resources = std::mem::take(&mut self.resources);
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if resources.is_empty() || self.session.is_lost() {
            return;
        }
        let session = InUse::of(Arc::clone(self.session.session()));
        runtime.spawn(async move {
            for uri in &resources {
                session.unsubscribe(uri).await;
            }
        });
    }
}
