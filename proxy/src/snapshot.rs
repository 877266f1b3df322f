//! A configuration, resolved: rules compiled, addresses parsed, keys decoded, digests taken.
//!
//! The central type: [`Snapshot`]. It never changes; a new configuration is a new snapshot, and
//! every message is seen under exactly one. Building one reads files and compiles rules: do it
//! away from traffic.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use inspect::yaml::Located;
use inspect::{Policy, RuleSet};
use serde_json::json;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use crate::catalog::Faces;
use crate::config::{
    Address, Auth, CertKey, Config, Key, Problem, Registry, Secret, Server, ServerEra,
    ServerTransport, problems,
};
use crate::extent::Extents;
use crate::registry::vet;
use crate::rulefiles::{self, compile};
use crate::session::peers::Peers;
use crate::session::seal::Sealer;
use crate::upstream::ways::Ways;

/// A configuration, resolved.
#[derive(Debug)]
pub struct Snapshot {
    /// The configuration it was built from.
    pub config: Config,
    /// The compiled rules.
    pub rules: Arc<RuleSet>,
    /// What is done about findings.
    pub policy: Policy,
    /// Names `rules`: `sha256:` and 64 hexadecimal digits.
    pub ruleset_digest: Arc<str>,
    /// Names `policy`, likewise.
    pub policy_digest: Arc<str>,
    /// Names [`Snapshot::config_json`], likewise.
    pub config_digest: Arc<str>,
    /// The servers, by name.
    pub servers: BTreeMap<Arc<str>, Arc<ServerSpec>>,
    /// The endpoints that stand for several of them.
    pub faces: Faces,
    /// The keys that open the gateway; `None` when it asks for none.
    pub keys: Option<Keys>,
    /// Seals what clients keep for the gateway.
    pub sealer: Arc<Sealer>,
    /// The other replicas.
    pub peers: Arc<Peers>,
    /// How much is recorded of which message.
    pub extents: Extents,
    /// The ways to the servers.
    pub ways: Ways,
    config_json: String,
    policy_json: String,
}

/// One server, resolved.
pub struct ServerSpec {
    /// Its name.
    pub name: Arc<str>,
    /// Its endpoint.
    pub url: http::Uri,
    /// What is sent to it with each request; every value is marked sensitive.
    pub headers: HeaderMap,
    /// The authorities to trust for it, instead of the system's.
    pub ca: Option<PathBuf>,
    /// The certificate shown to it.
    pub client_cert: Option<CertKey>,
    /// How it is reached.
    pub wire: Wire,
    /// The revisions it speaks, as far as the configuration says.
    pub era: ServerEra,
    /// Whether it may be used: it is approved as it is defined, or no approval is asked for.
    pub vetted: bool,
    shown: Address,
}

/// How a server is reached.
#[derive(Clone, Debug)]
pub enum Wire {
    /// Streamable HTTP, or HTTP+SSE when it turns out to be an old server.
    Auto,
    /// Streamable HTTP over HTTP/1.1 or HTTP/2.
    Http,
    /// HTTP+SSE of 2024-11-05.
    Sse,
    /// Streamable HTTP over HTTP/3.
    Http3,
    /// WebSocket, one message a text frame.
    WebSocket,
    /// A child process of the gateway's.
    Stdio(Command),
}

/// How a server is started.
#[derive(Clone, Debug)]
pub struct Command {
    /// The program.
    pub program: String,
    /// Its arguments.
    pub args: Vec<Secret>,
    /// Its environment, beside what every program needs.
    pub env: BTreeMap<String, Secret>,
    /// The folder it starts in.
    pub cwd: Option<PathBuf>,
}

impl ServerSpec {
    /// How it is reached, in a word that holds no secret.
    pub fn reached(&self) -> String {
        match &self.wire {
            Wire::Stdio(command) => command.program.clone(),
            _ => self.shown.to_string(),
        }
    }

    /// A server that is a child process: it has a name and no address.
    pub fn child(name: &str) -> Self {
        Self {
            name: name.into(),
            url: http::Uri::default(),
            headers: HeaderMap::new(),
            ca: None,
            client_cert: None,
            wire: Wire::Auto,
            era: ServerEra::Auto,
            vetted: true,
            shown: Address::new("stdio"),
        }
    }
}

impl fmt::Debug for ServerSpec {
    // By hand: the query of the URL may be a key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerSpec")
            .field("name", &self.name)
            .field("url", &self.shown)
            .field("headers", &self.headers)
            .field("ca", &self.ca)
            .field("wire", &self.wire)
            .finish_non_exhaustive()
    }
}

/// The keys that open the gateway.
pub struct Keys(Vec<(Arc<str>, [u8; 32])>);

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

impl Keys {
    /// The holder of `token`, if it is one of the keys. The time taken depends on the number of
    /// keys and the token's length, not on which key it is or how much of one it has right.
    pub fn verify(&self, token: &str) -> Option<Arc<str>> {
        let hash: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let mut found = u32::MAX;
        for (i, (_, key)) in (0_u32..).zip(&self.0) {
            let hit: Choice = key.ct_eq(&hash);
            found.conditional_assign(&i, hit);
        }
        let (name, _) = self.0.get(usize::try_from(found).ok()?)?;
        Some(name.clone())
    }
}

impl Snapshot {
    /// Resolves a configuration. Every error of it and of all rule files comes back at once.
    pub fn build(config: Config) -> Result<Self, Vec<Located>> {
        Self::build_from(config, None)
    }

    /// The same with what `old` has that did not change: compiled rules, sealed sessions' keys, and
    /// each server that is defined as it was. The ways to servers are opened, or kept, afterwards.
    pub fn rebuild(config: Config, old: &Self) -> Result<Self, Vec<Located>> {
        Self::build_from(config, Some(old))
    }

    /// Whether nothing is different from `old`, of which it was rebuilt.
    pub fn is_same(&self, old: &Self) -> bool {
        let same = |(name, spec)| old.servers.get(name).is_some_and(|was| Arc::ptr_eq(was, spec));
        self.config == old.config && self.servers.iter().all(same)
    }

    fn build_from(config: Config, old: Option<&Self>) -> Result<Self, Vec<Located>> {
        let mut errors: Vec<Located> = problems(&config)
            .into_iter()
            // Compiling tells about the folders of rules, and more of them.
            .filter(|problem| !problem.pointer.starts_with("/inspect/rules/"))
            .map(unplaced)
            .collect();
        let rules = match old.filter(|old| old.config.inspect == config.inspect) {
            Some(old) => Some(Arc::clone(&old.rules)),
            None => compile(&config).map_err(|more| errors.extend(more)).ok().map(Arc::new),
        };
        let resolved = config.servers.iter().map(|(name, server)| {
            let vetted = is_usable(&config.registry, name, server);
            let was = old.filter(|old| old.config.servers.get(name) == Some(server));
            match was.and_then(|old| old.servers.get_key_value(name.as_str())) {
                Some((name, spec)) if spec.vetted == vetted => {
                    Some((Arc::clone(name), Arc::clone(spec)))
                }
                _ => resolve(name, server, vetted),
            }
        });
        let servers: Option<BTreeMap<_, _>> = resolved.collect();
        let keys = match &config.auth {
            Some(Auth::Keys(keys)) => decode(keys).map(Some),
            Some(Auth::Open) | None => Some(None),
        };
        let mut wrong = |error: String| errors.push(unplaced(Problem::new("/sessions", error)));
        let (sealer, peers) = match old.filter(|old| old.config.sessions == config.sessions) {
            Some(old) => (Some(Arc::clone(&old.sealer)), Some(Arc::clone(&old.peers))),
            None => {
                let sealer = Sealer::new(&config.sessions.keys).map(Arc::new);
                let sealer = sealer.map_err(|e| wrong(e.to_string())).ok();
                (sealer, Peers::new(&config).map(Arc::new).map_err(|e| wrong(e.to_string())).ok())
            }
        };
        let (Some(rules), Some(servers), Some(keys), Some(sealer), Some(peers), true) =
            (rules, servers, keys, sealer, peers, errors.is_empty())
        else {
            return Err(errors);
        };
        let policy = config.inspect.policy();
        // No field of either can fail to serialise: strings, numbers and maps of strings.
        let policy_json = json!(policy).to_string();
        let config_json = json!({
            "preset": policy.preset,
            "paranoia": policy.paranoia,
            "capture": config.capture.bodies,
            "version": env!("CARGO_PKG_VERSION"),
            "config": config,
        })
        .to_string();
        Ok(Self {
            ruleset_digest: rules.digest().into(),
            policy_digest: digest(&policy_json),
            config_digest: digest(&config_json),
            rules,
            policy,
            faces: Faces::build(&config, &servers),
            servers,
            keys,
            sealer,
            peers,
            extents: Extents::new(&config.capture),
            ways: Ways::default(),
            config_json,
            policy_json,
            config,
        })
    }

    /// The server of this name, or what stands for many servers under it.
    pub fn endpoint(&self, name: &str) -> Option<&Arc<ServerSpec>> {
        self.servers.get(name).or_else(|| self.faces.get(name).map(|face| &face.spec))
    }

    /// Resolves a configuration for one child process; its servers are not used.
    pub fn for_child(mut config: Config, child: Arc<ServerSpec>) -> Result<Self, Vec<Located>> {
        config.servers.clear();
        config.catalog = Default::default();
        let mut snapshot = Self::build(config)?;
        snapshot.servers.insert(child.name.clone(), child);
        Ok(snapshot)
    }

    /// Tells the log which rules are in use, and which packs are not for want of a trusted key.
    pub fn announce(&self) {
        let (rules, sets) = (self.rules.len(), self.rules.title());
        tracing::info!(rules, %sets, digest = %self.ruleset_digest, "rules in use");
        for pack in rulefiles::idle_packs(&self.config) {
            tracing::warn!(%pack, "not in use: no key in `inspect.packs.trust`");
        }
        self.announce_unvetted();
    }

    /// Tells the log which servers are refused for want of an approval.
    pub fn announce_unvetted(&self) {
        for server in self.servers.values().filter(|server| !server.vetted) {
            tracing::warn!(
                server = %server.name,
                "not vetted as it is defined, so it is refused: `wiregate servers vet` asks for it"
            );
        }
    }

    /// What a capture stores under `config_digest`: the configuration with its secrets hidden.
    pub fn config_json(&self) -> &str {
        &self.config_json
    }

    /// What a capture stores under `policy_digest`.
    pub fn policy_json(&self) -> &str {
        &self.policy_json
    }

    /// Whether clients must show a key.
    pub fn requires_key(&self) -> bool {
        self.keys.is_some()
    }

    /// The holder of `token`, in constant time; `None` when it is no key, or when none is asked.
    pub fn verify_key(&self, token: &str) -> Option<Arc<str>> {
        self.keys.as_ref()?.verify(token)
    }
}

/// `sha256:` and the digest of a text, in hexadecimal.
pub fn digest(text: &str) -> Arc<str> {
    format!("sha256:{}", hex(&Sha256::digest(text.as_bytes()))).into()
}

/// Bytes in lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unplaced(problem: Problem) -> Located {
    Located {
        file: "configuration".into(),
        line: 0,
        column: 0,
        message: format!("{}: {}", problem.pointer, problem.message),
        path: problem.pointer,
    }
}

/// Whether a server is approved as it is defined, where that is asked for.
fn is_usable(registry: &Registry, name: &str, server: &Server) -> bool {
    !registry.require_vetted || vet::is_vetted(registry.vetted.as_deref(), name, server)
}

fn resolve(name: &str, server: &Server, vetted: bool) -> Option<(Arc<str>, Arc<ServerSpec>)> {
    let mut headers = HeaderMap::new();
    for (header, secret) in &server.headers {
        let mut value = HeaderValue::from_str(secret.expose()).ok()?;
        value.set_sensitive(true);
        headers.insert(HeaderName::from_bytes(header.as_bytes()).ok()?, value);
    }
    let name: Arc<str> = name.into();
    let spec = ServerSpec {
        name: name.clone(),
        url: match &server.url {
            Some(url) => url.uri()?,
            None => http::Uri::default(),
        },
        headers,
        ca: server.ca.clone(),
        client_cert: server.client_cert.clone(),
        wire: wire(server)?,
        era: server.era,
        vetted,
        shown: server.url.clone().unwrap_or_else(|| Address::new("stdio")),
    };
    Some((name, Arc::new(spec)))
}

fn wire(server: &Server) -> Option<Wire> {
    let Some(url) = &server.url else {
        let program = server.command.clone()?;
        let (args, env, cwd) = (server.args.clone(), server.env.clone(), server.cwd.clone());
        return Some(Wire::Stdio(Command { program, args, env, cwd }));
    };
    Some(match (url.uri()?.scheme_str(), server.transport) {
        (Some("ws" | "wss"), _) => Wire::WebSocket,
        (_, ServerTransport::Auto) => Wire::Auto,
        (_, ServerTransport::Http) => Wire::Http,
        (_, ServerTransport::Sse) => Wire::Sse,
        (_, ServerTransport::Http3) => Wire::Http3,
    })
}

fn decode(keys: &[Key]) -> Option<Keys> {
    let keys: Option<Vec<_>> =
        keys.iter().map(|key| Some((key.name.as_str().into(), key.hash()?))).collect();
    keys.map(Keys)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    fn config() -> Config {
        let mut config = Config::of_one_server("files", "https://files.example/mcp?key=hunter2");
        let server = config.servers.get_mut("files").unwrap();
        server.headers.insert("Authorization".into(), Secret::new("Bearer hunter3"));
        config.auth = Some(Auth::Keys(vec![
            Key { name: "alice".into(), sha256: hex(&Sha256::digest(b"key of alice")) },
            Key { name: "bob".into(), sha256: hex(&Sha256::digest(b"key of bob")) },
        ]));
        config
    }

    #[test]
    fn keys_open_for_their_holders_only() {
        let snapshot = Snapshot::build(config()).unwrap();
        assert!(snapshot.requires_key());
        assert_eq!(snapshot.verify_key("key of alice").as_deref(), Some("alice"));
        assert_eq!(snapshot.verify_key("key of bob").as_deref(), Some("bob"));
        for token in ["", "key of carol", "key of alic", "key of alicee"] {
            assert_eq!(snapshot.verify_key(token), None, "{token}");
        }
        let open = Snapshot::build(Config::of_one_server("files", "http://127.0.0.1:9/mcp"));
        let open = open.unwrap();
        assert!(!open.requires_key() && open.verify_key("key of alice").is_none());
    }

    #[test]
    fn secrets_reach_the_server_and_nothing_else() {
        let snapshot = Snapshot::build(config()).unwrap();
        let server = snapshot.servers.get("files").unwrap();
        assert_eq!(server.url.query(), Some("key=hunter2"));
        let header = server.headers.get("authorization").unwrap();
        assert!(header.is_sensitive());
        assert_eq!(header, "Bearer hunter3");
        let shown = format!("{snapshot:?} {} {}", snapshot.config_json(), snapshot.policy_json());
        assert!(!shown.contains("hunter"), "{shown}");
        let hash = hex(&Sha256::digest(b"key of alice"));
        assert!(!snapshot.config_json().contains(&hash));
    }

    #[test]
    fn digests_name_what_they_are_of() {
        let one = Snapshot::build(config()).unwrap();
        assert_eq!(one.config_digest, Snapshot::build(config()).unwrap().config_digest);
        assert_eq!(one.config_digest, digest(one.config_json()));
        assert_eq!(one.policy_json(), r#"{"preset":"balanced","paranoia":1}"#);
        let mut other = config();
        other.inspect.paranoia = 2;
        let other = Snapshot::build(other).unwrap();
        assert_ne!(one.config_digest, other.config_digest);
        assert_ne!(one.policy_digest, other.policy_digest);
    }

    #[test]
    fn a_child_is_the_only_server() {
        let child = Arc::new(ServerSpec::child("files-2"));
        let snapshot = Snapshot::for_child(config(), child).unwrap();
        assert_eq!(snapshot.servers.keys().map(|name| &**name).collect::<Vec<_>>(), ["files-2"]);
    }

    #[test]
    fn a_folder_without_rules_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let mut wrong = config();
        wrong.inspect.rules = vec![folder.path().into(), folder.path().join("gone")];
        let errors = Snapshot::build(wrong).unwrap_err();
        let told: Vec<&str> = errors.iter().map(|error| error.message.as_str()).collect();
        assert_eq!(told, ["no *.yaml in this folder", "cannot be read: entity not found"]);
    }
}
