//! Streamable HTTP towards a server: pooled connections, and answers as JSON or as events. Over
//! HTTP/3 the connection is `upstream::quic`'s business, and all else is the same.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use http::header::{
    ACCEPT, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT,
};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Body as _;
use tokio::time::{Instant, timeout, timeout_at};

use super::client::{self, Answer, Events, HttpClient, of_client};
use super::quic::QuicClient;
use super::{Outgoing, Upstream, UpstreamError};
use crate::config::{Limits, Timeouts};
use crate::envelope::{Body, Claim, Context, Head, Reply};
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
pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");
pub(super) const AGENT: HeaderValue =
    HeaderValue::from_static(concat!("wiregate/", env!("CARGO_PKG_VERSION")));

/// The connections to a server.
#[derive(Clone, Debug)]
enum Way {
    Tcp(Box<HttpClient>),
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
        let client = client::new(&spec, timeouts)?;
        Ok(HttpUpstream::by(Way::Tcp(Box::new(client)), spec, limits, timeouts))
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
                Way::Tcp(http) => match http.request(request).await {
                    Ok(answer) => Ok(answer.map(client::boxed)),
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
        if let Some(message) = message.as_ref().filter(|_| !cx.transport.has_headers()) {
            mirror_head(&mut headers, &message.head, replaced)?;
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
        Body::Stream(Events::new(body, self.max_event, self.idle, deadline).stream())
    }
}

impl Upstream for HttpUpstream {
    fn call<'a>(
        &'a self,
        cx: &'a Context,
        message: Outgoing,
    ) -> BoxFuture<'a, Result<Reply, UpstreamError>> {
        // A stateless server knows a call by its connection, which is closed to cancel it. By its id
        // it could be another client's: to the server, all of them are the gateway.
        let cancels = message.head.method.as_deref() == Some("notifications/cancelled");
        if cancels && cx.is_modern(&message.head) {
            return Box::pin(std::future::ready(Ok(Reply::empty(StatusCode::ACCEPTED))));
        }
        Box::pin(self.send(cx, Method::POST, Some(message)))
    }

    fn listen<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<Reply, UpstreamError>> {
        Box::pin(self.send(cx, Method::GET, None))
    }

    fn close<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<Reply, UpstreamError>> {
        Box::pin(self.send(cx, Method::DELETE, None))
    }
}

/// A client without headers says in its message alone what this transport repeats in headers.
fn mirror_head(
    headers: &mut HeaderMap,
    head: &Head,
    replaced: &[(Box<str>, Box<str>)],
) -> Result<(), UpstreamError> {
    let Claim::Complete(version) = &head.claim else { return Ok(()) };
    let value = |text: &str| {
        era::encode(text.as_bytes()).ok_or_else(|| protocol("no header can hold what is mirrored"))
    };
    headers.insert(VERSION, value(version)?);
    if let Some(method) = &head.method {
        headers.insert(METHOD, value(method)?);
    }
    if let Some(name) = &head.name {
        headers.insert(NAME, mirrored(&value(name)?, replaced)?);
    }
    Ok(())
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
