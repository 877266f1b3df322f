//! The one thread on which the network work of this crate runs. Its users stay synchronous: they hand over a future
//! and wait, or let a task run on by itself.

use std::future::Future;
use std::sync::OnceLock;
use std::sync::mpsc::sync_channel;
use std::thread;

use tokio::runtime::{Builder, Handle};

use crate::CaptureError;

/// The thread begins with the first use and ends with the process: connections are kept between uses.
static THREAD: OnceLock<Result<Handle, String>> = OnceLock::new();

/// Where to spawn what runs by itself.
pub(crate) fn handle() -> Result<&'static Handle, CaptureError> {
    let started = THREAD.get_or_init(|| start().map_err(|error| error.to_string()));
    started.as_ref().map_err(|detail| CaptureError::Network { detail: detail.clone() })
}

fn start() -> std::io::Result<Handle> {
    // rustls has no provider of its own in this build; if another part of the process was quicker, that one serves
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    let name = "wiregate-store".to_owned();
    thread::Builder::new()
        .name(name)
        .spawn(move || runtime.block_on(std::future::pending::<()>()))?;
    Ok(handle)
}

/// Runs a future on the thread and waits for it. Never called on that thread itself, which would wait for ever.
pub(crate) fn wait<T: Send + 'static>(
    work: impl Future<Output = Result<T, CaptureError>> + Send + 'static,
) -> Result<T, CaptureError> {
    let (done, result) = sync_channel(1);
    handle()?.spawn(async move {
        // nobody listens only if the caller's thread died
        let _ = done.send(work.await);
    });
    let died = || CaptureError::Network { detail: "the task died".to_owned() };
    result.recv().unwrap_or_else(|_| Err(died()))
}
