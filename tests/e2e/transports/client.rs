//! One MCP client of the stateful revisions, over Streamable HTTP, HTTP+SSE or WebSocket.

use futures::{SinkExt as _, StreamExt as _};
use http::Request;
use serde_json::{Value, json};
use tests::{Client, Events, LEGACY, Response, request, within};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::peer::Wire;

/// A client with an open session, or about to open one.
pub(super) struct Session {
    way: Way,
    says: mpsc::Sender<Value>,
    said: mpsc::Receiver<Value>,
}

enum Way {
    Http(Client),
    Sse(Client),
    WebSocket(futures::stream::SplitSink<WebSocketStream<TcpStream>, Message>),
}

impl Session {
    /// Connects, and shakes hands.
    pub(super) async fn open(wire: Wire, url: &str) -> Session {
        let mut session = Self::connect(wire, url).await;
        let params = json!({"protocolVersion": LEGACY, "capabilities": {"elicitation": {}}, "clientInfo": {"name": "test", "version": "0"}});
        session.send(&request(0, "initialize", params)).await;
        assert_eq!(session.next().await["result"]["protocolVersion"], LEGACY);
        let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        session.send(&initialized).await;
        session
    }

    pub(super) async fn connect(wire: Wire, url: &str) -> Session {
        let (says, said) = mpsc::channel(64);
        let way = match wire {
            Wire::Http => Way::Http(Client::new(url)),
            Wire::Sse => {
                let (events, endpoint) = open_stream(&Client::new(url)).await;
                tokio::spawn(forward(events, says.clone()));
                Way::Sse(Client::new(url).at(&endpoint))
            }
            Wire::WebSocket => {
                let (sink, mut stream) = websocket(url, &[]).await.unwrap().split();
                let says = says.clone();
                tokio::spawn(async move {
                    while let Some(Ok(message)) = stream.next().await {
                        if let Message::Text(text) = message {
                            let _ = says.try_send(serde_json::from_str(&text).unwrap());
                        }
                    }
                });
                Way::WebSocket(sink)
            }
        };
        Session { way, says, said }
    }

    /// Sends a message. What comes of it is told by [`Session::next`].
    pub(super) async fn send(&mut self, message: &Value) {
        match &mut self.way {
            Way::WebSocket(sink) => sink.send(Message::text(message.to_string())).await.unwrap(),
            Way::Sse(client) => assert_eq!(client.post(message).await.status, 202),
            Way::Http(client) => {
                let answer = client.post(message).await;
                if let Some(session) = answer.headers.get("mcp-session-id") {
                    *client = client.clone().with("mcp-session-id", session.to_str().unwrap());
                }
                tokio::spawn(read(answer, self.says.clone()));
            }
        }
    }

    /// The next message from the server.
    pub(super) async fn next(&mut self) -> Value {
        within("a message", self.said.recv()).await.unwrap()
    }

    /// Sends a request, and gives the next message, which must be its answer.
    pub(super) async fn ask(&mut self, message: &Value) -> Value {
        self.send(message).await;
        let answer = self.next().await;
        assert_eq!(answer["id"], message["id"], "{answer}");
        answer
    }
}

async fn read(answer: Response, says: mpsc::Sender<Value>) {
    match answer.header("content-type") {
        "application/json" => {
            let _ = says.try_send(answer.json().await);
        }
        "text/event-stream" => forward(answer.events(), says).await,
        _ => assert_eq!(answer.status, 202),
    }
}

async fn forward(mut events: Events, says: mpsc::Sender<Value>) {
    while let Some(event) = events.next().await {
        let _ = says.try_send(event.message());
    }
}

/// The events of HTTP+SSE, and the endpoint to post to.
pub(super) async fn open_stream(client: &Client) -> (Events, String) {
    let answer = client.clone().at("/sse").get().await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("x-accel-buffering"), "no");
    let mut events = answer.events();
    let first = events.next().await.unwrap();
    assert_eq!(first.event, "endpoint");
    (events, first.data)
}

/// A WebSocket with these headers in its request.
pub(super) async fn websocket(
    url: &str,
    headers: &[(&'static str, &str)],
) -> Result<WebSocketStream<TcpStream>, Error> {
    let url: http::Uri = url.replace("http://", "ws://").parse().unwrap();
    let stream = TcpStream::connect(url.authority().unwrap().as_str()).await.unwrap();
    let mut request: Request<()> = url.into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", "mcp".parse().unwrap());
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    let opening = tokio_tungstenite::client_async(request, stream);
    within("a WebSocket", opening).await.map(|(socket, _)| socket)
}
