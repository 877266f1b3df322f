//! MCP clients' own configuration files: where they are, how a server is written in them, and
//! changing them so that nothing else in the file moves. Formats as their makers document them.
//!
//! The central type: [`Kind`], one client. [`edit`] changes a text, [`mod@file`] a file, with a backup.

pub mod edit;
pub mod file;

use std::path::{Path, PathBuf};

use clap::ValueEnum;

/// A client whose configuration is known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Claude Code: `.mcp.json` of a project, `~/.claude.json` of a user.
    ClaudeCode,
    /// Claude Desktop, which starts servers and connects to none.
    ClaudeDesktop,
    /// Cursor: `.cursor/mcp.json`.
    Cursor,
    /// VS Code: `.vscode/mcp.json` of a project, `mcp.json` of a user's profile.
    Vscode,
    /// Windsurf: `~/.codeium/windsurf/mcp_config.json`.
    Windsurf,
    /// Zed: `settings.json`, `context_servers`.
    Zed,
    /// Codex: `config.toml`, `mcp_servers`.
    Codex,
    /// Gemini CLI: `settings.json`.
    Gemini,
}

/// Whose configuration it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scope {
    /// The user's, for all projects.
    User,
    /// The current folder's.
    Project,
}

/// A value of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A string.
    Text(String),
    /// A list of strings.
    List(Vec<String>),
    /// Names and strings.
    Map(Vec<(&'static str, String)>),
}

/// One server as a client's file has it: members in their order.
pub type Entry = Vec<(&'static str, Value)>;

/// What a client shall connect to.
#[derive(Clone, Debug)]
pub struct Gateway {
    /// The gateway's endpoint.
    pub url: String,
    /// The environment variable that holds the key, where one is asked for.
    pub key_env: Option<String>,
    /// The program `wiregate`, for clients that can only start something.
    pub program: String,
}

impl Kind {
    /// The member of the file that holds the servers.
    pub fn section(self) -> &'static str {
        match self {
            Kind::Vscode => "servers",
            Kind::Zed => "context_servers",
            Kind::Codex => "mcp_servers",
            _ => "mcpServers",
        }
    }

    /// Where the file is; `None` when the client has none of this scope, or no home is known.
    /// `env` looks up environment variables.
    pub fn path(
        self,
        scope: Scope,
        project: &Path,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Option<PathBuf> {
        let home = || env("HOME").map(PathBuf::from).filter(|path| path.is_absolute());
        let config = || {
            let xdg = env("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
            let mac = cfg!(target_os = "macos");
            let default = if mac { "Library/Application Support" } else { ".config" };
            xdg.filter(|_| !mac).or_else(|| Some(home()?.join(default)))
        };
        let codex =
            || env("CODEX_HOME").map(PathBuf::from).or_else(|| Some(home()?.join(".codex")));
        Some(match (self, scope) {
            (Kind::ClaudeCode, Scope::User) => home()?.join(".claude.json"),
            (Kind::ClaudeCode, Scope::Project) => project.join(".mcp.json"),
            (Kind::ClaudeDesktop, Scope::User) => {
                config()?.join("Claude/claude_desktop_config.json")
            }
            (Kind::Cursor, Scope::User) => home()?.join(".cursor/mcp.json"),
            (Kind::Cursor, Scope::Project) => project.join(".cursor/mcp.json"),
            (Kind::Vscode, Scope::User) => config()?.join("Code/User/mcp.json"),
            (Kind::Vscode, Scope::Project) => project.join(".vscode/mcp.json"),
            (Kind::Windsurf, Scope::User) => home()?.join(".codeium/windsurf/mcp_config.json"),
            // Zed has its settings below ~/.config on macOS too.
            (Kind::Zed, Scope::User) => home()?.join(".config/zed/settings.json"),
            (Kind::Zed, Scope::Project) => project.join(".zed/settings.json"),
            (Kind::Codex, Scope::User) => codex()?.join("config.toml"),
            (Kind::Codex, Scope::Project) => project.join(".codex/config.toml"),
            (Kind::Gemini, Scope::User) => home()?.join(".gemini/settings.json"),
            (Kind::Gemini, Scope::Project) => project.join(".gemini/settings.json"),
            (Kind::ClaudeDesktop | Kind::Windsurf, Scope::Project) => return None,
        })
    }

    /// The entry that leads to the gateway. A key is never written, only the name of the variable
    /// that holds it, in the client's own notation; `None` for a client that has no such notation
    /// when a key is asked for.
    pub fn entry(self, gateway: &Gateway) -> Option<Entry> {
        let text = |text: &str| Value::Text(text.into());
        let url = |member: &'static str| (member, text(&gateway.url));
        let bearer = |variable: String| {
            ("headers", Value::Map(vec![("Authorization", format!("Bearer {variable}"))]))
        };
        let key = gateway.key_env.as_deref();
        let mut entry = match self {
            Kind::ClaudeCode => vec![("type", text("http")), url("url")],
            Kind::Vscode => vec![("type", text("http")), url("url")],
            Kind::Cursor | Kind::Zed | Kind::Codex => vec![url("url")],
            Kind::Windsurf => vec![url("serverUrl")],
            Kind::Gemini => vec![url("httpUrl")],
            Kind::ClaudeDesktop => {
                let mut args = vec!["wrap".to_owned(), "--upstream".into(), gateway.url.clone()];
                if let Some(key) = key {
                    args.extend(["--key-env".into(), key.into()]);
                }
                return Some(vec![
                    ("command", text(&gateway.program)),
                    ("args", Value::List(args)),
                ]);
            }
        };
        if let Some(key) = key {
            entry.push(match self {
                Kind::ClaudeCode | Kind::Gemini => bearer(format!("${{{key}}}")),
                Kind::Cursor | Kind::Vscode | Kind::Windsurf => bearer(format!("${{env:{key}}}")),
                Kind::Codex => ("bearer_token_env_var", text(key)),
                Kind::Zed | Kind::ClaudeDesktop => return None,
            });
        }
        Some(entry)
    }
}
