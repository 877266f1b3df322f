//! The binaries under test, built once per test process with its own profile; where they lie, cargo's messages say.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::OnceLock;

/// Where the binaries are.
#[derive(Clone, Debug)]
pub struct Binaries {
    /// The gateway.
    pub wiregate: PathBuf,
    /// The tool for captures.
    pub replay: PathBuf,
    /// The MCP server of this package, on the official SDK.
    pub fixture: PathBuf,
}

impl Binaries {
    /// The server on stdio, which is built with the fixture and lies beside it.
    #[must_use]
    pub fn stdio_echo(&self) -> PathBuf {
        self.fixture.with_file_name("stdio-echo")
    }
}

/// The binaries; the first call builds them. Those that `WIREGATE`, `WIREGATE_REPLAY` and `FIXTURE` name are taken as they are.
///
/// # Panics
/// When they do not build.
#[must_use]
pub fn binaries() -> &'static Binaries {
    static BINARIES: OnceLock<Binaries> = OnceLock::new();
    BINARIES.get_or_init(|| {
        let named = |name| std::env::var_os(name).map(PathBuf::from);
        let (wiregate, replay, fixture) =
            (named("WIREGATE"), named("WIREGATE_REPLAY"), named("FIXTURE"));
        if let (Some(wiregate), Some(replay), Some(fixture)) = (&wiregate, &replay, &fixture) {
            return Binaries {
                wiregate: wiregate.clone(),
                replay: replay.clone(),
                fixture: fixture.clone(),
            };
        }
        let mut built = build();
        let mut take = |named: Option<PathBuf>, name: &str| {
            named.or_else(|| built.remove(name)).unwrap_or_else(|| panic!("cargo built no {name}"))
        };
        Binaries {
            wiregate: take(wiregate, "wiregate"),
            replay: take(replay, "wiregate-replay"),
            fixture: take(fixture, "fixture"),
        }
    })
}

/// All binaries of the workspace. With only one package, cargo would choose other features for what they share and
/// build it a second time.
fn build() -> BTreeMap<String, PathBuf> {
    let messages = escargot::CargoBuild::new()
        .manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
        .args(["--workspace", "--bins"])
        .current_release()
        .exec()
        .unwrap_or_else(|e| panic!("cargo build: {e}"));
    let mut built = BTreeMap::new();
    for message in messages {
        let message = message.unwrap_or_else(|e| panic!("cargo build: {e}"));
        let Ok(escargot::format::Message::CompilerArtifact(artifact)) = message.decode() else {
            continue;
        };
        if let Some(path) = artifact.executable {
            built.insert(artifact.target.name.into_owned(), path.into_owned());
        }
    }
    built
}
