//! QUIC as the HTTP/3 library wants it, on both faces: the streams of a connection, with a limit
//! on what one frame may make us hold. Not HTTP: that is the library's business, and what is asked
//! and answered is that of [`crate::downstream::quic`] and [`crate::upstream::quic`].
//!
//! The library's own adapter for quinn is not used: a frame other than DATA would be gathered
//! whole, whatever length it claims, and nobody could tell when an answer has arrived, or that the
//! client no longer waits for it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h3::error::Code;
use h3::quic::{ConnectionErrorIncoming, StreamErrorIncoming, StreamId, WriteBuf};
use quinn::VarInt;

pub(crate) use body::Received;
use frames::{Frames, TooLong};

mod body;
mod frames;

type Waiting<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type Accepted = Result<(quinn::SendStream, quinn::RecvStream), quinn::ConnectionError>;

/// The end of the other side's interest in what is sent: it stopped the stream, or is gone.
pub(crate) type Stopped = Waiting<Result<Option<VarInt>, quinn::StoppedError>>;

/// A connection, as the HTTP/3 library drives it.
pub(crate) struct Connection {
    opener: Opener,
    bi: Option<Waiting<Accepted>>,
    uni: Option<Waiting<Result<quinn::RecvStream, quinn::ConnectionError>>>,
    /// Of the stream accepted last: resolves when the client wants no answer any more.
    pub(crate) stopped: Option<Stopped>,
}

/// What opens streams on a connection.
pub(crate) struct Opener {
    connection: quinn::Connection,
    role: Role,
    limit: usize,
    bi: Option<Waiting<Accepted>>,
    uni: Option<Waiting<Result<quinn::SendStream, quinn::ConnectionError>>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Client,
    Server,
}

impl Connection {
    /// The server's side. A frame other than DATA has at most `limit` bytes.
    pub(crate) fn server(connection: quinn::Connection, limit: usize) -> Connection {
        Connection::new(connection, Role::Server, limit)
    }

    /// The client's side, likewise.
    pub(crate) fn client(connection: quinn::Connection, limit: usize) -> Connection {
        Connection::new(connection, Role::Client, limit)
    }

    fn new(connection: quinn::Connection, role: Role, limit: usize) -> Connection {
        let opener = Opener { connection, role, limit, bi: None, uni: None };
        Connection { opener, bi: None, uni: None, stopped: None }
    }
}

impl Clone for Opener {
    fn clone(&self) -> Opener {
        let connection = self.connection.clone();
        Opener { connection, role: self.role, limit: self.limit, bi: None, uni: None }
    }
}

impl<B: Buf> h3::quic::Connection<B> for Connection {
    type RecvStream = Receiving;
    type OpenStreams = Opener;

    fn poll_accept_recv(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Receiving, ConnectionErrorIncoming>> {
        let connection = &self.opener.connection;
        let stream = ready!(poll_slot(&mut self.uni, cx, || {
            let connection = connection.clone();
            Box::pin(async move { connection.accept_uni().await })
        }));
        let frames = Frames::of_unidirectional(self.opener.limit);
        Poll::Ready(stream.map(|s| Receiving::new(s, frames, self.opener.role)).map_err(lost))
    }

    fn poll_accept_bidi(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Bidi<B>, ConnectionErrorIncoming>> {
        let connection = &self.opener.connection;
        let stream = ready!(poll_slot(&mut self.bi, cx, || {
            let connection = connection.clone();
            Box::pin(async move { connection.accept_bi().await })
        }));
        let (send, receive) = stream.map_err(lost)?;
        self.stopped = Some(Box::pin(send.stopped()));
        Poll::Ready(Ok(self.opener.both(send, receive)))
    }

    fn opener(&self) -> Opener {
        self.opener.clone()
    }
}

impl<B: Buf> h3::quic::OpenStreams<B> for Connection {
    type BidiStream = Bidi<B>;
    type SendStream = Sending<B>;

    fn poll_open_bidi(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Bidi<B>, StreamErrorIncoming>> {
        self.opener.poll_open_bidi(cx)
    }

    fn poll_open_send(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Sending<B>, StreamErrorIncoming>> {
        self.opener.poll_open_send(cx)
    }

    fn close(&mut self, code: Code, reason: &[u8]) {
        h3::quic::OpenStreams::<B>::close(&mut self.opener, code, reason);
    }
}

impl Opener {
    fn both<B: Buf>(&self, send: quinn::SendStream, receive: quinn::RecvStream) -> Bidi<B> {
        let frames = Frames::of_request(self.limit);
        Bidi {
            send: Sending::new(send, self.role),
            receive: Receiving::new(receive, frames, self.role),
        }
    }
}

impl<B: Buf> h3::quic::OpenStreams<B> for Opener {
    type BidiStream = Bidi<B>;
    type SendStream = Sending<B>;

    fn poll_open_bidi(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Bidi<B>, StreamErrorIncoming>> {
        let connection = &self.connection;
        let stream = ready!(poll_slot(&mut self.bi, cx, || {
            let connection = connection.clone();
            Box::pin(async move { connection.open_bi().await })
        }));
        Poll::Ready(match stream {
            Ok((send, receive)) => Ok(self.both(send, receive)),
            Err(e) => Err(of_connection(e)),
        })
    }

    fn poll_open_send(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Sending<B>, StreamErrorIncoming>> {
        let connection = &self.connection;
        let stream = ready!(poll_slot(&mut self.uni, cx, || {
            let connection = connection.clone();
            Box::pin(async move { connection.open_uni().await })
        }));
        Poll::Ready(stream.map(|s| Sending::new(s, self.role)).map_err(of_connection))
    }

    fn close(&mut self, code: Code, reason: &[u8]) {
        self.connection.close(number(code.value()), reason);
    }
}

/// Polls what a slot waits for, beginning it where nothing is awaited yet.
fn poll_slot<T>(
    slot: &mut Option<Waiting<T>>,
    cx: &mut Context<'_>,
    begin: impl FnOnce() -> Waiting<T>,
) -> Poll<T> {
    let done = ready!(slot.get_or_insert_with(begin).as_mut().poll(cx));
    *slot = None;
    Poll::Ready(done)
}

/// The half of a stream that is written.
pub(crate) struct Sending<B> {
    stream: quinn::SendStream,
    writing: Option<WriteBuf<B>>,
    role: Role,
    is_finished: bool,
    arrived: Option<Stopped>,
}

impl<B> Sending<B> {
    fn new(stream: quinn::SendStream, role: Role) -> Sending<B> {
        Sending { stream, writing: None, role, is_finished: false, arrived: None }
    }
}

impl<B: Buf> h3::quic::SendStream<B> for Sending<B> {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        if let Some(data) = &mut self.writing {
            while data.has_remaining() {
                let stream = Pin::new(&mut self.stream);
                let written = ready!(stream.poll_write(cx, data.chunk())).map_err(of_write)?;
                data.advance(written);
            }
        }
        self.writing = None;
        Poll::Ready(Ok(()))
    }

    fn send_data<T: Into<WriteBuf<B>>>(&mut self, data: T) -> Result<(), StreamErrorIncoming> {
        self.writing = Some(data.into());
        Ok(())
    }

    /// A server's stream is finished when all of it has arrived; a client waits for the answer.
    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        if !self.is_finished {
            self.stream.finish().map_err(|e| StreamErrorIncoming::Unknown(Box::new(e)))?;
            self.is_finished = true;
        }
        if self.role == Role::Client {
            return Poll::Ready(Ok(()));
        }
        let stream = &self.stream;
        let arrived = ready!(poll_slot(&mut self.arrived, cx, || Box::pin(stream.stopped())));
        Poll::Ready(match arrived {
            Ok(None) => Ok(()),
            Ok(Some(code)) => Err(terminated(code)),
            Err(quinn::StoppedError::ConnectionLost(e)) => Err(of_connection(e)),
            Err(e) => Err(StreamErrorIncoming::Unknown(Box::new(e))),
        })
    }

    fn reset(&mut self, code: u64) {
        self.is_finished = true;
        let _ = self.stream.reset(number(code));
    }

    fn send_id(&self) -> StreamId {
        id(self.stream.id())
    }
}

impl<B> Drop for Sending<B> {
    // Left alone, quinn would finish it: what was cut off would look whole.
    fn drop(&mut self) {
        if !self.is_finished {
            let _ = self.stream.reset(number(Code::H3_REQUEST_CANCELLED.value()));
        }
    }
}

/// The half of a stream that is read.
pub(crate) struct Receiving {
    stream: quinn::RecvStream,
    frames: Frames,
    is_over: bool,
    role: Role,
}

/// The most read at once.
const PIECE: usize = 8 << 10;

impl Receiving {
    fn new(stream: quinn::RecvStream, frames: Frames, role: Role) -> Receiving {
        Receiving { stream, frames, is_over: false, role }
    }
}

impl h3::quic::RecvStream for Receiving {
    type Buf = Bytes;

    fn poll_data(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
        loop {
            match self.frames.take() {
                Ok(Some(bytes)) => return Poll::Ready(Ok(Some(bytes))),
                Ok(None) if self.is_over => return Poll::Ready(Ok(self.frames.rest())),
                Ok(None) => {}
                Err(TooLong) => {
                    let error_code = Code::H3_EXCESSIVE_LOAD.value();
                    return Poll::Ready(Err(StreamErrorIncoming::StreamTerminated { error_code }));
                }
            }
            let mut piece = [0; PIECE];
            match ready!(self.stream.poll_read(cx, &mut piece)).map_err(of_read)? {
                0 => self.is_over = true,
                n => self.frames.push(&piece[..n]),
            }
        }
    }

    fn stop_sending(&mut self, code: u64) {
        let _ = self.stream.stop(number(code));
    }

    fn recv_id(&self) -> StreamId {
        id(self.stream.id())
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        let code = match self.role {
            Role::Server => Code::H3_NO_ERROR,
            Role::Client => Code::H3_REQUEST_CANCELLED,
        };
        let _ = self.stream.stop(number(code.value()));
    }
}

/// Both halves.
pub(crate) struct Bidi<B> {
    send: Sending<B>,
    receive: Receiving,
}

impl<B: Buf> h3::quic::BidiStream<B> for Bidi<B> {
    type SendStream = Sending<B>;
    type RecvStream = Receiving;

    fn split(self) -> (Sending<B>, Receiving) {
        (self.send, self.receive)
    }
}

impl<B: Buf> h3::quic::SendStream<B> for Bidi<B> {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.send.poll_ready(cx)
    }

    fn send_data<T: Into<WriteBuf<B>>>(&mut self, data: T) -> Result<(), StreamErrorIncoming> {
        self.send.send_data(data)
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.send.poll_finish(cx)
    }

    fn reset(&mut self, code: u64) {
        self.send.reset(code);
    }

    fn send_id(&self) -> StreamId {
        self.send.send_id()
    }
}

impl<B: Buf> h3::quic::RecvStream for Bidi<B> {
    type Buf = Bytes;

    fn poll_data(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
        self.receive.poll_data(cx)
    }

    fn stop_sending(&mut self, code: u64) {
        self.receive.stop_sending(code);
    }

    fn recv_id(&self) -> StreamId {
        self.receive.recv_id()
    }
}

/// An error code as QUIC carries it.
pub(crate) fn number(code: u64) -> VarInt {
    VarInt::from_u64(code).unwrap_or(VarInt::MAX)
}

fn id(id: quinn::StreamId) -> StreamId {
    // Both sides count by the same rule (RFC 9000, section 2.1): below 2^62, which quinn keeps to.
    StreamId::try_from(u64::from(id)).expect("a QUIC stream's id is one")
}

fn terminated(code: VarInt) -> StreamErrorIncoming {
    StreamErrorIncoming::StreamTerminated { error_code: code.into_inner() }
}

fn of_connection(error: quinn::ConnectionError) -> StreamErrorIncoming {
    StreamErrorIncoming::ConnectionErrorIncoming { connection_error: lost(error) }
}

fn lost(error: quinn::ConnectionError) -> ConnectionErrorIncoming {
    match error {
        quinn::ConnectionError::ApplicationClosed(close) => {
            ConnectionErrorIncoming::ApplicationClose { error_code: close.error_code.into_inner() }
        }
        quinn::ConnectionError::TimedOut => ConnectionErrorIncoming::Timeout,
        error => ConnectionErrorIncoming::Undefined(Arc::new(error)),
    }
}

fn of_write(error: quinn::WriteError) -> StreamErrorIncoming {
    match error {
        quinn::WriteError::Stopped(code) => terminated(code),
        quinn::WriteError::ConnectionLost(error) => of_connection(error),
        error => StreamErrorIncoming::Unknown(Box::new(error)),
    }
}

fn of_read(error: quinn::ReadError) -> StreamErrorIncoming {
    match error {
        quinn::ReadError::Reset(code) => terminated(code),
        quinn::ReadError::ConnectionLost(error) => of_connection(error),
        error => StreamErrorIncoming::Unknown(Box::new(error)),
    }
}
