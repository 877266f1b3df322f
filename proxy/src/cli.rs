//! The command line: what can be asked of `wiregate`, and which module does it.
//!
//! Long flags; data on stdout, talk on stderr; exit 0 when all is well, 1 when `check` found
//! errors, `pins` a change or `rules` a difference, 2 when a command could not run. A flag overrides the configuration file.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::{Config, Use, is_server_name};
use crate::demo::{self, DemoOptions};
use crate::serve;
use crate::telemetry;
use crate::wrap::{self, WrapOptions};

mod check;
mod connect;
mod error;
mod keys;
mod pins;
pub mod reference;
mod replay;
mod rules;
mod servers;
mod settings;

pub use error::CliError;
pub use settings::{CaptureFlags, InspectFlags, LogFlags};

/// An inspection gateway for the Model Context Protocol.
///
/// Every message between a client and its MCP servers passes through it: parsed, scanned for
/// secrets, personal data and injection, then passed on, redacted or blocked, and recorded.
#[derive(Debug, Parser)]
#[command(name = "wiregate", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(ServeArgs),
    Wrap(WrapArgs),
    Demo(DemoArgs),
    Check(CheckArgs),
    /// Print the JSON Schema of the configuration.
    ///
    /// Editors that know it complete and check the file as it is written.
    #[command(after_help = "Example:\n  wiregate schema > wiregate.schema.json")]
    Schema,
    /// Show the rules in use; install, compare and make packs of them.
    #[command(subcommand)]
    Rules(rules::RulesCommand),
    /// Watch what servers offer: new, approved, changed.
    #[command(subcommand)]
    Pins(pins::PinsCommand),
    /// Make keys for clients, and to sign rule packs with.
    #[command(subcommand)]
    Keys(KeysCommand),
    #[command(subcommand)]
    Servers(servers::ServersCommand),
    Connect(connect::ConnectArgs),
    Replay(ReplayArgs),
    #[command(hide = true)]
    ExecChild(ExecChildArgs),
    #[command(hide = true)]
    Reference(ReferenceArgs),
}

/// Serve MCP over HTTP in front of one server or many.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  wiregate serve --upstream http://127.0.0.1:9000/mcp
  wiregate serve --config wiregate.yaml --log-format json")]
struct ServeArgs {
    /// The configuration file
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The one server to stand in front of, instead of those of the file
    #[arg(long, value_name = "URL")]
    upstream: Option<String>,
    /// The address clients connect to [default: 127.0.0.1:8808]
    #[arg(long, value_name = "IP:PORT")]
    listen: Option<String>,
    /// The address of health and metrics, or `off` [default: 127.0.0.1:8809]
    #[arg(long, value_name = "IP:PORT")]
    admin: Option<String>,
    #[command(flatten)]
    inspect: InspectFlags,
    #[command(flatten)]
    capture: CaptureFlags,
    #[command(flatten)]
    log: LogFlags,
}

/// Stand between a client on stdio and one MCP server: a child process, or one at an address.
///
/// Put it in front of the server's command in the client's configuration; or, with --upstream, in
/// the place of a command, for a client that can only start servers.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  wiregate wrap --name files -- npx -y @modelcontextprotocol/server-filesystem /tmp
  wiregate wrap --upstream https://mcp.example.com/mcp --key-env MCP_KEY")]
struct WrapArgs {
    /// The configuration file; its `servers` are not used
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The server's name in captures [default: the command's name]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    inspect: InspectFlags,
    #[command(flatten)]
    capture: CaptureFlags,
    #[command(flatten)]
    log: LogFlags,
    /// The server's endpoint, for a server that is no child
    #[arg(long, value_name = "URL")]
    upstream: Option<String>,
    /// The environment variable that holds the key this server asks for
    #[arg(long, value_name = "VARIABLE", requires = "upstream")]
    key_env: Option<String>,
    /// The server's command and its arguments
    #[arg(
        last = true,
        value_name = "CMD",
        required_unless_present = "upstream",
        conflicts_with = "upstream"
    )]
    command: Vec<OsString>,
}

/// See the gateway at work: a server, a client and an attack, all on this machine.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  wiregate demo --stay")]
struct DemoArgs {
    /// Keep running afterwards, so that a client of yours can connect
    #[arg(long)]
    stay: bool,
    /// Record to this folder, and keep it
    #[arg(long, value_name = "DIR")]
    capture: Option<PathBuf>,
    /// Print what happened as JSON
    #[arg(long)]
    json: bool,
}

/// Check a configuration and its rules, and tell every error with its place.
///
/// Exits 0 when nothing is wrong, 1 when something is, 2 when it could not be checked.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  wiregate check --config wiregate.yaml")]
struct CheckArgs {
    /// The configuration file
    #[arg(short, long, value_name = "FILE", default_value = "wiregate.yaml")]
    config: PathBuf,
    /// Print the outcome as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    New(KeysNewArgs),
}

/// Make a key for a client, and the line that lets it in; or one that signs rule packs.
///
/// A client's key is printed once and kept nowhere; the configuration holds only its SHA-256. A
/// signing key goes into a file of its own, and what is printed is its public half.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  wiregate keys new alice\n  wiregate keys new ops --sign ops.pem"
)]
struct KeysNewArgs {
    /// Who will hold it: the principal in logs and captures
    #[arg(value_name = "NAME")]
    name: String,
    /// Make an Ed25519 key that signs rule packs, and write it to this new file
    #[arg(long, value_name = "FILE")]
    sign: Option<PathBuf>,
    /// Print what was made as JSON
    #[arg(long)]
    json: bool,
}

/// Replay captures: runs `wiregate-replay` with these arguments.
#[derive(Debug, Args)]
#[command(
    disable_help_flag = true,
    after_help = "Example:\n  wiregate replay scan ./capture --rules ./my-rules"
)]
struct ReplayArgs {
    /// What to ask of `wiregate-replay`; `--help` shows it
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARG")]
    args: Vec<OsString>,
}

/// Run a command that dies with its parent.
#[derive(Debug, Args)]
struct ExecChildArgs {
    /// The process whose death ends it
    #[arg(long, value_name = "PID")]
    parent: u32,
    /// Be replaced by the command, rather than guard it
    #[arg(long)]
    last: bool,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// Print a generated reference as Markdown.
#[derive(Debug, Args)]
struct ReferenceArgs {
    /// Which one
    #[arg(value_enum)]
    which: Reference,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Reference {
    Cli,
    Config,
    Metrics,
}

impl Cli {
    /// Does what was asked. The exit code is 0, or 1 when `check` found errors, something differs
    /// or an update was refused, or that of the command wrapped.
    ///
    /// # Errors
    /// When it could not be done.
    pub fn run(self) -> Result<ExitCode, CliError> {
        match self.command {
            Command::Serve(args) => serve(args),
            Command::Wrap(args) => wrap(args),
            Command::Demo(args) => demo(args),
            Command::Check(args) => check::run(&args.config, args.json),
            Command::Schema => print(&reference::schema()),
            Command::Rules(command) => rules::run(command),
            Command::Pins(command) => pins::run(command),
            Command::Keys(KeysCommand::New(args)) => match &args.sign {
                Some(file) => keys::sign(&args.name, file, args.json),
                None => keys::new(&args.name, args.json),
            },
            Command::Servers(command) => servers::run(command),
            Command::Connect(args) => connect::run(&args),
            Command::Replay(args) => replay::run(&args.args),
            Command::ExecChild(args) => {
                let code = crate::child::exec(args.parent, args.last, &args.command)
                    .map_err(CliError::io("the command could not be started"))?;
                Ok(exit_code(code))
            }
            Command::Reference(args) => print(&match args.which {
                Reference::Cli => reference::cli(),
                Reference::Config => reference::config(),
                Reference::Metrics => reference::metrics(),
            }),
        }
    }
}

fn serve(args: ServeArgs) -> Result<ExitCode, CliError> {
    let config = serve_config(&args)?;
    telemetry::init(&config.log)?;
    let again =
        move || serve_config(&args).map_err(|error| format!("{:#}", anyhow::anyhow!(error)));
    in_runtime(serve::run(config, Arc::new(again)))??;
    Ok(ExitCode::SUCCESS)
}

/// The file, the folder of servers, and the flags over both.
fn serve_config(args: &ServeArgs) -> Result<Config, CliError> {
    let mut written = settings::written(args.config.as_deref())?;
    if let Some(url) = &args.upstream {
        settings::upstream(&mut written, url);
    }
    if let Some(listen) = &args.listen {
        written.set("--listen", "/listen", |config| config.listen.clone_from(listen));
    }
    if let Some(admin) = &args.admin {
        written.set("--admin", "/admin", |config| config.admin.clone_from(admin));
    }
    settings::finish(written, &args.inspect, &args.capture, &args.log, Use::Serve)
}

fn wrap(args: WrapArgs) -> Result<ExitCode, CliError> {
    let mut written = settings::written(args.config.as_deref())?;
    if let Some(url) = &args.upstream {
        let name = args.name.clone().unwrap_or_else(|| settings::name_of_url(url));
        if !is_server_name(&name) {
            return Err(CliError::ServerName);
        }
        settings::reach(&mut written, name, url, args.key_env.as_deref())?;
        let config = settings::finish(written, &args.inspect, &args.capture, &args.log, Use::Wrap)?;
        telemetry::init(&config.log)?;
        return Ok(exit_code(in_runtime(wrap::reach(config))??));
    }
    let config = settings::finish(written, &args.inspect, &args.capture, &args.log, Use::Wrap)?;
    telemetry::init(&config.log)?;
    let name = args.name.unwrap_or_else(|| settings::name_of(&args.command));
    if !is_server_name(&name) {
        return Err(CliError::ServerName);
    }
    let code = in_runtime(wrap::run(WrapOptions { config, name, command: args.command }))??;
    Ok(exit_code(code))
}

fn demo(args: DemoArgs) -> Result<ExitCode, CliError> {
    let DemoArgs { stay, capture, json } = args;
    in_runtime(demo::run(DemoOptions { stay, capture, json }))??;
    Ok(ExitCode::SUCCESS)
}

/// Runs a future to its end, and then waits for nothing: a read of stdin that is under way on
/// the runtime's own thread would otherwise hold the process until a line comes.
fn in_runtime<T>(future: impl Future<Output = T>) -> Result<T, CliError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(CliError::io("the runtime could not be started"))?;
    let result = runtime.block_on(future);
    runtime.shutdown_timeout(Duration::ZERO);
    Ok(result)
}

/// A process's code as ours; what does not fit into a byte is a failure.
fn exit_code(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code).unwrap_or(2))
}

/// Data to stdout. A reader that went away, as `head` does, is no error.
fn print(text: &str) -> Result<ExitCode, CliError> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(CliError::io("stdout cannot be written")(error))
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_help_of_each_verb() {
        let mut root = Cli::command().term_width(88);
        root.clone().debug_assert();
        root.build();
        help(&mut root, "wiregate");
    }

    fn help(command: &mut clap::Command, name: &str) {
        let text = command.render_long_help().to_string();
        assert!(
            command.is_hide_set() || command.has_subcommands() || text.contains("Example"),
            "{name} has no example"
        );
        insta::assert_snapshot!(name.replace(' ', "_"), text);
        for sub in command.get_subcommands_mut().filter(|sub| sub.get_name() != "help") {
            let name = format!("{name} {}", sub.get_name());
            help(sub, &name);
        }
    }

    #[test]
    fn what_follows_replay_is_not_ours() {
        let cli = Cli::try_parse_from(["wiregate", "replay", "scan", "--help", "--json"]).unwrap();
        let Command::Replay(args) = cli.command else { panic!("{cli:?}") };
        assert_eq!(args.args, ["scan", "--help", "--json"]);
    }

    #[test]
    fn flags_that_contradict_are_refused() {
        for args in [
            &["wiregate", "serve", "--capture", "d", "--no-capture"][..],
            &["wiregate", "serve", "--preset", "lax"],
            &["wiregate", "wrap"],
            &["wiregate", "keys", "new"],
        ] {
            assert_eq!(Cli::try_parse_from(args).unwrap_err().exit_code(), 2, "{args:?}");
        }
    }
}
