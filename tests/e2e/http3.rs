//! HTTP/3 on both faces: what any other version of HTTP does, and what only QUIC has.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use quinn::{TransportConfig, VarInt};
use rustls::client::{ClientSessionMemoryCache, ClientSessionStore, Resumption};
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tests::{Client, FakeServer, Gateway, call, within};
use tokio::net::TcpStream;

use crate::certs::Authority;
use crate::http3_client::{Http3, config, endpoint};
use crate::{assert_serves, echo, error, metric, rows};

/// A gateway that speaks HTTP/3, where it does, and who signed its certificate.
async fn with_http3(upstream: &str, yaml: &str) -> (Gateway, SocketAddr, Authority) {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new(dir.path(), "authority");
    let tls = authority.sign("gateway").tls("");
    let gateway = Gateway::configured(upstream, &format!("http3: true\n{tls}{yaml}")).await;
    let port = gateway.url.rsplit_once(':').unwrap().1.strip_suffix("/mcp").unwrap();
    let address = (Ipv4Addr::LOCALHOST, port.parse().unwrap()).into();
    // The files are read by now, but for the authority's.
    let kept = authority.moved_to(gateway.dir());
    (gateway, address, kept)
}

/// A gateway that reaches the one at `address` by HTTP/3.
async fn in_front_of(address: SocketAddr, authority: &Authority, yaml: &str) -> Gateway {
    let ca = authority.file.display();
    let way = format!("    ca: {ca}\n    transport: http3\n{yaml}");
    Gateway::configured(&format!("https://localhost:{}/mcp", address.port()), &way).await
}

fn progress(n: u32) -> Value {
    let params = json!({"progressToken": 1, "progress": n});
    json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": params})
}

#[tokio::test]
async fn a_call_is_a_call() {
    let server = echo().await;
    let (gateway, address, authority) = with_http3(&server.url, "").await;
    let mut client = Http3::connect(address, authority.client(None)).await;
    for n in 0..3 {
        let answer = client.post(&call(n, "echo", json!({"message": "three"}))).await;
        assert_eq!((answer.status, answer.headers.get("alt-svc")), (200, None));
        assert_eq!(answer.headers["content-type"], "application/json");
        let answer = answer.json().await;
        assert_eq!(
            (&answer["id"], &answer["result"]["content"][0]["text"]),
            (&json!(n), &json!("three"))
        );
    }
    let capture = gateway.capture.clone();
    let _dir = gateway.stop().await;
    let rows = rows(&capture);
    assert_eq!(rows.iter().filter(|row| row.transport.as_deref() == Some("http/3")).count(), 6);
}

#[tokio::test]
async fn a_stream_comes_event_by_event_from_end_to_end_over_http3() {
    let mut server = FakeServer::by_hand().await;
    let (_behind, address, authority) = with_http3(&server.url, "").await;
    let front = in_front_of(address, &authority, "").await;
    let client = Client::new(&front.url);
    let asking = tokio::spawn(async move { client.post(&call(1, "slow", json!({}))).await });
    let mut outlet = server.asked().await.stream(&[]);
    assert!(outlet.event(&progress(1)).await);
    let mut events = asking.await.unwrap().events();
    assert_eq!(events.next().await.unwrap().message(), progress(1));
    assert!(outlet.event(&progress(2)).await);
    assert_eq!(events.next().await.unwrap().message(), progress(2));
    let answer = json!({"jsonrpc": "2.0", "id": 1, "result": {"content": []}});
    assert!(outlet.event(&answer).await);
    drop(outlet);
    assert_eq!(events.next().await.unwrap().message(), answer);
    assert_eq!(events.next().await, None);
}

#[tokio::test]
async fn large_bodies_pass_and_too_large_ones_are_told_so() {
    let server = echo().await;
    let (_behind, address, authority) = with_http3(&server.url, "").await;
    let front = in_front_of(address, &authority, "").await;
    let text = "x".repeat(3 << 20);
    let message = call(1, "echo", json!({"message": text}));
    let answer = Client::new(&front.url).post(&message).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json().await["result"]["content"][0]["text"], text);

    let mut client = Http3::connect(address, authority.client(None)).await;
    let too_large = call(1, "echo", json!({"message": "x".repeat(5 << 20)}));
    let answer = client.post(&too_large).await;
    assert_eq!(answer.status, 413);
    assert_eq!(error(&answer.json().await).1, 1004);
    // Twice the limit is still read, so that it can be answered.
    let padding = "x".repeat(20 << 10);
    for (more, status) in [(&[("x-padding", &*padding)][..], 431), (&[][..], 200)] {
        let body = call(2, "echo", json!({"message": "y"})).to_string();
        let answer = client.send(Method::POST, more, body).await.unwrap();
        assert_eq!(answer.status, status);
    }
}

#[tokio::test]
async fn a_lost_connection_to_the_server_is_opened_again() {
    let server = echo().await;
    let short = "timeouts: { header_read: 1s }\n";
    let (behind, address, authority) = with_http3(&server.url, short).await;
    let front = in_front_of(address, &authority, "").await;
    for _ in 0..2 {
        assert_serves(&front).await;
        let closed = async {
            while metric(&behind, "wiregate_connections").await > 0.0 {
                tokio::task::yield_now().await;
            }
        };
        within("the connection's end", closed).await;
    }
}

#[tokio::test]
async fn nobody_at_the_port_is_a_502() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new(dir.path(), "authority");
    let silent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = silent.local_addr().unwrap();
    let front = in_front_of(address, &authority, "timeouts: { connect: 200ms }\n").await;
    let answer = Client::new(&front.url).post(&call(1, "echo", json!({}))).await;
    assert_eq!(answer.status, 502);
    assert_eq!(error(&answer.json().await), (&json!(1), 1005));
}

#[tokio::test]
async fn those_who_came_over_tcp_are_told() {
    let server = echo().await;
    let (_gateway, address, authority) = with_http3(&server.url, "").await;
    let connector = tokio_rustls::TlsConnector::from(Arc::new(authority.client(None)));
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = within("the handshake", connector.connect(name, stream)).await.unwrap();
    let exchange = async {
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let request = Request::get("/nowhere").header("host", "localhost");
        let request = request.body(Full::new(Bytes::new())).unwrap();
        sender.send_request(request).await.unwrap()
    };
    let answer = within("an answer", exchange).await;
    let told = format!("h3=\":{}\"; ma=86400", address.port());
    assert_eq!(answer.headers()["alt-svc"], told);
}

#[tokio::test]
async fn a_client_that_moves_keeps_its_stream() {
    let mut server = FakeServer::by_hand().await;
    let (_gateway, address, authority) = with_http3(&server.url, "").await;
    let mut client = Http3::connect(address, authority.client(None)).await;
    let (mut stream, mut outlet) =
        tokio::join!(client.get(), async { server.asked().await.stream(&[]) });
    assert!(outlet.event(&progress(1)).await);
    assert_eq!(stream.event().await, progress(1));
    let before = client.endpoint.local_addr().unwrap();
    client.endpoint.rebind(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()).unwrap();
    assert_ne!(client.endpoint.local_addr().unwrap(), before);
    assert!(outlet.event(&progress(2)).await);
    assert_eq!(stream.event().await, progress(2));
    let (answer, ()) = tokio::join!(client.get(), async {
        server.asked().await.raw(405, &[], "");
    });
    assert_eq!(answer.status, 405, "the same connection takes further requests");
}

/// Tells of each ticket it is given, and keeps it.
#[derive(Debug)]
struct Tickets {
    kept: ClientSessionMemoryCache,
    came: tokio::sync::Notify,
}

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, name: ServerName<'static>, group: rustls::NamedGroup) {
        self.kept.set_kx_hint(name, group);
    }
    fn kx_hint(&self, name: &ServerName<'_>) -> Option<rustls::NamedGroup> {
        self.kept.kx_hint(name)
    }
    fn set_tls12_session(
        &self,
        name: ServerName<'static>,
        value: rustls::client::Tls12ClientSessionValue,
    ) {
        self.kept.set_tls12_session(name, value);
    }
    fn tls12_session(
        &self,
        name: &ServerName<'_>,
    ) -> Option<rustls::client::Tls12ClientSessionValue> {
        self.kept.tls12_session(name)
    }
    fn remove_tls12_session(&self, name: &ServerName<'static>) {
        self.kept.remove_tls12_session(name);
    }
    fn insert_tls13_ticket(
        &self,
        name: ServerName<'static>,
        value: rustls::client::Tls13ClientSessionValue,
    ) {
        self.kept.insert_tls13_ticket(name, value);
        self.came.notify_one();
    }
    fn take_tls13_ticket(
        &self,
        name: &ServerName<'static>,
    ) -> Option<rustls::client::Tls13ClientSessionValue> {
        self.kept.take_tls13_ticket(name)
    }
}

#[tokio::test]
async fn nothing_is_taken_before_the_end_of_a_handshake() {
    let server = echo().await;
    let (_gateway, address, authority) = with_http3(&server.url, "").await;
    let tickets =
        Arc::new(Tickets { kept: ClientSessionMemoryCache::new(8), came: Default::default() });
    let mut tls = authority.client(None);
    tls.enable_early_data = true;
    tls.resumption = Resumption::store(Arc::clone(&tickets) as Arc<dyn ClientSessionStore>);
    let config = config(tls, TransportConfig::default());
    let mut client = Http3::connect_with(address, config.clone()).await.unwrap();
    assert_eq!(client.post(&call(1, "echo", json!({}))).await.status, 200);
    within("a ticket", tickets.came.notified()).await;
    let again = endpoint().connect_with(config, address, "localhost").unwrap();
    let again = again.into_0rtt().err().expect("no early data, though the session is known");
    within("the handshake", again).await.unwrap();
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_cut_and_its_place_comes_free() {
    let text = "x".repeat(3 << 20);
    let server = FakeServer::start(move |exchange| {
        exchange.result(json!({"content": [{"type": "text", "text": text}]}));
    })
    .await;
    let yaml = "timeouts: { write: 200ms }\nlimits: { concurrent_requests: 1 }\n";
    let (_gateway, address, authority) = with_http3(&server.url, yaml).await;
    let mut transport = TransportConfig::default();
    transport.stream_receive_window(VarInt::from_u32(4096));
    let config = config(authority.client(None), transport);
    let mut stuck = Http3::connect_with(address, config).await.unwrap();
    let answer = stuck.post(&call(1, "read", json!({}))).await;
    assert_eq!(answer.status, 200);
    within("the cut", stuck.connection.closed()).await;
    let mut other = Http3::connect(address, authority.client(None)).await;
    let answer = other.post(&call(2, "read", json!({}))).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json().await["id"], 2);
}

#[tokio::test]
async fn who_no_longer_waits_leaves_the_place_to_others() {
    let (hold, mut held) = tokio::sync::mpsc::channel(1);
    let server =
        FakeServer::start(move |exchange| match exchange.message()["params"]["name"].as_str() {
            Some("hold") => hold.try_send(exchange).unwrap(),
            _ => exchange.result(json!({"content": []})),
        })
        .await;
    let yaml = "limits: { concurrent_requests: 1 }\n";
    let (_gateway, address, authority) = with_http3(&server.url, yaml).await;
    let mut client = Http3::connect(address, authority.client(None)).await;
    let hold = call(1, "hold", json!({}));
    let _held = tokio::select! {
        _ = client.post(&hold) => panic!("nobody answered"),
        held = held.recv() => held.unwrap(),
    };
    // What was dropped here is the request; its connection lives on.
    let served = async {
        loop {
            match client.post(&call(2, "echo", json!({}))).await.status {
                503 => {}
                status => return status,
            }
        }
    };
    assert_eq!(within("a place", served).await, 200);
}

#[tokio::test]
async fn a_stop_lets_a_call_end_and_ends_a_stream_without_end() {
    let mut server = FakeServer::by_hand().await;
    let (gateway, address, authority) = with_http3(&server.url, "").await;
    let mut listening = Http3::connect(address, authority.client(None)).await;
    let (mut stream, _outlet) =
        tokio::join!(listening.get(), async { server.asked().await.stream(&[]) });
    let mut client = Http3::connect(address, authority.client(None)).await;
    let asking =
        tokio::spawn(async move { client.post(&call(1, "echo", json!({}))).await.json().await });
    let asked = server.asked().await;
    let stopping = tokio::spawn(gateway.stop());
    assert_eq!(stream.event().await, Value::Null);
    asked.result(json!({"content": [{"type": "text", "text": "in time"}]}));
    assert_eq!(asking.await.unwrap()["result"]["content"][0]["text"], "in time");
    assert!(stopping.await.unwrap().1.success());
}

#[tokio::test]
async fn beyond_the_connections_a_new_one_is_refused() {
    let server = echo().await;
    let (_gateway, address, authority) =
        with_http3(&server.url, "limits: { connections: 1 }\n").await;
    let mut first = Http3::connect(address, authority.client(None)).await;
    assert_eq!(first.post(&call(1, "echo", json!({}))).await.status, 200);
    let config = config(authority.client(None), TransportConfig::default());
    assert!(Http3::connect_with(address, config).await.is_err());
    assert_eq!(first.post(&call(2, "echo", json!({}))).await.status, 200);
}
