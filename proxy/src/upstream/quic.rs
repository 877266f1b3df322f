//! HTTP/3 towards a server: one connection, opened by the first request and again when it is lost.
//! What is asked and how answers are read is [`super::http`]'s business.
//!
//! A request is never sent twice: only one that the server's GOAWAY kept from being sent at all
//! goes over a new connection.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::{BoxFuture, poll_fn, select_ok};
use h3::client::SendRequest;
use h3::error::StreamError;
use http::header::CONTENT_LENGTH;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Full};
use quinn::{Endpoint, TransportConfig};
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};

use super::UpstreamError;
use super::client::Answer;
use crate::quic::{self, Opener, Received};

/// The most bytes of a response's headers.
const MAX_HEADERS: usize = 64 << 10;
/// Between two signs of life, so that a slow answer's connection is not taken for a lost one.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// How long one address of a name is tried alone (RFC 8305, section 5).
const STAGGER: Duration = Duration::from_millis(250);
/// Addresses of a name that are tried.
const MAX_ADDRESSES: usize = 4;

type Sender = SendRequest<Opener, Bytes>;

/// A client of one server.
pub(super) struct QuicClient {
    config: quinn::ClientConfig,
    host: String,
    port: u16,
    connect: Duration,
    open: Mutex<Option<Open>>,
}

struct Open {
    connection: quinn::Connection,
    sender: Sender,
}

impl fmt::Debug for QuicClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QuicClient").field("host", &self.host).finish_non_exhaustive()
    }
}

impl QuicClient {
    /// A client for `url`. No connection is made yet, and no socket.
    pub(super) fn new(
        url: &Uri,
        tls: Arc<quinn::crypto::rustls::QuicClientConfig>,
        connect: Duration,
    ) -> QuicClient {
        let mut transport = TransportConfig::default();
        transport
            .max_concurrent_bidi_streams(0_u32.into())
            .max_concurrent_uni_streams(8_u32.into())
            .datagram_receive_buffer_size(None)
            .keep_alive_interval(Some(KEEP_ALIVE));
        let mut config = quinn::ClientConfig::new(tls);
        config.transport_config(Arc::new(transport));
        let host = url.host().unwrap_or_default();
        QuicClient {
            config,
            host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port: url.port_u16().unwrap_or(443),
            connect,
            open: Mutex::new(None),
        }
    }

    /// Sends a request and waits for the head of its answer.
    pub(super) async fn request(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Answer>, UpstreamError> {
        let (mut parts, body) = request.into_parts();
        let Ok(body) = body.collect().await.map(http_body_util::Collected::to_bytes);
        if !body.is_empty() {
            parts.headers.insert(CONTENT_LENGTH, body.len().into());
        }
        let request = Request::from_parts(parts, ());
        let (mut sender, used) = self.sender(None).await?;
        let stream = match sender.send_request(request.clone()).await {
            // The server takes no more on this connection, and nothing was sent.
            Err(StreamError::RemoteClosing { .. }) => {
                (sender, _) = self.sender(Some(used)).await?;
                sender.send_request(request).await
            }
            sent => sent,
        };
        let (mut sending, mut receiving) = stream.map_err(unsent)?.split();
        let response = {
            let mut sent = pin!(async {
                if !body.is_empty() {
                    sending.send_data(body).await?;
                }
                sending.finish().await
            });
            let mut received = pin!(receiving.recv_response());
            tokio::select! {
                biased;
                // Some servers refuse before they have read everything.
                response = &mut received => response,
                // Whether all of it was taken, the answer says.
                _ = &mut sent => received.await,
            }
        };
        let response = response.map_err(of_stream)?;
        // A connection that is no longer for new requests lives until its last answer is read.
        Ok(response.map(|()| Received::new(receiving, sender).map_err(Into::into).boxed_unsync()))
    }

    /// A way to send over the open connection, unless it is lost or `spent`; and its id.
    async fn sender(&self, spent: Option<usize>) -> Result<(Sender, usize), UpstreamError> {
        let mut open = self.open.lock().await;
        if let Some(open) = &*open
            && spent != Some(open.connection.stable_id())
            && open.connection.close_reason().is_none()
        {
            return Ok((open.sender.clone(), open.connection.stable_id()));
        }
        let unreachable = |detail: &str| UpstreamError::Unreachable { detail: detail.to_owned() };
        let connected = timeout(self.connect, self.connect()).await;
        let opened = connected.map_err(|_| unreachable("it does not answer in time"))??;
        let sender = opened.sender.clone();
        let id = opened.connection.stable_id();
        *open = Some(opened);
        Ok((sender, id))
    }

    async fn connect(&self) -> Result<Open, UpstreamError> {
        let unreachable = |detail: String| UpstreamError::Unreachable { detail };
        let found = tokio::net::lookup_host((self.host.as_str(), self.port)).await;
        let addresses = found.map_err(|e| unreachable(e.to_string()))?;
        let tried: Vec<BoxFuture<'_, Result<quinn::Connection, String>>> = (0..)
            .zip(addresses.take(MAX_ADDRESSES))
            .map(|(n, address)| Box::pin(self.connect_to(address, STAGGER * n)) as BoxFuture<'_, _>)
            .collect();
        if tried.is_empty() {
            return Err(unreachable("its name has no address".to_owned()));
        }
        let (connection, _) = select_ok(tried).await.map_err(unreachable)?;
        let streams = quic::Connection::client(connection.clone(), MAX_HEADERS);
        let (mut driver, sender) = h3::client::builder()
            .send_grease(false)
            .max_field_section_size(MAX_HEADERS as u64)
            .build(streams)
            .await
            .map_err(|e| unreachable(e.to_string()))?;
        tokio::spawn(async move {
            let error = poll_fn(|cx| driver.poll_close(cx)).await;
            tracing::debug!(%error, "HTTP/3 connection ended");
        });
        Ok(Open { connection, sender })
    }

    async fn connect_to(
        &self,
        address: SocketAddr,
        after: Duration,
    ) -> Result<quinn::Connection, String> {
        sleep(after).await;
        let any: IpAddr = match address {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let endpoint = Endpoint::client((any, 0).into()).map_err(|e| e.to_string())?;
        let connecting = endpoint.connect_with(self.config.clone(), address, &self.host);
        connecting.map_err(|e| e.to_string())?.await.map_err(|e| e.to_string())
    }
}

/// What kept a request from being sent. Where part of it may have gone out, that is said.
fn unsent(error: StreamError) -> UpstreamError {
    match error {
        StreamError::RemoteClosing { .. } => {
            UpstreamError::Unreachable { detail: "it takes no more requests".to_owned() }
        }
        StreamError::HeaderTooBig { max_size, .. } => UpstreamError::Unreachable {
            detail: format!("it takes no more than {max_size} bytes of headers"),
        },
        error => of_stream(error),
    }
}

fn of_stream(error: StreamError) -> UpstreamError {
    match error {
        StreamError::HeaderTooBig { .. } => {
            UpstreamError::TooLarge { what: "head", limit: MAX_HEADERS }
        }
        error => UpstreamError::Closed { detail: error.to_string() },
    }
}
