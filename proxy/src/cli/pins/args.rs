//! The flags of `wiregate pins`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum PinsCommand {
    List(PinsListArgs),
    Diff(PinsDiffArgs),
    Approve(PinsApproveArgs),
    Reset(PinsResetArgs),
}

/// Where the pins are.
#[derive(Debug, Args)]
pub(in crate::cli) struct PinsStore {
    /// The configuration file, which names the store
    #[arg(short, long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// The store, instead of the one of the configuration
    #[arg(long, value_name = "FILE")]
    pub(super) store: Option<PathBuf>,
    /// Print as JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// Which pins are meant.
#[derive(Debug, Args)]
pub(in crate::cli) struct PinsChoice {
    /// The server whose pins are meant
    #[arg(value_name = "SERVER", required_unless_present = "all", conflicts_with = "all")]
    pub(super) server: Option<String>,
    /// Only these of the server's, as `list` shows them: `tool/NAME`, `prompt/NAME`,
    /// `resource/URI`, `template/URI`
    #[arg(value_name = "KIND/NAME", requires = "server")]
    pub(super) items: Vec<String>,
    /// All pins of all servers
    #[arg(long)]
    pub(super) all: bool,
}

/// List what servers offered: each tool, prompt and resource, its state and fingerprint.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  wiregate pins list
  wiregate pins list files --state changed --json")]
pub(in crate::cli) struct PinsListArgs {
    /// Only this server's
    #[arg(value_name = "SERVER")]
    pub(super) server: Option<String>,
    /// Only those in this state
    #[arg(long, value_name = "STATE", value_parser = ["pending", "approved", "changed"])]
    pub(super) state: Option<String>,
    #[command(flatten)]
    pub(super) store: PinsStore,
}

/// Show what changed: the definition seen first or approved last, beside the one seen since.
///
/// Exits 0 when nothing changed, 1 when something did, 2 when it could not be told.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  wiregate pins diff
  wiregate pins diff files tool/read_file")]
pub(in crate::cli) struct PinsDiffArgs {
    /// Only this server's
    #[arg(value_name = "SERVER")]
    pub(super) server: Option<String>,
    /// Only these of the server's, as `list` shows them
    #[arg(value_name = "KIND/NAME")]
    pub(super) items: Vec<String>,
    #[command(flatten)]
    pub(super) store: PinsStore,
}

/// Approve definitions as they were seen last. A gateway that runs takes it over within seconds.
///
/// Exits 0 when all are approved, 1 when one is not as it was shown and was left alone, 2 when it
/// could not be done.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  wiregate pins approve files
  wiregate pins approve files tool/read_file tool/write_file
  wiregate pins approve files tool/read_file --fingerprint blake3:d53d18c23212
  wiregate pins approve --all")]
pub(in crate::cli) struct PinsApproveArgs {
    #[command(flatten)]
    pub(super) choice: PinsChoice,
    /// Only what has this fingerprint, or one that starts so: what `diff` showed, and nothing that
    /// came since
    #[arg(long, value_name = "BLAKE3", value_parser = fingerprint)]
    pub(super) fingerprint: Option<String>,
    #[command(flatten)]
    pub(super) store: PinsStore,
}

/// Forget definitions: what is seen next is new again.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  wiregate pins reset files
  wiregate pins reset files tool/read_file
  wiregate pins reset --all")]
pub(in crate::cli) struct PinsResetArgs {
    #[command(flatten)]
    pub(super) choice: PinsChoice,
    #[command(flatten)]
    pub(super) store: PinsStore,
}

/// So much of a fingerprint that no other is meant.
fn fingerprint(text: &str) -> Result<String, &'static str> {
    let digits = text.strip_prefix("blake3:").unwrap_or(text);
    let is_one = (12..=64).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit());
    match is_one {
        true => Ok(format!("blake3:{}", digits.to_ascii_lowercase())),
        false => Err("12 to 64 hexadecimal digits"),
    }
}
