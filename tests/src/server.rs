//! An MCP server inside the test. It answers nothing by itself: each request is an [`Exchange`] that the test answers,
//! at once in a closure or later at its leisure.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures::channel::oneshot;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::channel::{Channel, Sender};
use http_body_util::{BodyExt as _, Full, combinators::BoxBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::{LEGACY, MODERN, within};

type Answer = Response<BoxBody<Bytes, Infallible>>;

/// A server on a port of its own. Dropping it closes the port and the connections.
#[derive(Debug)]
pub struct FakeServer {
    /// Its endpoint.
    pub url: String,
    /// How many connections it took.
    pub connections: Arc<AtomicUsize>,
    asked: mpsc::Receiver<Exchange>,
    accepting: AbortHandle,
}

impl FakeServer {
    /// A server that gives each request to `answer`.
    pub async fn start(answer: impl Fn(Exchange) + Send + Sync + 'static) -> Self {
        // Nobody reads `asked` then.
        let (_, asked) = mpsc::channel(1);
        Self::serve(Arc::new(answer), asked, true).await
    }

    /// A server whose requests the test takes one by one with [`FakeServer::asked`].
    pub async fn by_hand() -> Self {
        Self::taken_by_hand(true).await
    }

    /// The same, where the test answers the gateway's question for its revisions too. All others say at once that they
    /// speak those of both eras.
    pub async fn undisclosed() -> Self {
        Self::taken_by_hand(false).await
    }

    async fn taken_by_hand(discloses: bool) -> Self {
        let (ask, asked) = mpsc::channel(64);
        let forward = move |exchange| {
            let _ = ask.try_send(exchange);
        };
        Self::serve(Arc::new(forward), asked, discloses).await
    }

    /// A server of the stateless revision alone, whose requests the test takes one by one. Handshakes it refuses, and
    /// what it offers it says, by itself.
    pub async fn stateless() -> Self {
        let (ask, asked) = mpsc::channel(64);
        let forward = move |exchange: Exchange| {
            let message = exchange.message();
            if message["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] != MODERN {
                let data = json!({"supported": [MODERN], "requested": "none"});
                let error = json!({"code": -32022, "message": "unsupported", "data": data});
                let body = json!({"jsonrpc": "2.0", "id": message["id"], "error": error});
                let kind = [("content-type", "application/json")];
                return exchange.raw(400, &kind, body.to_string());
            }
            match message["method"].as_str() {
                Some("server/discover") => exchange.result(discovered(&[MODERN])),
                _ => {
                    let _ = ask.try_send(exchange);
                }
            }
        };
        Self::serve(Arc::new(forward), asked, true).await
    }

    /// A listener that answers every connection with these bytes, whatever they are, and closes it.
    ///
    /// # Panics
    /// When no port can be had.
    pub async fn of_bytes(bytes: &'static [u8]) -> Self {
        let (url, listener) = listen().await;
        let accepting = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.write_all(bytes).await;
            }
        });
        let (connections, asked) = (Arc::default(), mpsc::channel(1).1);
        Self { url, connections, asked, accepting: accepting.abort_handle() }
    }

    /// The next request of a server that is answered by hand.
    ///
    /// # Panics
    /// When none comes.
    pub async fn asked(&mut self) -> Exchange {
        within("a request at the server", self.asked.recv()).await.expect("the server runs")
    }

    async fn serve(
        answer: Arc<dyn Fn(Exchange) + Send + Sync>,
        asked: mpsc::Receiver<Exchange>,
        discloses: bool,
    ) -> Self {
        let (url, listener) = listen().await;
        let taken = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&taken);
        let accepting = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                let answer = Arc::clone(&answer);
                let service =
                    service_fn(move |request| exchange(request, Arc::clone(&answer), discloses));
                connections.spawn(
                    hyper::server::conn::http1::Builder::new()
                        .timer(TokioTimer::new())
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        Self { url, connections: taken, asked, accepting: accepting.abort_handle() }
    }
}

impl Drop for FakeServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// What a server says of itself that has everything.
fn discovered(versions: &[&str]) -> Value {
    json!({
        "resultType": "complete",
        "supportedVersions": versions,
        "capabilities": {
            "tools": {"listChanged": true},
            "resources": {"subscribe": true},
            "logging": {},
            "extensions": {"io.modelcontextprotocol/tasks": {}},
        },
        "instructions": "Be brief.",
        "ttlMs": 0,
        "cacheScope": "private",
        "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "fake", "version": "1"}},
    })
}

async fn listen() -> (String, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("a bound address");
    (format!("http://{address}/mcp"), listener)
}

async fn exchange(
    request: Request<Incoming>,
    answer: Arc<dyn Fn(Exchange) + Send + Sync>,
    discloses: bool,
) -> Result<Answer, oneshot::Canceled> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| oneshot::Canceled)?.to_bytes();
    let (reply, replied) = oneshot::channel();
    let path = head.uri.to_string();
    let exchange = Exchange { method: head.method, path, headers: head.headers, body, reply };
    if discloses && exchange.message()["id"] == "wiregate-probe" {
        exchange.result(discovered(&[MODERN, LEGACY]));
    } else {
        answer(exchange);
    }
    // An exchange that is dropped unanswered ends the connection.
    replied.await
}

/// One request, and the right to answer it. Dropped unanswered, its connection is closed.
#[derive(Debug)]
pub struct Exchange {
    /// The HTTP method.
    pub method: Method,
    /// The request's path and query.
    pub path: String,
    /// The request's headers.
    pub headers: HeaderMap,
    /// The request's body.
    pub body: Bytes,
    reply: oneshot::Sender<Answer>,
}

impl Exchange {
    /// The body as JSON; `null` when it is none.
    #[must_use]
    pub fn message(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// Answers with a JSON-RPC result to this request's id.
    pub fn result(self, result: Value) {
        let answer = json!({"jsonrpc": "2.0", "id": self.message()["id"], "result": result});
        self.json(&answer);
    }

    /// Answers an `initialize`, with a session of this id.
    pub fn begin(self, session: &str) {
        let result = json!({"protocolVersion": LEGACY, "capabilities": {}, "serverInfo": {"name": "test", "version": "0"}});
        let answer = json!({"jsonrpc": "2.0", "id": self.message()["id"], "result": result});
        let headers = [("content-type", "application/json"), ("mcp-session-id", session)];
        self.raw(200, &headers, answer.to_string());
    }

    /// Answers 200 with this JSON.
    pub fn json(self, body: &Value) {
        self.raw(200, &[("content-type", "application/json")], body.to_string());
    }

    /// Answers anything.
    pub fn raw(self, status: u16, headers: &[(&str, &str)], body: impl Into<Bytes>) {
        let body = Full::new(body.into()).boxed();
        let _ = self.reply.send(response(status, headers, body));
    }

    /// Answers with an event stream, whose bytes the test lets out when it wants.
    #[must_use]
    pub fn stream(self, headers: &[(&str, &str)]) -> Outlet {
        let (sender, body) = Channel::new(16);
        let mut all = vec![("content-type", "text/event-stream")];
        all.extend(headers);
        let _ = self.reply.send(response(200, &all, body.boxed()));
        Outlet(sender)
    }

    /// Never answers; resolves when the other side has gone.
    pub async fn hang(mut self) {
        self.reply.cancellation().await;
    }
}

fn response(status: u16, headers: &[(&str, &str)], body: BoxBody<Bytes, Infallible>) -> Answer {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    response.body(body).expect("a test's own headers")
}

/// The server's end of an event stream. Dropped, the stream ends.
#[derive(Debug)]
pub struct Outlet(Sender<Bytes, Infallible>);

impl Outlet {
    /// Lets out one event that carries `message`. False when the other side has gone.
    pub async fn event(&mut self, message: &Value) -> bool {
        self.bytes(format!("event: message\ndata: {message}\n\n")).await
    }

    /// Lets out these bytes, whatever they are. False when the other side has gone.
    pub async fn bytes(&mut self, bytes: impl Into<Bytes>) -> bool {
        self.0.send_data(bytes.into()).await.is_ok()
    }
}
