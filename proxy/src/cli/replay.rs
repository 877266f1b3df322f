//! `wiregate replay`: becomes the `wiregate-replay` beside this executable.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use super::CliError;

/// Does not return when all is well: the process goes on as the other program.
pub(super) fn run(args: &[OsString]) -> Result<ExitCode, CliError> {
    let own = std::env::current_exe().map_err(CliError::io("the own executable is unknown"))?;
    let replay = own.parent().unwrap_or(Path::new("/")).join("wiregate-replay");
    let error = Command::new(&replay).args(args).exec();
    if error.kind() == std::io::ErrorKind::NotFound {
        return Err(CliError::NoReplay(replay));
    }
    Err(CliError::io("wiregate-replay could not be started")(error))
}
