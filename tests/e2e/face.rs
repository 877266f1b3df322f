//! The downstream face: TLS, HTTP/2, keys, limits on how much at once, and a stop that lets exchanges end.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use tests::{Client, FakeServer, Gateway, call, in_session, within};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::{assert_serves, echo, rows};

fn address(url: &str) -> SocketAddr {
    let uri: http::Uri = url.parse().unwrap();
    uri.authority().unwrap().as_str().parse().unwrap()
}

/// One call over HTTP/2 on an open connection.
async fn over_h2<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    url: &str,
) -> Value {
    let exchange = async {
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .unwrap();
        tokio::spawn(connection);
        let request = Request::post(url)
            .header("content-type", "application/json")
            .header("mcp-protocol-version", tests::LEGACY)
            .body(Full::new(Bytes::from(call(1, "echo", json!({"message": "two"})).to_string())))
            .unwrap();
        let answer = sender.send_request(request).await.unwrap();
        serde_json::from_slice(&answer.into_body().collect().await.unwrap().to_bytes()).unwrap()
    };
    within("an answer over HTTP/2", exchange).await
}

#[tokio::test]
async fn http2_without_tls() {
    let server = echo().await;
    let gateway = Gateway::before(&server.url).await;
    let stream = TcpStream::connect(address(&gateway.url)).await.unwrap();
    let answer = over_h2(stream, &gateway.url).await;
    assert_eq!(answer["result"]["content"][0]["text"], "two");
}

/// A gateway with a certificate for `localhost`, which is its own authority.
async fn with_tls(upstream: &str, dir: &Path) -> (Gateway, CertificateDer<'static>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (cert, key) = (dir.join("cert.pem"), dir.join("key.pem"));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let tls = format!("tls: {{ cert: {}, key: {} }}\n", cert.display(), key.display());
    let gateway = Gateway::configured(upstream, &tls).await;
    assert!(gateway.url.starts_with("https://"), "{}", gateway.url);
    (gateway, made.cert.der().clone())
}

#[tokio::test]
async fn a_server_behind_tls_is_reached_when_its_authority_is_trusted_and_not_otherwise() {
    let server = echo().await;
    let dir = tempfile::tempdir().unwrap();
    let (secure, _) = with_tls(&server.url, dir.path()).await;
    let url = format!("https://localhost:{}/mcp", address(&secure.url).port());
    let trusting =
        Gateway::configured(&url, &format!("    ca: {}/cert.pem\n", dir.path().display())).await;
    assert_serves(&trusting).await;
    let wary = Gateway::before(&url).await;
    let answer = Client::new(&wary.url).post(&call(1, "echo", json!({}))).await;
    assert_eq!(answer.status, 502);
    assert_eq!(answer.json().await["error"]["code"], 1005);
}

#[tokio::test]
async fn http2_over_tls() {
    let server = echo().await;
    let dir = tempfile::tempdir().unwrap();
    let (gateway, certificate) = with_tls(&server.url, dir.path()).await;

    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = TcpStream::connect(address(&gateway.url)).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let stream = within("the handshake", connector.connect(name, stream)).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
    let port = address(&gateway.url).port();
    let answer = over_h2(stream, &format!("https://localhost:{port}/mcp")).await;
    assert_eq!(answer["result"]["content"][0]["text"], "two");
}

#[tokio::test]
async fn keys_are_asked_for_and_never_go_upstream() {
    let mut server = FakeServer::by_hand().await;
    // The digest of the word the client sends below.
    let hash = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";
    let gateway = Gateway::configured(
        &server.url,
        &format!("auth: {{ keys: [{{ name: ops, sha256: {hash} }}] }}\n"),
    )
    .await;
    for header in [None, Some("Bearer bar"), Some("Basic foo"), Some("Bearer ")] {
        let client = Client::new(&gateway.url);
        let client = match header {
            Some(header) => client.with("authorization", header),
            None => client,
        };
        let answer = client.post(&call(1, "echo", json!({}))).await;
        assert_eq!(
            (answer.status, answer.header("www-authenticate").is_empty()),
            (401, false),
            "{header:?}"
        );
    }
    let client = Client::new(&gateway.url).with("authorization", "Bearer foo");
    let asking = tokio::spawn(async move { client.post(&call(1, "echo", json!({}))).await.status });
    let asked = server.asked().await;
    assert!(!asked.headers.contains_key("authorization"));
    asked.result(json!({"content": []}));
    assert_eq!(asking.await.unwrap(), 200);
    let capture = gateway.capture.clone();
    let _dir = gateway.stop().await;
    let rows = rows(&capture);
    assert_eq!(
        rows.iter().filter(|r| r.deny_reason.as_deref() == Some("unauthenticated")).count(),
        4
    );
    assert_eq!(rows.iter().filter(|r| r.principal.as_deref() == Some("ops")).count(), 2);
}

#[tokio::test]
async fn beyond_the_places_there_is_a_503_and_a_place_comes_free_again() {
    let mut server = FakeServer::by_hand().await;
    let gateway = Gateway::configured(&server.url, "limits: { concurrent_requests: 1 }\n").await;
    let first = Client::new(&gateway.url);
    let asking =
        tokio::spawn(async move { first.post(&call(1, "echo", json!({}))).await.bytes().await });
    let asked = server.asked().await;
    let second = Client::new(&gateway.url).post(&call(2, "echo", json!({}))).await;
    assert_eq!((second.status, second.header("retry-after")), (503, "1"));
    asked.result(json!({"content": []}));
    asking.await.unwrap();
    let third = Client::new(&gateway.url);
    let asking = tokio::spawn(async move { third.post(&call(3, "echo", json!({}))).await.status });
    server.asked().await.result(json!({"content": []}));
    assert_eq!(asking.await.unwrap(), 200);
}

#[tokio::test]
async fn a_stop_lets_a_call_end_and_takes_no_new_one() {
    let mut server = FakeServer::by_hand().await;
    let gateway = Gateway::before(&server.url).await;
    let url = gateway.url.clone();
    let client = Client::new(&url);
    let asking =
        tokio::spawn(async move { client.post(&call(1, "echo", json!({}))).await.json().await });
    let asked = server.asked().await;
    let stopping = tokio::spawn(gateway.stop());
    // The port closes while the call is still open.
    let closed = async {
        while TcpStream::connect(address(&url)).await.is_ok() {
            tokio::task::yield_now().await
        }
    };
    within("the port to close", closed).await;
    asked.result(json!({"content": [{"type": "text", "text": "in time"}]}));
    assert_eq!(asking.await.unwrap()["result"]["content"][0]["text"], "in time");
    assert!(stopping.await.unwrap().1.success());
}

#[tokio::test]
async fn a_stream_without_an_end_does_not_hold_up_a_stop() {
    let mut server = FakeServer::by_hand().await;
    let gateway = Gateway::before(&server.url).await;
    let client = in_session(&Client::new(&gateway.url), &mut server, "s").await;
    let listening = tokio::spawn(async move { client.get().await });
    let _outlet = server.asked().await.stream(&[]);
    let mut events = listening.await.unwrap().events();
    assert!(within("the stop", gateway.stop()).await.1.success());
    assert_eq!(events.next().await, None);
}

#[tokio::test]
async fn quiet_streams_are_kept_alive() {
    let mut server = FakeServer::by_hand().await;
    let gateway = Gateway::configured(&server.url, "timeouts: { keep_alive: 20ms }\n").await;
    let bytes = Client::new(&gateway.url).as_bytes("GET", "");
    let client = Client::new(&gateway.url);
    let mut stream = client.raw_open(&bytes).await;
    let _outlet = server.asked().await.stream(&[]);
    let mut seen = String::new();
    let comments = async {
        while seen.matches(":\n\n").count() < 2 {
            let mut chunk = [0; 1024];
            let n = tokio::io::AsyncReadExt::read(&mut stream, &mut chunk).await.unwrap();
            assert!(n > 0, "the stream ended:\n{seen}");
            seen.push_str(&String::from_utf8_lossy(&chunk[..n]));
        }
    };
    within("two comments", comments).await;
}

#[tokio::test]
async fn beyond_loopback_without_keys_it_does_not_start() {
    let built = tokio::task::spawn_blocking(tests::binaries).await.unwrap();
    let output = tokio::process::Command::new(&built.wiregate)
        .args([
            "serve",
            "--upstream",
            "http://127.0.0.1:9/mcp",
            "--listen",
            "0.0.0.0:0",
            "--no-capture",
        ])
        .output();
    let output = within("the refusal", output).await.unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("auth"), "{said}");
    let server = echo().await;
    assert_serves(&Gateway::before(&server.url).await).await;
}

#[tokio::test]
async fn beyond_the_connections_a_new_one_is_closed_and_a_place_comes_free_again() {
    let server = echo().await;
    let gateway = Gateway::configured(&server.url, "limits: { connections: 1 }\n").await;
    let client = Client::new(&gateway.url);
    let first =
        client.raw_open(&client.as_bytes("POST", &call(1, "echo", json!({})).to_string())).await;
    // It is served, so it has its place.
    within("an answer", first.readable()).await.unwrap();
    assert_eq!(
        client.raw(&client.as_bytes("POST", &call(2, "echo", json!({})).to_string())).await,
        ""
    );
    drop(first);
    let served = async {
        while client.raw(b"GET / HTTP/1.0\r\nhost: localhost\r\n\r\n").await.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    within("a place", served).await;
}

#[tokio::test]
async fn beyond_the_streams_there_is_a_503_and_calls_are_still_served() {
    let mut server = FakeServer::by_hand().await;
    let gateway = Gateway::configured(&server.url, "limits: { streams: 1 }\n").await;
    let client = Client::new(&gateway.url);
    let listening = tokio::spawn({
        let client = client.clone();
        async move { client.get().await }
    });
    let _outlet = server.asked().await.stream(&[]);
    let _first = listening.await.unwrap();
    assert_eq!(client.get().await.status, 503);
    let asking = tokio::spawn(async move { client.post(&call(1, "echo", json!({}))).await.status });
    server.asked().await.result(json!({"content": []}));
    assert_eq!(asking.await.unwrap(), 200);
}

#[tokio::test]
async fn a_connection_on_which_nothing_is_asked_is_closed() {
    let server = echo().await;
    let gateway = Gateway::configured(&server.url, "timeouts: { header_read: 200ms }\n").await;
    let client = Client::new(&gateway.url);
    // Nothing; what could become either protocol; HTTP/2 and then silence.
    for opening in ["", "P", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"] {
        client.raw(opening.as_bytes()).await;
    }
    assert_serves(&gateway).await;
}

#[tokio::test]
async fn a_client_that_takes_nothing_over_http2_is_cut_and_its_place_comes_free() {
    // More than fits into any buffer on the way.
    let text = "x".repeat(200_000);
    let server = FakeServer::start(move |exchange| {
        exchange.result(json!({"content": [{"type": "text", "text": text}]}));
    })
    .await;
    let yaml = "timeouts: { write: 200ms }\nlimits: { concurrent_requests: 1 }\n";
    let gateway = Gateway::configured(&server.url, yaml).await;
    let stream = TcpStream::connect(address(&gateway.url)).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(0)
        .handshake(TokioIo::new(stream))
        .await
        .unwrap();
    let connection = tokio::spawn(connection);
    let request = Request::post(&gateway.url)
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(call(1, "read", json!({})).to_string())))
        .unwrap();
    let answer = within("the head of an answer", sender.send_request(request)).await.unwrap();
    assert_eq!(answer.status(), 200);
    within("the cut", connection).await.unwrap().unwrap_err();
    let other = Client::new(&gateway.url).post(&call(2, "read", json!({}))).await;
    assert_eq!(other.status, 200);
}

#[tokio::test]
async fn a_subscription_is_a_stream_and_does_not_hold_up_a_stop() {
    let mut server = FakeServer::by_hand().await;
    let gateway = Gateway::configured(&server.url, "limits: { concurrent_requests: 1 }\n").await;
    let message =
        tests::modern(tests::request(1, "subscriptions/listen", json!({"notifications": {}})));
    let client = Client::modern(&gateway.url, &message);
    let listening = tokio::spawn(async move { client.post(&message).await });
    let _outlet = server.asked().await.stream(&[]);
    let mut events = listening.await.unwrap().events();
    // It left the one place of a request.
    let client = Client::new(&gateway.url);
    let asking = tokio::spawn(async move { client.post(&call(2, "echo", json!({}))).await.status });
    server.asked().await.result(json!({"content": []}));
    assert_eq!(asking.await.unwrap(), 200);
    assert!(within("the stop", gateway.stop()).await.1.success());
    assert_eq!(events.next().await, None);
}

#[tokio::test]
async fn hosts_are_names_with_or_without_a_port_and_never_two() {
    let server = echo().await;
    let gateway = Gateway::configured(
        &server.url,
        "allowed_hosts: [\"mcp.example.com:8443\", other.example.com]\n",
    )
    .await;
    for (host, status) in [
        ("mcp.example.com:8443", 200),
        ("mcp.example.com", 403),
        ("other.example.com", 200),
        ("other.example.com:1", 200),
        ("evil.example.com", 403),
    ] {
        let client = Client::new(&gateway.url).with("host", host);
        let answer = client.post(&call(1, "echo", json!({}))).await;
        assert_eq!(answer.status, status, "{host}");
    }
    let client = Client::new(&gateway.url);
    let two = String::from_utf8(client.as_bytes("POST", "")).unwrap();
    let two = two.replacen("host: ", "connection: close\r\nhost: evil.example.com\r\nhost: ", 1);
    assert!(client.raw(two.as_bytes()).await.starts_with("HTTP/1.1 403"));
    // Who may not enter is not told which servers there are.
    let strange = Client::new(&gateway.url.replace("/mcp", "/x")).with("host", "evil.example.com");
    let answer = strange.post(&call(1, "echo", json!({}))).await;
    assert_eq!(answer.status, 403);
    assert!(!String::from_utf8_lossy(&answer.bytes().await).contains("upstream"));
}
