//! A client over HTTP/3 that sends exactly what the test says, on one connection.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::{Buf as _, Bytes};
use futures::future::poll_fn;
use h3::client::{RequestStream, SendRequest};
use h3::error::StreamError;
use http::{HeaderMap, Method, Request};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{Endpoint, TransportConfig};
use serde_json::Value;
use tests::{LEGACY, within};

/// A connection to one gateway.
pub(crate) struct Http3 {
    pub(crate) endpoint: Endpoint,
    pub(crate) connection: quinn::Connection,
    sender: SendRequest<h3_quinn::OpenStreams, Bytes>,
    url: String,
}

/// A client's QUIC settings, from its TLS and its transport's.
pub(crate) fn config(
    mut tls: rustls::ClientConfig,
    transport: TransportConfig,
) -> quinn::ClientConfig {
    tls.alpn_protocols = vec![b"h3".to_vec()];
    let mut config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    config.transport_config(Arc::new(transport));
    config
}

/// An endpoint on a port of its own.
pub(crate) fn endpoint() -> Endpoint {
    Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).unwrap()
}

impl Http3 {
    /// Connects to the gateway at `address`.
    pub(crate) async fn connect(address: SocketAddr, tls: rustls::ClientConfig) -> Self {
        let config = config(tls, TransportConfig::default());
        Self::connect_with(address, config).await.unwrap()
    }

    /// The same with settings of the test's own; it may be refused.
    pub(crate) async fn connect_with(
        address: SocketAddr,
        config: quinn::ClientConfig,
    ) -> Result<Self, String> {
        let endpoint = endpoint();
        let connecting = endpoint.connect_with(config, address, "localhost").unwrap();
        let connection = within("a handshake", connecting).await.map_err(|e| e.to_string())?;
        let streams = h3_quinn::Connection::new(connection.clone());
        let (mut driver, sender) = h3::client::new(streams).await.map_err(|e| e.to_string())?;
        tokio::spawn(async move { poll_fn(|cx| driver.poll_close(cx)).await });
        let url = format!("https://localhost:{}/mcp", address.port());
        Ok(Self { endpoint, connection, sender, url })
    }

    /// Posts a message.
    pub(crate) async fn post(&mut self, message: &Value) -> Http3Answer {
        self.send(Method::POST, &[], message.to_string()).await.unwrap()
    }

    /// Asks for the stream of unsolicited messages.
    pub(crate) async fn get(&mut self) -> Http3Answer {
        self.send(Method::GET, &[], "").await.unwrap()
    }

    /// Sends a request and waits for the head of its answer.
    pub(crate) async fn send(
        &mut self,
        method: Method,
        more: &[(&'static str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Http3Answer, StreamError> {
        let mut request = Request::builder()
            .method(method)
            .uri(&self.url)
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", LEGACY);
        for (name, value) in more {
            request = request.header(*name, *value);
        }
        let exchange = async {
            let stream = self.sender.send_request(request.body(()).unwrap()).await?;
            let (mut sending, mut receiving) = stream.split();
            // Whoever is refused before the end of the body still gets the answer.
            let body = body.into();
            tokio::spawn(async move {
                if sending.send_data(body).await.is_ok() {
                    let _ = sending.finish().await;
                }
            });
            let head = receiving.recv_response().await?;
            let (status, headers) = (head.status().as_u16(), head.headers().clone());
            Ok(Http3Answer { status, headers, body: receiving, text: String::new() })
        };
        within("an answer over HTTP/3", exchange).await
    }
}

/// An answer, whose body is still to be read.
pub(crate) struct Http3Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    body: RequestStream<h3_quinn::RecvStream, Bytes>,
    text: String,
}

impl Http3Answer {
    /// The next piece of the body; none at its end. An error when it was cut off.
    pub(crate) async fn piece(&mut self) -> Result<Option<String>, StreamError> {
        let data = within("a piece of the body", self.body.recv_data()).await?;
        let text = |mut data: Bytes| String::from_utf8(data.split_off(0).to_vec()).unwrap();
        Ok(data.map(|mut data| text(data.copy_to_bytes(data.remaining()))))
    }

    /// The whole body as JSON.
    pub(crate) async fn json(mut self) -> Value {
        while let Some(piece) = self.piece().await.unwrap() {
            self.text += &piece;
        }
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{}, {e}", self.status))
    }

    /// The next event's data as JSON; `null` at the end of the stream.
    pub(crate) async fn event(&mut self) -> Value {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let data = event.lines().find_map(|line| line.strip_prefix("data: "));
                let message = data.map(|data| serde_json::from_str(data).unwrap());
                self.text = rest.to_owned();
                match message {
                    Some(message) => return message,
                    None => continue,
                }
            }
            match self.piece().await {
                Ok(Some(piece)) => self.text += &piece,
                Ok(None) | Err(_) => return Value::Null,
            }
        }
    }
}
