//! The gateway as its users run it: a child process, watched over its stderr.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;

use crate::{binaries, within};

/// A running `wiregate serve`. Dropping it kills it.
#[derive(Debug)]
pub struct Gateway {
    /// Where clients post to.
    pub url: String,
    /// Where health and metrics are, without a path.
    pub admin: String,
    /// Where it records.
    pub capture: PathBuf,
    /// Where it keeps its pins.
    pub pins: PathBuf,
    dir: TempDir,
    child: Child,
    log: watch::Receiver<String>,
}

impl Gateway {
    /// A gateway with default settings before one server.
    pub async fn before(upstream: &str) -> Self {
        Self::configured(upstream, "").await
    }

    /// The same with a piece of configuration (YAML, top-level keys other than `servers`).
    ///
    /// # Panics
    /// When it does not start.
    pub async fn configured(upstream: &str, yaml: &str) -> Self {
        Self::of_servers(&[("upstream", upstream)], yaml).await
    }

    /// A gateway before these servers, each with its name.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn of_servers(servers: &[(&str, &str)], yaml: &str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let config = dir.path().join("wiregate.yaml");
        let one = |(name, url): &(&str, &str)| format!("  {name}:\n    url: {url}\n");
        let servers = format!("servers:\n{}", servers.iter().map(one).collect::<String>());
        std::fs::write(&config, servers + yaml).expect("a file in a folder of our own");
        Self::start(dir, |command| {
            command.arg("--config").arg(config);
        })
        .await
    }

    /// A gateway with just this configuration (YAML).
    ///
    /// # Panics
    /// When it does not start.
    pub async fn of(yaml: &str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let config = dir.path().join("wiregate.yaml");
        std::fs::write(&config, yaml).expect("a file in a folder of our own");
        Self::start(dir, |command| {
            command.arg("--config").arg(config);
        })
        .await
    }

    async fn start(dir: TempDir, arguments: impl FnOnce(&mut Command)) -> Self {
        // Building may take minutes and blocks: not on a worker of the test's runtime.
        let built = tokio::task::spawn_blocking(binaries).await.expect("the binaries");
        let capture = dir.path().join("capture");
        let mut command = Command::new(&built.wiregate);
        command.args(["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--capture"]);
        command.arg(&capture);
        let state = dir.path().join("state");
        let pins = state.join("wiregate/pins.sqlite");
        command.env("XDG_STATE_HOME", state);
        arguments(&mut command);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("wiregate");
        let mut lines = BufReader::new(child.stderr.take().expect("it is piped")).lines();
        let (write, log) = watch::channel(String::new());
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                write.send_modify(|log| {
                    log.push_str(&line);
                    log.push('\n');
                });
            }
        });
        let mut gateway =
            Self { url: String::new(), admin: String::new(), capture, pins, dir, child, log };
        gateway.logged("recording to ").await;
        gateway.url = gateway.after("listening on ");
        gateway.admin = gateway.after("health and metrics on ");
        gateway
    }

    /// Waits until its stderr holds `text`.
    ///
    /// # Panics
    /// When it ends before.
    pub async fn logged(&self, text: &str) {
        let mut log = self.log.clone();
        let seen = within(text, log.wait_for(|log| log.contains(text))).await.is_ok();
        assert!(seen, "the gateway ended before it said '{text}':\n{}", self.log());
    }

    /// What it wrote to stderr so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.log.borrow().clone()
    }

    /// Its folder, for further files.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Lets it end in order, so that the capture is whole. The folder lives as long as what is returned.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn stop(mut self) -> (TempDir, ExitStatus) {
        let pid = self.child.id().and_then(|id| Pid::from_raw(id.cast_signed())).expect("it runs");
        kill_process(pid, Signal::TERM).expect("it is our child");
        let status = within("the gateway's end", self.child.wait()).await.expect("its status");
        (self.dir, status)
    }

    /// Ends it without a warning. The folder lives as long as what is returned.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn kill(mut self) -> TempDir {
        within("the gateway's end", self.child.kill()).await.expect("it is our child");
        self.dir
    }

    fn after(&self, start: &str) -> String {
        let log = self.log.borrow();
        let line = log.lines().find_map(|line| line.strip_prefix(start));
        line.unwrap_or_else(|| panic!("no line '{start}':\n{}", *log)).trim().to_owned()
    }
}
