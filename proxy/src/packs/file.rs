//! The form of a pack: one text file that people can read and `diff` can compare.
//!
//! ```text
//! wiregate rule pack 1
//! key: 5f2c91d0a3b7e846
//! signature: …
//! {"name":"acme-rules","version":"1.4.0","created":"…","requires":"0.1.0","rules":12,"digest":"sha256:…"}
//! set: [{"name":"acme-rules","version":"1.4.0"}]
//! rules:
//! - {"id":"acme.token.build",…}
//! ```
//!
//! The first line and everything from the fourth on are signed, byte for byte. What follows the
//! manifest is the canonical source of the rule set, which is a rule file itself. Nothing of the
//! manifest is looked at before the signature is.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use inspect::{RuleSet, SetDef, Version};
use scan::text::visible;
use serde::{Deserialize, Serialize};

use super::{PackError, PackFault, SigningKey, Trust};
use crate::snapshot::digest;

/// The first line.
const MAGIC: &str = "wiregate rule pack 1\n";
/// The rules of a pack, as any rule file, are no longer than 4 MiB; there is some room for the rest.
const MAX_FILE: u64 = (4 << 20) + (16 << 10);
/// Files of a folder of packs that are looked at.
const MAX_OFFERED: usize = 1000;
/// Names that only the gateway's own sets have start so.
const RESERVED: &str = "wiregate-";
/// What this gateway is.
const ENGINE: &str = env!("CARGO_PKG_VERSION");

/// What a pack says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The set's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// When it was made, RFC 3339.
    pub created: String,
    /// The oldest gateway that reads it as it is meant.
    pub requires: String,
    /// How many rules.
    pub rules: usize,
    /// `sha256:` and the digest of the rules' bytes: that of the rule set where it was made.
    pub digest: String,
}

/// A pack that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pack {
    /// What it says of itself.
    pub manifest: Manifest,
    /// The version, parsed.
    pub version: Version,
    /// Whose key signed it; `None` when that was not asked.
    pub signer: Option<String>,
    /// What the key is called.
    pub key_id: String,
    bytes: String,
    rules_at: usize,
}

/// The file taken apart, and nothing of it believed.
struct Sealed<'a> {
    key_id: &'a str,
    signature: Vec<u8>,
    /// The manifest's line and the rules.
    rest: &'a str,
}

impl Pack {
    /// Reads a pack, and refuses one that no trusted key signed.
    ///
    /// # Errors
    /// The file cannot be read, or what is wrong with it.
    pub fn open(path: &Path, trust: &Trust) -> Result<Self, PackError> {
        let bytes = read(path)?;
        Self::verified(bytes, trust).map_err(|fault| PackError::Bad { path: path.into(), fault })
    }

    /// Reads every `*.pack` of a folder, and gives the newest. All must be signed by trusted keys
    /// and have one name.
    ///
    /// # Errors
    /// As of [`Pack::open`]; there is none; or they have several names.
    pub fn newest(folder: &Path, trust: &Trust) -> Result<Self, PackError> {
        let failed = PackError::io(folder, "read");
        let mut newest: Option<Self> = None;
        for (at, entry) in std::fs::read_dir(folder).map_err(&failed)?.enumerate() {
            let path = entry.map_err(&failed)?.path();
            if at >= MAX_OFFERED {
                let folder = folder.display();
                return Err(PackError::Unfit(format!("{folder}: more than {MAX_OFFERED} files")));
            }
            if path.extension().is_none_or(|extension| extension != "pack") {
                continue;
            }
            let pack = Self::open(&path, trust)?;
            match &newest {
                Some(other) if other.manifest.name != pack.manifest.name => {
                    let (one, other) = (other.label(), pack.label());
                    let folder = folder.display();
                    let message = format!("{folder}: holds {one} and {other}: name the file");
                    return Err(PackError::Unfit(message));
                }
                Some(other) if other.version >= pack.version => {}
                _ => newest = Some(pack),
            }
        }
        newest.ok_or_else(|| PackError::Unfit(format!("{}: no *.pack in it", folder.display())))
    }

    /// Reads a pack to look at it, whoever signed it.
    ///
    /// # Errors
    /// The file cannot be read, or has not the form of a pack.
    pub fn open_unverified(path: &Path) -> Result<Self, PackError> {
        let bytes = read(path)?;
        Self::parse(bytes, None).map_err(|fault| PackError::Bad { path: path.into(), fault })
    }

    /// The pack that these bytes are.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn verified(bytes: Vec<u8>, trust: &Trust) -> Result<Self, PackFault> {
        Self::parse(bytes, Some(trust))
    }

    fn parse(bytes: Vec<u8>, trust: Option<&Trust>) -> Result<Self, PackFault> {
        if bytes.len() as u64 > MAX_FILE {
            return Err(PackFault::TooLarge(MAX_FILE));
        }
        let bytes = String::from_utf8(bytes).map_err(|_| PackFault::Form("it is no text"))?;
        let sealed = Sealed::split(&bytes)?;
        let signer = trust.map(|trust| sealed.signer(trust)).transpose()?;
        let (line, rules) =
            sealed.rest.split_once('\n').ok_or(PackFault::Form("it has no rules"))?;
        let manifest: Manifest = serde_json::from_str(line).map_err(|error| {
            // It may quote the line, and the line may not be signed.
            PackFault::Manifest(visible(&error.to_string()).into_owned())
        })?;
        let version = manifest.check(rules)?;
        let (key_id, rules_at) = (sealed.key_id.to_owned(), bytes.len() - rules.len());
        Ok(Self { manifest, version, signer, key_id, bytes, rules_at })
    }

    /// Its rules, as a rule file.
    pub fn rules(&self) -> &str {
        self.bytes.get(self.rules_at..).unwrap_or_default()
    }

    /// The whole file.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.as_bytes()
    }

    /// `acme-rules@1.4.0`.
    pub fn label(&self) -> String {
        format!("{}@{}", self.manifest.name, self.manifest.version)
    }
}

impl<'a> Sealed<'a> {
    fn split(text: &'a str) -> Result<Self, PackFault> {
        let rest = text.strip_prefix(MAGIC).ok_or(PackFault::Form("its first line is another"))?;
        let (key_id, rest) = field(rest, "key: ").ok_or(PackFault::Form("it names no key"))?;
        let unsigned = PackFault::Form("it has no signature");
        let (signature, rest) = field(rest, "signature: ").ok_or(unsigned)?;
        let signature = STANDARD
            .decode(signature)
            .map_err(|_| PackFault::Form("its signature is no base64"))?;
        Ok(Self { key_id, signature, rest })
    }

    /// Whose signature it is.
    fn signer(&self, trust: &Trust) -> Result<String, PackFault> {
        if trust.is_empty() {
            return Err(PackFault::NoTrust);
        }
        let Some((name, key)) = trust.find(self.key_id) else {
            // Of the key's name only what a name can be: it may go to a terminal.
            let shown = self.key_id.chars().filter(char::is_ascii_alphanumeric).take(16);
            return Err(PackFault::UnknownKey(shown.collect()));
        };
        if !key.verifies(&signed(self.rest), &self.signature) {
            return Err(PackFault::Signature(name.to_owned()));
        }
        Ok(name.to_owned())
    }
}

impl Manifest {
    /// Checks it, and the rules against it.
    fn check(&self, rules: &str) -> Result<Version, PackFault> {
        let set = SetDef { name: self.name.clone(), version: self.version.clone() };
        if let Some((field, problem)) = set.problem() {
            return Err(PackFault::Manifest(format!("{field}: {problem}")));
        }
        if self.name.starts_with(RESERVED) {
            return Err(PackFault::Reserved(self.name.clone()));
        }
        // Problems with either number were told above or are told here.
        let wrong = |_| PackFault::Manifest("requires: no version".into());
        let (needs, have): (Version, Version) =
            (self.requires.parse().map_err(wrong)?, ENGINE.parse().map_err(wrong)?);
        if needs > have {
            return Err(PackFault::Engine { needs: needs.to_string(), have: ENGINE });
        }
        let is_of_set = rules
            .strip_prefix("set: ")
            .and_then(|rules| rules.split_once('\n'))
            .and_then(|(line, _)| serde_json::from_str::<Vec<SetDef>>(line).ok())
            .is_some_and(|sets| sets == [set]);
        if *digest(rules) != *self.digest || !is_of_set {
            return Err(PackFault::Digest);
        }
        self.version.parse().map_err(wrong)
    }
}

/// Makes a pack of a rule set that has exactly one name.
///
/// # Errors
/// The set cannot be a pack.
pub fn seal(
    set: &RuleSet,
    created: &str,
    requires: Option<&str>,
    key: &SigningKey,
) -> Result<Pack, PackError> {
    let unfit = |message: &str| Err(PackError::Unfit(message.to_owned()));
    let [def] = set.sets() else {
        return unfit(
            "a pack has one name and version: write `set: {name: …, version: …}` in its files",
        );
    };
    if set.is_empty() {
        return unfit("there is no rule in it");
    }
    let manifest = Manifest {
        name: def.name.clone(),
        version: def.version.clone(),
        created: created.to_owned(),
        requires: requires.unwrap_or(ENGINE).to_owned(),
        rules: set.len(),
        digest: set.digest().to_owned(),
    };
    // A manifest is strings and a number: it is always JSON.
    let line = serde_json::to_string(&manifest).unwrap_or_default();
    let rest = format!("{line}\n{}", set.source());
    let public = key.public();
    let signature = STANDARD.encode(key.sign(&signed(&rest)));
    let text = format!("{MAGIC}key: {}\nsignature: {signature}\n{rest}", public.id());
    // Read back as whoever installs it will.
    let trust = Trust::new([("its maker".to_owned(), public)]);
    Pack::verified(text.into_bytes(), &trust).map_err(|fault| PackError::Unfit(fault.to_string()))
}

/// Whether a file starts as a pack does.
pub fn is_pack(path: &Path) -> bool {
    let mut start = Vec::new();
    let read =
        File::open(path).and_then(|file| file.take(MAGIC.len() as u64).read_to_end(&mut start));
    read.is_ok() && start == MAGIC.as_bytes()
}

/// What is signed: the form's name first, so that a signature for another purpose is none here.
fn signed(rest: &str) -> Vec<u8> {
    [MAGIC.as_bytes(), rest.as_bytes()].concat()
}

fn field<'a>(text: &'a str, name: &str) -> Option<(&'a str, &'a str)> {
    text.strip_prefix(name)?.split_once('\n')
}

fn read(path: &Path) -> Result<Vec<u8>, PackError> {
    let failed = PackError::io(path, "read");
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(&failed)?;
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(&failed)?;
    Ok(bytes)
}

#[cfg(test)]
pub(super) mod tests {
    use inspect::RuleFile;

    use super::*;

    /// A set of one rule.
    pub(in crate::packs) fn set(name: &str, version: &str) -> RuleSet {
        let text = format!(
            "set: {{name: {name}, version: '{version}'}}
rules:
  - id: acme.ticket.number
    title: A ticket's number
    class: secret
    severity: high
    pattern: 'TICKET-[0-9]{{6}}'
    docs: {{finds: Tickets., why: They are the test.}}
    tests: {{match: [TICKET-123456, TICKET-000000], no_match: [TICKET-1, ticket]}}
"
        );
        RuleSet::compile(&[RuleFile { name: "acme.yaml", text: &text }]).unwrap()
    }

    pub(in crate::packs) fn signer() -> (SigningKey, Trust) {
        let (key, _) = SigningKey::generate().unwrap();
        let trust = Trust::new([("ops".to_owned(), key.public())]);
        (key, trust)
    }

    pub(in crate::packs) fn pack(name: &str, version: &str, key: &SigningKey) -> Pack {
        seal(&set(name, version), "2026-11-24T12:00:00Z", None, key).unwrap()
    }

    #[test]
    fn a_pack_is_what_was_sealed() {
        let (key, trust) = signer();
        let set = set("acme-rules", "1.4.0");
        let sealed = seal(&set, "2026-11-24T12:00:00Z", None, &key).unwrap();
        let read = Pack::verified(sealed.bytes().to_vec(), &trust).unwrap();
        assert_eq!((read.rules(), read.label().as_str()), (set.source(), "acme-rules@1.4.0"));
        assert_eq!((read.signer.as_deref(), read.manifest.rules), (Some("ops"), 1));
        assert_eq!(read.manifest.digest, set.digest());
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        let (key, trust) = signer();
        let bytes = pack("acme-rules", "1.4.0", &key).bytes().to_vec();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(Pack::verified(changed, &trust).is_err(), "byte {at}");
            assert!(Pack::verified(bytes[..at].to_vec(), &trust).is_err(), "cut at {at}");
        }
        let more = [bytes.as_slice(), b"\n"].concat();
        assert_eq!(Pack::verified(more, &trust), Err(PackFault::Signature("ops".into())));
    }

    #[test]
    fn only_trusted_keys_count() {
        let (key, _) = signer();
        let (_, others) = signer();
        let bytes = pack("acme-rules", "1.4.0", &key).bytes().to_vec();
        let unknown = PackFault::UnknownKey(key.public().id());
        assert_eq!(Pack::verified(bytes.clone(), &others), Err(unknown));
        assert_eq!(Pack::verified(bytes, &Trust::default()), Err(PackFault::NoTrust));
    }

    #[test]
    fn a_signed_manifest_must_still_be_right() {
        let (key, trust) = signer();
        let good = pack("acme-rules", "1.4.0", &key);
        let resigned = |from: &str, to: &str| {
            let text = String::from_utf8(good.bytes().to_vec()).unwrap();
            let rest = text.splitn(4, '\n').nth(3).unwrap().replacen(from, to, 1);
            let signature = STANDARD.encode(key.sign(&signed(&rest)));
            let id = key.public().id();
            let text = format!("{MAGIC}key: {id}\nsignature: {signature}\n{rest}");
            Pack::verified(text.into_bytes(), &trust).map_err(|fault| fault.to_string())
        };
        assert!(resigned("", "").is_ok());
        for (from, to, told) in [
            ("acme-rules", "wiregate-builtin", "built-in"),
            ("acme-rules", "Acme", "name"),
            ("acme-rules", "other", "not those of its manifest"),
            ("\"1.4.0\"", "\"1.4.x\"", "version"),
            ("\"1.4.0\"", "\"1.4.1\"", "not those of its manifest"),
            ("TICKET-[0-9]", "TICKET-[0-8]", "not those of its manifest"),
            ("\"requires\":\"", "\"requires\":\"99.", "needs version 99."),
            ("\"rules\":1", "\"rules\":1,\"more\":1", "unknown field"),
            ("\"rules\":1", "\"\\u001b[2J\":1", "unknown field `\\u{1b}[2J`"),
        ] {
            let fault = resigned(from, to).unwrap_err();
            assert!(fault.contains(told), "{from} -> {to}: {fault}");
        }
    }

    #[test]
    fn of_a_folder_the_newest_counts_and_a_stranger_is_told() {
        let (folder, (key, trust)) = (tempfile::tempdir().unwrap(), signer());
        let newest = || Pack::newest(folder.path(), &trust);
        let put = |file: &str, pack: Pack| {
            std::fs::write(folder.path().join(file), pack.bytes()).unwrap();
        };
        assert!(newest().unwrap_err().to_string().contains("no *.pack"));
        for (file, version) in [("a.pack", "1.9"), ("b.pack", "1.10"), ("c.pack", "1.2")] {
            put(file, pack("acme", version, &key));
        }
        put("d.txt", pack("other", "1", &key));
        assert_eq!(newest().unwrap().label(), "acme@1.10");
        put("d.pack", pack("other", "1", &key));
        assert!(newest().unwrap_err().to_string().contains("name the file"));
        put("d.pack", pack("acme", "2", &signer().0));
        assert!(matches!(newest(), Err(PackError::Bad { .. })));
    }

    #[test]
    fn what_has_no_name_or_no_rule_is_no_pack() {
        let (key, _) = signer();
        let unnamed = set("acme", "1").without(&[]);
        for set in [RuleSet::default(), unnamed, set("wiregate-acme", "1")] {
            let sealed = seal(&set, "2026-11-24T12:00:00Z", None, &key);
            assert!(matches!(sealed, Err(PackError::Unfit(_))), "{sealed:?}");
        }
    }
}
