//! Who gets what of one channel, with the other side in the test's hands.

use super::*;

/// A channel whose other side is in the test's hands.
struct Peer {
    channel: Arc<Channel>,
    says: mpsc::Sender<Result<Bytes, UpstreamError>>,
    hears: mpsc::Receiver<Bytes>,
}

const TIMES: Times = Times {
    first_byte: Duration::from_secs(10),
    idle: Duration::from_secs(10),
    total: Duration::from_secs(60),
    channel_idle: Duration::from_secs(600),
};

fn peer() -> Peer {
    let (frames, hears) = mpsc::channel(8);
    let (says, said) = mpsc::channel(8);
    let bounds = Bounds { calls: 2, batch: 10, kept: 200, parse: ParseLimits::default() };
    let channel = Channel::new(Outbound::Frames(frames, Duration::from_secs(1)), bounds);
    let incoming = stream::unfold(said, |mut said| async { Some((said.recv().await?, said)) });
    tokio::spawn(Arc::clone(&channel).read(incoming.boxed(), TIMES.channel_idle));
    Peer { channel, says, hears }
}

impl Peer {
    async fn says(&self, text: &str) {
        self.says.send(Ok(text.to_owned().into())).await.unwrap();
    }

    /// Sends a request, and gives its answer-to-be once the peer has heard it.
    async fn asks(&mut self, text: &str) -> tokio::task::JoinHandle<Result<Reply, UpstreamError>> {
        let channel = Arc::clone(&self.channel);
        let message = request(text);
        let call = tokio::spawn(async move { channel.call(message, TIMES).await });
        assert_eq!(self.hears.recv().await.unwrap(), text);
        call
    }
}

fn request(text: &str) -> Outgoing {
    let peek = Peek::of(text.as_bytes()).unwrap();
    let mut head = crate::envelope::Head::error();
    head.kind = inspect::message::Kind::Request;
    head.id = peek.id();
    Outgoing::intact(text.to_owned().into(), &head)
}

async fn frames(reply: Reply) -> Vec<String> {
    let text = |bytes: Bytes| String::from_utf8(bytes.to_vec()).unwrap();
    match reply.body {
        Body::Empty => Vec::new(),
        Body::One(frame) => vec![text(frame)],
        Body::Stream(events) => {
            events.map(|event| text(event.unwrap().data.unwrap())).collect().await
        }
    }
}

#[tokio::test]
async fn answers_find_their_calls_in_whatever_order_and_spelling() {
    let mut peer = peer();
    let first = peer.asks(r#"{"id":1,"method":"a"}"#).await;
    let second = peer.asks(r#"{"id":"1","method":"b"}"#).await;
    peer.says(r#"{"id":"\u0031","result":"b"}"#).await;
    peer.says(r#"{"id":1,"result":"a"}"#).await;
    let answer = |reply: Result<Reply, UpstreamError>| async { frames(reply.unwrap()).await };
    assert_eq!(answer(second.await.unwrap()).await, [r#"{"id":"\u0031","result":"b"}"#]);
    assert_eq!(answer(first.await.unwrap()).await, [r#"{"id":1,"result":"a"}"#]);
}

#[tokio::test]
async fn what_comes_meanwhile_goes_to_the_call_it_names_else_to_the_last_and_else_to_the_listener()
{
    let mut peer = peer();
    peer.says(r#"{"method":"before"}"#).await;
    let first =
        peer.asks(r#"{"id":1,"method":"a","params":{"_meta":{"progressToken":"t"}}}"#).await;
    let second = peer.asks(r#"{"id":2,"method":"b"}"#).await;
    peer.says(r#"{"method":"notifications/progress","params":{"progressToken":"t"}}"#).await;
    peer.says(r#"[{"method":"log"},{"id":1,"method":"ask"}]"#).await;
    peer.says(r#"{"id":2,"result":{}}"#).await;
    peer.says(r#"{"id":1,"result":{}}"#).await;
    let first = frames(first.await.unwrap().unwrap()).await;
    assert_eq!(first.len(), 2, "{first:?}");
    assert!(first[0].contains("progress") && first[1].contains("result"), "{first:?}");
    let second = frames(second.await.unwrap().unwrap()).await;
    assert_eq!(second.len(), 3, "{second:?}");
    assert_eq!(second[1], r#"{"id":1,"method":"ask"}"#);
    let listening = peer.channel.listen();
    peer.says(r#"{"method":"after"}"#).await;
    let Body::Stream(mut said) = listening.body else { panic!("no stream") };
    for expected in ["before", "after"] {
        let event = said.next().await.unwrap().unwrap();
        assert!(event.data.unwrap().ends_with(format!("{expected}\"}}").as_bytes()));
    }
}

#[tokio::test]
async fn an_id_under_way_is_not_taken_twice_and_calls_have_a_limit() {
    let mut peer = peer();
    let _first = peer.asks(r#"{"id":1,"method":"a"}"#).await;
    let again = peer.channel.call(request(r#"{"id":1,"method":"b"}"#), TIMES).await;
    assert!(matches!(again, Err(UpstreamError::Protocol { .. })));
    let _second = peer.asks(r#"{"id":2,"method":"a"}"#).await;
    let third = peer.channel.call(request(r#"{"id":3,"method":"b"}"#), TIMES).await;
    assert!(matches!(third, Err(UpstreamError::Protocol { .. })));
}

#[tokio::test]
async fn who_waits_is_told_when_the_channel_ends_or_time_is_up() {
    let mut peer = peer();
    let at_once = Times { first_byte: Duration::ZERO, ..TIMES };
    let late = peer.channel.call(request(r#"{"id":1,"method":"a"}"#), at_once).await;
    peer.hears.recv().await.unwrap();
    let late = late.unwrap_err();
    assert_eq!(late, UpstreamError::Timeout { what: "answer" });
    let cut = peer.asks(r#"{"id":1,"method":"a"}"#).await;
    peer.says.send(Err(protocol("a binary frame"))).await.unwrap();
    assert_eq!(cut.await.unwrap().unwrap_err(), protocol("a binary frame"));
    let after = peer.channel.call(request(r#"{"id":2,"method":"a"}"#), TIMES).await;
    assert_eq!(after.unwrap_err(), protocol("a binary frame"));
}

#[tokio::test]
async fn a_request_nobody_is_there_for_is_refused_when_no_more_is_kept() {
    let mut peer = peer();
    let long = "x".repeat(150);
    peer.says(&format!(r#"{{"method":"{long}"}}"#)).await;
    peer.says(&format!(r#"{{"id":"q","method":"{long}"}}"#)).await;
    let refusal = peer.hears.recv().await.unwrap();
    assert!(refusal.starts_with(br#"{"jsonrpc":"2.0","id":"q","error""#), "{refusal:?}");
}

#[tokio::test]
async fn a_stateless_call_whose_reader_goes_is_cancelled() {
    let mut peer = peer();
    let mut message = request(r#"{"id":7,"method":"a"}"#);
    message.head.claim = Claim::Complete("2026-07-28".into());
    let channel = Arc::clone(&peer.channel);
    let call = tokio::spawn(async move { channel.call(message, TIMES).await });
    peer.hears.recv().await.unwrap();
    call.abort();
    let cancelled = peer.hears.recv().await.unwrap();
    assert!(cancelled.ends_with(br#""notifications/cancelled","params":{"requestId":7}}"#));
    assert!(peer.channel.reserve() && !peer.channel.reserve());
}
