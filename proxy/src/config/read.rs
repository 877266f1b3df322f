//! From a file's text, and the flags that override it, to a checked [`Config`].
//!
//! The central type: [`Written`], a configuration that still knows where each of its values was
//! written, so that every error has its place. What may be wrong with a value is in
//! [`super::check`].

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use inspect::yaml::{self, Located, Marks};
use serde_json::Value;

use super::check::{self, Problem};
use super::{Address, Config, PinMode, Server};
use crate::registry;

/// Looks up an environment variable.
pub type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Why a configuration could not be had. All of it is the user's to mend.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The file cannot be read.
    #[error("{}: cannot be read", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is wrong, in so many places.
    #[error("{}", Listed(.0))]
    Invalid(Vec<Located>),
}

/// Errors, one a line, as `file:line:column: message`.
#[derive(Debug)]
pub struct Listed<'a>(pub &'a [Located]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            // Line 0 stands for no line: a flag, or a configuration that no file holds.
            match error.line {
                0 => write!(f, "{}: {}", error.file, error.message)?,
                _ => write!(f, "{error}")?,
            }
        }
        Ok(())
    }
}

/// What the configuration is for; each use needs other parts of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Serving over HTTP: at least one server, and an address that may be bound.
    Serve,
    /// Wrapping one command, which is the server.
    Wrap,
}

/// A configuration that still knows where its values were written.
#[derive(Debug)]
pub struct Written {
    /// The values.
    pub config: Config,
    file: String,
    marks: Option<Marks>,
    flags: BTreeMap<&'static str, &'static str>,
}

impl Config {
    /// Reads and checks a file, with `${NAME}` taken from the process's environment.
    pub fn load(path: &Path) -> Result<Self, LoadError> {
        let env = |name: &str| std::env::var(name).ok();
        Written::load(path, &env)?.finish(Use::Serve, &env).map_err(LoadError::Invalid)
    }

    /// Reads and checks a text. `file` is its name in errors; relative paths in it start at the
    /// folder of `file`.
    pub fn from_yaml(file: &str, text: &str, env: Env<'_>) -> Result<Self, Vec<Located>> {
        Written::parse(file, text, env)?.finish(Use::Serve, env)
    }
}

impl Written {
    /// The defaults, for a run without a file.
    pub fn defaults() -> Self {
        Self {
            config: Config::default(),
            file: "command line".into(),
            marks: None,
            flags: BTreeMap::new(),
        }
    }

    /// Reads a file, not yet checking its values.
    pub fn load(path: &Path, env: Env<'_>) -> Result<Self, LoadError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| LoadError::Read { path: path.into(), source })?;
        Self::parse(&path.display().to_string(), &text, env).map_err(LoadError::Invalid)
    }

    /// Reads a text, not yet checking its values, unless it is wrong already: then its values
    /// are checked as well, so that one run tells everything.
    pub fn parse(file: &str, text: &str, env: Env<'_>) -> Result<Self, Vec<Located>> {
        let written = |mut config: Config, marks| {
            if let Some(folder) = Path::new(file).parent() {
                config.resolve_paths(folder);
            }
            Self { config, file: file.into(), marks: Some(marks), flags: BTreeMap::new() }
        };
        let mut errors = match yaml::from_str::<Config>(file, text, Some(env)) {
            Ok((config, marks)) => return Ok(written(config, marks)),
            Err(errors) => errors,
        };
        if let Some((config, marks)) = without_broken_parts(file, text, env, &errors) {
            let broken: Vec<String> = errors.iter().map(|error| error.path.clone()).collect();
            let more = written(config, marks).finish(Use::Serve, env).err().unwrap_or_default();
            errors.extend(
                more.into_iter()
                    .filter(|error| !broken.iter().any(|path| related(path, &error.path))),
            );
            errors.sort_by_key(|error| (error.line, error.column));
        }
        Err(errors)
    }

    /// Sets a value from a flag; errors about `pointer` then name the flag.
    pub fn set(
        &mut self,
        flag: &'static str,
        pointer: &'static str,
        change: impl FnOnce(&mut Config),
    ) {
        change(&mut self.config);
        self.flags.insert(pointer, flag);
    }

    /// Checks every value, and settles the capture's folder, that of packs and the pins' file.
    pub fn finish(mut self, using: Use, env: Env<'_>) -> Result<Config, Vec<Located>> {
        if let (Use::Serve, Some(dir)) = (using, self.config.registry.dir.clone()) {
            registry::join(&mut self.config.servers, &dir, env)?;
        }
        let mut problems = check::problems_for(&self.config, using);
        if using == Use::Serve {
            self.config.registry.vetted = self.config.registry.records(env);
            if self.config.registry.require_vetted && self.config.registry.vetted.is_none() {
                problems.push(Problem::new(
                    "/registry/require_vetted",
                    "neither XDG_STATE_HOME nor HOME is set: write `registry.dir`, where approvals \
                     are kept",
                ));
            }
        }
        if self.config.capture.enabled {
            self.config.capture.dir = self.config.capture.folder(env);
            if self.config.capture.dir.is_none() {
                problems.push(Problem::new(
                    "/capture/dir",
                    "neither XDG_STATE_HOME nor HOME is set: write the folder to record to",
                ));
            }
        }
        if self.config.pins.mode != PinMode::Off {
            self.config.pins.store = self.config.pins.file(env);
            if self.config.pins.store.is_none() && !self.config.pins.starts_without_store() {
                problems.push(Problem::new(
                    "/pins/store",
                    "neither XDG_STATE_HOME nor HOME is set: write the file to keep pins in",
                ));
            }
        }
        if !self.config.inspect.packs.trust.is_empty() {
            self.config.inspect.packs.dir = self.config.inspect.packs.folder(env);
            if self.config.inspect.packs.dir.is_none() {
                problems.push(Problem::new(
                    "/inspect/packs/dir",
                    "neither XDG_STATE_HOME nor HOME is set: write the folder of installed packs",
                ));
            }
        }
        if problems.is_empty() {
            return Ok(self.config);
        }
        let mut errors: Vec<Located> =
            problems.into_iter().map(|problem| self.locate(problem)).collect();
        errors.sort_by_key(|error| (error.line, error.column));
        Err(errors)
    }

    fn locate(&self, problem: Problem) -> Located {
        let flag = self
            .flags
            .iter()
            .find(|(pointer, _)| related(pointer, &problem.pointer))
            .map(|(_, flag)| *flag);
        let (file, (line, column)) = match (flag, &self.marks) {
            (Some(flag), _) => (flag, (0, 0)),
            (None, Some(marks)) => (self.file.as_str(), marks.at(&problem.pointer)),
            (None, None) => (self.file.as_str(), (0, 0)),
        };
        Located { file: file.into(), line, column, path: problem.pointer, message: problem.message }
    }
}

/// Whether one of two JSON Pointers is the other or leads to it.
fn related(one: &str, other: &str) -> bool {
    let (short, long) = if one.len() <= other.len() { (one, other) } else { (other, one) };
    long.strip_prefix(short).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The text's configuration without the members that errors are about, when the rest makes one.
fn without_broken_parts(
    file: &str,
    text: &str,
    env: Env<'_>,
    errors: &[Located],
) -> Option<(Config, Marks)> {
    let (mut value, marks) = yaml::from_str::<Value>(file, text, Some(env)).ok()?;
    for error in errors {
        let Some((parent, member)) = error.path.rsplit_once('/') else {
            continue;
        };
        let member = member.replace("~1", "/").replace("~0", "~");
        match value.pointer_mut(parent) {
            Some(Value::Object(map)) => {
                map.shift_remove(&member);
            }
            // Removing an element would shift the places of those behind it.
            Some(Value::Array(_)) | None => return None,
            Some(_) => {}
        }
    }
    Some((serde_json::from_value(value).ok()?, marks))
}

impl Config {
    /// Makes every relative path start at `folder`.
    fn resolve_paths(&mut self, folder: &Path) {
        let join = |path: &mut PathBuf| *path = folder.join(&path);
        if let Some(tls) = &mut self.tls {
            join(&mut tls.cert);
            join(&mut tls.key);
            tls.client_ca.iter_mut().for_each(join);
        }
        self.servers.values_mut().for_each(|server| server.resolve_paths(folder));
        self.inspect.rules.iter_mut().chain(&mut self.inspect.packs.dir).for_each(join);
        self.capture.dir.iter_mut().chain(&mut self.registry.dir).for_each(join);
        self.pins.store.iter_mut().for_each(join);
    }

    /// A configuration of one server, for a run without a file.
    pub fn of_one_server(name: &str, url: &str) -> Self {
        let server = Server { url: Some(Address::new(url)), ..Server::default() };
        Self { servers: BTreeMap::from([(name.into(), server)]), ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "servers: { files: { url: 'http://127.0.0.1:9000/mcp' } }\n";

    fn env(name: &str) -> Option<String> {
        match name {
            "HOME" => Some("/home/someone".into()),
            "TOKEN" => Some("hunter2".into()),
            "LIMIT" => Some("1MiB".into()),
            _ => None,
        }
    }

    #[test]
    fn what_is_not_written_has_its_default() {
        let config = Config::from_yaml("f.yaml", ONE, &env).unwrap();
        let dir = Some("/home/someone/.local/state/wiregate/capture".into());
        let capture = super::super::Capture { dir, ..Default::default() };
        let store = Some("/home/someone/.local/state/wiregate/pins.sqlite".into());
        let pins = super::super::Pins { store, ..Default::default() };
        let default = Config::of_one_server("files", "http://127.0.0.1:9000/mcp");
        let vetted = Some("/home/someone/.local/state/wiregate/vetted".into());
        let registry = super::super::Registry { vetted, ..Default::default() };
        assert_eq!(config, Config { capture, pins, registry, ..default });
    }

    #[test]
    fn the_state_folder_is_xdgs_when_it_is_one() {
        let state = |xdg: &'static str| {
            let env = move |name: &str| match name {
                "XDG_STATE_HOME" => Some(xdg.to_owned()),
                other => env(other),
            };
            Config::from_yaml("f.yaml", ONE, &env).unwrap().capture.dir.unwrap()
        };
        assert_eq!(state("/var/state"), Path::new("/var/state/wiregate/capture"));
        let home = Path::new("/home/someone/.local/state/wiregate/capture");
        assert_eq!(state("relative"), home);
        assert_eq!(state(""), home);
        let errors = Config::from_yaml("f.yaml", ONE, &|_| None).unwrap_err();
        assert_eq!(errors.first().unwrap().path, "/capture/dir");
    }

    #[test]
    fn variables_and_relative_paths() {
        let text =
            format!("{ONE}inspect: {{ rules: [., /tmp] }}\nlimits: {{ body: \"${{LIMIT}}\" }}\n")
                .replace("/mcp' }", "/mcp', headers: { Authorization: 'Bearer ${TOKEN}' } }");
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("f.yaml");
        let config = Config::from_yaml(file.to_str().unwrap(), &text, &env).unwrap();
        assert_eq!(config.inspect.rules, [folder.path().join("."), "/tmp".into()]);
        assert_eq!(config.limits.body.to_string(), "1MiB");
        let headers = &config.servers.get("files").unwrap().headers;
        assert_eq!(headers.get("Authorization").unwrap().expose(), "Bearer hunter2");
        assert!(!format!("{config:?}").contains("hunter2"));
    }

    #[test]
    fn what_a_flag_set_wrong_names_the_flag() {
        let mut written = Written::parse("f.yaml", ONE, &env).unwrap();
        written.set("--listen", "/listen", |config| config.listen = "here".into());
        let errors = written.finish(Use::Serve, &env).unwrap_err();
        let told = Listed(&errors).to_string();
        assert!(told.starts_with("--listen: not an address"), "{told}");
    }

    #[test]
    fn a_broken_part_is_told_once() {
        let text = format!("{ONE}limits: {{ body: four }}\nlog: {{ level: inof }}\n");
        let errors = Config::from_yaml("f.yaml", &text, &env).unwrap_err();
        let paths: Vec<&str> = errors.iter().map(|error| error.path.as_str()).collect();
        assert_eq!(paths, ["/limits/body", "/log/level"]);
    }

    #[test]
    fn auth_is_a_word_or_keys() {
        let auth = |text: &str| {
            Config::from_yaml("f.yaml", &format!("{ONE}auth: {text}\n"), &env)
                .map(|config| config.auth)
        };
        assert_eq!(auth("none").unwrap(), Some(super::super::Auth::Open));
        for wrong in ["all", "[]", "{}", "{ keys: [], more: 1 }", "{ keys: [{ name: a }] }", "1"] {
            assert!(auth(wrong).is_err(), "{wrong}");
        }
        let errors = auth("{ keys: [{ name: a, sha256: b, role: c }] }").unwrap_err();
        assert!(errors.iter().any(|error| error.path.starts_with("/auth/keys/0")), "{errors:?}");
    }

    #[test]
    fn a_missing_file_is_no_wrong_one() {
        let error = Config::load(Path::new("/nonexistent/f.yaml")).unwrap_err();
        assert!(matches!(error, LoadError::Read { .. }));
    }
}
