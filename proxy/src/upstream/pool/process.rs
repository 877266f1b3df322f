//! One process of a server: its start, its pipes, its end. What it says is sorted in
//! [`super::sort`], and what waits for it is in [`super::call`].

use std::ffi::OsString;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncWriteExt;
use tokio::process::{ChildStdin, ChildStdout};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::call::Calls;
use super::children::{Children, Place};
use super::mailbox::{End, Mailbox};
use super::stderr;
use crate::child::{Child, Surroundings};
use crate::lines::{Line, LineReader, as_line};
use crate::snapshot::Command;
use crate::upstream::UpstreamError;

/// What the gateway's own environment a server is given; everything else may be a secret.
const PASSED: [&str; 8] = ["PATH", "HOME", "LANG", "TZ", "TMPDIR", "USER", "SHELL", "TERM"];

/// Lines that may wait to be written to a process.
const WRITES: usize = 64;

/// How long what a process wrote last is read after its end, while others hold its output open.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Why a process ended, or is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// By itself.
    Itself,
    /// Its session was closed.
    Closed,
    /// Nobody asked it for anything.
    Idle,
    /// It took too much memory.
    Memory,
    /// It did not start in time, or took nothing that was written to it.
    Stuck,
    /// The gateway stops.
    Stopped,
}

impl Why {
    /// The word in metrics and the log.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Why::Itself => "itself",
            Why::Closed => "closed",
            Why::Idle => "idle",
            Why::Memory => "memory",
            Why::Stuck => "stuck",
            Why::Stopped => "stopped",
        }
    }

    /// What a call is told that was under way.
    fn told(self) -> UpstreamError {
        let detail = match self {
            Why::Itself => "its process ended",
            Why::Closed => "its session was closed",
            Why::Idle => "its process was idle",
            Why::Memory => "its process took more memory than allowed",
            Why::Stuck => "its process hung",
            Why::Stopped => "the gateway stops",
        };
        UpstreamError::Closed { detail: detail.to_owned() }
    }
}

/// The limits and times of every process of a server.
#[derive(Clone, Debug)]
pub(super) struct Bounds {
    pub(super) line: usize,
    pub(super) write: Duration,
    pub(super) first: Duration,
    pub(super) quiet: Duration,
    pub(super) total: Duration,
    pub(super) keep_alive: Duration,
}

/// A process that was started, and whoever waits for it.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) server: Arc<str>,
    pub(super) children: Arc<Children>,
    pub(super) bounds: Bounds,
    /// Whether clients share it, so that what names a call is remapped.
    pub(super) shared: bool,
    pub(super) calls: Mutex<Calls>,
    /// What it says outside of any call.
    pub(super) unasked: Mailbox,
    listener: Mutex<Option<CancellationToken>>,
    input: mpsc::Sender<Bytes>,
    end: watch::Sender<Option<Why>>,
    used: Mutex<Instant>,
    told_full: AtomicBool,
    told_rubbish: AtomicBool,
}

impl Process {
    /// Starts a server. `ended` is called once, as soon as it takes no further calls.
    pub(super) async fn start(
        server: &Arc<str>,
        command: &Command,
        children: &Arc<Children>,
        bounds: &Bounds,
        place: Place,
        shared: bool,
        ended: impl FnOnce(Why, Duration) + Send + 'static,
    ) -> Result<Arc<Process>, UpstreamError> {
        let words: Vec<OsString> = std::iter::once(command.program.as_str())
            .chain(command.args.iter().map(|arg| arg.expose()))
            .map(Into::into)
            .collect();
        let around = surroundings(command);
        let spawned = tokio::task::spawn_blocking(move || Child::spawn_apart(&words, around)).await;
        let unreachable = |detail: String| UpstreamError::Unreachable { detail };
        let (child, pipes) = spawned
            .map_err(|e| unreachable(e.to_string()))?
            .map_err(|e| unreachable(format!("it can't be started: {e}")))?;
        let settings = &children.settings;
        let (input, writes) = mpsc::channel(WRITES);
        let process = Arc::new(Process {
            server: Arc::clone(server),
            children: Arc::clone(children),
            bounds: bounds.clone(),
            shared,
            calls: Mutex::new(Calls::new(settings.calls)),
            unasked: Mailbox::new(settings.queue, settings.queue_bytes.bytes()),
            listener: Mutex::default(),
            input,
            end: watch::Sender::new(None),
            used: Mutex::new(Instant::now()),
            told_full: AtomicBool::new(false),
            told_rubbish: AtomicBool::new(false),
        });
        tracing::info!(%server, pid = child.group(), shared, "started a server's process");
        tokio::spawn(Arc::clone(&process).write(pipes.input, writes));
        let secrets = stderr::Secrets::of(command);
        let ends = process.end.subscribe();
        tokio::spawn(stderr::log(Arc::clone(server), pipes.errors, secrets, ends));
        tokio::spawn(Arc::clone(&process).run(child, pipes.output, place, ended));
        Ok(process)
    }

    /// Has it ended, politely where the reason lets that.
    pub(super) fn end(&self, why: Why) {
        self.end.send_if_modified(|end| end.is_none() && end.replace(why).is_none());
    }

    /// Whether it takes no further calls.
    pub(super) fn is_over(&self) -> bool {
        self.end.borrow().is_some()
    }

    /// Waits until it is to end.
    async fn asked_to_end(&self) -> Why {
        let mut end = self.end.subscribe();
        // The sender is this process's own: it is there.
        let why = end.wait_for(Option::is_some).await.map_or(None, |why| *why);
        why.unwrap_or(Why::Closed)
    }

    /// Remembers that it was asked for something.
    pub(super) fn touch(&self) {
        *lock(&self.used) = Instant::now();
    }

    /// Gives it a message.
    pub(super) async fn send(&self, message: &Bytes) -> Result<(), UpstreamError> {
        let sent = timeout(self.bounds.write, self.input.send(as_line(message))).await;
        match sent {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(self.end.borrow().unwrap_or(Why::Itself).told()),
            Err(_) => Err(UpstreamError::Timeout { what: "writing to its input" }),
        }
    }

    /// Gives it a message of the gateway's own, if there is room.
    pub(super) fn say(&self, message: Bytes) {
        if self.input.try_send(message).is_err() && !self.is_over() {
            self.lost("full");
        }
    }

    /// Counts a message that reaches nobody, and tells the log once for each process.
    pub(super) fn lost(&self, what: &'static str) {
        self.children.metrics.process_lost(&self.server, what);
        let told = match what {
            "full" => &self.told_full,
            "rubbish" => &self.told_rubbish,
            _ => return,
        };
        if !told.swap(true, Ordering::Relaxed) {
            tracing::warn!(server = %self.server, what, "messages of a server's process are lost; told once");
        }
    }

    /// Whether somebody takes what it says outside of calls.
    pub(super) fn is_listened_to(&self) -> bool {
        lock(&self.listener).as_ref().is_some_and(|listener| !listener.is_cancelled())
    }

    /// The place of the one who listens; the one before is sent away.
    pub(super) fn listen(&self) -> CancellationToken {
        let token = CancellationToken::new();
        if let Some(before) = lock(&self.listener).replace(token.clone()) {
            before.cancel();
        }
        token
    }

    async fn run(
        self: Arc<Self>,
        child: Child,
        output: ChildStdout,
        mut place: Place,
        ended: impl FnOnce(Why, Duration) + Send + 'static,
    ) {
        let started = Instant::now();
        let too_much = place.watch(child.group());
        let mut lines = LineReader::new(output, self.bounds.line);
        let why = loop {
            tokio::select! {
                why = self.asked_to_end() => break why,
                () = self.children.stop.cancelled() => break Why::Stopped,
                () = too_much.cancelled() => break Why::Memory,
                () = self.idle() => break Why::Idle,
                _ = child.wait() => {
                    // What it wrote last is still in the pipe.
                    let rest = async { while self.line(lines.next().await) {} };
                    let _ = timeout(LAST_WORDS, rest).await;
                    break Why::Itself;
                }
                line = lines.next() => if !self.line(line) { break Why::Itself },
            }
        };
        self.end(why);
        ended(why, started.elapsed());
        self.children.metrics.process_end(&self.server, why.as_str());
        lock(&self.calls).fail(&why.told());
        self.unasked.end(End::Over);
        let status = match why {
            Why::Memory | Why::Stuck => {
                child.kill();
                child.wait().await
            }
            _ => child.stop().await,
        };
        let (server, pid) = (&self.server, child.group());
        let status = status.map(|status| status.to_string());
        let (why_word, status) = (why.as_str(), status.as_deref().unwrap_or("killed"));
        match why {
            Why::Itself | Why::Memory | Why::Stuck => {
                tracing::warn!(%server, pid, why = why_word, status, "a server's process ended");
            }
            _ => tracing::info!(%server, pid, why = why_word, status, "a server's process ended"),
        }
        // It is gone: another may have its place.
        drop((child, place));
    }

    /// Takes one line. False when there are no more.
    fn line(&self, line: std::io::Result<Option<Line>>) -> bool {
        match line {
            Ok(Some(Line::Whole(line))) => self.sort(line),
            Ok(Some(Line::TooLong)) => self.too_long(),
            Ok(None) | Err(_) => return false,
        }
        true
    }

    /// Waits until nothing was asked of it for as long as it may be idle.
    async fn idle(&self) {
        loop {
            let used = *lock(&self.used);
            sleep_until(used + self.children.settings.idle.get()).await;
            if self.is_listened_to() || lock(&self.calls).is_awaited() {
                self.touch();
            } else if *lock(&self.used) == used {
                return;
            }
        }
    }

    /// Writes what is sent, a line at a time, so that a caller who leaves cuts none in two.
    async fn write(self: Arc<Self>, mut pipe: ChildStdin, mut writes: mpsc::Receiver<Bytes>) {
        loop {
            let line = tokio::select! {
                _ = self.asked_to_end() => return,
                line = writes.recv() => line,
            };
            let Some(line) = line else { return };
            let written = timeout(self.bounds.write, async {
                pipe.write_all(&line).await?;
                pipe.write_all(b"\n").await?;
                pipe.flush().await
            });
            tokio::select! {
                _ = self.asked_to_end() => return,
                written = written => match written {
                    Ok(Ok(())) => {}
                    // It closed its input; its end, or its silence, tells the rest.
                    Ok(Err(_)) => return,
                    Err(_) => return self.end(Why::Stuck),
                },
            }
        }
    }
}

/// What a server's process runs in: little of the gateway's own environment, and what is written
/// for it.
fn surroundings(command: &Command) -> Surroundings {
    let passes = |name: &str| PASSED.contains(&name) || name.starts_with("LC_");
    let own = std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(passes));
    let written = command.env.iter();
    let written = written.map(|(name, value)| (name.into(), value.expose().into()));
    Surroundings { env: own.chain(written).collect(), cwd: command.cwd.clone() }
}

pub(super) fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each is whole between statements: a panic elsewhere leaves it usable.
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
