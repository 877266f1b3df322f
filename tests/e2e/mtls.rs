//! Mutual TLS on both faces, over TCP and over QUIC: a gateway behind a gateway is the server that asks for a certificate.

use serde_json::json;
use tests::{Client, FakeServer, Gateway, call};

use crate::certs::{Authority, Pair};
use crate::{assert_serves, echo, error};

/// A gateway that asks for a certificate, and one in front of it that shows `own`.
async fn two(
    server: &FakeServer,
    (trusted, shown, more): (&Authority, Option<&Pair>, &str),
    http3: bool,
) -> (Gateway, Gateway) {
    let pair = trusted.sign("server");
    let ask = format!(", client_ca: {}{more}", trusted.file.display());
    let yaml = format!("{}http3: {http3}\n", pair.tls(&ask));
    let asking = Gateway::configured(&server.url, &yaml).await;
    let port = asking.url.rsplit_once(':').unwrap().1;
    let mut way = format!("    ca: {}\n", trusted.file.display());
    if let Some(own) = shown {
        let (cert, key) = (own.cert.display(), own.key.display());
        way += &format!("    client_cert: {{ cert: {cert}, key: {key} }}\n");
    }
    if http3 {
        way += "    transport: http3\n";
    }
    let front = Gateway::configured(&format!("https://localhost:{port}"), &way).await;
    (front, asking)
}

#[tokio::test]
async fn only_who_shows_a_certificate_of_the_authority_comes_in() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, others) = (Authority::new(dir.path(), "ours"), Authority::new(dir.path(), "others"));
    let (right, wrong) = (ours.sign("right"), others.sign("wrong"));
    let server = echo().await;
    for http3 in [false, true] {
        let (front, _asking) = two(&server, (&ours, Some(&right), ""), http3).await;
        assert_serves(&front).await;
        for shown in [None, Some(&wrong)] {
            let (front, asking) = two(&server, (&ours, shown, ""), http3).await;
            let answer = Client::new(&front.url).post(&call(7, "echo", json!({}))).await;
            assert_eq!(answer.status, 502, "HTTP/3: {http3}, shown: {}", shown.is_some());
            assert_eq!(error(&answer.json().await).0, 7);
            assert!(asking.stop().await.1.success());
        }
    }
}

#[tokio::test]
async fn where_a_certificate_is_optional_none_is_let_in_and_a_wrong_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, others) = (Authority::new(dir.path(), "ours"), Authority::new(dir.path(), "others"));
    let wrong = others.sign("wrong");
    let server = echo().await;
    for http3 in [false, true] {
        let optional = ", client_auth: optional";
        let (front, _asking) = two(&server, (&ours, None, optional), http3).await;
        assert_serves(&front).await;
        let (front, _asking) = two(&server, (&ours, Some(&wrong), optional), http3).await;
        let answer = Client::new(&front.url).post(&call(7, "echo", json!({}))).await;
        assert_eq!(answer.status, 502, "HTTP/3: {http3}");
    }
}
