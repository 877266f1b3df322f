//! WebSocket towards a server: one JSON-RPC message a text frame, subprotocol `mcp`, over our own
//! TCP and TLS.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::SinkExt;
use futures::stream::{self, SplitSink, SplitStream, StreamExt};
use http::HeaderValue;
use http::header::{SEC_WEBSOCKET_PROTOCOL, USER_AGENT};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::UpstreamError;
use super::channels::{Channels, Dial, Link, Outbound, protocol};
use super::http::AGENT;
use crate::config::{Limits, Timeouts};
use crate::snapshot::ServerSpec;
use crate::tls::{self, TlsError};

/// The subprotocol of MCP.
pub(crate) const MCP: HeaderValue = HeaderValue::from_static("mcp");
/// Messages on their way into the socket.
const QUEUE: usize = 16;

/// A server reached by WebSocket. No connection is made yet.
///
/// # Errors
/// When the certificate authorities can't be read.
pub(super) fn open(
    spec: &Arc<ServerSpec>,
    limits: &Limits,
    timeouts: &Timeouts,
) -> Result<Channels, TlsError> {
    let is_secure = spec.url.scheme_str() == Some("wss");
    let tls = match is_secure {
        true => Some(TlsConnector::from(Arc::new(tls::client(
            spec.ca.as_deref(),
            spec.client_cert.as_ref(),
            true,
        )?))),
        false => None,
    };
    let dialer = WsDialer {
        spec: Arc::clone(spec),
        tls,
        limit: limits.body.bytes(),
        connect: timeouts.connect.get(),
        first_byte: timeouts.first_byte.get(),
        pulse: Pulse {
            every: timeouts.keep_alive.get(),
            silence: timeouts.idle.get(),
            write: timeouts.write.get(),
        },
    };
    Ok(Channels::new(Dial::WebSocket(dialer), limits, timeouts))
}

/// Opens WebSockets.
pub(super) struct WsDialer {
    spec: Arc<ServerSpec>,
    tls: Option<TlsConnector>,
    limit: usize,
    connect: Duration,
    first_byte: Duration,
    pulse: Pulse,
}

impl std::fmt::Debug for WsDialer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WsDialer").field("spec", &self.spec).finish_non_exhaustive()
    }
}

/// How often a sign of life is asked for, and how long its absence is borne.
#[derive(Clone, Copy)]
struct Pulse {
    every: Duration,
    silence: Duration,
    write: Duration,
}

impl WsDialer {
    pub(super) async fn open(&self) -> Result<Link, UpstreamError> {
        let url = &self.spec.url;
        let host = url.host().ok_or_else(|| protocol("a URL without a host"))?;
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let port = url.port_u16().unwrap_or(if self.tls.is_some() { 443 } else { 80 });
        let unreachable = |e: std::io::Error| UpstreamError::Unreachable { detail: e.to_string() };
        let late = |_| UpstreamError::Unreachable { detail: "no connection in time".to_owned() };
        let connecting = async {
            let tcp = TcpStream::connect((bare, port)).await.map_err(unreachable)?;
            tcp.set_nodelay(true).map_err(unreachable)?;
            let Some(tls) = &self.tls else { return Ok(Connected::Plain(tcp)) };
            let name = ServerName::try_from(bare.to_owned());
            let name = name.map_err(|_| protocol("a host no certificate can name"))?;
            let secure = tls.connect(name, tcp).await.map_err(unreachable)?;
            Ok(Connected::Secure(Box::new(secure)))
        };
        match timeout(self.connect, connecting).await.map_err(late)?? {
            Connected::Plain(stream) => self.upgrade(stream).await,
            Connected::Secure(stream) => self.upgrade(stream).await,
        }
    }

    async fn upgrade<S>(&self, stream: S) -> Result<Link, UpstreamError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let request = self.spec.url.clone().into_client_request();
        let mut request = request.map_err(|_| protocol("a URL that can't be asked for"))?;
        let headers = request.headers_mut();
        headers.extend(self.spec.headers.clone());
        headers.insert(USER_AGENT, AGENT);
        headers.insert(SEC_WEBSOCKET_PROTOCOL, MCP);
        let upgrading = client_async_with_config(request, stream, Some(sizes(self.limit)));
        let late = |_| UpstreamError::Timeout { what: "first byte" };
        let upgraded = timeout(self.first_byte, upgrading).await.map_err(late)?;
        let (socket, _) = upgraded.map_err(|e| failed(e, self.limit))?;
        let (sink, stream) = socket.split();
        let (frames, queue) = mpsc::channel(QUEUE);
        tokio::spawn(write(sink, queue, self.pulse));
        let (limit, silence) = (self.limit, self.pulse.silence);
        let incoming = stream::unfold(Some(stream), move |stream| async move {
            let mut stream = stream?;
            let next = read(&mut stream, limit, silence).await?;
            let rest = next.is_ok().then_some(stream);
            Some((next, rest))
        });
        Ok(Link {
            incoming: incoming.boxed(),
            outgoing: Outbound::Frames(frames, self.pulse.write),
        })
    }
}

enum Connected {
    Plain(TcpStream),
    Secure(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

/// Limits on what a peer may send, on either face.
pub(crate) fn sizes(limit: usize) -> WebSocketConfig {
    WebSocketConfig::default().max_message_size(Some(limit)).max_frame_size(Some(limit))
}

/// The next message; nothing at an orderly end.
async fn read<S>(
    stream: &mut SplitStream<WebSocketStream<S>>,
    limit: usize,
    silence: Duration,
) -> Option<Result<Bytes, UpstreamError>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        let Ok(next) = timeout(silence, stream.next()).await else {
            return Some(Err(UpstreamError::Timeout { what: "a sign of life" }));
        };
        return Some(match next? {
            Ok(Message::Text(text)) => Ok(text.into()),
            Ok(Message::Binary(_)) => Err(protocol("a binary frame")),
            Ok(Message::Close(_)) | Err(Error::ConnectionClosed) => return None,
            Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => continue,
            Err(error) => Err(failed(error, limit)),
        });
    }
}

/// Writes what is queued, and asks for signs of life, until nobody can queue any more.
async fn write<S>(
    mut sink: SplitSink<WebSocketStream<S>, Message>,
    mut queue: mpsc::Receiver<Bytes>,
    pulse: Pulse,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut tick = interval(pulse.every);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tick.reset();
    loop {
        let message = tokio::select! {
            message = queue.recv() => match message {
                // A message was read as JSON before, which is UTF-8.
                Some(raw) => Utf8Bytes::try_from(raw).map(Message::Text),
                None => break,
            },
            _ = tick.tick() => Ok(Message::Ping(Bytes::new())),
        };
        let Ok(message) = message else { continue };
        let written = timeout(pulse.write, sink.send(message)).await;
        if !matches!(written, Ok(Ok(()))) {
            return;
        }
    }
    let _ = timeout(pulse.write, sink.close()).await;
}

fn failed(error: Error, limit: usize) -> UpstreamError {
    match error {
        Error::Capacity(_) => UpstreamError::TooLarge { what: "message", limit },
        Error::Io(error) => UpstreamError::Closed { detail: error.to_string() },
        Error::Protocol(error) => UpstreamError::Protocol { detail: error.to_string() },
        Error::Utf8(_) => protocol("a text frame that is not UTF-8"),
        Error::Http(answer) => {
            let status = answer.status().as_u16();
            UpstreamError::Protocol { detail: format!("HTTP {status} instead of a WebSocket") }
        }
        _ => UpstreamError::Closed { detail: "the WebSocket broke".to_owned() },
    }
}
