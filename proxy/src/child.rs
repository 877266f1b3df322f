//! Child processes that are never left behind.
//!
//! The gateway starts `wiregate exec-child`, a guard with a process group of its own, and the
//! guard starts the command in that group. When the gateway dies, however it dies, the kernel
//! signals the guard (parent-death signal), which kills the whole group; when the guard is killed
//! too, the kernel kills the command. Only what leaves the process group by itself escapes.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Pid, Signal, getppid, kill_process_group, set_parent_process_death_signal};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout};
use tokio::sync::watch;
use tokio::time::timeout;

/// A running command and the pipes to it.
#[derive(Debug)]
pub struct Child {
    group: Pid,
    exited: watch::Receiver<Option<ExitStatus>>,
}

/// How long a command has to leave by itself, and then to obey SIGTERM.
const GRACE: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(3)];

/// What a command runs in, where that is not the gateway's own surroundings.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// All of its environment.
    pub env: Vec<(OsString, OsString)>,
    /// The folder it starts in; none is the gateway's own.
    pub cwd: Option<PathBuf>,
}

/// The ends of a command's standard streams.
#[derive(Debug)]
pub struct Pipes {
    /// Its standard input.
    pub input: ChildStdin,
    /// Its standard output.
    pub output: ChildStdout,
    /// Its standard error.
    pub errors: ChildStderr,
}

impl Child {
    /// Starts a command with its standard input and output piped and its standard error shared.
    ///
    /// # Errors
    /// When the guard can't be started. A command that can't be is told on standard error and by
    /// the exit status.
    pub fn spawn(command: &[OsString]) -> io::Result<(Child, ChildStdin, ChildStdout)> {
        let (child, input, output, _) = Child::guarded(exec_child(&[], command))?;
        Ok((child, input, output))
    }

    /// Starts a command in surroundings of its own, with all its standard streams piped.
    ///
    /// # Errors
    /// As [`Child::spawn`], and when there is no such folder.
    pub fn spawn_apart(command: &[OsString], around: Surroundings) -> io::Result<(Child, Pipes)> {
        let mut guard = exec_child(&[], command);
        guard.env_clear().envs(around.env).stderr(Stdio::piped());
        if let Some(cwd) = around.cwd {
            guard.current_dir(cwd);
        }
        let (child, input, output, errors) = Child::guarded(guard)?;
        let errors = errors.ok_or_else(|| io::Error::other("its standard error is not piped"))?;
        Ok((child, Pipes { input, output, errors }))
    }

    fn guarded(
        mut guard: Command,
    ) -> io::Result<(Child, ChildStdin, ChildStdout, Option<ChildStderr>)> {
        // A group from its first moment: until it had made one itself, nothing could kill it.
        guard.stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
        let (started, start) = mpsc::sync_channel(1);
        let (status, exited) = watch::channel(None);
        // The parent-death signal is bound to the thread that spawns, not to the process: this
        // thread lives until the guard is gone.
        std::thread::Builder::new().name("child".into()).spawn(move || match guard.spawn() {
            Err(e) => drop(started.send(Err(e))),
            Ok(mut child) => {
                let pipes =
                    (child.id(), child.stdin.take(), child.stdout.take(), child.stderr.take());
                if started.send(Ok(pipes)).is_ok() {
                    status.send_replace(child.wait().ok());
                }
            }
        })?;
        let gone = || io::Error::other("the thread that starts children is gone");
        let (pid, stdin, stdout, stderr) = start.recv().map_err(|_| gone())??;
        let group = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or_else(gone)?;
        let (stdin, stdout) = (stdin.ok_or_else(gone)?, stdout.ok_or_else(gone)?);
        // From here on the command is killed when anything fails.
        let child = Child { group, exited };
        let errors = stderr.map(ChildStderr::from_std).transpose()?;
        Ok((child, ChildStdin::from_std(stdin)?, ChildStdout::from_std(stdout)?, errors))
    }

    /// The process group of the command, its guard and all they started.
    pub fn group(&self) -> u32 {
        self.group.as_raw_nonzero().get().unsigned_abs()
    }

    /// Kills the command and all it started, without a word.
    pub fn kill(&self) {
        self.signal(Signal::KILL);
    }

    /// Waits for the command to end; `None` when its status is unknown.
    pub async fn wait(&self) -> Option<ExitStatus> {
        let mut exited = self.exited.clone();
        // An error says that the sender is gone: so is the command.
        let status = exited.wait_for(Option::is_some).await.ok()?;
        *status
    }

    /// Ends the command, whose input is closed by now: waits, then SIGTERM, then SIGKILL (spec:
    /// lifecycle, shutdown). What is left of its group is killed. Returns the status of a command
    /// that ended by itself.
    pub async fn stop(&self) -> Option<ExitStatus> {
        if let Ok(status) = timeout(GRACE[0], self.wait()).await {
            self.signal(Signal::KILL);
            return status;
        }
        self.signal(Signal::TERM);
        let obeyed = timeout(GRACE[1], self.wait()).await.is_ok();
        self.signal(Signal::KILL);
        if !obeyed {
            self.wait().await;
        }
        None
    }

    fn signal(&self, signal: Signal) {
        // No such group: nothing is left to signal.
        let _ = kill_process_group(self.group, signal);
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

/// What `wiregate exec-child` runs: the guard of a command started for `gateway`, and with `last`
/// the command itself, started for the guard.
///
/// # Errors
/// When the command can't be started.
pub fn exec(gateway: u32, last: bool, command: &[OsString]) -> io::Result<i32> {
    let signal = if last { Signal::KILL } else { Signal::TERM };
    set_parent_process_death_signal(Some(signal))?;
    // The gateway may have died before the signal was asked for.
    if parent() != Some(gateway) {
        return Ok(1);
    }
    if last {
        let (program, args) = command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let error = Command::new(program).args(args).exec();
        return Err(io::Error::new(error.kind(), format!("{}: {error}", program.display())));
    }
    guard(gateway, command)
}

/// This very program as `exec-child`. By the link, not by its path: an upgrade may have put another
/// file there since this process started.
fn exec_child(arguments: &[&str], command: &[OsString]) -> Command {
    let mut own = Command::new("/proc/self/exe");
    own.arg0("wiregate").arg("exec-child").args(arguments);
    own.arg("--parent").arg(std::process::id().to_string()).arg("--").args(command);
    own
}

fn parent() -> Option<u32> {
    getppid().map(|pid| pid.as_raw_nonzero().get().unsigned_abs())
}

/// Waits for the command, and kills the group when the gateway is gone.
fn guard(gateway: u32, command: &[OsString]) -> io::Result<i32> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminated = signal(SignalKind::terminate())?;
        // Ctrl-C in a terminal goes to the gateway alone, which ends the command in order.
        let mut interrupted = signal(SignalKind::interrupt())?;
        let inner = exec_child(&["--last"], command);
        let mut child = tokio::process::Command::from(inner).spawn()?;
        loop {
            tokio::select! {
                status = child.wait() => return Ok(exit_code(status?)),
                _ = terminated.recv() => {}
                _ = interrupted.recv() => {}
            }
            if parent() != Some(gateway) {
                kill_process_group(rustix::process::getpgrp(), Signal::KILL)?;
            }
        }
    })
}

/// A status as a shell tells it: 128 and the signal's number where there was one.
pub fn exit_code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1)
}
