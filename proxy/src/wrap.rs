//! `wiregate wrap -- CMD`: the same pipeline between a client's standard input and output and a
//! child's; `wiregate wrap --upstream URL`: and a server's that is reached by an address. This is what goes into an MCP client's configuration.

use std::ffi::OsString;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use capture::Str;
use http::StatusCode;
use tokio::time::timeout;

use crate::audit::Audit;
use crate::child::{self, Child};
use crate::config::{Config, Listed};
use crate::downstream::stdio::{self, Output};
use crate::envelope::{Context, McpHeaders, Transport};
use crate::pins::Neighbours;
use crate::pipeline::Pipeline;
use crate::policy::{Denied, UNREACHABLE};
use crate::recording;
use crate::serve::{Opener, ServeError, Signals, close_pins, open_pins};
use crate::snapshot::{ServerSpec, Snapshot};
use crate::telemetry::Metrics;
use crate::upstream::Upstream;
use crate::upstream::pool::Children;
use crate::upstream::stdio::StdioUpstream;

/// Relays between this process' standard input and output and a server that is reached by an
/// address, the only one of `config`, until the client's input ends.
///
/// # Errors
/// When the capture can't be opened, or the certificates can't be used.
pub async fn reach(config: Config) -> Result<i32, ServeError> {
    let mut signals = Signals::new()?;
    let mut snapshot = Snapshot::build(config)
        .map_err(|errors| ServeError::Config(Listed(&errors).to_string()))?;
    snapshot.announce();
    let Some(spec) = snapshot.servers.values().next().cloned() else {
        return Err(ServeError::Config("no server".into()));
    };
    let config = &snapshot.config;
    let capture = recording::open(&snapshot)?;
    let metrics = Arc::new(Metrics::new());
    let children = Children::new(config.processes.clone(), Arc::clone(&metrics));
    let opener = Opener::new(&snapshot, &children, &metrics);
    let way = opener.open(&spec, config)?;
    snapshot.ways.insert(spec.name.clone(), way);
    let snapshot = Arc::new(snapshot);
    let config = &snapshot.config;
    let recorder = capture.map(|(recorder, _)| recorder);
    let audit = Audit::new(recorder, &config.capture);
    let pins = open_pins(&snapshot, Neighbours::All, &metrics)?;
    let pipeline = Pipeline::new(Arc::clone(&snapshot), audit, metrics);
    let pipeline = Arc::new(pipeline.with_pins(pins));
    let cx = context(pipeline.sessions.run(), Arc::clone(&snapshot), spec);
    let out = Output::new(tokio::io::stdout(), config.timeouts.write.get());
    let relayed = tokio::select! {
        result = stdio::converse(&pipeline, &cx, tokio::io::stdin(), &out) => result,
        () = signals.wait() => Ok(()),
    };
    if let Err(error) = relayed {
        tracing::warn!(%error, "relaying ended");
    }
    let drain = config.timeouts.drain.get();
    children.stop(drain).await;
    close_pins(&pipeline, drain).await;
    recording::close(pipeline.audit.recorder(), drain).await;
    Ok(0)
}

/// What to wrap, and under which configuration.
#[derive(Debug)]
pub struct WrapOptions {
    /// Inspection and capture; its `servers` are not used.
    pub config: Config,
    /// The server's name in captures and metrics.
    pub name: String,
    /// The command and its arguments.
    pub command: Vec<OsString>,
}

/// Relays between this process' standard input and output and the command's until one of them
/// ends. Returns the exit code: the command's own when it ended by itself, else 0.
///
/// # Errors
/// When the command or the capture can't be started.
pub async fn run(options: WrapOptions) -> Result<i32, ServeError> {
    let mut signals = Signals::new()?;
    let spec = Arc::new(ServerSpec::child(&options.name));
    let mut snapshot = Snapshot::for_child(options.config, Arc::clone(&spec))
        .map_err(|errors| ServeError::Config(Listed(&errors).to_string()))?;
    snapshot.announce();
    let capture = recording::open(&snapshot)?;
    if let Some((_, dir)) = &capture {
        tracing::info!(dir = %dir.display(), "recording");
    }
    let (child, input, output) = Child::spawn(&options.command)?;
    let limits = &snapshot.config.limits;
    let write = snapshot.config.timeouts.write.get();
    let server = Arc::new(StdioUpstream::new(input, output, limits.stdio_line.bytes(), write));
    snapshot.ways.insert(spec.name.clone(), Arc::clone(&server) as Arc<dyn Upstream>);
    let snapshot = Arc::new(snapshot);
    let audit = Audit::new(capture.map(|(recorder, _)| recorder), &snapshot.config.capture);
    let metrics = Arc::new(Metrics::new());
    // Each server that a client wraps has a gateway of its own; what they share is the store.
    let pins = open_pins(&snapshot, Neighbours::All, &metrics)?;
    let pipeline = Pipeline::new(Arc::clone(&snapshot), audit, metrics);
    let pipeline = Arc::new(pipeline.with_pins(pins));
    let cx = Arc::new(context(pipeline.sessions.run(), snapshot, spec));

    let out = Arc::new(Output::new(tokio::io::stdout(), write));
    let mut from_server = tokio::spawn({
        let (pipeline, cx, out) = (Arc::clone(&pipeline), Arc::clone(&cx), Arc::clone(&out));
        async move { out.reply(pipeline.listen(cx).await).await }
    });
    let relayed = tokio::select! {
        // The client hung up: the child's input is closed, and it gets its time to end.
        result = stdio::pump(&pipeline, &cx, tokio::io::stdin(), &out) => result,
        // The child's output ended, or the client takes nothing any more.
        result = &mut from_server => result.unwrap_or_else(|e| Err(std::io::Error::other(e))),
        // The child ended; something it started may still hold its output open.
        _ = child.wait() => Ok(()),
        () = signals.wait() => Ok(()),
    };
    if let Err(error) = relayed {
        tracing::warn!(%error, "relaying ended");
    }
    server.hang_up().await;
    let status = child.stop().await;
    // What the child still wrote is relayed before what it left unanswered is told. A client that
    // takes nothing, or whoever holds the child's output open, does not hold this up for long.
    if !from_server.is_finished() {
        tokio::select! {
            _ = timeout(LAST_WORDS, &mut from_server) => {}
            () = signals.wait() => {}
        }
        from_server.abort();
    }
    let gone =
        Denied::new(StatusCode::BAD_GATEWAY, UNREACHABLE, "upstream_closed", "the server ended");
    let unanswered = async {
        for answer in pipeline.abandon(&cx, &gone) {
            if out.line(&answer).await.is_err() {
                break;
            }
        }
    };
    let _ = timeout(LAST_WORDS, unanswered).await;
    close_pins(&pipeline, cx.snapshot.config.timeouts.drain.get()).await;
    recording::close(pipeline.audit.recorder(), cx.snapshot.config.timeouts.drain.get()).await;
    Ok(status.map_or(0, child::exit_code))
}

/// How long what a child wrote last may take to reach the client.
const LAST_WORDS: Duration = Duration::from_secs(2);

fn context(run: &str, snapshot: Arc<Snapshot>, server: Arc<ServerSpec>) -> Context {
    let connection: Str = format!("c{run}").into();
    Context {
        snapshot,
        server,
        transport: Transport::Stdio,
        http_method: None,
        headers: McpHeaders::default(),
        session: Some(connection.clone()),
        conn_id: connection,
        principal: None,
        negotiated: OnceLock::new(),
        front: OnceLock::new(),
        owned: false,
        arrival: crate::linkage::Arrival::default(),
        rows: crate::audit::Rows::default(),
    }
}
