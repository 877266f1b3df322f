//! WebSocket towards a client: upgraded from a GET, subprotocol `mcp`, one JSON-RPC message a text
//! frame. The connection is the session.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Response, StatusCode, Version};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};
use tokio_util::sync::CancellationToken;

use super::connection::Connection;
use super::conversation::Conversation;
use super::http::{Front, ResponseBody, empty};
use crate::config::{Limits, Timeouts};
use crate::envelope::{Context, Transport};
use crate::policy::Denied;
use crate::upstream::ws::{MCP, sizes};

/// How long a client is listened to after it was told why, so that it can read that.
const LINGER: Duration = Duration::from_secs(2);

/// Whether a request asks for a WebSocket.
pub(super) fn is_asked(parts: &Parts) -> bool {
    parts.method == Method::GET
        && parts.version == Version::HTTP_11
        && has_token(parts, &UPGRADE, "websocket")
        && has_token(parts, &CONNECTION, "upgrade")
}

fn has_token(parts: &Parts, name: &HeaderName, token: &str) -> bool {
    let values = parts.headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|t| t.trim().eq_ignore_ascii_case(token))
}

/// Agrees to a WebSocket. What happens on it is left with the connection, to go on with.
///
/// # Errors
/// 400 for what is no proper request for one, or for one without MCP.
pub(super) fn upgrade(
    front: &Front,
    connection: &Connection,
    parts: &Parts,
    cx: &Context,
    upgrade: Option<OnUpgrade>,
    place: OwnedSemaphorePermit,
) -> Result<Response<ResponseBody>, Denied> {
    let bad = |what: &str| Denied::new(StatusCode::BAD_REQUEST, -32600, "websocket", what);
    let of_13 = parts.headers.get(SEC_WEBSOCKET_VERSION).is_some_and(|version| version == "13");
    let key = parts.headers.get(SEC_WEBSOCKET_KEY).filter(|key| key.len() == 24);
    let (Some(key), Some(upgrade), true) = (key, upgrade, of_13) else {
        return Err(bad("not a WebSocket request of version 13"));
    };
    if !has_token(parts, &SEC_WEBSOCKET_PROTOCOL, "mcp") {
        return Err(bad("the subprotocol must be mcp"));
    }
    let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes()));
    let accept = accept.map_err(|_| bad("not a WebSocket key"))?;
    let (conversation, outbox) = Conversation::new(&front.pipeline, cx, Transport::WebSocket);
    let config = &cx.snapshot.config;
    let talk = Talk {
        conversation,
        outbox,
        limits: config.limits.clone(),
        timeouts: config.timeouts.clone(),
        stop: front.stop.clone(),
    };
    let open = front.pipeline.metrics.stream();
    front.pipeline.audit.transport(cx, StatusCode::SWITCHING_PROTOCOLS.as_u16(), None);
    connection.go_on(Box::pin(async move {
        let _held = (place, open);
        match upgrade.await {
            Ok(upgraded) => talk.run(upgraded).await,
            Err(error) => tracing::debug!(%error, "no WebSocket came of it"),
        }
    }));
    let mut response = Response::new(empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    headers.insert(SEC_WEBSOCKET_PROTOCOL, MCP);
    Ok(response)
}

type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// A WebSocket and all that goes on there.
struct Talk {
    conversation: Arc<Conversation>,
    outbox: mpsc::Receiver<Bytes>,
    limits: Limits,
    timeouts: Timeouts,
    stop: CancellationToken,
}

impl Talk {
    async fn run(mut self, upgraded: Upgraded) {
        let config = sizes(self.limits.body.bytes());
        let io = TokioIo::new(upgraded);
        let socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await;
        let (mut sink, mut stream) = socket.split();
        let why = tokio::select! {
            why = read(&self.conversation, &mut stream, &self.limits, &self.timeouts, &self.stop) => why,
            () = write(&mut sink, &mut self.outbox, &self.timeouts) => None,
            () = self.conversation.over.cancelled() => Some((CloseCode::Away, "the session is over")),
        };
        if let Some((code, reason)) = why {
            let goodbye = async {
                // What was answered already is said first.
                while let Ok(frame) = self.outbox.try_recv() {
                    sink.send(text(frame)?).await?;
                }
                let reason = Utf8Bytes::from_static(reason);
                sink.send(Message::Close(Some(CloseFrame { code, reason }))).await
            };
            let _ = timeout(self.timeouts.write.get(), goodbye).await;
        }
        self.conversation.end().await;
        if let (Some(_), Ok(socket)) = (why, sink.reunite(stream)) {
            linger(socket).await;
        }
    }
}

/// Closed with something unread, a connection is reset, and the client may never read why.
async fn linger(socket: Socket) {
    let mut rest = socket.into_inner();
    let mut scrap = vec![0; 16 << 10];
    let reading = async { while rest.read(&mut scrap).await.is_ok_and(|n| n > 0) {} };
    let _ = timeout(LINGER, reading).await;
}

/// Why a WebSocket is closed; nothing when there is nobody to tell.
type Why = Option<(CloseCode, &'static str)>;

/// Takes messages until there are no more: requests beside each other, the rest one by one.
async fn read(
    conversation: &Arc<Conversation>,
    stream: &mut SplitStream<Socket>,
    limits: &Limits,
    timeouts: &Timeouts,
    stop: &CancellationToken,
) -> Why {
    let mut tasks: FuturesUnordered<BoxFuture<'static, ()>> = FuturesUnordered::new();
    // Room for as many as may be under way, and for telling as many others that they may not.
    let most = 2 * limits.channel_requests;
    loop {
        let stopping = stop.is_cancelled();
        if stopping && tasks.is_empty() {
            return Some((CloseCode::Away, "the gateway stops"));
        }
        let next = tokio::select! {
            Some(()) = tasks.next(), if !tasks.is_empty() => continue,
            () = stop.cancelled(), if !stopping => continue,
            next = timeout(timeouts.idle.get(), stream.next()), if tasks.len() < most => next,
        };
        let Ok(Some(message)) = next else {
            return None;
        };
        let frame: Bytes = match message {
            Ok(Message::Text(text)) => text.into(),
            Ok(Message::Binary(_)) => {
                return Some((CloseCode::Unsupported, "messages are text frames"));
            }
            Ok(Message::Close(_)) => return None,
            Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => continue,
            Err(Error::Capacity(_)) => return Some((CloseCode::Size, "the message is too large")),
            Err(Error::Utf8(_)) => return Some((CloseCode::Invalid, "not UTF-8")),
            Err(Error::Protocol(_)) => return Some((CloseCode::Protocol, "not WebSocket")),
            Err(_) => return None,
        };
        let conversation = Arc::clone(conversation);
        tasks.push(match conversation.enter(&frame) {
            Ok(places) => Box::pin(async move { conversation.take(frame, places).await }),
            Err(denied) => Box::pin(async move { conversation.turn_away(&frame, &denied).await }),
        });
    }
}

/// Writes what is for the client, and asks for signs of life, until it takes nothing more.
async fn write(
    sink: &mut SplitSink<Socket, Message>,
    outbox: &mut mpsc::Receiver<Bytes>,
    timeouts: &Timeouts,
) {
    let mut tick = interval(timeouts.keep_alive.get());
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tick.reset();
    loop {
        let message = tokio::select! {
            frame = outbox.recv() => match frame.map(text) {
                Some(Ok(message)) => message,
                Some(Err(_)) => continue,
                None => return,
            },
            _ = tick.tick() => Message::Ping(Bytes::new()),
        };
        let written = timeout(timeouts.write.get(), sink.send(message)).await;
        if !matches!(written, Ok(Ok(()))) {
            return;
        }
    }
}

/// A message was read as JSON before, which is UTF-8.
fn text(frame: Bytes) -> Result<Message, Error> {
    Ok(Message::Text(Utf8Bytes::try_from(frame)?))
}
