//! The flags of `wiregate rules`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use inspect::Version;

use crate::config::Period;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum RulesCommand {
    List(RulesListArgs),
    Diff(RulesDiffArgs),
    Update(RulesUpdateArgs),
    Rollback(RulesRollbackArgs),
    Pack(RulesPackArgs),
}

/// Which rules are in use, and how to print.
#[derive(Debug, Args)]
pub(in crate::cli) struct Using {
    /// The configuration file
    #[arg(short, long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// A folder with further rules; may be given more than once
    #[arg(long, value_name = "DIR")]
    pub(super) rules: Vec<PathBuf>,
    /// Print as JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// List the sets of rules: built-in, installed and of folders, with name, version and digest.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  wiregate rules list
  wiregate rules list --each --rules ./my-rules --json")]
pub(in crate::cli) struct RulesListArgs {
    /// List each rule in use instead
    #[arg(long)]
    pub(super) each: bool,
    #[command(flatten)]
    pub(super) using: Using,
}

/// Show how two sets of rules differ: rules added, removed, and changed field by field.
///
/// A and B are each `builtin`, `active` (all rules in use), an installed pack as NAME or
/// NAME@VERSION, a pack's file, a folder, or a rule file. Exits 0 when they are equal, 1 when they
/// differ, 2 when that could not be told.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  wiregate rules diff acme-rules@1.4.0 acme-rules@1.5.0
  wiregate rules diff acme-rules ./acme-rules-1.6.0.pack")]
pub(in crate::cli) struct RulesDiffArgs {
    /// The one
    #[arg(value_name = "A")]
    pub(super) a: String,
    /// The other
    #[arg(value_name = "B")]
    pub(super) b: String,
    #[command(flatten)]
    pub(super) using: Using,
}

/// Install a signed pack of rules, or its next version, after a replay of recent traffic.
///
/// The signature must be by a key in `inspect.packs.trust`. Then the last hours of the capture are
/// judged by the rules in use and by those with the pack, and the difference is printed. Messages
/// that would be blocked and are not now refuse the update, and so does a capture with nothing in
/// it, unless `--accept` is given. A gateway takes the pack up when it starts next.
///
/// Exits 0 when it is installed, 1 when it was refused, 2 when it could not be done.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  wiregate rules update ./acme-rules-1.5.0.pack --config wiregate.yaml --dry-run
  wiregate rules update ./acme-rules-1.5.0.pack --config wiregate.yaml --accept")]
pub(in crate::cli) struct RulesUpdateArgs {
    /// The pack's file, or a folder of packs of one name, of which the newest is taken
    #[arg(value_name = "PACK")]
    pub(super) pack: PathBuf,
    /// How far back traffic is replayed
    #[arg(long, value_name = "TIME", default_value = "24h")]
    pub(super) since: Period,
    /// The capture to replay, instead of the configured one
    #[arg(long, value_name = "DIR")]
    pub(super) capture: Option<PathBuf>,
    /// Install although messages would be blocked, or nothing could be replayed
    #[arg(long)]
    pub(super) accept: bool,
    /// Show what would change, and install nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    #[command(flatten)]
    pub(super) using: Using,
}

/// Go back to an earlier version of an installed pack. A gateway does when it starts next.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  wiregate rules rollback acme-rules --config wiregate.yaml
  wiregate rules rollback acme-rules --to 1.4.0 --config wiregate.yaml
  wiregate rules rollback acme-rules --to none --config wiregate.yaml")]
pub(in crate::cli) struct RulesRollbackArgs {
    /// The pack's name
    #[arg(value_name = "NAME")]
    pub(super) name: String,
    /// This version, or `none` to use no version of it [default: the one before the active]
    #[arg(long, value_name = "VERSION", value_parser = to)]
    pub(super) to: Option<To>,
    #[command(flatten)]
    pub(super) using: Using,
}

/// Where a rollback leads.
#[derive(Clone, Debug)]
pub(in crate::cli) enum To {
    None,
    Version(Version),
}

fn to(text: &str) -> Result<To, inspect::set::NoVersion> {
    if text == "none" { Ok(To::None) } else { text.parse().map(To::Version) }
}

/// Make a pack of a folder of rules, and sign it.
///
/// The rules must compile by themselves, and their files name one set: `set: {name: …, version: …}`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  wiregate keys new ops --sign ops.pem
  wiregate rules pack ./acme-rules --key ops.pem --out acme-rules-1.4.0.pack")]
pub(in crate::cli) struct RulesPackArgs {
    /// The folder of rules
    #[arg(value_name = "DIR")]
    pub(super) dir: PathBuf,
    /// The private key: Ed25519 in PEM, readable by its owner alone
    #[arg(long, value_name = "FILE")]
    pub(super) key: PathBuf,
    /// Where to write the pack
    #[arg(short, long, value_name = "FILE")]
    pub(super) out: PathBuf,
    /// The oldest gateway that reads these rules as they are meant [default: this one]
    #[arg(long, value_name = "VERSION")]
    pub(super) requires: Option<Version>,
    /// Print what was made as JSON
    #[arg(long)]
    pub(super) json: bool,
}
