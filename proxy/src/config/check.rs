//! Everything that can be wrong with a configuration's values, in one place.
//!
//! Each check adds a [`Problem`] with the JSON Pointer of the value it is about; where that stands
//! in the file is [`super::read`]'s business. Nothing found here repeats a value that may be a
//! secret.

use std::collections::BTreeSet;
use std::net::{AddrParseError, SocketAddr};

use http::{HeaderName, HeaderValue};
use url::Url;

use super::{Address, Auth, Capture, Config, Inspect, Key, Server, Size, Use};
use crate::tls::TlsError;

/// One thing wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The JSON Pointer of the value.
    pub pointer: String,
    /// What is wrong with it, and what to write instead.
    pub message: String,
}

impl Problem {
    /// A problem with the value at `pointer`.
    pub fn new(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            pointer: pointer.into(),
            message: message.into(),
        }
    }
}

/// No larger message can be parsed: the parser counts in 32 bits, and memory is finite.
const LARGEST_MESSAGE: Size = Size::mib(1024);

/// The HTTP stack reads heads into a buffer of at least this size.
const SMALLEST_HEADERS: Size = Size::new(8 << 10);

/// The parser goes no deeper.
const DEEPEST: usize = 1024;

/// Headers that belong to the connection or to the protocol, not to a configuration.
const RESERVED_HEADERS: [&str; 13] = [
    "accept",
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "keep-alive",
    "last-event-id",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Every problem that `config` has for this use, in no particular order.
pub(super) fn problems_for(config: &Config, using: Use) -> Vec<Problem> {
    let mut found = Found(problems(config));
    if using == Use::Serve {
        found.addresses(config);
        let message = "no server: name one, or pass --upstream";
        found.at(config.servers.is_empty(), "/servers", message);
    }
    found.0
}

/// Every problem that `config` has for any use, in no particular order.
pub fn problems(config: &Config) -> Vec<Problem> {
    let mut found = Found(Vec::new());
    found.auth(config.auth.as_ref());
    if let Some(tls) = &config.tls {
        found.tls(tls);
    }
    found.names(config);
    for (name, server) in &config.servers {
        found.server(name, server);
    }
    found.inspect(&config.inspect);
    found.capture(&config.capture);
    found.limits(config);
    found.timeouts(config);
    found.log_level(&config.log.level);
    found.0
}

struct Found(Vec<Problem>);

impl Found {
    fn add(&mut self, pointer: impl Into<String>, message: impl Into<String>) {
        self.0.push(Problem::new(pointer, message));
    }

    fn at(&mut self, wrong: bool, pointer: &str, message: &str) {
        if wrong {
            self.add(pointer, message);
        }
    }

    fn addresses(&mut self, config: &Config) {
        let listen = config.listen_addr();
        let admin = config.admin_addr();
        let not_an_address = "not an address: write an IP and a port, as in 127.0.0.1:8808";
        self.at(listen.is_err(), "/listen", not_an_address);
        self.at(
            admin.is_err(),
            "/admin",
            "neither `off` nor an IP and a port",
        );
        let (listen, admin) = (listen.ok(), admin.ok().flatten());
        for (pointer, addr) in [("/listen", listen), ("/admin", admin)] {
            let Some(addr) = addr else { continue };
            let open = !addr.ip().to_canonical().is_loopback();
            self.at(
                open && config.auth.is_none(),
                pointer,
                "reachable from other machines, yet `auth` is not written: add keys \
                 (`wiregate keys new NAME` makes one), or `auth: none` to let everyone in",
            );
        }
        let same = listen.is_some_and(|addr| addr.port() != 0) && listen == admin;
        self.at(same, "/admin", "the same address as `listen`");
    }

    fn auth(&mut self, auth: Option<&Auth>) {
        let Some(Auth::Keys(keys)) = auth else { return };
        self.at(
            keys.is_empty(),
            "/auth/keys",
            "no key: nobody could come in",
        );
        let mut names = BTreeSet::new();
        let mut hashes = BTreeSet::new();
        for (i, key) in keys.iter().enumerate() {
            if !is_principal(&key.name) {
                self.add(
                    format!("/auth/keys/{i}/name"),
                    "a name is 1 to 64 letters, digits, `-`, `_`, `.` or `@`",
                );
            } else if !names.insert(key.name.as_str()) {
                self.add(format!("/auth/keys/{i}/name"), "another key has this name");
            }
            match key.hash() {
                None => self.add(
                    format!("/auth/keys/{i}/sha256"),
                    "not a SHA-256: 64 hexadecimal digits, as `wiregate keys new NAME` prints them",
                ),
                Some(hash) if !hashes.insert(hash) => {
                    self.add(
                        format!("/auth/keys/{i}/sha256"),
                        "another entry is this same key",
                    );
                }
                Some(_) => {}
            }
        }
    }

    fn tls(&mut self, tls: &super::Tls) {
        let mut readable = true;
        for (pointer, path) in [("/tls/cert", &tls.cert), ("/tls/key", &tls.key)] {
            if let Err(error) = std::fs::File::open(path) {
                self.add(pointer, format!("{}: {}", path.display(), error.kind()));
                readable = false;
            }
        }
        if readable && let Err(error) = crate::tls::server(tls) {
            let pointer = match &error {
                TlsError::File { path, .. } | TlsError::Empty(path) if *path == tls.cert => {
                    "/tls/cert"
                }
                TlsError::File { .. } => "/tls/key",
                _ => "/tls",
            };
            self.add(pointer, error.to_string());
        }
    }

    fn names(&mut self, config: &Config) {
        for (i, host) in config.allowed_hosts.iter().enumerate() {
            let ok = !host.is_empty()
                && Url::parse(&format!("http://{host}/")).is_ok_and(|url| {
                    url.path() == "/" && url.username().is_empty() && url.query().is_none()
                })
                && !host.contains(['/', '@', '?', '#', '*', ' ']);
            let pointer = format!("/allowed_hosts/{i}");
            self.at(
                !ok,
                &pointer,
                "not a host: write a name, with a port if it is not the usual",
            );
        }
        for (i, origin) in config.allowed_origins.iter().enumerate() {
            let ok = Url::parse(origin).is_ok_and(|url| {
                matches!(url.scheme(), "http" | "https")
                    && url.origin().ascii_serialization() == *origin
            });
            let pointer = format!("/allowed_origins/{i}");
            self.at(
                !ok,
                &pointer,
                "not an origin: write it as https://app.example.com, no path",
            );
        }
    }

    fn server(&mut self, name: &str, server: &Server) {
        let pointer = format!("/servers/{}", name.replace('~', "~0").replace('/', "~1"));
        let named = (1..=64).contains(&name.len())
            && name
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        self.at(
            !named,
            &pointer,
            "a server's name is 1 to 64 of a-z, 0-9 and `-`",
        );
        if let Err(message) = endpoint(&server.url) {
            self.add(format!("{pointer}/url"), message);
        }
        for (header, value) in &server.headers {
            let lower = header.to_ascii_lowercase();
            let reserved = RESERVED_HEADERS.contains(&lower.as_str()) || lower.starts_with("mcp-");
            let message = if HeaderName::from_bytes(header.as_bytes()).is_err() {
                "not the name of a header"
            } else if reserved {
                "the gateway sets this header itself"
            } else if HeaderValue::from_str(value.expose()).is_err() {
                "its value has a character that headers cannot carry"
            } else {
                continue;
            };
            let header = header.replace('~', "~0").replace('/', "~1");
            self.add(format!("{pointer}/headers/{header}"), message);
        }
        if let Some(ca) = &server.ca
            && let Err(error) = crate::tls::client(Some(ca), false)
        {
            self.add(format!("{pointer}/ca"), error.to_string());
        }
    }

    fn inspect(&mut self, inspect: &Inspect) {
        let levels = (1..=4).contains(&inspect.paranoia);
        self.at(!levels, "/inspect/paranoia", "paranoia is 1, 2, 3 or 4");
        self.at(
            inspect.budget.get() == 0,
            "/inspect/budget",
            "0 would scan nothing",
        );
        for (i, folder) in inspect.rules.iter().enumerate() {
            if let Err(error) = std::fs::read_dir(folder) {
                let what = folder.display();
                self.add(
                    format!("/inspect/rules/{i}"),
                    format!("folder {what}: {}", error.kind()),
                );
            }
        }
    }

    fn capture(&mut self, capture: &Capture) {
        if !capture.enabled {
            return;
        }
        for (name, value) in [
            ("max_bytes", capture.max_bytes.get()),
            ("rotate_bytes", capture.rotate_bytes.get()),
            (
                "rotate_every",
                capture.rotate_every.get().as_nanos().min(1) as u64,
            ),
            ("queue_rows", capture.queue_rows as u64),
            ("queue_bytes", capture.queue_bytes.get()),
        ] {
            self.at(value == 0, &format!("/capture/{name}"), "may not be 0");
        }
        let whole = capture.rotate_bytes <= capture.max_bytes;
        self.at(
            !whole,
            "/capture/rotate_bytes",
            "one file may not be larger than `max_bytes`",
        );
    }

    fn limits(&mut self, config: &Config) {
        let limits = &config.limits;
        for (name, value) in [
            ("body", limits.body.get()),
            ("headers", limits.headers.get()),
            ("json_depth", limits.json_depth as u64),
            ("json_values", limits.json_values as u64),
            ("sse_event", limits.sse_event.get()),
            ("stdio_line", limits.stdio_line.get()),
            ("concurrent_requests", limits.concurrent_requests as u64),
            ("connections", limits.connections as u64),
            ("batch", limits.batch as u64),
            ("exchanges", limits.exchanges as u64),
            ("streams", limits.streams as u64),
        ] {
            self.at(
                value == 0,
                &format!("/limits/{name}"),
                "a limit of 0 would let nothing pass",
            );
        }
        for (name, value) in [
            ("body", limits.body),
            ("sse_event", limits.sse_event),
            ("stdio_line", limits.stdio_line),
        ] {
            let large = value > LARGEST_MESSAGE;
            self.at(
                large,
                &format!("/limits/{name}"),
                "no message may be larger than 1GiB",
            );
        }
        let small = limits.headers.get() > 0 && limits.headers < SMALLEST_HEADERS;
        self.at(small, "/limits/headers", "less than 8KiB cannot be had");
        self.at(
            limits.json_depth > DEEPEST,
            "/limits/json_depth",
            "more than 1024 cannot be had",
        );
    }

    fn timeouts(&mut self, config: &Config) {
        let timeouts = &config.timeouts;
        for (name, value) in [
            ("connect", timeouts.connect),
            ("first_byte", timeouts.first_byte),
            ("idle", timeouts.idle),
            ("total", timeouts.total),
            ("header_read", timeouts.header_read),
            ("body_read", timeouts.body_read),
            ("write", timeouts.write),
            ("keep_alive", timeouts.keep_alive),
            ("drain", timeouts.drain),
        ] {
            let never = value.get().is_zero();
            self.at(
                never,
                &format!("/timeouts/{name}"),
                "a wait of 0 would end everything",
            );
        }
    }

    fn log_level(&mut self, level: &str) {
        // The filter takes a lone word for the name of a module, so a typo would mean silence.
        let words = level.split(',').all(|directive| {
            directive.contains('=')
                || ["off", "error", "warn", "info", "debug", "trace"].contains(&directive.trim())
        });
        if !words || crate::telemetry::filter(level).is_err() {
            self.add(
                "/log/level",
                "not a level: error, warn, info, debug, trace, or module=level, with commas between",
            );
        }
    }
}

/// Whether an address can be an MCP server's.
fn endpoint(address: &Address) -> Result<http::Uri, &'static str> {
    let url = Url::parse(address.expose()).map_err(|_| "not a URL")?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("not http:// or https://");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("a URL may not hold a user or a password: put it into `headers`");
    }
    if url.fragment().is_some() {
        return Err("a URL with a fragment (#…) names no endpoint");
    }
    // The URL as normalised: what it says of dots, spaces and Unicode is settled once, here.
    url.as_str()
        .parse()
        .map_err(|_| "not a URL that can be asked for")
}

/// Whether a name can be a principal: 1 to 64 letters, digits, `-`, `_`, `.` or `@`.
pub fn is_principal(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.@".contains(&b))
}

impl Address {
    /// The address as a URI; `None` for one that [`problems`] complains about.
    pub fn uri(&self) -> Option<http::Uri> {
        endpoint(self).ok()
    }
}

impl Key {
    /// The hash's 32 bytes; `None` when it is not 64 hexadecimal digits.
    pub fn hash(&self) -> Option<[u8; 32]> {
        let digits = self.sha256.as_bytes();
        if digits.len() != 64 {
            return None;
        }
        let mut hash = [0; 32];
        for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
            let high = char::from(*pair.first()?).to_digit(16)?;
            let low = char::from(*pair.last()?).to_digit(16)?;
            *byte = u8::try_from(high * 16 + low).ok()?;
        }
        Some(hash)
    }
}

impl Config {
    /// `listen`, parsed.
    pub fn listen_addr(&self) -> Result<SocketAddr, AddrParseError> {
        self.listen.parse()
    }

    /// `admin`, parsed; `None` when it is `off`.
    pub fn admin_addr(&self) -> Result<Option<SocketAddr>, AddrParseError> {
        match self.admin.as_str() {
            "off" => Ok(None),
            addr => addr.parse().map(Some),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::config::{Period, Secret};

    fn fine() -> Config {
        Config::of_one_server("files", "http://127.0.0.1:9000/mcp")
    }

    /// The pointers of the problems after `change`.
    fn after(change: impl FnOnce(&mut Config)) -> Vec<String> {
        let mut config = fine();
        change(&mut config);
        let mut pointers: Vec<String> = problems_for(&config, Use::Serve)
            .into_iter()
            .map(|problem| problem.pointer)
            .collect();
        pointers.sort();
        pointers
    }

    fn server(config: &mut Config) -> &mut Server {
        config.servers.get_mut("files").unwrap()
    }

    #[test]
    fn the_plain_configuration_is_fine() {
        assert_eq!(problems_for(&fine(), Use::Serve), []);
    }

    #[test]
    fn beyond_loopback_auth_is_a_decision() {
        for open in ["0.0.0.0:1", "192.0.2.1:1", "[::]:1", "[::ffff:192.0.2.1]:1"] {
            assert_eq!(
                after(|config| config.listen = open.into()),
                ["/listen"],
                "{open}"
            );
            assert_eq!(
                after(|config| config.admin = open.into()),
                ["/admin"],
                "{open}"
            );
            let decided = after(|config| {
                config.listen = open.into();
                config.auth = Some(Auth::Open);
            });
            assert_eq!(decided, [""; 0], "{open}");
        }
        for own in [
            "127.0.0.1:0",
            "127.9.9.9:1",
            "[::1]:1",
            "[::ffff:127.0.0.1]:1",
        ] {
            assert_eq!(after(|config| config.listen = own.into()), [""; 0], "{own}");
        }
        assert_eq!(
            after(|config| config.listen = "localhost".into()),
            ["/listen"]
        );
        assert_eq!(
            after(|config| config.admin = config.listen.clone()),
            ["/admin"]
        );
        assert_eq!(after(|config| config.admin = "off".into()), [""; 0]);
    }

    #[test]
    fn endpoints_are_urls_without_credentials() {
        for bad in [
            "",
            "files",
            "ftp://a/",
            "http://",
            "http://u:p@a/",
            "http://u@a/",
            "http://a/#f",
        ] {
            let found = after(|config| server(config).url = Address::new(bad));
            assert_eq!(found, ["/servers/files/url"], "{bad}");
        }
        for good in [
            "http://[::1]:9/",
            "https://a.example/x y?key=1",
            "https://bücher.example/",
        ] {
            assert_eq!(
                after(|config| server(config).url = Address::new(good)),
                [""; 0],
                "{good}"
            );
        }
    }

    #[test]
    fn names_of_servers_and_headers() {
        for bad in ["", "Files", "a/b", "a b", "é", &"a".repeat(65)] {
            let found = after(|config| {
                let server = config.servers.remove("files").unwrap();
                config.servers.insert(bad.into(), server);
            });
            assert_eq!(found.len(), 1, "{bad}");
        }
        for (name, value) in [
            ("Host", "a"),
            ("MCP-Session-Id", "a"),
            ("a b", "a"),
            ("X-Key", "a\nb"),
            ("Transfer-Encoding", "chunked"),
        ] {
            let found = after(|config| {
                server(config)
                    .headers
                    .insert(name.into(), Secret::new(value));
            });
            assert_eq!(found, [format!("/servers/files/headers/{name}")]);
        }
    }

    #[test]
    fn keys_are_hashes_of_people_told_apart() {
        let key = |name: &str, digit: &str| Key {
            name: name.into(),
            sha256: digit.repeat(64),
        };
        let with = |keys: Vec<Key>| after(|config| config.auth = Some(Auth::Keys(keys)));
        assert_eq!(with(vec![key("a", "0"), key("b@x.example", "F")]), [""; 0]);
        assert_eq!(with(vec![]), ["/auth/keys"]);
        assert_eq!(
            with(vec![key("a", "0"), key("a", "1")]),
            ["/auth/keys/1/name"]
        );
        assert_eq!(
            with(vec![key("a", "f"), key("b", "F")]),
            ["/auth/keys/1/sha256"]
        );
        assert_eq!(
            with(vec![key("a b", "g")]),
            ["/auth/keys/0/name", "/auth/keys/0/sha256"]
        );
    }

    #[test]
    fn hosts_and_origins() {
        let hosts = ["mcp.example", "mcp.example:8443", "[::1]:1"];
        assert_eq!(
            after(|config| config.allowed_hosts = hosts.map(Into::into).into()),
            [""; 0]
        );
        for bad in ["", "https://a", "a/b", "a?b", "u@a", "*.example", "a:port"] {
            let found = after(|config| config.allowed_hosts = vec![bad.into()]);
            assert_eq!(found, ["/allowed_hosts/0"], "{bad}");
        }
        for bad in [
            "",
            "null",
            "*",
            "app.example",
            "https://app.example/",
            "ftp://a",
        ] {
            let found = after(|config| config.allowed_origins = vec![bad.into()]);
            assert_eq!(found, ["/allowed_origins/0"], "{bad}");
        }
        let origins = ["https://app.example", "http://a:81"];
        let found = after(|config| config.allowed_origins = origins.map(Into::into).into());
        assert_eq!(found, [""; 0]);
    }

    #[test]
    fn nothing_is_zero_and_nothing_beyond_reach() {
        assert_eq!(after(|config| config.limits.batch = 0), ["/limits/batch"]);
        assert_eq!(
            after(|config| config.limits.body = Size::mib(2048)),
            ["/limits/body"]
        );
        assert_eq!(
            after(|config| config.limits.headers = Size::new(4096)),
            ["/limits/headers"]
        );
        assert_eq!(
            after(|config| config.limits.json_depth = 1025),
            ["/limits/json_depth"]
        );
        assert_eq!(
            after(|config| config.timeouts.idle = Period::secs(0)),
            ["/timeouts/idle"]
        );
        assert_eq!(
            after(|config| config.inspect.budget = Size::new(0)),
            ["/inspect/budget"]
        );
        assert_eq!(
            after(|config| config.inspect.paranoia = 0),
            ["/inspect/paranoia"]
        );
        assert_eq!(
            after(|config| config.capture.queue_rows = 0),
            ["/capture/queue_rows"]
        );
        let turn = after(|config| config.capture.rotate_every = Period::secs(0));
        assert_eq!(turn, ["/capture/rotate_every"]);
        assert_eq!(
            after(|config| config.capture.max_bytes = Size::mib(1)),
            ["/capture/rotate_bytes"]
        );
    }

    #[test]
    fn files_must_be_there() {
        let gone = PathBuf::from("/nonexistent/file");
        let found = after(|config| {
            config.inspect.rules = vec![gone.clone()];
            config.tls = Some(crate::config::Tls {
                cert: gone.clone(),
                key: gone.clone(),
            });
            server(config).ca = Some(gone);
        });
        assert_eq!(
            found,
            [
                "/inspect/rules/0",
                "/servers/files/ca",
                "/tls/cert",
                "/tls/key"
            ]
        );
    }

    #[test]
    fn a_mistyped_level_is_no_silence() {
        for bad in ["inof", "", "info,", "proxy=loud"] {
            assert_eq!(
                after(|config| config.log.level = bad.into()),
                ["/log/level"],
                "{bad}"
            );
        }
        assert_eq!(
            after(|config| config.log.level = "warn,proxy::upstream=debug".into()),
            [""; 0]
        );
    }
}
