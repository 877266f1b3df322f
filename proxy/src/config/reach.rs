//! What can be wrong with who reaches the gateway, and whom it reaches: addresses, keys,
//! certificates, hosts, origins, servers.

use std::collections::BTreeSet;
use std::net::{AddrParseError, SocketAddr};
use std::path::Path;

use http::{HeaderName, HeaderValue};
use url::Url;

use super::check::Found;
use super::{Address, Auth, Config, Key, Server, ServerTransport};
use crate::tls::TlsError;

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

impl Found {
    pub(super) fn addresses(&mut self, config: &Config) {
        let listen = config.listen_addr();
        let admin = config.admin_addr();
        let not_an_address = "not an address: write an IP and a port, as in 127.0.0.1:8808";
        self.at(listen.is_err(), "/listen", not_an_address);
        self.at(admin.is_err(), "/admin", "neither `off` nor an IP and a port");
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

    pub(super) fn auth(&mut self, auth: Option<&Auth>) {
        let Some(Auth::Keys(keys)) = auth else { return };
        self.at(keys.is_empty(), "/auth/keys", "no key: nobody could come in");
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
                    self.add(format!("/auth/keys/{i}/sha256"), "another entry is this same key");
                }
                Some(_) => {}
            }
        }
    }

    pub(super) fn tls(&mut self, config: &Config) {
        let Some(tls) = &config.tls else {
            let message = "HTTP/3 has no form without TLS: write `tls` too";
            return self.at(config.http3, "/http3", message);
        };
        self.pair("/tls", &tls.cert, &tls.key);
        match &tls.client_ca {
            None => {
                let message = "only with `client_ca`: no certificate is asked for";
                self.at(tls.client_auth.is_some(), "/tls/client_auth", message);
            }
            Some(ca) => {
                if let Err(error) = crate::tls::roots(ca) {
                    self.add("/tls/client_ca", error.to_string());
                }
            }
        }
    }

    /// A certificate and its key can be read, and belong together.
    fn pair(&mut self, pointer: &str, cert: &Path, key: &Path) {
        let mut readable = true;
        for (member, path) in [("cert", cert), ("key", key)] {
            if let Err(error) = std::fs::File::open(path) {
                let message = format!("{}: {}", path.display(), error.kind());
                self.add(format!("{pointer}/{member}"), message);
                readable = false;
            }
        }
        if readable && let Err(error) = crate::tls::pair(cert, key) {
            let pointer = match &error {
                TlsError::File { path, .. } | TlsError::Empty(path) if path == cert => {
                    format!("{pointer}/cert")
                }
                TlsError::File { .. } => format!("{pointer}/key"),
                _ => pointer.to_owned(),
            };
            self.add(pointer, error.to_string());
        }
    }

    pub(super) fn names(&mut self, config: &Config) {
        for (i, host) in config.allowed_hosts.iter().enumerate() {
            let ok = !host.is_empty()
                && Url::parse(&format!("http://{host}/")).is_ok_and(|url| {
                    url.path() == "/" && url.username().is_empty() && url.query().is_none()
                })
                && !host.contains(['/', '@', '?', '#', '*', ' ']);
            let pointer = format!("/allowed_hosts/{i}");
            self.at(!ok, &pointer, "not a host: write a name, with a port if it is not the usual");
        }
        for (i, origin) in config.allowed_origins.iter().enumerate() {
            let ok = Url::parse(origin).is_ok_and(|url| {
                matches!(url.scheme(), "http" | "https")
                    && url.origin().ascii_serialization() == *origin
            });
            let pointer = format!("/allowed_origins/{i}");
            self.at(!ok, &pointer, "not an origin: write it as https://app.example.com, no path");
        }
    }

    pub(super) fn server(&mut self, name: &str, server: &Server) {
        let pointer = format!("/servers/{}", name.replace('~', "~0").replace('/', "~1"));
        self.at(!is_server_name(name), &pointer, "a server's name is 1 to 64 of a-z, 0-9 and `-`");
        self.way(&pointer, server);
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
            && let Err(error) = crate::tls::roots(ca)
        {
            self.add(format!("{pointer}/ca"), error.to_string());
        }
        if let Some(own) = &server.client_cert {
            self.pair(&format!("{pointer}/client_cert"), &own.cert, &own.key);
        }
    }
}

impl Found {
    /// One way to the server, and nothing that belongs to the other.
    fn way(&mut self, pointer: &str, server: &Server) {
        match (&server.url, &server.command) {
            (Some(_), Some(_)) => {
                self.add(pointer, "both a `url` and a `command`: a server is reached one way");
            }
            (None, None) => self.add(pointer, "neither a `url` nor a `command`"),
            (Some(url), None) => {
                if let Err(message) = endpoint(url) {
                    self.add(format!("{pointer}/url"), message);
                }
                let scheme = url.uri().and_then(|uri| uri.scheme_str().map(str::to_owned));
                let is_ws = matches!(scheme.as_deref(), Some("ws" | "wss"));
                let fixed = is_ws && server.transport != ServerTransport::Auto;
                let pointer_to = |member: &str| format!("{pointer}/{member}");
                self.at(fixed, &pointer_to("transport"), "the scheme of the `url` says it already");
                let plain =
                    server.transport == ServerTransport::Http3 && scheme.as_deref() == Some("http");
                self.at(
                    plain,
                    &pointer_to("transport"),
                    "HTTP/3 has no form without TLS: write https://",
                );
                let plain = matches!(scheme.as_deref(), Some("http" | "ws"));
                self.at(
                    plain && server.client_cert.is_some(),
                    &pointer_to("client_cert"),
                    "nobody sees it without TLS: write https:// or wss://",
                );
                for (member, there) in [
                    ("args", !server.args.is_empty()),
                    ("env", !server.env.is_empty()),
                    ("cwd", server.cwd.is_some()),
                ] {
                    self.at(there, &pointer_to(member), "only for a server with a `command`");
                }
            }
            (None, Some(command)) => {
                let pointer_to = |member: &str| format!("{pointer}/{member}");
                let bad = command.is_empty() || command.contains('\0');
                self.at(bad, &pointer_to("command"), "not the name of a program");
                for (member, there) in [
                    ("transport", server.transport != ServerTransport::Auto),
                    ("headers", !server.headers.is_empty()),
                    ("ca", server.ca.is_some()),
                    ("client_cert", server.client_cert.is_some()),
                ] {
                    self.at(there, &pointer_to(member), "only for a server with a `url`");
                }
            }
        }
    }
}

/// Whether an address can be an MCP server's.
fn endpoint(address: &Address) -> Result<http::Uri, &'static str> {
    let url = Url::parse(address.expose()).map_err(|_| "not a URL")?;
    if !matches!(url.scheme(), "http" | "https" | "ws" | "wss") {
        return Err("not http://, https://, ws:// or wss://");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("a URL may not hold a user or a password: put it into `headers`");
    }
    if url.fragment().is_some() {
        return Err("a URL with a fragment (#…) names no endpoint");
    }
    // The URL as normalised: what it says of dots, spaces and Unicode is settled once, here.
    url.as_str().parse().map_err(|_| "not a URL that can be asked for")
}

/// Whether a name can be a server's: 1 to 64 of a-z, 0-9 and `-`.
pub fn is_server_name(name: &str) -> bool {
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=64).contains(&name.len()) && name.bytes().all(good)
}

/// Whether a name can be a principal: 1 to 64 letters, digits, `-`, `_`, `.` or `@`.
pub fn is_principal(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.@".contains(&b))
}

impl Address {
    /// The address as a URI; `None` for one that `problems` complains about.
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
    use super::*;
    use crate::config::check::tests::{after, server};
    use crate::config::{CertKey, ClientAuth, Secret, Tls};

    #[test]
    fn beyond_loopback_auth_is_a_decision() {
        for open in ["0.0.0.0:1", "192.0.2.1:1", "[::]:1", "[::ffff:192.0.2.1]:1"] {
            assert_eq!(after(|config| config.listen = open.into()), ["/listen"], "{open}");
            assert_eq!(after(|config| config.admin = open.into()), ["/admin"], "{open}");
            let decided = after(|config| {
                config.listen = open.into();
                config.auth = Some(Auth::Open);
            });
            assert_eq!(decided, [""; 0], "{open}");
        }
        for own in ["127.0.0.1:0", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert_eq!(after(|config| config.listen = own.into()), [""; 0], "{own}");
        }
        assert_eq!(after(|config| config.listen = "localhost".into()), ["/listen"]);
        assert_eq!(after(|config| config.admin = config.listen.clone()), ["/admin"]);
        assert_eq!(after(|config| config.admin = "off".into()), [""; 0]);
    }

    #[test]
    fn endpoints_are_urls_without_credentials() {
        for bad in
            ["", "files", "ftp://a/", "http://", "http://u:p@a/", "http://u@a/", "http://a/#f"]
        {
            let found = after(|config| server(config).url = Some(Address::new(bad)));
            assert_eq!(found, ["/servers/files/url"], "{bad}");
        }
        for good in ["http://[::1]:9/", "https://a.example/x y?key=1", "https://bücher.example/"] {
            assert_eq!(
                after(|config| server(config).url = Some(Address::new(good))),
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
                server(config).headers.insert(name.into(), Secret::new(value));
            });
            assert_eq!(found, [format!("/servers/files/headers/{name}")]);
        }
    }

    #[test]
    fn keys_are_hashes_of_people_told_apart() {
        let key = |name: &str, digit: &str| Key { name: name.into(), sha256: digit.repeat(64) };
        let with = |keys: Vec<Key>| after(|config| config.auth = Some(Auth::Keys(keys)));
        assert_eq!(with(vec![key("a", "0"), key("b@x.example", "F")]), [""; 0]);
        assert_eq!(with(vec![]), ["/auth/keys"]);
        assert_eq!(with(vec![key("a", "0"), key("a", "1")]), ["/auth/keys/1/name"]);
        assert_eq!(with(vec![key("a", "f"), key("b", "F")]), ["/auth/keys/1/sha256"]);
        assert_eq!(with(vec![key("a b", "g")]), ["/auth/keys/0/name", "/auth/keys/0/sha256"]);
    }

    #[test]
    fn a_certificate_that_nobody_would_see_is_a_mistake() {
        let dir = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
        std::fs::write(&cert, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let tls = |client_ca: Option<&Path>, client_auth| Tls {
            cert: cert.clone(),
            key: key.clone(),
            client_ca: client_ca.map(Into::into),
            client_auth,
        };
        let with = |tls: Tls| after(|config| config.tls = Some(tls));
        assert_eq!(with(tls(None, None)), [""; 0]);
        assert_eq!(with(tls(Some(&cert), Some(ClientAuth::Optional))), [""; 0]);
        assert_eq!(with(tls(None, Some(ClientAuth::Required))), ["/tls/client_auth"]);
        assert_eq!(with(tls(Some(&key), None)), ["/tls/client_ca"], "no certificate in it");
        assert_eq!(after(|config| config.http3 = true), ["/http3"]);

        let other = dir.path().join("other.pem");
        std::fs::write(&other, rcgen::KeyPair::generate().unwrap().serialize_pem()).unwrap();
        for (url, key, found) in [
            ("https://a.example/mcp", &key, vec![]),
            ("wss://a.example/mcp", &key, vec![]),
            ("http://a.example/mcp", &key, vec!["/servers/files/client_cert"]),
            ("https://a.example/mcp", &other, vec!["/servers/files/client_cert"]),
        ] {
            let problems = after(|config| {
                let pair = CertKey { cert: cert.clone(), key: key.clone() };
                server(config).url = Some(Address::new(url));
                server(config).client_cert = Some(pair);
            });
            assert_eq!(problems, found, "{url} {}", key.display());
        }
    }

    #[test]
    fn hosts_and_origins() {
        let hosts = ["mcp.example", "mcp.example:8443", "[::1]:1"];
        assert_eq!(after(|config| config.allowed_hosts = hosts.map(Into::into).into()), [""; 0]);
        for bad in ["", "https://a", "a/b", "a?b", "u@a", "*.example", "a:port"] {
            let found = after(|config| config.allowed_hosts = vec![bad.into()]);
            assert_eq!(found, ["/allowed_hosts/0"], "{bad}");
        }
        for bad in ["", "null", "*", "app.example", "https://app.example/", "ftp://a"] {
            let found = after(|config| config.allowed_origins = vec![bad.into()]);
            assert_eq!(found, ["/allowed_origins/0"], "{bad}");
        }
        let origins = ["https://app.example", "http://a:81"];
        let found = after(|config| config.allowed_origins = origins.map(Into::into).into());
        assert_eq!(found, [""; 0]);
    }
}
