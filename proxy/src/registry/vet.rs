//! What a careful operator asks of a server before approving it, and the approval.
//!
//! Two halves: what its definition says ([`definition`]), and what it answers when it is asked
//! ([`crate::registry::probe`], judged by [`answers`]). An approval ([`Record`]) names the
//! definition by a digest: a server defined otherwise since is not vetted.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::probe::Answers;
use crate::config::Server;
use crate::snapshot::{digest, hex};

/// How a question was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// As it should be.
    Pass,
    /// Nobody knows.
    Unknown,
    /// A person should look.
    Warn,
    /// It should not be approved like this.
    Fail,
}

/// One question, and what was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// A short name that stays.
    pub id: &'static str,
    /// How it is answered.
    pub outcome: Outcome,
    /// What was found, one sentence; no value that may be a secret.
    pub detail: String,
}

fn check(id: &'static str, outcome: Outcome, detail: impl Into<String>) -> Check {
    Check { id, outcome, detail: detail.into() }
}

/// A package this young has had no time to be found out.
const YOUNG_DAYS: i64 = 30;
/// A package whose last release is as old as this may be looked after by nobody.
const OLD_DAYS: i64 = 730;
/// Bytes of an executable that are read for its digest.
const LARGEST_PROGRAM: u64 = 1 << 30;

/// What can be said of a server without asking it. `path` is the `PATH` its program is looked for
/// in, `now` the present.
pub fn definition(server: &Server, path: &str, now: Timestamp) -> Vec<Check> {
    let mut checks = vec![origin(server)];
    checks.extend(ages(server, now));
    if server.command.is_some() {
        checks.push(shell(server));
        checks.push(pinned(server));
        checks.push(program(server, path));
        checks.push(arguments(server));
    } else {
        checks.push(wire(server));
    }
    checks
}

fn origin(server: &Server) -> Check {
    match &server.origin {
        None => check("origin", Outcome::Unknown, "no registry's file says where it comes from"),
        Some(origin) => {
            let from = origin.repository.as_deref().unwrap_or("no source code is named");
            let detail = format!("{} {} ({from})", origin.name, origin.version);
            let named = origin.repository.is_some();
            check("origin", if named { Outcome::Pass } else { Outcome::Warn }, detail)
        }
    }
}

fn ages(server: &Server, now: Timestamp) -> Vec<Check> {
    let days = |written: &Option<String>| {
        let then: Timestamp = written.as_ref()?.parse().ok()?;
        Some(now.duration_since(then).as_hours() / 24)
    };
    let origin = server.origin.as_ref();
    let age = match origin.and_then(|origin| days(&origin.published)) {
        None => check("age", Outcome::Unknown, "when it was published is not known"),
        Some(days) if days < YOUNG_DAYS => {
            check("age", Outcome::Warn, format!("published {days} days ago"))
        }
        Some(days) => check("age", Outcome::Pass, format!("published {days} days ago")),
    };
    let release = match origin.and_then(|origin| days(&origin.updated)) {
        None => check("release", Outcome::Unknown, "when it was last released is not known"),
        Some(days) if days > OLD_DAYS => {
            check("release", Outcome::Warn, format!("last released {days} days ago"))
        }
        Some(days) => check("release", Outcome::Pass, format!("last released {days} days ago")),
    };
    vec![age, release]
}

fn stem(command: &str) -> &str {
    Path::new(command).file_stem().and_then(|stem| stem.to_str()).unwrap_or(command)
}

fn shell(server: &Server) -> Check {
    let command = server.command.as_deref().unwrap_or_default();
    let is_shell = ["sh", "bash", "dash", "zsh", "fish", "cmd", "powershell", "pwsh", "env"]
        .contains(&stem(command));
    match is_shell {
        true => check("shell", Outcome::Fail, format!("{command} runs whatever its arguments say")),
        false => check("shell", Outcome::Pass, "no shell stands between"),
    }
}

/// Whether a package runner is told which version to run.
fn pinned(server: &Server) -> Check {
    let command = server.command.as_deref().unwrap_or_default();
    let args: Vec<&str> = server.args.iter().map(|arg| arg.expose()).collect();
    let exact = |version: &str| version.bytes().next().is_some_and(|b| b.is_ascii_digit());
    let (runner, package) = match stem(command) {
        "npx" | "bunx" | "pnpx" => ("npm", args.iter().find(|arg| !arg.starts_with('-'))),
        "uvx" | "pipx" => {
            let skipped = |arg: &&&str| !arg.starts_with('-') && **arg != "run";
            ("pypi", args.iter().find(skipped))
        }
        "docker" | "podman" => {
            let image = |arg: &&&str| !arg.starts_with('-') && **arg != "run";
            ("oci", args.iter().find(image))
        }
        _ => return check("pinned", Outcome::Pass, "no package runner: what is installed runs"),
    };
    let Some(package) = package else {
        return check("pinned", Outcome::Unknown, "which package it runs is not to be seen");
    };
    let fixed = match runner {
        "npm" => package.rsplit_once('@').is_some_and(|(name, v)| !name.is_empty() && exact(v)),
        "pypi" => package
            .split_once("==")
            .or_else(|| package.split_once('@'))
            .is_some_and(|(_, version)| exact(version)),
        _ => package.contains("@sha256:"),
    };
    match fixed {
        true => check("pinned", Outcome::Pass, format!("{runner}: the version is fixed")),
        false => {
            let how = match runner {
                "npm" => "name@1.2.3",
                "pypi" => "name==1.2.3",
                _ => "image@sha256:…",
            };
            check("pinned", Outcome::Fail, format!("{runner}: any release may run; write {how}"))
        }
    }
}

fn program(server: &Server, path: &str) -> Check {
    let command = server.command.as_deref().unwrap_or_default();
    match find(command, path) {
        None => check("program", Outcome::Fail, format!("{command} is not there")),
        Some(file) => match file_digest(&file) {
            Ok(digest) => check("program", Outcome::Pass, format!("{} {digest}", file.display())),
            Err(error) => {
                check("program", Outcome::Unknown, format!("{}: {error}", file.display()))
            }
        },
    }
}

/// The file a command means, as `execvp` would find it.
fn find(command: &str, path: &str) -> Option<PathBuf> {
    if command.contains('/') {
        let file = PathBuf::from(command);
        return file.is_file().then_some(file);
    }
    std::env::split_paths(path).map(|dir| dir.join(command)).find(|file| file.is_file())
}

fn file_digest(path: &Path) -> std::io::Result<String> {
    let mut file = fs::File::open(path)?.take(LARGEST_PROGRAM);
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            n => hash.update(buffer.get(..n).unwrap_or_default()),
        }
    }
    Ok(format!("sha256:{}", hex(&hash.finalize())))
}

/// Whether an argument looks like a credential; everybody on the machine sees arguments.
fn arguments(server: &Server) -> Check {
    let secret = |arg: &str| {
        let lower = arg.to_ascii_lowercase();
        ["token", "secret", "password", "api-key", "api_key", "apikey", "bearer "]
            .iter()
            .any(|word| lower.contains(word))
    };
    let named = server.args.iter().position(|arg| secret(arg.expose()));
    match named {
        Some(at) => check(
            "arguments",
            Outcome::Warn,
            format!("argument {} may carry a credential: `env` hides it from `ps`", at + 1),
        ),
        None => check("arguments", Outcome::Pass, "no argument looks like a credential"),
    }
}

fn wire(server: &Server) -> Check {
    let url = server.url.as_ref().and_then(|url| url.uri());
    let Some(url) = url else { return check("wire", Outcome::Fail, "its address can't be used") };
    let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
    let loopback = host == "localhost"
        || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback());
    match (url.scheme_str(), loopback) {
        (Some("https" | "wss"), _) => check("wire", Outcome::Pass, "over TLS"),
        (_, true) => check("wire", Outcome::Pass, "on this machine"),
        _ => check("wire", Outcome::Fail, "without TLS, over a network"),
    }
}

/// What is to be said of a server's answers.
pub fn answers(answers: &Answers) -> Vec<Check> {
    let mut checks = vec![check(
        "reached",
        Outcome::Pass,
        format!("{} {}, capabilities: {}", answers.name, answers.version, answers.capabilities()),
    )];
    checks.push(match answers.findings.as_slice() {
        [] => check("scanned", Outcome::Pass, format!("{} definitions, no finding", answers.items)),
        found => {
            let worst = found.iter().any(|finding| finding.blocks);
            let told: Vec<String> =
                found.iter().take(20).map(|f| format!("{} in {}", f.rule, f.list)).collect();
            let outcome = if worst { Outcome::Fail } else { Outcome::Warn };
            check("scanned", outcome, told.join(", "))
        }
    });
    let silent = &answers.unannotated;
    checks.push(match silent.as_slice() {
        [] => check("annotations", Outcome::Pass, "every tool says whether it changes anything"),
        some => {
            let names = some.iter().take(10).cloned().collect::<Vec<_>>().join(", ");
            let detail = format!("{} tools don't say whether they only read: {names}", some.len());
            check("annotations", Outcome::Warn, detail)
        }
    });
    let far = &answers.remote_schemas;
    checks.push(match far.as_slice() {
        [] => check("schemas", Outcome::Pass, "no schema points elsewhere"),
        some => check(
            "schemas",
            Outcome::Warn,
            format!("schemas that point to other machines: {}", some.join(", ")),
        ),
    });
    checks.push(match answers.failed.as_slice() {
        [] => check("lists", Outcome::Pass, "every list it promised came"),
        some => check("lists", Outcome::Warn, format!("did not come: {}", some.join(", "))),
    });
    checks
}

/// An approval, as it is kept beside the definitions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// What was approved: [`identity`].
    pub definition: String,
    /// When (RFC 3339).
    pub at: String,
    /// By whom, as the system says.
    pub by: String,
}

/// Names a definition: what is run or reached, and with which names of variables and headers.
/// Their values are not part of it, so that a credential can be renewed.
pub fn identity(server: &Server) -> String {
    let args: Vec<&str> = server.args.iter().map(|arg| arg.expose()).collect();
    let parts = serde_json::json!({
        "url": server.url.as_ref().and_then(|url| url.uri()).map(|uri| uri.to_string()),
        "transport": server.transport,
        "command": server.command,
        "args": args,
        "cwd": server.cwd.as_ref().map(|cwd| std::path::absolute(cwd).unwrap_or_else(|_| cwd.clone())),
        "env": server.env.keys().collect::<Vec<_>>(),
        "headers": server.headers.keys().collect::<Vec<_>>(),
        "package": server.origin.as_ref().and_then(|origin| origin.sha256.as_ref()),
    });
    digest(&parts.to_string()).to_string()
}

/// Where approvals are kept: `NAME.vetted.json` in this folder.
pub fn record_file(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.vetted.json"))
}

/// Whether a server is approved as it is defined; an unreadable approval is none.
pub fn is_vetted(dir: Option<&Path>, name: &str, server: &Server) -> bool {
    let record = dir.and_then(|dir| fs::read(record_file(dir, name)).ok());
    let record = record.and_then(|bytes| serde_json::from_slice::<Record>(&bytes).ok());
    record.is_some_and(|record| record.definition == identity(server))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Address, Origin, Secret};

    fn now() -> Timestamp {
        "2026-11-25T00:00:00Z".parse().unwrap()
    }

    fn outcome(checks: &[Check], id: &str) -> Outcome {
        checks.iter().find(|check| check.id == id).unwrap_or_else(|| panic!("no {id}")).outcome
    }

    fn command(line: &[&str]) -> Server {
        Server {
            command: Some(line[0].into()),
            args: line[1..].iter().map(|arg| Secret::new(*arg)).collect(),
            ..Server::default()
        }
    }

    #[test]
    fn a_runner_without_a_version_and_a_shell_are_not_approved() {
        for (line, pinned) in [
            (&["npx", "-y", "@a/b"][..], Outcome::Fail),
            (&["npx", "-y", "@a/b@latest"], Outcome::Fail),
            (&["npx", "-y", "@a/b@1.2.3"], Outcome::Pass),
            (&["uvx", "a"], Outcome::Fail),
            (&["uvx", "a==1.0"], Outcome::Pass),
            (&["docker", "run", "-i", "a:1"], Outcome::Fail),
            (&["docker", "run", "-i", "a@sha256:00"], Outcome::Pass),
            (&["/opt/a", "x"], Outcome::Pass),
        ] {
            let checks = definition(&command(line), "", now());
            assert_eq!(outcome(&checks, "pinned"), pinned, "{line:?}");
        }
        let checks = definition(&command(&["bash", "-c", "x"]), "/bin", now());
        assert_eq!(outcome(&checks, "shell"), Outcome::Fail);
        let checks = definition(&command(&["/a", "--token", "x"]), "", now());
        assert_eq!(outcome(&checks, "arguments"), Outcome::Warn);
        assert_eq!(outcome(&checks, "program"), Outcome::Fail, "it is not there");
    }

    #[test]
    fn addresses_and_ages() {
        let at = |url: &str| Server { url: Some(Address::new(url)), ..Server::default() };
        for (url, expected) in [
            ("http://mcp.example/mcp", Outcome::Fail),
            ("http://127.0.0.1:1/mcp", Outcome::Pass),
            ("ws://[::1]:1/mcp", Outcome::Pass),
            ("https://mcp.example/mcp", Outcome::Pass),
        ] {
            assert_eq!(outcome(&definition(&at(url), "", now()), "wire"), expected, "{url}");
        }
        let aged = |published: &str, updated: &str| Server {
            origin: Some(Origin {
                published: Some(published.into()),
                updated: Some(updated.into()),
                ..Origin::default()
            }),
            ..at("https://a.example/")
        };
        let young = definition(&aged("2026-11-20T00:00:00Z", "2026-11-20T00:00:00Z"), "", now());
        assert_eq!(outcome(&young, "age"), Outcome::Warn);
        let old = definition(&aged("2020-01-01T00:00:00Z", "2020-01-01T00:00:00Z"), "", now());
        assert_eq!(
            (outcome(&old, "age"), outcome(&old, "release")),
            (Outcome::Pass, Outcome::Warn)
        );
    }

    #[test]
    fn an_approval_is_of_one_definition() {
        let folder = tempfile::tempdir().unwrap();
        let server = command(&["npx", "a@1.0.0"]);
        let vetted = |server: &Server| is_vetted(Some(folder.path()), "a", server);
        assert!(!vetted(&server));
        let record = Record { definition: identity(&server), at: "now".into(), by: "me".into() };
        let file = record_file(folder.path(), "a");
        fs::write(&file, serde_json::to_vec(&record).unwrap()).unwrap();
        assert!(vetted(&server));
        assert!(!vetted(&command(&["npx", "a@1.0.1"])));
        let mut renewed = server.clone();
        renewed.env.insert("A".into(), Secret::new("1"));
        assert!(!vetted(&renewed), "a variable more");
        fs::write(&file, "{").unwrap();
        assert!(!vetted(&server), "an unreadable approval");
    }
}
