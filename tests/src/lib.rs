//! The harness of the end-to-end tests: the real gateway between a client and a server that the test holds in its hands.
//!
//! The central types: [`Gateway`] (the `wiregate` binary as a child process), [`FakeServer`] (an MCP server inside the
//! test, which hands each request over as an [`Exchange`]) and [`Client`] (plain HTTP, with no idea of MCP beyond
//! headers). None of them knows what is right: that stands in the tests. Nothing here sleeps; every wait is for an event
//! and ends, at the latest, with [`within`]'s panic.
//!
//! ```no_run
//! # async fn example() {
//! use serde_json::json;
//! use tests::{Client, FakeServer, Gateway, call};
//!
//! let server = FakeServer::start(|exchange| exchange.result(json!({"content": []}))).await;
//! let gateway = Gateway::before(&server.url).await;
//! let answer = Client::new(&gateway.url).post(&call(1, "echo", json!({}))).await;
//! assert_eq!(answer.status, 200);
//! # }
//! ```

mod binaries;
mod client;
mod gateway;
mod server;

use std::future::Future;
use std::time::Duration;

use serde_json::{Value, json};

pub use binaries::{Binaries, binaries};
pub use client::{Client, Event, Events, Response};
pub use gateway::Gateway;
pub use server::{Exchange, FakeServer, Outlet};

/// The revision before sessions went, which most tests speak.
pub const LEGACY: &str = "2025-11-25";
/// The stateless revision.
pub const MODERN: &str = "2026-07-28";

/// Waits for `event`, and panics when it takes longer than any event of a test may.
pub async fn within<F: Future>(what: &str, event: F) -> F::Output {
    match tokio::time::timeout(Duration::from_secs(20), event).await {
        Ok(output) => output,
        Err(_) => panic!("waited 20 s in vain: {what}"),
    }
}

/// A request.
#[must_use]
pub fn request(id: impl Into<Value>, method: &str, params: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id.into(), "method": method, "params": params})
}

/// An `initialize`.
#[must_use]
pub fn initialize() -> Value {
    let params = json!({"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": {"name": "test", "version": "0"}});
    request("initialize", "initialize", params)
}

/// The same client within a session that `server` begins under an id of its own.
///
/// # Panics
/// When the client gets no session.
pub async fn in_session(client: &Client, server: &mut FakeServer, theirs: &str) -> Client {
    let begin = async {
        let asked = server.asked().await;
        assert_eq!(asked.message()["method"], "initialize");
        asked.begin(theirs);
    };
    let message = initialize();
    let (answer, ()) = tokio::join!(client.post(&message), begin);
    let given = answer.header("mcp-session-id");
    assert!(!given.is_empty() && given != theirs, "'{given}'");
    client.clone().with("mcp-session-id", given)
}

/// A `tools/call`.
#[must_use]
pub fn call(id: impl Into<Value>, tool: &str, arguments: Value) -> Value {
    request(id, "tools/call", json!({"name": tool, "arguments": arguments}))
}

/// The same request as the stateless revision has it, with its envelope. The headers are [`Client::modern`]'s business.
#[must_use]
pub fn modern(mut request: Value) -> Value {
    request["params"]["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "0"},
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    request
}
