//! Mutual TLS on both faces, over TCP and over QUIC: a gateway behind a gateway is the server that asks for a certificate.

use serde_json::json;
use tests::{Client, FakeServer, Gateway, call};

use crate::certs::{Authority, Pair};
use crate::{assert_serves, echo, error};

/// A gateway that asks for a certificate of `trusted`'s.
async fn asking(server: &FakeServer, trusted: &Authority, more: &str, http3: bool) -> Gateway {
    let ask = format!(", client_ca: {}{more}", trusted.file.display());
    let yaml = format!("{}http3: {http3}\n", trusted.sign("server").tls(&ask));
    Gateway::configured(&server.url, &yaml).await
}

/// One in front of it that shows `own`.
async fn showing(
    own: Option<&Pair>,
    asking: &Gateway,
    trusted: &Authority,
    http3: bool,
) -> Gateway {
    let port = asking.url.rsplit_once(':').unwrap().1;
    let mut way = format!("    ca: {}\n", trusted.file.display());
    if let Some(own) = own {
        let (cert, key) = (own.cert.display(), own.key.display());
        way += &format!("    client_cert: {{ cert: {cert}, key: {key} }}\n");
    }
    if http3 {
        way += "    transport: http3\n";
    }
    Gateway::configured(&format!("https://localhost:{port}"), &way).await
}

async fn assert_refused(front: &Gateway) {
    let answer = Client::new(&front.url).post(&call(7, "echo", json!({}))).await;
    assert_eq!(answer.status, 502);
    assert_eq!(error(&answer.json().await).0, 7);
}

async fn only_who_shows_one_comes_in(http3: bool) {
    let dir = tempfile::tempdir().unwrap();
    let (ours, others) = (Authority::new(dir.path(), "ours"), Authority::new(dir.path(), "others"));
    let (right, wrong) = (ours.sign("right"), others.sign("wrong"));
    let server = echo().await;
    let asking = asking(&server, &ours, "", http3).await;
    assert_serves(&showing(Some(&right), &asking, &ours, http3).await).await;
    assert_refused(&showing(None, &asking, &ours, http3).await).await;
    assert_refused(&showing(Some(&wrong), &asking, &ours, http3).await).await;
}

#[tokio::test]
async fn only_who_shows_a_certificate_of_the_authority_comes_in_over_tcp() {
    only_who_shows_one_comes_in(false).await;
}

#[tokio::test]
async fn only_who_shows_a_certificate_of_the_authority_comes_in_over_quic() {
    only_who_shows_one_comes_in(true).await;
}

#[tokio::test]
async fn where_a_certificate_is_optional_none_is_let_in_and_a_wrong_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, others) = (Authority::new(dir.path(), "ours"), Authority::new(dir.path(), "others"));
    let wrong = others.sign("wrong");
    let server = echo().await;
    let asking = asking(&server, &ours, ", client_auth: optional", true).await;
    for http3 in [false, true] {
        assert_serves(&showing(None, &asking, &ours, http3).await).await;
        assert_refused(&showing(Some(&wrong), &asking, &ours, http3).await).await;
    }
}
