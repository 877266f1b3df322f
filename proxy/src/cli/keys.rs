//! `wiregate keys new`: 256 random bits for a client, and their SHA-256 for the configuration; or a
//! key that signs rule packs, in a file of its own.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::ExitCode;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::{CliError, print};
use crate::config::is_principal;
use crate::packs::SigningKey;
use crate::snapshot::hex;

/// What a key starts with, so that people and secret scanners know it for what it is.
const PREFIX: &str = "wgk_";

/// Prints a new key and its line.
pub(super) fn new(name: &str, as_json: bool) -> Result<ExitCode, CliError> {
    if !is_principal(name) {
        return Err(CliError::Name);
    }
    let mut bits = [0_u8; 32];
    rustls::crypto::ring::default_provider()
        .secure_random
        .fill(&mut bits)
        .map_err(|_| CliError::Random)?;
    let (key, sha256) = mint(&bits);
    if as_json {
        return print(&format!("{:#}\n", json!({"name": name, "key": key, "sha256": sha256})));
    }
    eprintln!("the key of {name}, shown only now, and the line for `auth.keys`:");
    print(&format!("{key}\n{}\n", line(name, &sha256)))
}

/// Makes a signing key: the private half into a new file, the public one to stdout.
pub(super) fn sign(name: &str, file: &Path, as_json: bool) -> Result<ExitCode, CliError> {
    if !is_principal(name) {
        return Err(CliError::Name);
    }
    let (key, pem) = SigningKey::generate()?;
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)
        .and_then(|mut file| file.write_all(pem.as_bytes()).and_then(|()| file.sync_all()))
        .map_err(CliError::io("the file of the key can't be made"))?;
    let (public, id) = (key.public().to_string(), key.public().id());
    if as_json {
        let file = file.display().to_string();
        let made = json!({"name": name, "key": public, "key_id": id, "file": file});
        return print(&format!("{made:#}\n"));
    }
    eprintln!(
        "the key {id} of {name} is in {}; the line for `inspect.packs.trust`:",
        file.display()
    );
    print(&format!("- {{ name: \"{name}\", key: \"{public}\" }}\n"))
}

/// The key made of these bits, and its hash.
fn mint(bits: &[u8; 32]) -> (String, String) {
    let key = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bits));
    let sha256 = hex(&Sha256::digest(key.as_bytes()));
    (key, sha256)
}

/// The entry under `auth.keys`. Both values are quoted: a name like `no` or `1` and a hash of
/// nothing but digits would otherwise be no strings.
fn line(name: &str, sha256: &str) -> String {
    format!("- {{ name: \"{name}\", sha256: \"{sha256}\" }}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::snapshot::Snapshot;

    #[test]
    fn the_printed_line_lets_the_printed_key_in() {
        let (key, sha256) = mint(&[7; 32]);
        let text = format!(
            "servers: {{ a: {{ url: 'http://127.0.0.1:9/mcp' }} }}\nauth:\n  keys:\n  {}\n",
            line("1", &sha256)
        );
        let home = |name: &str| (name == "HOME").then(|| "/home/someone".to_owned());
        let snapshot = Snapshot::build(Config::from_yaml("f", &text, &home).unwrap()).unwrap();
        assert_eq!(snapshot.verify_key(&key).as_deref(), Some("1"));
        assert_eq!(snapshot.verify_key("wgk_other"), None);
    }
}
