//! Flags that more than one verb has, and how they override the configuration file.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::PossibleValuesParser;

use super::CliError;
use crate::config::{
    Address, Bodies, Config, Listed, LogFormat, Preset, Secret, Server, Use, Written,
};

/// What is looked for, and what is done about it.
#[derive(Debug, Default, Args)]
pub struct InspectFlags {
    /// How hard findings are acted upon
    #[arg(long, value_parser = PossibleValuesParser::new(["strict", "balanced", "audit"]))]
    preset: Option<String>,
    /// A folder with further rules, besides those of the file; may be given more than once
    #[arg(long, value_name = "DIR")]
    rules: Vec<PathBuf>,
}

/// What is recorded, and where.
#[derive(Debug, Default, Args)]
pub struct CaptureFlags {
    /// The folder to record to
    #[arg(long, value_name = "DIR")]
    capture: Option<PathBuf>,
    /// Record nothing
    #[arg(long, conflicts_with_all = ["capture", "capture_bodies"])]
    no_capture: bool,
    /// How bodies are recorded
    #[arg(long, value_name = "HOW", value_parser = PossibleValuesParser::new(["redacted", "raw"]))]
    capture_bodies: Option<String>,
}

/// How the log is written.
#[derive(Debug, Default, Args)]
pub struct LogFlags {
    /// Text for people or JSON for machines
    #[arg(long, value_name = "FORMAT", value_parser = PossibleValuesParser::new(["text", "json"]))]
    log_format: Option<String>,
}

/// An environment variable of this process; one that is not Unicode counts as unset.
pub(super) fn env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The file's configuration, not yet checked, or the defaults.
pub(super) fn written(file: Option<&Path>) -> Result<Written, CliError> {
    match file {
        Some(path) => Ok(Written::load(path, &env)?),
        None => Ok(Written::defaults()),
    }
}

/// Puts `--upstream` in the place of the file's servers.
pub(super) fn upstream(written: &mut Written, url: &str) {
    let server = Server { url: Some(Address::new(url)), ..Server::default() };
    written.set("--upstream", "/servers", |config| {
        config.servers = BTreeMap::from([("upstream".into(), server)]);
    });
}

/// Puts one server, with the key that a variable holds, in the place of the file's servers.
pub(super) fn reach(
    written: &mut Written,
    name: String,
    url: &str,
    key_env: Option<&str>,
) -> Result<(), CliError> {
    let mut server = Server { url: Some(Address::new(url)), ..Server::default() };
    if let Some(variable) = key_env {
        let key = env(variable).ok_or_else(|| CliError::NoKey(variable.to_owned()))?;
        server.headers.insert("Authorization".into(), Secret::new(format!("Bearer {key}")));
    }
    written.set("--upstream", "/servers", |config| {
        config.servers = BTreeMap::from([(name, server)]);
    });
    Ok(())
}

/// A server's name from its address: the host's, in the letters names may have.
pub(super) fn name_of_url(url: &str) -> String {
    let parsed = url::Url::parse(url).ok();
    let host = parsed.as_ref().and_then(url::Url::host_str).unwrap_or_default().to_owned();
    match in_letters(&host).trim_matches('-') {
        "" => "server".into(),
        name => name.into(),
    }
}

/// A text in the letters that names of servers have.
fn in_letters(text: &str) -> String {
    text.to_ascii_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .take(64)
        .collect()
}

/// Applies the shared flags, and checks everything.
pub(super) fn finish(
    mut written: Written,
    inspect: &InspectFlags,
    capture: &CaptureFlags,
    log: &LogFlags,
    using: Use,
) -> Result<Config, CliError> {
    if let Some(preset) = &inspect.preset {
        // Clap let only these words through.
        let preset = match preset.as_str() {
            "strict" => Preset::Strict,
            "audit" => Preset::Audit,
            _ => Preset::Balanced,
        };
        written.set("--preset", "/inspect/preset", |config| config.inspect.preset = preset);
    }
    add_rules(&mut written, &inspect.rules);
    if let Some(dir) = &capture.capture {
        written.set("--capture", "/capture/dir", |config| {
            config.capture.enabled = true;
            config.capture.dir = Some(dir.clone());
        });
    }
    if capture.no_capture {
        written.set("--no-capture", "/capture/enabled", |config| config.capture.enabled = false);
    }
    if let Some(bodies) = &capture.capture_bodies {
        let bodies = if bodies == "raw" { Bodies::Raw } else { Bodies::Redacted };
        written.set("--capture-bodies", "/capture/bodies", |config| config.capture.bodies = bodies);
    }
    if let Some(format) = &log.log_format {
        let format = if format == "json" { LogFormat::Json } else { LogFormat::Text };
        written.set("--log-format", "/log/format", |config| config.log.format = format);
    }
    written.finish(using, &env).map_err(|errors| CliError::Config(Listed(&errors).to_string()))
}

/// Adds the folders of `--rules` to those of the file.
pub(super) fn add_rules(written: &mut Written, folders: &[PathBuf]) {
    if !folders.is_empty() {
        written.config.inspect.rules.extend_from_slice(folders);
    }
}

/// A server's name from its command: the program's file name, in the letters names may have.
pub(super) fn name_of(command: &[OsString]) -> String {
    let program = command.first().map(Path::new).and_then(Path::file_stem).unwrap_or_default();
    let name = in_letters(&program.to_string_lossy());
    match name.trim_matches('-') {
        "" => "server".into(),
        name => name.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_names_its_server() {
        for (command, name) in [
            ("npx", "npx"),
            ("/usr/bin/My_Server.sh", "my-server"),
            ("./héllo", "h-llo"),
            ("...", "server"),
        ] {
            assert_eq!(name_of(&[command.into()]), name, "{command}");
        }
        assert_eq!(name_of(&[]), "server");
    }
}
