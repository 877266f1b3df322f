//! Bodies that come over HTTP/3, for those who read bodies and care for no version of HTTP.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h3::error::StreamError;
use hyper::body::{Body, Frame};

use super::Receiving;

/// A body under way: of a request where the stream is a server's, of an answer where it is a
/// client's. Trailers are left unread: MCP has none.
pub(crate) struct Received<S, K = ()> {
    stream: S,
    /// What must live as long as the body does.
    _keep: K,
}

impl<S, K> Received<S, K> {
    /// The body that `stream` carries.
    pub(crate) fn new(stream: S, keep: K) -> Received<S, K> {
        Received { stream, _keep: keep }
    }
}

type OfRequest = h3::server::RequestStream<Receiving, Bytes>;
type OfAnswer = h3::client::RequestStream<Receiving, Bytes>;

impl Body for Received<OfRequest> {
    type Data = Bytes;
    type Error = StreamError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StreamError>>> {
        let data = ready!(self.stream.poll_recv_data(cx));
        Poll::Ready(data.map(|data| data.map(frame)).transpose())
    }
}

impl<K: Unpin> Body for Received<OfAnswer, K> {
    type Data = Bytes;
    type Error = StreamError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StreamError>>> {
        let data = ready!(self.stream.poll_recv_data(cx));
        Poll::Ready(data.map(|data| data.map(frame)).transpose())
    }
}

fn frame(mut data: impl Buf) -> Frame<Bytes> {
    Frame::data(data.copy_to_bytes(data.remaining()))
}
