//! What the transports over HTTP share: a client with its pool and TLS, and the events of a body.

use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::{Instant, timeout_at};

use super::UpstreamError;
use super::sse::Decoder;
use crate::config::Timeouts;
use crate::envelope::Event;
use crate::snapshot::ServerSpec;
use crate::tls;

/// The body of an answer, of whatever version of HTTP.
pub(super) type Answer = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// A client of one server.
pub(super) type HttpClient = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// A client for `spec`. No connection is made yet.
///
/// # Errors
/// When the certificate authorities can't be read.
pub(super) fn new(spec: &ServerSpec, timeouts: &Timeouts) -> Result<HttpClient, tls::TlsError> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(timeouts.connect.get()));
    let tls = HttpsConnectorBuilder::new()
        .with_tls_config(tls::client(
            spec.ca.as_deref(),
            spec.client_cert.as_ref(),
            spec.url.scheme_str() == Some("https"),
        )?)
        .https_or_http()
        .enable_all_versions()
        .wrap_connector(tcp);
    Ok(Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(Duration::from_secs(90))
        .build(tls))
}

/// The body of an answer over TCP.
pub(super) fn boxed(body: Incoming) -> Answer {
    body.map_err(Into::into).boxed_unsync()
}

/// An event stream under way.
pub(super) struct Events {
    body: Answer,
    decoder: Decoder,
    idle: Duration,
    deadline: Option<Instant>,
    done: bool,
}

impl Events {
    /// The events of a body, each at most `max_event` bytes. It may be silent for `idle`.
    pub(super) fn new(
        body: Answer,
        max_event: usize,
        idle: Duration,
        deadline: Option<Instant>,
    ) -> Events {
        Events { body, decoder: Decoder::new(max_event), idle, deadline, done: false }
    }

    /// One by one, as they come; the last may be an error.
    pub(super) fn stream(self) -> BoxStream<'static, Result<Event, UpstreamError>> {
        stream::unfold(self, Events::next).boxed()
    }

    async fn next(mut self) -> Option<(Result<Event, UpstreamError>, Events)> {
        let error = loop {
            match self.decoder.next_event() {
                Ok(Some(event)) => return Some((Ok(event), self)),
                Ok(None) if self.done => return None,
                Ok(None) => {}
                Err(_) if self.done => return None,
                Err(e) => break e,
            }
            let idle = Instant::now() + self.idle;
            let until = self.deadline.map_or(idle, |d| d.min(idle));
            match timeout_at(until, self.body.frame()).await {
                Err(_) => break UpstreamError::Timeout { what: "event stream" },
                Ok(None) => {
                    self.decoder.finish();
                    self.done = true;
                }
                Ok(Some(Ok(frame))) => {
                    if let Some(data) = frame.data_ref() {
                        self.decoder.push(data);
                    }
                }
                Ok(Some(Err(e))) => break UpstreamError::Closed { detail: e.to_string() },
            }
        };
        self.done = true;
        Some((Err(error), self))
    }
}

/// What hyper's client says, without the URL it may hold.
pub(super) fn of_client(error: &hyper_util::client::legacy::Error) -> UpstreamError {
    let mut detail = String::new();
    let mut source: Option<&dyn std::error::Error> = std::error::Error::source(error);
    while let Some(cause) = source {
        if !detail.is_empty() {
            detail.push_str(": ");
        }
        detail.push_str(&cause.to_string());
        source = cause.source();
    }
    if error.is_connect() {
        UpstreamError::Unreachable { detail }
    } else {
        UpstreamError::Closed { detail }
    }
}
