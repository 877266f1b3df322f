//! HTTP+SSE of 2024-11-05 towards a server: one GET stream for all that it says, whose first event
//! names the endpoint that messages are posted to.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::StreamExt;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue, USER_AGENT};
use http::{Method, Request, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use tokio::time::{Instant, timeout, timeout_at};
use url::Url;

use super::UpstreamError;
use super::channels::{Channels, Dial, Link, Outbound, protocol};
use super::client::{self, Events, HttpClient, boxed, of_client};
use super::http::{AGENT, JSON};
use crate::config::{Limits, Timeouts};
use crate::envelope::Event;
use crate::snapshot::ServerSpec;
use crate::tls::TlsError;

const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream");
/// The most that is read of the answer to a post, which says nothing.
const NOTHING: usize = 64 << 10;

/// A server reached by HTTP+SSE. No connection is made yet.
///
/// # Errors
/// When the certificate authorities can't be read.
pub(super) fn open(
    spec: &Arc<ServerSpec>,
    limits: &Limits,
    timeouts: &Timeouts,
) -> Result<Channels, TlsError> {
    let dialer = SseDialer {
        client: client::new(spec, timeouts)?,
        spec: Arc::clone(spec),
        max_event: limits.sse_event.bytes(),
        first_byte: timeouts.first_byte.get(),
        silence: timeouts.channel_idle.get(),
    };
    Ok(Channels::new(Dial::Sse(Box::new(dialer)), limits, timeouts))
}

/// Opens event streams.
#[derive(Debug)]
pub(super) struct SseDialer {
    client: HttpClient,
    spec: Arc<ServerSpec>,
    max_event: usize,
    first_byte: Duration,
    silence: Duration,
}

impl SseDialer {
    pub(super) async fn open(&self) -> Result<Link, UpstreamError> {
        let until = Instant::now() + self.first_byte;
        let mut headers = self.spec.headers.clone();
        headers.insert(ACCEPT, EVENTS);
        headers.insert(USER_AGENT, AGENT);
        let mut request = Request::new(Full::default());
        *request.method_mut() = Method::GET;
        *request.uri_mut() = self.spec.url.clone();
        *request.headers_mut() = headers;
        let late = UpstreamError::Timeout { what: "first byte" };
        let response = timeout_at(until, self.client.request(request)).await;
        let response = response.map_err(|_| late.clone())?.map_err(|e| of_client(&e))?;
        let kind = response.headers().get(CONTENT_TYPE).and_then(|v| v.to_str().ok());
        let kind = kind.and_then(|kind| kind.split(';').next()).unwrap_or("").trim();
        if !response.status().is_success() || !kind.eq_ignore_ascii_case("text/event-stream") {
            return Err(protocol("no event stream where one was asked for"));
        }
        let events = Events::new(boxed(response.into_body()), self.max_event, self.silence, None);
        let mut events = events.stream();
        let first = async {
            loop {
                match events.next().await {
                    Some(Ok(Event { is_comment: true, .. })) => {}
                    Some(event) => return event,
                    None => return Err(protocol("the event stream ended at once")),
                }
            }
        };
        let first = timeout_at(until, first).await.map_err(|_| late)??;
        let endpoint = endpoint(&self.spec.url, &first)?;
        let incoming = events.filter_map(|event| async {
            match event {
                // Events of other names are no messages of MCP.
                Ok(Event { name: Some(_), .. }) => None,
                Ok(event) => event.data.map(Ok),
                Err(error) => Some(Err(error)),
            }
        });
        let poster = Poster {
            client: self.client.clone(),
            endpoint,
            headers: self.spec.headers.clone(),
            within: self.first_byte,
        };
        Ok(Link { incoming: incoming.boxed(), outgoing: Outbound::Posts(Box::new(poster)) })
    }
}

/// Where messages are posted to. Another origin would be sent what is meant for this one, the
/// gateway's credentials included.
fn endpoint(stream: &Uri, event: &Event) -> Result<Uri, UpstreamError> {
    let named = event.name.as_deref() == Some("endpoint");
    let text = event.data.as_ref().filter(|_| named);
    let text = text.and_then(|data| std::str::from_utf8(data).ok());
    let text = text.ok_or_else(|| protocol("the first event names no endpoint"))?;
    let base = Url::parse(&stream.to_string()).map_err(|_| protocol("not a URL"))?;
    let joined = base.join(text.trim()).map_err(|_| protocol("its endpoint is not a URL"))?;
    if joined.origin() != base.origin() || !joined.username().is_empty() {
        return Err(protocol("its endpoint is of another origin"));
    }
    joined.as_str().parse().map_err(|_| protocol("its endpoint is not a URL"))
}

/// Posts messages to the endpoint of one stream.
#[derive(Debug)]
pub(super) struct Poster {
    client: HttpClient,
    endpoint: Uri,
    headers: HeaderMap,
    within: Duration,
}

impl Poster {
    pub(super) async fn post(&self, raw: Bytes) -> Result<(), UpstreamError> {
        let mut headers = self.headers.clone();
        headers.insert(CONTENT_TYPE, JSON);
        headers.insert(USER_AGENT, AGENT);
        let mut request = Request::new(Full::new(raw));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.endpoint.clone();
        *request.headers_mut() = headers;
        let late = |_| UpstreamError::Timeout { what: "taking a message" };
        let response = timeout(self.within, self.client.request(request)).await.map_err(late)?;
        let response = response.map_err(|e| of_client(&e))?;
        let status = response.status();
        // Read to its end, the connection can be used again.
        let read = Limited::<Incoming>::new(response.into_body(), NOTHING).collect();
        let _ = timeout(self.within, read).await.map_err(late)?;
        if status.is_success() {
            return Ok(());
        }
        Err(UpstreamError::Protocol { detail: format!("HTTP {} to a message", status.as_u16()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_relative_or_of_the_same_origin() {
        let stream: Uri = "https://mcp.example/a/sse?key=1".parse().unwrap();
        let named = |text: &'static str| Event {
            name: Some("endpoint".into()),
            data: Some(text.into()),
            ..Event::default()
        };
        for (text, resolved) in [
            ("/message?s=1", "https://mcp.example/message?s=1"),
            ("message?s=1", "https://mcp.example/a/message?s=1"),
            ("?s=1", "https://mcp.example/a/sse?s=1"),
            ("https://mcp.example:443/m", "https://mcp.example/m"),
        ] {
            assert_eq!(endpoint(&stream, &named(text)).unwrap(), resolved, "{text}");
        }
        for text in [
            "http://mcp.example/m",
            "https://mcp.example:444/m",
            "//evil.example/m",
            "\\\\evil.example/m",
            "https://mcp.example@evil.example/m",
            "https://user@mcp.example/m",
            "https://mcp.example.evil.example/m",
            "file:///etc/passwd",
            "https://",
        ] {
            assert!(endpoint(&stream, &named(text)).is_err(), "{text}");
        }
        let unnamed = Event { data: Some("/m".into()), ..Event::default() };
        assert!(endpoint(&stream, &unnamed).is_err());
    }
}
