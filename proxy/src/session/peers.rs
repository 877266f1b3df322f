//! The other replicas. A request that needs what one of them remembers is sent there over HTTP, with
//! the client's MCP headers and a mark that says who the client is; its token is not sent again.
//!
//! The mark is sealed with the key that all replicas have in common. It is of one message, one
//! endpoint, one replica and one moment, and is taken once: no client can make one, and who could
//! read one on its way can do nothing with it. What came with a mark goes no further, so that no
//! loop is possible.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use capture::Str;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, StatusCode, Uri};
use inspect::Parser;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::fronts::{self, Fronts};
use super::seal::{Sealer, bind};
use crate::config::Config;
use crate::envelope::{Claim, Context, Head, Reply};
use crate::era;
use crate::policy::inspect::parse_limits;
use crate::policy::{Denied, FORBIDDEN};
use crate::snapshot::{ServerSpec, Snapshot, hex};
use crate::tls::TlsError;
use crate::upstream::http::HttpUpstream;
use crate::upstream::{Outgoing, Upstream as _, UpstreamError};

/// The header that carries a mark.
pub const HOP: HeaderName = HeaderName::from_static("wiregate-hop");

/// Milliseconds that two replicas' clocks may differ, a mark's way included.
pub const SKEW: u64 = 30_000;

/// The ways to the other replicas.
#[derive(Debug)]
pub struct Peers {
    /// This replica's name.
    own: Option<Str>,
    /// The others, by name.
    peers: BTreeMap<Str, (Uri, HttpUpstream)>,
}

/// What is sealed in a mark.
#[derive(Serialize, Deserialize)]
struct Mark {
    /// In milliseconds since 1970.
    time: u64,
    once: Str,
    principal: Option<Str>,
    /// The SHA-256 of the message.
    body: Str,
}

/// A request that another replica sent on, and for whom.
#[derive(Debug)]
pub struct Hop {
    /// Whose request it is; the other replica has seen the key.
    pub principal: Option<Str>,
    body: Str,
}

/// Sends a message to the replica that remembers what it belongs to, for the client of `cx` and to
/// the same server there. What comes back was inspected there.
///
/// # Errors
/// [`UpstreamError::Elsewhere`] when that replica is not configured or can't be reached, or when
/// the message came from a replica itself.
pub async fn forward(replica: &str, cx: &Context, raw: Bytes) -> Result<Reply, UpstreamError> {
    let snapshot = Arc::clone(&cx.snapshot);
    snapshot.peers.forward(replica, cx, raw, fronts::now()).await
}

/// The mark on a request, when it has one; `now` is in milliseconds since 1970.
///
/// # Errors
/// 403 for one that is not by a replica with our key, for us and this endpoint, just now, and for
/// the first time.
pub fn accept(
    snapshot: &Snapshot,
    fronts: &Fronts,
    server: &str,
    parts: &Parts,
    now: u64,
) -> Result<Option<Hop>, Denied> {
    let mut marks = parts.headers.get_all(HOP).iter();
    let Some(mark) = marks.next() else { return Ok(None) };
    // A mark is of one message: there is none but with a POST.
    let alone = marks.next().is_none() && parts.method == Method::POST;
    let text = mark.to_str().ok().filter(|_| alone);
    let mark = text.zip(snapshot.peers.own.as_deref()).and_then(|(text, own)| {
        let plain = snapshot.sealer.open(&bound(own, server), text)?;
        let mark: Mark = serde_json::from_slice(&plain).ok()?;
        let fits = now.abs_diff(mark.time) <= SKEW && fronts.is_first(&mark.once);
        fits.then_some(mark)
    });
    let Some(Mark { principal, body, .. }) = mark else { return Err(forged()) };
    Ok(Some(Hop { principal, body }))
}

impl Hop {
    /// Whether the message is the one that was marked.
    ///
    /// # Errors
    /// 403 for another.
    pub fn check(&self, message: &[u8]) -> Result<(), Denied> {
        if *self.body == *digest(message) { Ok(()) } else { Err(forged()) }
    }
}

impl Peers {
    /// The replicas of a configuration. No connection is made yet.
    ///
    /// # Errors
    /// When the authorities for them can't be read.
    pub fn new(config: &Config) -> Result<Peers, TlsError> {
        let sessions = &config.sessions;
        let mut peers = BTreeMap::new();
        for (name, address) in &sessions.peers {
            // One that is no address was told by then.
            let Some(uri) = address.uri() else { continue };
            let mut spec = ServerSpec::child(name);
            spec.url = uri.clone();
            spec.ca.clone_from(&sessions.peers_ca);
            let way = HttpUpstream::new(Arc::new(spec), &config.limits, &config.timeouts)?;
            peers.insert(name.as_str().into(), (uri, way));
        }
        Ok(Peers { own: sessions.replica.as_deref().map(Into::into), peers })
    }

    /// This replica's name, where it has one.
    pub fn own(&self) -> Option<&str> {
        self.own.as_deref()
    }

    async fn forward(
        &self,
        replica: &str,
        cx: &Context,
        raw: Bytes,
        now: u64,
    ) -> Result<Reply, UpstreamError> {
        let elsewhere = || UpstreamError::Elsewhere { replica: replica.to_owned() };
        let own = self.own.as_deref() == Some(replica);
        let Some((base, way)) = self.peers.get(replica).filter(|_| !own && !cx.headers.hopped)
        else {
            return Err(elsewhere());
        };
        let head = head(cx, &raw)?;
        let mark = mark(&cx.snapshot.sealer, replica, cx, &raw, now).ok_or_else(elsewhere)?;
        let mut spec = ServerSpec::child(replica);
        spec.url = endpoint(base, &cx.server.name).ok_or_else(elsewhere)?;
        spec.headers.insert(HOP, mark);
        let way = way.toward(Arc::new(spec));
        let mut reply = match way.call(&onward(cx, &head), Outgoing::intact(raw, &head)).await {
            // It was sent to nobody, or refused as nobody's: the call still waits there.
            Err(UpstreamError::Unreachable { .. }) => return Err(elsewhere()),
            Ok(reply) if reply.status == Some(StatusCode::FORBIDDEN) => return Err(elsewhere()),
            reply => reply?,
        };
        // It is the client's own id that comes back, which it has.
        reply.session = None;
        Ok(reply)
    }
}

fn head(cx: &Context, raw: &[u8]) -> Result<Head, UpstreamError> {
    let mut parser = Parser::new(parse_limits(&cx.snapshot.config.limits));
    let head = parser.parse(raw, Head::of);
    head.map_err(|e| UpstreamError::Protocol { detail: e.to_string() })
}

/// The context of a message that goes on: with the client's own session, and headers that say what
/// the message does, wherever it came from.
fn onward(cx: &Context, head: &Head) -> Context {
    let mut onward = cx.clone();
    let headers = &mut onward.headers;
    headers.session = headers.sealed.take();
    if let Claim::Complete(version) = &head.claim {
        let encode = |text: &Str| era::encode(text.as_bytes());
        headers.version = Some(version).and_then(encode);
        headers.method = head.method.as_ref().and_then(encode).into_iter().collect();
        headers.name = head.name.as_ref().and_then(encode).into_iter().collect();
    }
    onward
}

fn mark(sealer: &Sealer, replica: &str, cx: &Context, raw: &[u8], now: u64) -> Option<HeaderValue> {
    let mark = Mark {
        time: now,
        once: hex(&sealer.fresh()).into(),
        principal: cx.principal.clone(),
        body: digest(raw),
    };
    let sealed = sealer.seal(&bound(replica, &cx.server.name), &serde_json::to_vec(&mark).ok()?);
    let mut mark = HeaderValue::from_str(&sealed).ok()?;
    mark.set_sensitive(true);
    Some(mark)
}

fn bound(replica: &str, server: &str) -> Vec<u8> {
    bind(&[b"hop", replica.as_bytes(), server.as_bytes()])
}

fn digest(message: &[u8]) -> Str {
    hex(&Sha256::digest(message)).into()
}

fn endpoint(base: &Uri, server: &str) -> Option<Uri> {
    let mut parts = base.clone().into_parts();
    parts.path_and_query = Some(format!("/mcp/{server}").parse().ok()?);
    Uri::from_parts(parts).ok()
}

fn forged() -> Denied {
    let message = "the mark of another replica is not valid";
    Denied::new(StatusCode::FORBIDDEN, FORBIDDEN, "forged_hop", message)
}

#[cfg(test)]
mod tests;
