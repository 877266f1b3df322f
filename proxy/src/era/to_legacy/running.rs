//! Requests under way of clients whose connection carries everything: those cancel by a request's
//! id, where others close a stream.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use capture::Str;
use futures::StreamExt;
use tokio_util::sync::CancellationToken;

use crate::envelope::{Body, Context, Reply};
use crate::era::splice::Object;

type Table = Arc<Mutex<HashMap<(Str, Str), CancellationToken>>>;

/// The requests, by who sent them and their id. There are as many as may be under way at all.
#[derive(Default)]
pub(super) struct Running(Table);

impl Running {
    /// A request begins.
    pub(super) fn begin(&self, cx: &Context, id: &Str) -> Stops {
        if cx.transport.has_headers() {
            return Stops(None);
        }
        let key = (cx.sender(), id.clone());
        let token = CancellationToken::new();
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        table.insert(key.clone(), token.clone());
        Stops(Some(Entry { table: Arc::clone(&self.0), key, token }))
    }

    /// A client does not want the answer any more.
    pub(super) fn cancel(&self, cx: &Context, notification: &[u8]) {
        let message = Object::of(notification);
        let params = message.as_ref().and_then(|message| message.object(notification, "params"));
        let Some(id) = params.as_ref().and_then(|params| params.get("requestId")) else { return };
        let key = (cx.sender(), Str::from(id.text));
        let table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(token) = table.get(&key) {
            token.cancel();
        }
    }
}

/// What stops one request.
pub(super) struct Stops(Option<Entry>);

struct Entry {
    table: Table,
    key: (Str, Str),
    token: CancellationToken,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.table.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

impl Stops {
    /// What `answering` gives, unless the client cancels: then nothing, and a stream ends.
    pub(super) async fn until_stopped<E>(
        self,
        answering: impl Future<Output = Result<Reply, E>>,
    ) -> Option<Result<Reply, E>> {
        let Some(entry) = self.0 else { return Some(answering.await) };
        let mut answer = tokio::select! {
            answer = answering => answer,
            () = entry.token.cancelled() => return None,
        };
        if let Ok(Reply { body: Body::Stream(events), .. }) = &mut answer {
            let all = std::mem::replace(events, futures::stream::empty().boxed());
            let stopped = entry.token.clone().cancelled_owned();
            *events = all
                .take_until(stopped)
                .map(move |event| {
                    let _until_the_end = &entry;
                    event
                })
                .boxed();
        }
        Some(answer)
    }
}
