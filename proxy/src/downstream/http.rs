//! Streamable HTTP towards clients (spec: transports): POST, GET and DELETE on one path, over
//! HTTP/1.1 and HTTP/2, with and without TLS, and over HTTP/3.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::header::{
    ALLOW, ALT_SVC, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited, StreamBody};
use hyper::body::Body as HttpBody;
use hyper::upgrade::OnUpgrade;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::connection::{Connection, Held, hold, pump};
use super::sse::{self, Cut};
use super::{legacy_sse, ws};
use crate::catalog::ALL;
use crate::envelope::{Body, Context, McpHeaders, Reply, Transport};
use crate::era;
use crate::linkage::Arrival;
use crate::pipeline::Pipeline;
use crate::policy::{Denied, FORBIDDEN, LIMIT, NOT_FOUND, auth};
use crate::session::fronts;
use crate::session::peers::{self, Hop};
use crate::snapshot::{ServerSpec, Snapshot};
use crate::upstream::http::{LAST_EVENT_ID, METHOD, NAME, PARAM, SESSION, VERSION};
use capture::Str;

/// The body of every response.
pub type ResponseBody = UnsyncBoxBody<Bytes, Cut>;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
pub(super) const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream");
pub(super) const NO_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// The body of a request, of whatever version of HTTP.
pub trait RequestBody:
    HttpBody<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static
{
}

impl<B> RequestBody for B where
    B: HttpBody<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>
        + Send
        + 'static
{
}

/// The downstream face of a pipeline.
#[derive(Debug)]
pub struct Front {
    /// What messages meet.
    pub pipeline: Arc<Pipeline>,
    /// Where clients connect.
    pub address: SocketAddr,
    /// Cancelled when the gateway stops: streams without an end are ended.
    pub stop: CancellationToken,
    /// Where HTTP/3 is spoken, for those who came another way.
    alt_svc: Option<HeaderValue>,
    pub(super) streams: legacy_sse::Streams,
    connections: AtomicU64,
}

impl Front {
    /// A face for `pipeline`.
    pub fn new(pipeline: Arc<Pipeline>, address: SocketAddr, stop: CancellationToken) -> Front {
        let streams = legacy_sse::Streams::default();
        let connections = AtomicU64::new(0);
        Front { pipeline, address, stop, alt_svc: None, streams, connections }
    }

    /// The same, telling clients that HTTP/3 is spoken on the same port.
    pub fn with_http3(mut self) -> Front {
        let told = format!("h3=\":{}\"; ma=86400", self.address.port());
        self.alt_svc = HeaderValue::from_str(&told).ok();
        self
    }

    /// A name for a connection, for the record.
    pub fn next_connection(&self) -> Str {
        let n = self.connections.fetch_add(1, Ordering::Relaxed);
        format!("c{}-{n:x}", self.pipeline.sessions.run()).into()
    }

    /// Answers one HTTP request. Never fails: what goes wrong is an answer.
    pub async fn serve<B: RequestBody>(
        self: Arc<Self>,
        connection: Arc<Connection>,
        request: Request<B>,
    ) -> Result<Response<ResponseBody>, Infallible> {
        let (mut parts, body) = request.into_parts();
        let upgrade = parts.extensions.remove::<OnUpgrade>();
        let snapshot = self.pipeline.snapshot();
        let mut response = match self.answer(&snapshot, &connection, &parts, body, upgrade).await {
            Ok(response) => response,
            Err(refused) => {
                self.pipeline.metrics.denied(refused.denied.reason);
                let status = refused.denied.status.as_u16();
                self.pipeline.audit.transport(&refused.cx, status, Some(refused.denied.reason));
                refuse(&refused.denied)
            }
        };
        if let Some(told) = &self.alt_svc
            && parts.version != Version::HTTP_3
        {
            response.headers_mut().insert(ALT_SVC, told.clone());
        }
        Ok(response)
    }

    async fn answer<B: RequestBody>(
        self: &Arc<Self>,
        snapshot: &Arc<Snapshot>,
        connection: &Arc<Connection>,
        parts: &Parts,
        body: B,
        upgrade: Option<OnUpgrade>,
    ) -> Result<Response<ResponseBody>, Refused> {
        let busy = connection.busy();
        let path = parts.uri.path();
        let events = legacy_sse::as_mcp(path);
        let server = route(snapshot, events.as_deref().unwrap_or(path));
        let mut cx = context(snapshot, server.as_ref(), connection.name.clone(), parts);
        // auth: a browser's page from elsewhere, then whose key
        let hop = match self.admit(snapshot, &mut cx, parts) {
            Ok(hop) => hop,
            Err(denied) => return Err(Refused { denied, cx }),
        };
        // the other transports that begin as HTTP
        if legacy_sse::is_endpoint(path) {
            let posted = legacy_sse::posted(self, snapshot, parts, body, &cx).await;
            return posted.map_err(|denied| Refused { denied, cx });
        }
        // route: which server; only who may enter is told that there is none
        if server.is_none() {
            return Err(Refused { denied: nowhere(snapshot), cx });
        }
        if events.is_some() {
            let opened = legacy_sse::open(self, connection, parts, &cx);
            return opened.map_err(|denied| Refused { denied, cx });
        }
        // session: one that was given out here, to this client
        let entered = match self.pipeline.fronts.enter(&mut cx, fronts::now()) {
            Ok(entered) => entered,
            Err(denied) => return Err(Refused { denied, cx }),
        };
        // limit: how much at once
        let places = &self.pipeline.places;
        let place = match parts.method {
            Method::GET => places.stream(),
            _ => places.request(),
        };
        let mut place = match place {
            Ok(place) => place,
            Err(denied) => return Err(Refused { denied, cx }),
        };
        if ws::is_asked(parts) {
            let upgraded = ws::upgrade(self, connection, parts, &cx, upgrade, place);
            return upgraded.map_err(|denied| Refused { denied, cx });
        }
        let cx = match parts.method {
            Method::POST | Method::GET | Method::DELETE => Arc::new(cx),
            _ => {
                let what = "only POST, GET and DELETE are spoken here";
                let denied = Denied::new(StatusCode::METHOD_NOT_ALLOWED, FORBIDDEN, "method", what);
                return Err(Refused { denied, cx });
            }
        };
        let pipeline = &self.pipeline;
        let refused = |denied| Refused { denied, cx: Context::clone(&cx) };
        let mut reply = match parts.method {
            Method::GET => Arc::clone(pipeline).listen(Arc::clone(&cx)).await,
            Method::DELETE => Arc::clone(pipeline).close(Arc::clone(&cx)).await,
            _ => {
                let frame = read_body(snapshot, parts, body).await.map_err(refused)?;
                hop.map_or(Ok(()), |hop| hop.check(&frame)).map_err(refused)?;
                let _inflight = self.pipeline.metrics.inflight();
                Arc::clone(pipeline).handle(Arc::clone(&cx), frame).await
            }
        };
        pipeline.fronts.leave(&cx, entered.as_ref(), &mut reply, fronts::now());
        if reply.open_ended {
            // A subscription is a stream like a GET's, and leaves the place of a request.
            place = places.stream().map_err(refused)?;
        }
        let held = Held { place, busy, open: None };
        Ok(self.respond(snapshot, connection, parts, reply, held))
    }

    /// Who sent it: a client by its key, or another replica for one.
    fn admit(
        &self,
        snapshot: &Snapshot,
        cx: &mut Context,
        parts: &Parts,
    ) -> Result<Option<Hop>, Denied> {
        check_size(snapshot, &parts.headers)?;
        let (fronts, server) = (&self.pipeline.fronts, &cx.server.name);
        let hop = peers::accept(snapshot, fronts, server, parts, fronts::now())?;
        if let Some(hop) = &hop {
            cx.principal.clone_from(&hop.principal);
            cx.headers.hopped = true;
        } else {
            auth::check_origin(snapshot, self.address, parts)?;
            cx.principal = auth::authenticate(snapshot, parts)?;
        }
        Ok(hop)
    }

    /// A reply as HTTP. What is held is kept until the last byte is taken.
    fn respond(
        &self,
        snapshot: &Snapshot,
        connection: &Connection,
        parts: &Parts,
        reply: Reply,
        mut held: Held,
    ) -> Response<ResponseBody> {
        let mut headers = HeaderMap::new();
        if let Some(session) = reply.session {
            headers.insert(SESSION, session);
        }
        let mut status = reply.status.unwrap_or(StatusCode::OK);
        let timeouts = &snapshot.config.timeouts;
        let body = match reply.body {
            Body::Empty => {
                if status == StatusCode::METHOD_NOT_ALLOWED {
                    headers.insert(ALLOW, HeaderValue::from_static("POST"));
                }
                empty()
            }
            Body::One(answer) => {
                headers.insert(CONTENT_TYPE, JSON);
                full(answer)
            }
            Body::Stream(events) => {
                status = StatusCode::OK;
                headers.insert(CONTENT_TYPE, EVENTS);
                headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
                headers.insert(NO_BUFFERING, HeaderValue::from_static("no"));
                // A call's stream may end in its own time while the gateway drains.
                let endless = parts.method == Method::GET || reply.open_ended;
                let stop = if endless { self.stop.clone() } else { CancellationToken::new() };
                held.open = Some(self.pipeline.metrics.stream());
                let frames = sse::body(events, timeouts.keep_alive.get(), stop);
                StreamBody::new(frames).boxed_unsync()
            }
        };
        let body = if parts.version == Version::HTTP_2 && !body.is_end_stream() {
            pump(body, held, timeouts.write.get(), connection.stuck.clone())
        } else {
            hold(body, held)
        };
        let mut response = Response::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response
    }
}

/// A request that went no further, and what is known of it for the record.
struct Refused {
    denied: Denied,
    cx: Context,
}

/// `/mcp` is all servers, or the only one; `/mcp/NAME` the server or virtual server of that name.
fn route(snapshot: &Snapshot, path: &str) -> Option<Arc<ServerSpec>> {
    let (servers, faces) = (&snapshot.servers, &snapshot.faces);
    let found = match path.trim_end_matches('/') {
        "/mcp" => match faces.get(ALL) {
            Some(face) => Some(&face.spec),
            None => servers.values().next().filter(|_| servers.len() == 1),
        },
        path => path
            .strip_prefix("/mcp/")
            .filter(|name| *name != ALL)
            .and_then(|name| snapshot.endpoint(name)),
    };
    found.cloned()
}

fn nowhere(snapshot: &Snapshot) -> Denied {
    let names = snapshot.servers.keys().chain(snapshot.faces.names());
    let names: Vec<&str> = names.map(|name| &**name).collect();
    let message = format!("no server here; there are /mcp/{}", names.join(", /mcp/"));
    Denied::new(StatusCode::NOT_FOUND, NOT_FOUND, "not_found", message)
}

fn context(
    snapshot: &Arc<Snapshot>,
    server: Option<&Arc<ServerSpec>>,
    conn_id: Str,
    parts: &Parts,
) -> Context {
    let server = server.cloned().unwrap_or_else(|| Arc::new(ServerSpec::child("none")));
    let headers = mcp_headers(&parts.headers);
    let http_method = match parts.method {
        Method::POST => "POST",
        Method::GET => "GET",
        Method::DELETE => "DELETE",
        _ => "other",
    };
    Context {
        snapshot: Arc::clone(snapshot),
        transport: match parts.version {
            Version::HTTP_3 => Transport::Http3,
            Version::HTTP_2 => Transport::Http2,
            _ => Transport::Http1,
        },
        http_method: Some(http_method.into()),
        session: None,
        server,
        headers,
        conn_id,
        principal: None,
        negotiated: std::sync::OnceLock::new(),
        front: std::sync::OnceLock::new(),
        owned: false,
        arrival: Arrival::of(&snapshot.config.capture, &parts.headers),
        rows: crate::audit::Rows::default(),
    }
}

fn mcp_headers(headers: &HeaderMap) -> McpHeaders {
    let version = headers.get(VERSION).cloned();
    // Stateless revisions have neither sessions nor resumption, the others no mirrored headers:
    // what a revision does not have is ignored, and goes nowhere.
    let stateless = version.as_ref().is_some_and(|v| era::is_modern(v.as_bytes()));
    let stateful = |name| headers.get(name).filter(|_| !stateless).cloned();
    let mirrors = |name: &HeaderName| stateless && name.as_str().starts_with(PARAM);
    let all = |name| headers.get_all(name).iter().filter(|_| stateless).cloned().collect();
    McpHeaders {
        accept: accept(headers),
        session: stateful(SESSION),
        sealed: None,
        hopped: false,
        last_event_id: stateful(LAST_EVENT_ID),
        version,
        method: all(METHOD),
        name: all(NAME),
        params: headers
            .iter()
            .filter(|(name, _)| mirrors(name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect(),
        is_repeated: headers
            .keys()
            .filter(|name| [VERSION, SESSION, LAST_EVENT_ID].contains(name) || mirrors(name))
            .any(|name| headers.get_all(name).iter().nth(1).is_some()),
    }
}

/// What a client accepts, in the gateway's words: a header of its own could carry anything.
fn accept(headers: &HeaderMap) -> Option<HeaderValue> {
    let all = headers.get_all(http::header::ACCEPT).iter().filter_map(|v| v.to_str().ok());
    let types = all.flat_map(|v| v.split(',')).map(|v| v.split(';').next().unwrap_or("").trim());
    let (mut json, mut events, mut any) = (false, false, false);
    for media in types {
        any = true;
        json |= media.eq_ignore_ascii_case("application/json");
        events |= media.eq_ignore_ascii_case("text/event-stream");
    }
    match (any, json, events) {
        (_, true, false) => Some(JSON),
        (_, false, true) => Some(EVENTS),
        (true, false, false) => Some(HeaderValue::from_static("*/*")),
        _ => None,
    }
}

fn check_size(snapshot: &Snapshot, headers: &HeaderMap) -> Result<(), Denied> {
    let limit = snapshot.config.limits.headers.bytes();
    // As they stand on the wire: name, colon, blank, value, line end.
    let size: usize =
        headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if size > limit {
        let message = format!("the headers have more than {limit} bytes");
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        return Err(Denied::new(status, LIMIT, "headers_too_large", message));
    }
    Ok(())
}

pub(super) async fn read_body<B: RequestBody>(
    snapshot: &Snapshot,
    parts: &Parts,
    body: B,
) -> Result<Bytes, Denied> {
    let media = parts.headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
    if !media.split(';').next().unwrap_or("").trim().eq_ignore_ascii_case("application/json") {
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        let message = "the content type must be application/json";
        return Err(Denied::new(status, -32600, "content_type", message));
    }
    let limit = snapshot.config.limits.body.bytes();
    let too_large = || {
        let message = format!("the body has more than {limit} bytes");
        Denied::new(StatusCode::PAYLOAD_TOO_LARGE, LIMIT, "too_large", message)
    };
    let told =
        parts.headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
    if told.is_some_and(|length| length > limit) {
        return Err(too_large());
    }
    let whole = Limited::new(body, limit).collect();
    match timeout(snapshot.config.timeouts.body_read.get(), whole).await {
        Err(_) => {
            let message = "the body did not come in time";
            Err(Denied::new(StatusCode::REQUEST_TIMEOUT, LIMIT, "body_timeout", message))
        }
        Ok(Ok(whole)) => Ok(whole.to_bytes()),
        Ok(Err(e)) if e.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => {
            let message = "the body ended before its time";
            Err(Denied::new(StatusCode::BAD_REQUEST, -32700, "body_cut", message))
        }
    }
}

/// The answer to a request that went no further.
pub fn refuse(denied: &Denied) -> Response<ResponseBody> {
    let mut response = Response::new(full(denied.answer(None)));
    *response.status_mut() = denied.status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, JSON);
    match denied.status {
        StatusCode::UNAUTHORIZED => {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"wiregate\""));
        }
        StatusCode::SERVICE_UNAVAILABLE => {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        StatusCode::METHOD_NOT_ALLOWED => {
            headers.insert(ALLOW, HeaderValue::from_static("POST, GET, DELETE"));
        }
        _ => {}
    }
    response
}

fn full(bytes: Bytes) -> ResponseBody {
    Full::new(bytes).map_err(Cut::from).boxed_unsync()
}

pub(super) fn empty() -> ResponseBody {
    http_body_util::Empty::new().map_err(Cut::from).boxed_unsync()
}
