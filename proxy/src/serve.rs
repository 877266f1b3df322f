//! `wiregate serve`: listeners, connections, and a stop that lets exchanges end.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use capture::CaptureError;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::admin::{Admin, AdminState};
use crate::audit::Audit;
use crate::config::{Config, Listed, Timeouts};
use crate::downstream::connection::Connection;
use crate::downstream::http::Front;
use crate::downstream::quic;
use crate::era::bridge::Bridge;
use crate::era::to_legacy::{self, Lot};
use crate::pins::{Neighbours, Pins, StoreError};
use crate::pipeline::Pipeline;
use crate::recording;
use crate::reload::{self, Reload, Source};
use crate::session::fronts;
use crate::snapshot::{ServerSpec, Snapshot};
use crate::telemetry::Metrics;
use crate::tls::{self, TlsError};
use crate::upstream::pool::Children;
use crate::upstream::{self, Upstream};

/// Why a gateway can't start or stop in order.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The configuration is wrong; one line for each error.
    #[error("the configuration is wrong:\n{0}")]
    Config(String),
    /// An address can't be listened on.
    #[error("can't listen on {address}: {source}")]
    Listen {
        /// The address.
        address: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A certificate can't be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The capture can't be opened.
    #[error("can't record to {dir}: {source}")]
    Capture {
        /// The capture's folder.
        dir: PathBuf,
        /// What is wrong with it.
        source: CaptureError,
    },
    /// The store of pins can't be opened, and `pins.on_error` is `refuse`.
    #[error("can't keep pins in {}: {source}", .file.display())]
    Pins {
        /// The store's file.
        file: PathBuf,
        /// What is wrong with it.
        source: StoreError,
    },
    /// There is neither a folder for captures nor a home folder to put one.
    #[error("no folder to record to: set `capture.dir`, `--capture DIR`, or `--no-capture`")]
    NoFolder,
    /// A signal handler can't be installed, or a child not started.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// A running gateway.
#[derive(Debug)]
pub struct Gateway {
    /// The address clients connect to, as bound.
    pub address: SocketAddr,
    /// The address of health and metrics, as bound.
    pub admin: Option<SocketAddr>,
    /// Where traffic is recorded.
    pub capture: Option<PathBuf>,
    /// What messages meet.
    pub pipeline: Arc<Pipeline>,
    state: Arc<AdminState>,
    children: Arc<Children>,
    opener: Opener,
    stop: CancellationToken,
    accepting: tokio::task::JoinHandle<()>,
    timeouts: Timeouts,
}

/// Runs a gateway until SIGTERM or SIGINT. What `source` reads takes the place of `config` when the
/// folder of servers changes, and at SIGHUP.
///
/// # Errors
/// When it can't start.
pub async fn run(config: Config, source: Source) -> Result<(), ServeError> {
    let mut signals = Signals::new()?;
    let mut hangup = signal(SignalKind::hangup())?;
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    let gateway = Gateway::start(config).await?;
    gateway.pipeline.snapshot().announce();
    fronts::announce(&gateway.pipeline.snapshot());
    let snapshot = gateway.pipeline.snapshot();
    eprintln!("listening on {scheme}://{}/mcp", gateway.address);
    if snapshot.servers.len() > 1 || snapshot.faces.names().next().is_some() {
        for name in snapshot.servers.keys().chain(snapshot.faces.names()) {
            eprintln!("listening on {scheme}://{}/mcp/{name}", gateway.address);
        }
    }
    if let Some(admin) = gateway.admin {
        eprintln!("health and metrics on http://{admin}");
    }
    if gateway.pipeline.snapshot().config.http3 {
        eprintln!("HTTP/3 on UDP port {}", gateway.address.port());
    }
    match &gateway.capture {
        Some(dir) => eprintln!("recording to {}", dir.display()),
        None => eprintln!("recording nothing"),
    }
    let watching = tokio::spawn(gateway.reload(source).run(Arc::clone(&gateway.state.wake)));
    loop {
        tokio::select! {
            () = signals.wait() => break,
            _ = hangup.recv() => gateway.state.wake.notify_one(),
        }
    }
    tracing::info!("stopping");
    watching.abort();
    // A second signal ends the wait for exchanges under way.
    gateway.stop(signals.wait()).await;
    Ok(())
}

/// SIGTERM and SIGINT, from the moment this is made.
#[derive(Debug)]
pub struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    /// Takes over both signals.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn new() -> std::io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for either.
    pub async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

impl Gateway {
    /// Binds, opens the capture, and begins to accept.
    ///
    /// # Errors
    /// When any of it can't be.
    pub async fn start(config: Config) -> Result<Gateway, ServeError> {
        let mut snapshot = Snapshot::build(config)
            .map_err(|errors| ServeError::Config(Listed(&errors).to_string()))?;
        let config = &snapshot.config;
        let tls = config.tls.as_ref().map(tls::server).transpose()?.map(TlsAcceptor::from);
        let metrics = Arc::new(Metrics::new());
        metrics.set_servers(snapshot.servers.keys().cloned());
        let children = Children::new(config.processes.clone(), Arc::clone(&metrics));
        let opener = Opener::new(&snapshot, &children, &metrics);
        reload::open_ways(&mut snapshot, None, &opener)?;
        let snapshot = Arc::new(snapshot);
        let config = &snapshot.config;
        let (listener, endpoint) = bind(&snapshot).await?;
        let address = listener.local_addr()?;
        let recorder = recording::open(&snapshot)?;
        let capture = recorder.as_ref().map(|(_, dir)| dir.clone());
        let recorder = recorder.map(|(recorder, _)| recorder);
        let state = Arc::new(AdminState::new(
            Arc::clone(&metrics),
            recorder.clone(),
            Arc::clone(&snapshot),
        ));
        let admin = match config.admin.as_str() {
            "off" => None,
            written => {
                let failed = |source| ServeError::Listen { address: written.to_owned(), source };
                Some(Admin::bind(written, Arc::clone(&state)).await.map_err(failed)?)
            }
        };
        let timeouts = config.timeouts.clone();
        let neighbours = Neighbours::These(snapshot.servers.keys().cloned().collect());
        let pins = open_pins(&snapshot, neighbours, &metrics)?;
        let audit = Audit::new(recorder, &snapshot.config.capture);
        let pipeline = Pipeline::new(Arc::clone(&snapshot), audit, metrics);
        let pipeline = Arc::new(pipeline.with_pins(pins));
        let stop = CancellationToken::new();
        let mut front = Front::new(Arc::clone(&pipeline), address, stop.clone());
        if endpoint.is_some() {
            front = front.with_http3();
        }
        let front = Arc::new(front);
        let over_quic = endpoint.map(|endpoint| {
            let (front, snapshot) = (Arc::clone(&front), Arc::clone(&snapshot));
            quic::Listener::new(endpoint, front, snapshot, stop.clone())
        });
        let accept = Accept { front, tls, snapshot, stop: stop.clone() };
        let accepting = tokio::spawn(async move {
            match over_quic {
                None => accept.run(listener).await,
                Some(over_quic) => {
                    tokio::join!(accept.run(listener), over_quic.run());
                }
            }
        });
        state.set_ready(true);
        Ok(Gateway {
            address,
            admin,
            capture,
            pipeline,
            state,
            children,
            opener,
            stop,
            accepting,
            timeouts,
        })
    }

    /// What brings changes of `source` into this gateway.
    pub fn reload(&self, source: Source) -> Reload {
        let (pipeline, state) = (Arc::clone(&self.pipeline), Arc::clone(&self.state));
        Reload::new(pipeline, state, self.opener.clone(), source)
    }

    /// Stops accepting, ends streams without an end, lets exchanges end until `hurry`, and closes
    /// the capture.
    pub async fn stop(mut self, hurry: impl Future<Output = ()>) {
        self.state.set_ready(false);
        self.stop.cancel();
        // The accept loop itself waits for connections, no longer than the drain time.
        tokio::select! {
            _ = &mut self.accepting => {}
            () = hurry => {
                tracing::warn!("stopped before every exchange ended");
                self.accepting.abort();
                let _ = self.accepting.await;
            }
        }
        // Their clients have gone. What does not end in time is killed with this process.
        self.children.stop(self.timeouts.drain.get()).await;
        close_pins(&self.pipeline, self.timeouts.drain.get()).await;
        recording::close(self.pipeline.audit.recorder(), self.timeouts.drain.get()).await;
    }
}

/// Opens ways to servers, with everything that stands before their transports.
#[derive(Clone)]
pub struct Opener {
    children: Arc<Children>,
    metrics: Arc<Metrics>,
    lot: Arc<Lot>,
}

impl std::fmt::Debug for Opener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opener").field("children", &self.children).finish_non_exhaustive()
    }
}

impl Opener {
    /// For the servers of one gateway; what they park is bounded together.
    pub fn new(snapshot: &Snapshot, children: &Arc<Children>, metrics: &Arc<Metrics>) -> Opener {
        let (children, metrics) = (Arc::clone(children), Arc::clone(metrics));
        Opener { children, metrics, lot: to_legacy::lot(snapshot) }
    }

    /// The way to a server.
    ///
    /// # Errors
    /// When the certificates for it can't be used.
    pub fn open(
        &self,
        spec: &Arc<ServerSpec>,
        config: &Config,
    ) -> Result<Arc<dyn Upstream>, TlsError> {
        let wire = upstream::open(spec, &config.limits, &config.timeouts, &self.children)?;
        Ok(Arc::new(Bridge::new(wire, spec, config, &self.metrics, &self.lot)))
    }
}

/// Opens the store of pins that the configuration names.
///
/// # Errors
/// When it can't be used, and the configuration does not let the gateway start without.
pub fn open_pins(
    snapshot: &Snapshot,
    neighbours: Neighbours,
    metrics: &Arc<Metrics>,
) -> Result<Pins, ServeError> {
    let settings = &snapshot.config.pins;
    let file = settings.store.clone().unwrap_or_default();
    Pins::open(settings, neighbours, Arc::clone(metrics))
        .map_err(|source| ServeError::Pins { file, source })
}

/// Lets the pins that were seen be saved.
pub async fn close_pins(pipeline: &Arc<Pipeline>, within: Duration) {
    let pipeline = Arc::clone(pipeline);
    let closed = tokio::task::spawn_blocking(move || pipeline.pins.close(within)).await;
    if !closed.unwrap_or(false) {
        tracing::warn!("pins seen last were not saved");
    }
}

/// The TCP port clients connect to, and the UDP port of the same number where HTTP/3 is on.
async fn bind(snapshot: &Snapshot) -> Result<(TcpListener, Option<quinn::Endpoint>), ServeError> {
    let address = &snapshot.config.listen;
    let failed = |source| ServeError::Listen { address: address.clone(), source };
    let tls = match &snapshot.config.tls {
        Some(tls) if snapshot.config.http3 => tls::quic_server(tls)?,
        _ => return Ok((TcpListener::bind(address).await.map_err(failed)?, None)),
    };
    let mut tries = 8;
    loop {
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let bound = listener.local_addr()?;
        match quic::bind(bound, Arc::clone(&tls), snapshot) {
            Ok(endpoint) => return Ok((listener, Some(endpoint))),
            // A port that was any free one over TCP may be somebody's over UDP.
            Err(_) if address.ends_with(":0") && tries > 0 => tries -= 1,
            Err(source) => {
                return Err(ServeError::Listen { address: format!("{bound} (UDP)"), source });
            }
        }
    }
}

/// The accept loop and what each connection needs.
struct Accept {
    front: Arc<Front>,
    tls: Option<TlsAcceptor>,
    snapshot: Arc<Snapshot>,
    stop: CancellationToken,
}

impl Accept {
    async fn run(self, listener: TcpListener) {
        let this = Arc::new(self);
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                () = this.stop.cancelled() => break,
                accepted = listener.accept() => accepted,
                Some(_) = connections.join_next() => continue,
            };
            match accepted {
                Ok((stream, _)) => {
                    // No place: the connection is closed at once, which tells the client to wait.
                    if let Some(place) = this.front.pipeline.places.connection() {
                        let connection = Arc::clone(&this).connection(stream, place);
                        connections.spawn(connection);
                    } else {
                        this.front.pipeline.metrics.denied("over_capacity");
                    }
                }
                Err(error) => {
                    // Out of file descriptors, mostly: accepting again at once would spin.
                    tracing::error!(%error, "can't accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
        drop(listener);
        let drain = this.snapshot.config.timeouts.drain.get();
        let ended = async { while connections.join_next().await.is_some() {} };
        if timeout(drain, ended).await.is_err() {
            tracing::warn!("exchanges were cut off at the end of the drain time");
        }
        // What is cut off is recorded before the capture is closed.
        connections.shutdown().await;
    }

    async fn connection(self: Arc<Self>, stream: TcpStream, place: OwnedSemaphorePermit) {
        let _held = (place, self.front.pipeline.metrics.connection());
        let timeouts = &self.snapshot.config.timeouts;
        // Without this, small answers wait for the client's delayed acknowledgement.
        let _ = stream.set_nodelay(true);
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(timeouts.write.get()));
        let stream = Box::pin(stream);
        match &self.tls {
            None => self.http(stream).await,
            Some(tls) => match timeout(timeouts.header_read.get(), tls.accept(stream)).await {
                Ok(Ok(stream)) => self.http(stream).await,
                Ok(Err(error)) => tracing::debug!(%error, "TLS handshake failed"),
                Err(_) => tracing::debug!("TLS handshake took too long"),
            },
        }
    }

    async fn http<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(&self, stream: S) {
        let config = &self.snapshot.config;
        let known = Arc::new(Connection::new(self.front.next_connection()));
        let (front, this) = (Arc::clone(&self.front), Arc::clone(&known));
        let service =
            service_fn(move |request| Arc::clone(&front).serve(Arc::clone(&this), request));
        let mut server = auto::Builder::new(TokioExecutor::new());
        let headers = config.limits.headers.bytes();
        server
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(config.timeouts.header_read.get())
            // Room for what is just too large, so that it is answered and not cut off.
            .max_buf_size((headers * 2).max(64 << 10));
        server
            .http2()
            .timer(TokioTimer::new())
            .max_header_list_size(u32::try_from(headers).unwrap_or(u32::MAX))
            .max_concurrent_streams(256)
            .keep_alive_interval(Some(config.timeouts.idle.get()))
            .keep_alive_timeout(config.timeouts.write.get());
        let mut connection =
            pin!(server.serve_connection_with_upgrades(TokioIo::new(stream), service));
        let quiet = config.timeouts.header_read.get();
        let result = tokio::select! {
            result = connection.as_mut() => result,
            () = known.stuck.cancelled() => return,
            // Nothing was asked in all the time a request's headers may take.
            () = known.idle(quiet) => return,
            () = self.stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    result = connection => result,
                    () = known.stuck.cancelled() => return,
                }
            }
        };
        if let Err(error) = result {
            tracing::debug!(%error, "connection ended");
        }
        // What it was upgraded to has its places for as long.
        known.rest().await;
    }
}
