//! A client that sends exactly what the test says, a connection for each request, and reads event streams one by one.

use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::{LEGACY, MODERN, within};

/// A client of one URL, with the headers it always sends.
#[derive(Clone, Debug)]
pub struct Client {
    authority: String,
    path: String,
    headers: HeaderMap,
}

impl Client {
    /// A client of the revision with sessions.
    ///
    /// # Panics
    /// When the URL is none.
    #[must_use]
    pub fn new(url: &str) -> Self {
        let uri: http::Uri = url.parse().expect("a URL");
        let client = Self {
            authority: uri.authority().expect("an absolute URL").to_string(),
            path: uri.path().to_owned(),
            headers: HeaderMap::new(),
        };
        client
            .with("content-type", "application/json")
            .with("accept", "application/json, text/event-stream")
            .with("mcp-protocol-version", LEGACY)
    }

    /// A client of the stateless revision that is about to send `request`: its headers repeat what the body says.
    #[must_use]
    pub fn modern(url: &str, request: &Value) -> Self {
        let client = Self::new(url).with("mcp-protocol-version", MODERN);
        let client = client.with("mcp-method", request["method"].as_str().unwrap_or_default());
        let params = &request["params"];
        match params["name"].as_str().or(params["uri"].as_str()) {
            Some(name) => client.with("mcp-name", name),
            None => client,
        }
    }

    /// The same client with one header more, or another value.
    ///
    /// # Panics
    /// When that is no header.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.insert(name, value.parse().expect("a header value"));
        self
    }

    /// The same client of another path (and query) at the same place.
    #[must_use]
    pub fn at(mut self, path: &str) -> Self {
        path.clone_into(&mut self.path);
        self
    }

    /// Posts a message.
    pub async fn post(&self, message: &Value) -> Response {
        self.send(Method::POST, message.to_string()).await
    }

    /// Posts bytes.
    pub async fn post_bytes(&self, body: impl Into<Bytes>) -> Response {
        self.send(Method::POST, body).await
    }

    /// GETs, which asks for the stream of unsolicited messages.
    pub async fn get(&self) -> Response {
        self.send(Method::GET, Bytes::new()).await
    }

    /// DELETEs the session.
    pub async fn delete(&self) -> Response {
        self.send(Method::DELETE, Bytes::new()).await
    }

    async fn send(&self, method: Method, body: impl Into<Bytes>) -> Response {
        let mut request = Request::new(Full::new(body.into()));
        *request.method_mut() = method;
        *request.uri_mut() = self.path.parse().expect("a path");
        *request.headers_mut() = self.headers.clone();
        let host = self.authority.parse().expect("a host");
        request.headers_mut().entry("host").or_insert(host);
        let exchange = async {
            let stream = TcpStream::connect(&self.authority).await.expect("the gateway listens");
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("HTTP");
            tokio::spawn(connection);
            sender.send_request(request).await.expect("an answer")
        };
        let (head, body) = within("an answer", exchange).await.into_parts();
        Response { status: head.status.as_u16(), headers: head.headers, body }
    }

    /// Writes these bytes, nothing else, and returns what came until the other side closed.
    ///
    /// # Panics
    /// When there is no connection.
    pub async fn raw(&self, bytes: &[u8]) -> String {
        let exchange = async {
            let mut stream = self.raw_open(bytes).await;
            let mut answer = Vec::new();
            // Whoever closes while we still write resets the connection; what was read counts.
            let _ = stream.read_to_end(&mut answer).await;
            String::from_utf8_lossy(&answer).into_owned()
        };
        within("the end of a raw answer", exchange).await
    }

    /// Writes these bytes and returns the open connection, which nobody reads.
    ///
    /// # Panics
    /// When there is no connection.
    pub async fn raw_open(&self, bytes: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(&self.authority).await.expect("the gateway listens");
        let _ = stream.write_all(bytes).await;
        stream
    }

    /// A whole request as bytes, for those who want to break it.
    #[must_use]
    pub fn as_bytes(&self, method: &str, body: &str) -> Vec<u8> {
        let mut request =
            format!("{method} {} HTTP/1.1\r\nhost: {}\r\n", self.path, self.authority);
        for (name, value) in &self.headers {
            request += &format!("{name}: {}\r\n", value.to_str().expect("a test's own header"));
        }
        request += &format!("content-length: {}\r\n\r\n{body}", body.len());
        request.into_bytes()
    }
}

/// An answer, whose body is still to be read.
#[derive(Debug)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    body: Incoming,
}

impl Response {
    /// One header as text, or nothing.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The whole body.
    ///
    /// # Panics
    /// When it breaks off.
    pub async fn bytes(self) -> Bytes {
        within("the body", self.body.collect()).await.expect("a whole body").to_bytes()
    }

    /// The whole body as JSON.
    ///
    /// # Panics
    /// When it is none.
    pub async fn json(self) -> Value {
        let status = self.status;
        let body = self.bytes().await;
        serde_json::from_slice(&body).unwrap_or_else(|e| panic!("{status}, {e}: {body:?}"))
    }

    /// The body as a stream of events.
    #[must_use]
    pub fn events(self) -> Events {
        Events { body: self.body, text: String::new() }
    }
}

/// One server-sent event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// Its type, empty for the default one.
    pub event: String,
    /// Its id.
    pub id: Option<String>,
    /// Its data.
    pub data: String,
}

impl Event {
    /// The data as JSON; `null` when it is none.
    #[must_use]
    pub fn message(&self) -> Value {
        serde_json::from_str(&self.data).unwrap_or_default()
    }
}

/// An event stream, read as far as the test reads it.
#[derive(Debug)]
pub struct Events {
    body: Incoming,
    text: String,
}

impl Events {
    /// The next event, comments left out; `None` at the end, in order or not.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            while let Some((event, rest)) = self.text.split_once("\n\n") {
                let parsed = parse(event);
                self.text = rest.to_owned();
                if parsed.is_some() {
                    return parsed;
                }
            }
            let frame = within("an event", self.body.frame()).await?.ok()?;
            if let Ok(data) = frame.into_data() {
                self.text += &String::from_utf8_lossy(&data).replace("\r\n", "\n");
            }
        }
    }
}

/// An event's fields; `None` when it has none but comments.
fn parse(text: &str) -> Option<Event> {
    let mut event = Event::default();
    let mut any = false;
    for line in text.lines().filter(|line| !line.starts_with(':')) {
        any = true;
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => event.event = value.to_owned(),
            "id" => event.id = Some(value.to_owned()),
            "data" if event.data.is_empty() => event.data = value.to_owned(),
            "data" => event.data = format!("{}\n{value}", event.data),
            _ => {}
        }
    }
    any.then_some(event)
}
