//! Streamable HTTP towards clients over HTTP/3: the same requests as over HTTP/1.1 and HTTP/2, and
//! the same [`Front`] that answers them.
//!
//! Early data is not taken, so that no call can be sent twice by someone who recorded it. A client
//! may move to another address: a connection is its keys, and no address is anybody's identity.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h3::error::Code;
use h3::quic::SendStream as _;
use h3::server::{RequestResolver, RequestStream};
use http::Response;
use http::header::CONTENT_LENGTH;
use http_body_util::BodyExt;
use hyper::body::Body as _;
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Endpoint, EndpointConfig, IdleTimeout, Incoming, TransportConfig};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::connection::Connection;
use super::http::{Front, ResponseBody};
use crate::quic::{self, Received, Sending, Stopped, number};
use crate::snapshot::Snapshot;

/// Requests a client may have open on one connection, as over HTTP/2.
const STREAMS: u32 = 256;
/// The control stream, two of QPACK, and some that are to be ignored.
const UNI_STREAMS: u32 = 8;
/// What a client may send on one stream, and on all of a connection, before it is read.
const STREAM_WINDOW: u32 = 256 << 10;
const WINDOW: u32 = 1 << 20;
/// What is held of answers that a connection's client has not yet acknowledged.
const SEND_WINDOW: u64 = 1 << 20;
/// With as many handshakes open, a client first shows that it receives at its address.
const VALIDATE_FROM: usize = 64;
/// With as many packets of new connections waiting, more are refused.
const MAX_INCOMING: usize = 1024;
/// So many streams without a request end a connection.
const MAX_EMPTY: usize = 64;
/// The most written at once: each such piece must be taken in time.
const PIECE: usize = 16 << 10;

type Resolver = RequestResolver<quic::Connection, Bytes>;

/// The UDP side of the listener.
pub struct Listener {
    endpoint: Endpoint,
    front: Arc<Front>,
    snapshot: Arc<Snapshot>,
    stop: CancellationToken,
    handshakes: AtomicUsize,
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listener").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

/// Takes the UDP port of `address`.
///
/// # Errors
/// When it can't be had.
pub fn bind(
    address: SocketAddr,
    tls: Arc<QuicServerConfig>,
    snapshot: &Snapshot,
) -> io::Result<Endpoint> {
    let timeouts = &snapshot.config.timeouts;
    let idle = timeouts.header_read.get();
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(STREAMS.into())
        .max_concurrent_uni_streams(UNI_STREAMS.into())
        .stream_receive_window(STREAM_WINDOW.into())
        .receive_window(WINDOW.into())
        .send_window(SEND_WINDOW)
        .datagram_receive_buffer_size(None)
        // A client that is gone is noticed, and one that waits for a slow answer is not cut.
        .max_idle_timeout(IdleTimeout::try_from(idle).ok())
        .keep_alive_interval(Some(timeouts.keep_alive.get().min(idle / 3)));
    let mut config = quinn::ServerConfig::with_crypto(tls);
    config.transport_config(Arc::new(transport)).max_incoming(MAX_INCOMING);
    let socket = std::net::UdpSocket::bind(address)?;
    let runtime = Arc::new(quinn::TokioRuntime);
    Endpoint::new(EndpointConfig::default(), Some(config), socket, runtime)
}

impl Listener {
    /// A listener that has `front` answer.
    pub fn new(
        endpoint: Endpoint,
        front: Arc<Front>,
        snapshot: Arc<Snapshot>,
        stop: CancellationToken,
    ) -> Listener {
        Listener { endpoint, front, snapshot, stop, handshakes: AtomicUsize::new(0) }
    }

    /// Accepts connections until the stop, then lets exchanges end.
    pub async fn run(self) {
        let this = Arc::new(self);
        let mut connections = JoinSet::new();
        loop {
            let incoming = tokio::select! {
                () = this.stop.cancelled() => break,
                incoming = this.endpoint.accept() => incoming,
                Some(_) = connections.join_next() => continue,
            };
            let Some(incoming) = incoming else { break };
            let crowded = this.handshakes.load(Ordering::Relaxed) >= VALIDATE_FROM;
            if crowded && incoming.may_retry() {
                let _ = incoming.retry();
            } else if let Some(place) = this.front.pipeline.places.connection() {
                connections.spawn(Arc::clone(&this).connection(incoming, place));
            } else {
                incoming.refuse();
                this.front.pipeline.metrics.denied("over_capacity");
            }
        }
        // Who comes now is refused, and goes elsewhere at once.
        this.endpoint.set_server_config(None);
        let drain = this.snapshot.config.timeouts.drain.get();
        let ended = async { while connections.join_next().await.is_some() {} };
        if timeout(drain, ended).await.is_err() {
            tracing::warn!("exchanges over HTTP/3 were cut off at the end of the drain time");
        }
        connections.shutdown().await;
        this.endpoint.close(number(Code::H3_NO_ERROR.value()), b"");
        // Clients are told, no longer than this.
        let _ = timeout(Duration::from_secs(1), this.endpoint.wait_idle()).await;
    }

    async fn connection(self: Arc<Self>, incoming: Incoming, place: OwnedSemaphorePermit) {
        let _held = (place, self.front.pipeline.metrics.connection());
        let config = &self.snapshot.config;
        let headers = config.limits.headers.bytes();
        let begun = Handshake::begin(&self.handshakes);
        let open = async {
            let connection = incoming.await.map_err(|e| e.to_string())?;
            let streams = quic::Connection::server(connection.clone(), headers * 2);
            let http = h3::server::builder()
                .send_grease(false)
                // Room for what is just too large, so that it is answered and not cut off.
                .max_field_section_size(headers as u64 * 2)
                .build::<_, Bytes>(streams)
                .await
                .map_err(|e| e.to_string())?;
            Ok::<_, String>((connection, http))
        };
        let opened = timeout(config.timeouts.header_read.get(), open).await;
        drop(begun);
        match opened {
            Ok(Ok((connection, http))) => {
                let known = Arc::new(Connection::new(self.front.next_connection()));
                let code = Open { face: &self, connection: &connection, known }.serve(http).await;
                connection.close(number(code.value()), b"");
            }
            Ok(Err(error)) => tracing::debug!(%error, "QUIC handshake failed"),
            Err(_) => tracing::debug!("QUIC handshake took too long"),
        }
    }
}

/// A handshake under way, until it is dropped.
struct Handshake<'a>(&'a AtomicUsize);

impl<'a> Handshake<'a> {
    fn begin(count: &'a AtomicUsize) -> Handshake<'a> {
        count.fetch_add(1, Ordering::Relaxed);
        Handshake(count)
    }
}

impl Drop for Handshake<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An open connection.
struct Open<'a> {
    face: &'a Arc<Listener>,
    connection: &'a quinn::Connection,
    known: Arc<Connection>,
}

type Http = h3::server::Connection<quic::Connection, Bytes>;

/// What comes of a stream: a request was answered, or there was none.
enum Ended {
    Request,
    Empty,
}

impl Open<'_> {
    /// Answers requests until the connection is over, and says why it is closed.
    async fn serve(self, mut http: Http) -> Code {
        let mut requests = JoinSet::new();
        let mut empty = 0;
        let mut idle = pin!(self.known.idle(self.face.snapshot.config.timeouts.header_read.get()));
        loop {
            tokio::select! {
                accepted = http.accept() => match accepted {
                    Ok(Some(resolver)) => {
                        let stopped = http.inner.conn.stopped.take();
                        let request = self.request(resolver, stopped);
                        requests.spawn(request.answer());
                    }
                    Ok(None) => break,
                    Err(error) => {
                        tracing::debug!(%error, "connection ended");
                        return Code::H3_NO_ERROR;
                    }
                },
                Some(ended) = requests.join_next() => {
                    // The HTTP/3 library remembers each stream on which no request came.
                    empty += usize::from(matches!(ended, Ok(Ended::Empty)));
                    if empty > MAX_EMPTY {
                        return Code::H3_EXCESSIVE_LOAD;
                    }
                }
                () = self.known.stuck.cancelled() => return Code::H3_EXCESSIVE_LOAD,
                () = &mut idle => break,
                () = self.face.stop.cancelled() => break,
            }
        }
        self.drain(http, requests).await;
        Code::H3_NO_ERROR
    }

    /// Takes no more requests, and lets those under way end.
    async fn drain(&self, mut http: Http, mut requests: JoinSet<Ended>) {
        // The id after the last one taken: from there on nothing was looked at (RFC 9114, 5.2).
        if http.shutdown(1).await.is_err() {
            return;
        }
        let rejecting = async {
            while let Ok(Some(mut resolver)) = http.accept().await {
                resolver.frame_stream.reset(Code::H3_REQUEST_REJECTED.value());
            }
            std::future::pending::<()>().await;
        };
        let ended = async {
            while requests.join_next().await.is_some() {}
            // What the client sent before it knew is told apart from what was taken.
            let told = self.connection.rtt() * 2;
            let _ = timeout(told.min(Duration::from_secs(1)), self.connection.closed()).await;
        };
        tokio::select! {
            () = rejecting => {}
            () = ended => {}
            () = self.known.stuck.cancelled() => {}
        }
    }

    fn request(&self, resolver: Resolver, stopped: Option<Stopped>) -> Request {
        let timeouts = &self.face.snapshot.config.timeouts;
        Request {
            front: Arc::clone(&self.face.front),
            known: Arc::clone(&self.known),
            resolver,
            stopped: stopped.unwrap_or_else(|| Box::pin(std::future::pending())),
            header_read: timeouts.header_read.get(),
            write: timeouts.write.get(),
        }
    }
}

/// A stream on which a request is expected.
struct Request {
    front: Arc<Front>,
    known: Arc<Connection>,
    resolver: Resolver,
    stopped: Stopped,
    header_read: Duration,
    write: Duration,
}

impl Request {
    async fn answer(mut self) -> Ended {
        let resolved = timeout(self.header_read, self.resolver.resolve_request()).await;
        let Ok(Ok((request, stream))) = resolved else { return Ended::Empty };
        let (mut sending, receiving) = stream.split();
        let request = request.map(|()| Received::new(receiving, ()));
        let answered = tokio::select! {
            answered = Arc::clone(&self.front).serve(Arc::clone(&self.known), request) => answered,
            // Nobody waits for it any more: what is under way is dropped, as over HTTP/2.
            _ = &mut self.stopped => return Ended::Request,
        };
        let Ok(response) = answered;
        match write(&mut sending, response, self.write, &mut self.stopped).await {
            Ok(()) => {}
            Err(Unwritten::Late) => self.known.stuck.cancel(),
            Err(Unwritten::Cut) => sending.stop_stream(Code::H3_INTERNAL_ERROR),
            Err(Unwritten::Unwanted) => sending.stop_stream(Code::H3_REQUEST_CANCELLED),
        }
        Ended::Request
    }
}

/// Why an answer did not go out whole.
enum Unwritten {
    /// The client took nothing in time.
    Late,
    /// The answer itself broke off.
    Cut,
    /// The client stopped the stream, or is gone.
    Unwanted,
}

/// Writes an answer piece by piece. Each piece, and the end of all, must be taken in time.
async fn write(
    sending: &mut RequestStream<Sending<Bytes>, Bytes>,
    response: Response<ResponseBody>,
    limit: Duration,
    stopped: &mut Stopped,
) -> Result<(), Unwritten> {
    let (mut parts, mut body) = response.into_parts();
    if let Some(length) = body.size_hint().exact() {
        parts.headers.insert(CONTENT_LENGTH, length.into());
    }
    in_time(limit, sending.send_response(Response::from_parts(parts, ()))).await?;
    loop {
        let frame = tokio::select! {
            frame = body.frame() => frame,
            _ = &mut *stopped => return Err(Unwritten::Unwanted),
        };
        let Some(frame) = frame else { break };
        let Ok(mut data) = frame.map_err(|_| Unwritten::Cut)?.into_data() else { continue };
        while !data.is_empty() {
            let piece = data.split_to(data.len().min(PIECE));
            in_time(limit, sending.send_data(piece)).await?;
        }
    }
    // Its place comes free; what is left is the client's acknowledgement.
    drop(body);
    in_time(limit, sending.finish()).await
}

async fn in_time<E>(
    limit: Duration,
    written: impl Future<Output = Result<(), E>>,
) -> Result<(), Unwritten> {
    match timeout(limit, written).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(Unwritten::Unwanted),
        Err(_) => Err(Unwritten::Late),
    }
}
