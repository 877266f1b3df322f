//! Health and metrics, on a listener of their own: `/healthz`, `/readyz`, `/metrics`; and the
//! registry, in `admin::servers`.
//!
//! Nothing here reads or changes traffic. Where the listener is reachable from other machines and
//! the gateway asks for keys, they are asked for here too.

mod servers;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use capture::{Health, Recorder};
use http::header::{ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, Notify, Semaphore};

use crate::config::{AuditMode, OnOverflow};
use crate::snapshot::Snapshot;
use crate::telemetry::{self, Metrics};

/// A scraper, a probe and a person: more at once is a mistake.
const CONNECTIONS: usize = 64;

/// Nobody sends a probe with larger headers.
const HEADERS: usize = 16 << 10;

/// A client has so long to send its request's head.
const HEADER_READ: Duration = Duration::from_secs(5);

/// No connection, busy or idle, lives longer.
const LIFETIME: Duration = Duration::from_secs(60);

/// What the endpoints tell about.
#[derive(Debug)]
pub struct AdminState {
    metrics: Arc<Metrics>,
    recorder: Option<Recorder>,
    snapshot: ArcSwap<Snapshot>,
    ready: AtomicBool,
    /// Asks for the configuration to be read anew.
    pub(crate) wake: Arc<Notify>,
    /// Held while the folder of servers is written to.
    writing: Mutex<()>,
}

impl AdminState {
    /// A gateway that is not ready yet. From now on its metrics know the snapshot's servers and
    /// the recorder.
    pub fn new(metrics: Arc<Metrics>, recorder: Option<Recorder>, snapshot: Arc<Snapshot>) -> Self {
        metrics.set_servers(snapshot.servers.keys().cloned());
        if let Some(recorder) = &recorder {
            metrics.watch_capture(recorder.clone());
        }
        let snapshot = ArcSwap::new(snapshot);
        Self {
            metrics,
            recorder,
            snapshot,
            ready: AtomicBool::new(false),
            wake: Arc::default(),
            writing: Mutex::default(),
        }
    }

    /// The configuration that is in force from now on.
    pub(crate) fn set_snapshot(&self, snapshot: Arc<Snapshot>) {
        self.snapshot.store(snapshot);
    }

    /// Whether traffic should come: not before the start, nor while draining.
    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Release);
    }

    /// `ok`, `failing` while rows are lost, `degraded` once some were or something else is wrong, `off` without a
    /// recorder; and what there is to say about it.
    fn capture(&self) -> (&'static str, Value) {
        let Some(stats) = self.recorder.as_ref().map(Recorder::stats) else {
            return ("off", Value::Null);
        };
        let (state, why) = match &stats.health {
            Health::Failing(why) => ("failing", Some(why.clone())),
            Health::Degraded(why) => ("degraded", Some(why.clone())),
            Health::Ok if stats.dropped > 0 || stats.last_error.is_some() => ("degraded", None),
            Health::Ok if stats.store.as_ref().is_some_and(|store| store.failing) => {
                ("degraded", Some("uploads fail".to_owned()))
            }
            Health::Ok => ("ok", None),
        };
        let detail = json!({
            "why": why,
            "enqueued": stats.enqueued,
            "written": stats.written,
            "dropped": stats.dropped,
            "in_queue": stats.in_queue,
            "errors": stats.errors,
        });
        (state, detail)
    }
}

/// The listener for health and metrics.
#[derive(Debug)]
pub struct Admin {
    state: Arc<AdminState>,
    /// Whether other machines can reach it: keys are asked for then, where there are any.
    is_open: bool,
}

impl Admin {
    /// Listens on `address`, and answers for as long as the runtime lives. Gives the address as
    /// bound.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn bind(address: &str, state: Arc<AdminState>) -> io::Result<SocketAddr> {
        let listener = TcpListener::bind(address).await?;
        let bound = listener.local_addr()?;
        let is_open = !bound.ip().to_canonical().is_loopback();
        tokio::spawn(Arc::new(Self { state, is_open }).accept(listener));
        Ok(bound)
    }

    async fn accept(self: Arc<Self>, listener: TcpListener) {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            // The semaphore is never closed; if it were, so would this listener be.
            let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                return;
            };
            match listener.accept().await {
                Ok((stream, _)) => {
                    let admin = Arc::clone(&self);
                    tokio::spawn(async move {
                        let served = tokio::time::timeout(LIFETIME, admin.connection(stream));
                        if served.await.is_err() {
                            tracing::debug!("admin connection took too long");
                        }
                        drop(place);
                    });
                }
                Err(error) => {
                    // Out of file descriptors, mostly: accepting again at once would spin.
                    tracing::error!(kind = %error.kind(), "admin cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    async fn connection(&self, stream: TcpStream) {
        let service = service_fn(async |request: Request<Incoming>| {
            Ok::<_, std::convert::Infallible>(match request.uri().path() {
                path if path == "/servers" || path.starts_with("/servers/") => {
                    self.servers(request).await
                }
                _ => self.answer(&request),
            })
        });
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_READ)
            .max_buf_size(HEADERS)
            .serve_connection(TokioIo::new(stream), service)
            .await;
        if served.is_err() {
            tracing::debug!("admin connection ended early");
        }
    }

    /// The answer to a request. Its body is never read.
    fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        let answer = match request.uri().path() {
            "/healthz" => Self::health,
            "/readyz" => Self::readiness,
            "/metrics" => Self::metrics,
            _ => return plain(StatusCode::NOT_FOUND, "no such page\n"),
        };
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut refused = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
            refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return refused;
        }
        let snapshot = self.state.snapshot.load();
        if self.is_open && snapshot.requires_key() && !self.knows(request) {
            let mut refused = plain(StatusCode::UNAUTHORIZED, "a key is needed\n");
            refused.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            return refused;
        }
        answer(self)
    }

    fn knows<B>(&self, request: &Request<B>) -> bool {
        self.holder(request).is_some()
    }

    /// Who holds the key that a request shows.
    fn holder<B>(&self, request: &Request<B>) -> Option<Arc<str>> {
        let header = request.headers().get(AUTHORIZATION)?.to_str().ok()?;
        let (scheme, token) = header.split_once(' ')?;
        let is_bearer = scheme.eq_ignore_ascii_case("bearer");
        self.state.snapshot.load().verify_key(token.trim()).filter(|_| is_bearer)
    }

    /// 200 for as long as the process answers at all.
    fn health(&self) -> Response<Full<Bytes>> {
        let (capture, recorder) = self.state.capture();
        let body = json!({
            "status": "ok",
            "version": env!("CARGO_PKG_VERSION"),
            "capture": capture,
            "recorder": recorder,
        });
        typed(StatusCode::OK, "application/json", body.to_string())
    }

    /// 503 before the start and while draining, and while rows are lost where traffic does not pass without them.
    /// Otherwise a recorder in trouble does not stop traffic, so it does not make a gateway unready.
    fn readiness(&self) -> Response<Full<Bytes>> {
        let (capture, _) = self.state.capture();
        let snapshot = self.state.snapshot.load();
        let settings = &snapshot.config.capture;
        let stopped = match settings.on_overflow {
            _ if settings.audit == AuditMode::Required => capture == "failing",
            OnOverflow::Block => capture == "degraded" || capture == "failing",
            OnOverflow::Refuse => capture == "failing",
            OnOverflow::Drop => false,
        };
        let ready = self.state.ready.load(Ordering::Acquire) && !stopped;
        let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        let rules = &snapshot.rules;
        let body = json!({
            "ready": ready,
            "capture": capture,
            "rules": {"digest": rules.digest(), "sets": rules.sets()},
        });
        typed(status, "application/json", body.to_string())
    }

    fn metrics(&self) -> Response<Full<Bytes>> {
        typed(StatusCode::OK, telemetry::CONTENT_TYPE, self.state.metrics.render())
    }
}

fn plain(status: StatusCode, body: &'static str) -> Response<Full<Bytes>> {
    typed(status, "text/plain; charset=utf-8", body)
}

fn typed(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Auth, Config, Key};

    pub(super) const KEY: &str = "wgk_of-a-test";

    fn admin(keys: bool) -> Admin {
        Admin { state: Arc::new(state(keys, |_| {})), is_open: keys }
    }

    pub(super) fn state(keys: bool, change: impl FnOnce(&mut Config)) -> AdminState {
        let mut config = Config::of_one_server("files", "http://127.0.0.1:9/mcp");
        if keys {
            let sha256 = crate::snapshot::digest(KEY).trim_start_matches("sha256:").to_owned();
            config.auth = Some(Auth::Keys(vec![Key { name: "probe".into(), sha256 }]));
        }
        change(&mut config);
        let snapshot = Arc::new(Snapshot::build(config).unwrap());
        AdminState::new(Arc::new(Metrics::new()), None, snapshot)
    }

    fn status(admin: &Admin, method: &str, path: &str, header: Option<&str>) -> u16 {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(header) = header {
            request = request.header(AUTHORIZATION, header);
        }
        admin.answer(&request.body(()).unwrap()).status().as_u16()
    }

    #[test]
    fn each_page_and_no_other() {
        let admin = admin(false);
        assert_eq!(status(&admin, "GET", "/healthz", None), 200);
        assert_eq!(status(&admin, "HEAD", "/metrics", None), 200);
        assert_eq!(status(&admin, "POST", "/metrics", None), 405);
        assert_eq!(status(&admin, "GET", "/", None), 404);
        assert_eq!(status(&admin, "GET", "/metrics/", None), 404);
    }

    #[test]
    fn ready_between_start_and_drain() {
        let admin = admin(false);
        assert_eq!(status(&admin, "GET", "/readyz", None), 503);
        admin.state.set_ready(true);
        assert_eq!(status(&admin, "GET", "/readyz", None), 200);
        let snapshot = admin.state.snapshot.load_full();
        let digest = snapshot.rules.digest();
        let body = format!("{:?}", admin.readiness().into_body());
        assert!(body.contains(digest) && body.contains(rules::NAME), "{body}");
        admin.state.set_ready(false);
        assert_eq!(status(&admin, "GET", "/readyz", None), 503);
        assert_eq!(status(&admin, "GET", "/healthz", None), 200);
    }

    #[test]
    fn keys_are_asked_for_where_others_can_reach() {
        let admin = admin(true);
        let ask = |header: Option<&str>| status(&admin, "GET", "/metrics", header);
        assert_eq!(ask(None), 401);
        assert_eq!(ask(Some("Bearer wgk_other")), 401);
        assert_eq!(ask(Some(&format!("Basic {KEY}"))), 401);
        assert_eq!(ask(Some(&format!("Bearer {KEY}"))), 200);
        assert_eq!(ask(Some(&format!("bearer {KEY}"))), 200);
    }

    #[tokio::test]
    async fn it_answers_on_the_wire() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let addr = Admin::bind("127.0.0.1:0", admin(false).state).await.unwrap();
        let mut stream = TcpStream::connect(addr).await.unwrap();
        let request = b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).await.unwrap();
        assert!(response.starts_with("HTTP/1.1 200"), "{response}");
        assert!(response.contains(r#""capture":"off""#), "{response}");
    }
}
