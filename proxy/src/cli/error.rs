//! Why a command of `wiregate` could not run.

use std::path::PathBuf;

use crate::clients::edit::EditError;
use crate::clients::file::FileError;
use crate::config::LoadError;
use crate::demo::DemoError;
use crate::packs::PackError;
use crate::pins::StoreError;
use crate::registry::import::ImportError;
use crate::serve::ServeError;
use crate::telemetry::LogError;

/// Why a command could not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CliError {
    /// The configuration cannot be had. The user's to mend.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The configuration is wrong, flags included; one line for each error.
    #[error("the configuration is wrong\n{0}")]
    Config(String),
    /// Rules do not compile; one line for each error.
    #[error("the rules are wrong\n{0}")]
    Rules(String),
    /// A rule pack cannot be had, or not be installed.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// No set of rules has this name. The user's to mend.
    #[error("{0}: no set of rules, no installed pack and no file")]
    NoRules(String),
    /// The log cannot be set up.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The gateway cannot start, or did not stop in order.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// The demo did not go as it should.
    #[error(transparent)]
    Demo(#[from] DemoError),
    /// The system refused something.
    #[error("{doing}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
    /// `wiregate-replay` is not where it should be.
    #[error("no {}: build it with `cargo build --release --package replay`, or put it there", .0.display())]
    NoReplay(PathBuf),
    /// The store of pins cannot be used.
    #[error("{}", .file.display())]
    Pins {
        /// Its file.
        file: PathBuf,
        /// What is wrong with it.
        source: StoreError,
    },
    /// A client's configuration is not what the client would read. The user's to mend.
    #[error("{}", .file.display())]
    Client {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        source: EditError,
    },
    /// A client's configuration can't be read, written or brought back.
    #[error(transparent)]
    ClientFile(FileError),
    /// The client has no configuration of this scope, or it is unknown where.
    #[error("no usual place for this client's configuration here: give `--file FILE`")]
    NoClientFile,
    /// The client's configuration can't name an environment variable.
    #[error(
        "this client's configuration can't name a variable: leave `--key-env` out, and write the header there yourself"
    )]
    NoKeyNotation,
    /// A file to import servers from is of no known kind. The user's to mend.
    #[error("{}", .file.display())]
    Import {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        source: ImportError,
    },
    /// A variable that should hold a key is not set. The user's to mend.
    #[error("--key-env: {0} is not set")]
    NoKey(String),
    /// There is no folder of servers. The user's to mend.
    #[error("no folder of servers: give `--dir DIR`, or `registry.dir` in the configuration")]
    NoRegistry,
    /// A server of this name is there already. The user's to mend.
    #[error("{0} is there already: `--replace` replaces it")]
    ServerThere(String),
    /// No server of this name is there. The user's to mend.
    #[error("{0}: no such server in the folder")]
    NoServer(String),
    /// Neither an address, a command nor a file with servers. The user's to mend.
    #[error("nothing to add: give `--url URL`, `-- CMD`, or `--from FILE` that has this server")]
    NothingToAdd,
    /// There is neither a file for pins nor a home folder to look for one.
    #[error("no file of pins: give `--store FILE`, or `pins.store` in the configuration")]
    NoPins,
    /// No such server or item. The user's to mend.
    #[error("{0} has no pin")]
    NoPin(String),
    /// The system gave no random bytes.
    #[error("the system gave no random bytes")]
    Random,
    /// A name that cannot be a principal's. The user's to mend.
    #[error("a name is 1 to 64 letters, digits, `-`, `_`, `.` or `@`")]
    Name,
    /// A name that cannot be a server's. The user's to mend.
    #[error("a server's name is 1 to 64 of a-z, 0-9 and `-`")]
    ServerName,
}

impl CliError {
    pub(super) fn io(doing: &'static str) -> impl Fn(std::io::Error) -> Self {
        move |source| Self::Io { doing, source }
    }
}
