//! Streamable HTTP towards a server: pooled connections, and answers as JSON or as events. Over
//! HTTP/3 the connection is [`super::quic`]'s business, and all else is the same.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use futures::stream::{self, StreamExt};
use http::header::{
    ACCEPT, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT,
};
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Body as _;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::{Instant, timeout, timeout_at};

use super::quic::QuicClient;
use super::sse::Decoder;
use super::{Outgoing, Upstream, UpstreamError};
use crate::config::{Limits, Timeouts};
use crate::envelope::{Body, Context, Event, Reply};
use crate::policy::inspect::mirror;
use crate::snapshot::ServerSpec;
use crate::{era, tls};

/// `Mcp-Session-Id`.
pub const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
/// `MCP-Protocol-Version`.
pub const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
/// `Last-Event-ID`.
pub const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// `Mcp-Method`.
pub const METHOD: HeaderName = HeaderName::from_static("mcp-method");
/// `Mcp-Name`.
pub const NAME: HeaderName = HeaderName::from_static("mcp-name");
/// The start of `Mcp-Param-*`.
pub const PARAM: &str = "mcp-param-";

const JSON_OR_EVENTS: HeaderValue = HeaderValue::from_static("application/json, text/event-stream");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const AGENT: HeaderValue =
    HeaderValue::from_static(concat!("wiregate/", env!("CARGO_PKG_VERSION")));

/// The body of an answer, of whatever version of HTTP.
pub(super) type Answer = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// The connections to a server.
#[derive(Clone, Debug)]
enum Way {
    Tcp(Client<HttpsConnector<HttpConnector>, Full<Bytes>>),
    Quic(Arc<QuicClient>),
}

/// A server reached by Streamable HTTP.
#[derive(Clone, Debug)]
pub struct HttpUpstream {
    way: Way,
    spec: Arc<ServerSpec>,
    max_body: usize,
    max_event: usize,
    first_byte: Duration,
    idle: Duration,
    total: Duration,
}

impl HttpUpstream {
    /// A client for `spec`. No connection is made yet.
    ///
    /// # Errors
    /// When the certificate authorities can't be read.
    pub fn new(
        spec: Arc<ServerSpec>,
        limits: &Limits,
        timeouts: &Timeouts,
    ) -> Result<HttpUpstream, tls::TlsError> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(timeouts.connect.get()));
        let tls = HttpsConnectorBuilder::new()
            .with_tls_config(tls::client(
                spec.ca.as_deref(),
                spec.client_cert.as_ref(),
                spec.url.scheme_str() == Some("https"),
            )?)
            .https_or_http()
            .enable_all_versions()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(90))
            .build(tls);
        Ok(HttpUpstream::by(Way::Tcp(client), spec, limits, timeouts))
    }

    /// The same over HTTP/3.
    ///
    /// # Errors
    /// When a certificate can't be read or used.
    pub fn over_quic(
        spec: Arc<ServerSpec>,
        limits: &Limits,
        timeouts: &Timeouts,
    ) -> Result<HttpUpstream, tls::TlsError> {
        let tls = tls::client(spec.ca.as_deref(), spec.client_cert.as_ref(), true)?;
        let tls = tls::quic_client(tls)?;
        let client = QuicClient::new(&spec.url, tls, timeouts.connect.get());
        Ok(HttpUpstream::by(Way::Quic(Arc::new(client)), spec, limits, timeouts))
    }

    fn by(way: Way, spec: Arc<ServerSpec>, limits: &Limits, timeouts: &Timeouts) -> HttpUpstream {
        HttpUpstream {
            way,
            spec,
            max_body: limits.body.bytes(),
            max_event: limits.sse_event.bytes(),
            first_byte: timeouts.first_byte.get(),
            idle: timeouts.idle.get(),
            total: timeouts.total.get(),
        }
    }

    /// The same client, with other words for another address of the same trust.
    pub(crate) fn toward(&self, spec: Arc<ServerSpec>) -> HttpUpstream {
        HttpUpstream { spec, ..self.clone() }
    }

    async fn send(
        &self,
        cx: &Context,
        method: Method,
        message: Option<Outgoing>,
    ) -> Result<Reply, UpstreamError> {
        let expects_stream =
            method == Method::GET || message.as_ref().is_some_and(|m| m.open_ended);
        let is_request = message.as_ref().is_some_and(|m| m.head.is_request());
        let request = self.request(cx, method, message)?;
        // A stream of what comes unasked is quiet by nature: it has no total time, only an idle one.
        let deadline = (!expects_stream).then(|| Instant::now() + self.total);
        let answered = async {
            match &self.way {
                Way::Quic(client) => client.request(request).await,
                Way::Tcp(client) => match client.request(request).await {
                    Ok(answer) => Ok(answer.map(|body| body.map_err(Into::into).boxed_unsync())),
                    Err(error) => Err(of_client(&error)),
                },
            }
        };
        let response = timeout(self.first_byte, answered)
            .await
            .map_err(|_| UpstreamError::Timeout { what: "first byte" })??;
        self.read(response, deadline, is_request || expects_stream).await
    }

    fn request(
        &self,
        cx: &Context,
        method: Method,
        message: Option<Outgoing>,
    ) -> Result<Request<Full<Bytes>>, UpstreamError> {
        let mut headers = self.spec.headers.clone();
        let made = message.as_ref().and_then(|m| m.headers.as_deref());
        let theirs = made.unwrap_or(&cx.headers);
        headers.insert(ACCEPT, theirs.accept.clone().unwrap_or(JSON_OR_EVENTS));
        headers.insert(USER_AGENT, AGENT);
        let mut copy = |name: HeaderName, value: Option<&HeaderValue>| {
            if let Some(value) = value {
                headers.insert(name, value.clone());
            }
        };
        copy(VERSION, theirs.version.as_ref());
        copy(SESSION, theirs.session.as_ref());
        if method == Method::GET {
            copy(LAST_EVENT_ID, theirs.last_event_id.as_ref());
        }
        // The headers that mirror a message go with that message, not with a refusal sent for it.
        let mirrors = message.as_ref().is_some_and(Outgoing::has_method);
        if mirrors {
            copy(METHOD, theirs.method.first());
        }
        let replaced = message.as_ref().map_or(&[][..], |m| &m.replaced);
        if mirrors {
            let name = theirs.name.first().map(|name| mirrored(name, replaced)).transpose()?;
            copy(NAME, name.as_ref());
            mirror_params(&mut headers, &theirs.params, replaced)?;
        }
        if message.is_some() {
            headers.insert(CONTENT_TYPE, JSON);
        }
        let mut request = Request::new(Full::new(message.map(|m| m.raw).unwrap_or_default()));
        *request.method_mut() = method;
        *request.uri_mut() = self.spec.url.clone();
        *request.headers_mut() = headers;
        Ok(request)
    }

    async fn read(
        &self,
        response: Response<Answer>,
        deadline: Option<Instant>,
        wants_body: bool,
    ) -> Result<Reply, UpstreamError> {
        let (parts, body) = response.into_parts();
        if parts.headers.get(CONTENT_ENCODING).is_some_and(|e| e != "identity") {
            return Err(protocol("it is compressed, which was not asked for"));
        }
        let mut reply = Reply::empty(parts.status);
        reply.session = parts.headers.get(SESSION).cloned();
        let kind = parts.headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
        let kind = kind.split(';').next().unwrap_or("").trim();
        if kind.eq_ignore_ascii_case("text/event-stream") && parts.status.is_success() {
            reply.body = self.events(body, deadline);
        } else if kind.eq_ignore_ascii_case("application/json") {
            let raw = self.collect(body, deadline).await?;
            if !raw.is_empty() {
                reply.body = Body::One(raw);
            }
        } else if wants_body && parts.status.is_success() && parts.status != StatusCode::ACCEPTED {
            return Err(protocol("neither JSON nor an event stream"));
        }
        Ok(reply)
    }

    async fn collect(
        &self,
        mut body: Answer,
        deadline: Option<Instant>,
    ) -> Result<Bytes, UpstreamError> {
        let mut whole = BytesMut::new();
        loop {
            let idle = Instant::now() + self.idle;
            let frame = timeout_at(deadline.map_or(idle, |d| d.min(idle)), body.frame()).await;
            let data = match frame {
                Err(_) => return Err(UpstreamError::Timeout { what: "body" }),
                Ok(None) => return Ok(whole.freeze()),
                Ok(Some(Err(e))) => return Err(UpstreamError::Closed { detail: e.to_string() }),
                Ok(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
            };
            if whole.len() + data.len() > self.max_body {
                return Err(UpstreamError::TooLarge { what: "answer", limit: self.max_body });
            }
            if whole.is_empty() && body.is_end_stream() {
                // All of it in one piece: it is not copied.
                return Ok(data);
            }
            whole.extend_from_slice(&data);
        }
    }

    fn events(&self, body: Answer, deadline: Option<Instant>) -> Body {
        let state = Events {
            body,
            decoder: Decoder::new(self.max_event),
            idle: self.idle,
            deadline,
            done: false,
        };
        Body::Stream(stream::unfold(state, Events::next).boxed())
    }
}

/// An event stream under way.
struct Events {
    body: Answer,
    decoder: Decoder,
    idle: Duration,
    deadline: Option<Instant>,
    done: bool,
}

impl Events {
    async fn next(mut self) -> Option<(Result<Event, UpstreamError>, Events)> {
        let error = loop {
            match self.decoder.next_event() {
                Ok(Some(event)) => return Some((Ok(event), self)),
                Ok(None) if self.done => return None,
                Ok(None) => {}
                Err(_) if self.done => return None,
                Err(e) => break e,
            }
            let idle = Instant::now() + self.idle;
            let until = self.deadline.map_or(idle, |d| d.min(idle));
            match timeout_at(until, self.body.frame()).await {
                Err(_) => break UpstreamError::Timeout { what: "event stream" },
                Ok(None) => {
                    self.decoder.finish();
                    self.done = true;
                }
                Ok(Some(Ok(frame))) => {
                    if let Some(data) = frame.data_ref() {
                        self.decoder.push(data);
                    }
                }
                Ok(Some(Err(e))) => break UpstreamError::Closed { detail: e.to_string() },
            }
        };
        self.done = true;
        Some((Err(error), self))
    }
}

impl Upstream for HttpUpstream {
    fn call<'a>(
        &'a self,
        cx: &'a Context,
        message: Outgoing,
    ) -> BoxFuture<'a, Result<Reply, UpstreamError>> {
        Box::pin(self.send(cx, Method::POST, Some(message)))
    }

    fn listen<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<Reply, UpstreamError>> {
        Box::pin(self.send(cx, Method::GET, None))
    }

    fn close<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<Reply, UpstreamError>> {
        Box::pin(self.send(cx, Method::DELETE, None))
    }
}

/// `Mcp-Param-*` mirror arguments: where an argument was redacted, its header is, in the same way.
fn mirror_params(
    headers: &mut HeaderMap,
    params: &[(HeaderName, HeaderValue)],
    replaced: &[(Box<str>, Box<str>)],
) -> Result<(), UpstreamError> {
    for (name, value) in params {
        let value = mirrored(value, replaced)?;
        headers.append(name.clone(), value);
    }
    Ok(())
}

/// A header that mirrors the body, with the same replacements.
fn mirrored(
    value: &HeaderValue,
    replaced: &[(Box<str>, Box<str>)],
) -> Result<HeaderValue, UpstreamError> {
    if replaced.is_empty() {
        return Ok(value.clone());
    }
    let decoded = era::decode(value).and_then(|v| String::from_utf8(v).ok());
    let text = decoded.ok_or_else(|| protocol("a mirrored header is unreadable"))?;
    match mirror(&text, replaced) {
        None => Ok(value.clone()),
        Some(text) => era::encode(text.as_bytes())
            .ok_or_else(|| protocol("a mirrored header can't be rewritten")),
    }
}

fn protocol(detail: &str) -> UpstreamError {
    UpstreamError::Protocol { detail: detail.to_owned() }
}

/// What hyper's client says, without the URL it may hold.
fn of_client(error: &hyper_util::client::legacy::Error) -> UpstreamError {
    let mut detail = String::new();
    let mut source: Option<&dyn std::error::Error> = std::error::Error::source(error);
    while let Some(cause) = source {
        if !detail.is_empty() {
            detail.push_str(": ");
        }
        detail.push_str(&cause.to_string());
        source = cause.source();
    }
    if error.is_connect() {
        UpstreamError::Unreachable { detail }
    } else {
        UpstreamError::Closed { detail }
    }
}
