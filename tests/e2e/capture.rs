//! What crossed is recorded: every message, once, and in order.

use serde_json::json;
use tests::{Client, Gateway, call, within};

use crate::{echo, metric, rows};

#[tokio::test]
async fn each_message_is_a_row() {
    let server = echo().await;
    let gateway = Gateway::before(&server.url).await;
    let client = Client::new(&gateway.url);
    for n in 0..3 {
        let answer = client.post(&call(n, "echo", json!({"message": "hello"}))).await;
        assert_eq!(answer.json().await["result"]["content"][0]["text"], "hello");
    }
    client.post_bytes("no JSON").await;
    assert!(metric(&gateway, "wiregate_capture_enqueued_total").await >= 6.0);
    let capture = gateway.capture.clone();
    let _dir = within("the end", gateway.stop()).await;

    let rows = rows(&capture);
    let of = |kind: &str| {
        rows.iter().filter(|row| row.kind.as_deref() == Some(kind)).collect::<Vec<_>>()
    };
    assert_eq!((of("request").len(), of("response").len()), (3, 3));
    assert!(!of("transport").is_empty(), "the body that was no JSON");
    assert_eq!(of("gap").len(), 0);
    for (request, response) in of("request").iter().zip(of("response")) {
        assert_eq!(request.exchange_id, response.exchange_id);
        assert_eq!(
            (request.name.as_deref(), response.name.as_deref()),
            (Some("echo"), Some("echo"))
        );
        assert!(request.seq < response.seq);
    }
    let seqs: Vec<i64> = rows.iter().map(|row| row.seq).collect();
    assert_eq!(seqs, (seqs[0]..seqs[0] + seqs.len() as i64).collect::<Vec<_>>());
}
