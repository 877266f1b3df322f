//! The section `inspect.packs`: whose signed sets of rules are taken, and where they are kept.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::packs::{PublicKey, Trust};

/// Keys that may be trusted.
const MAX_TRUSTED: usize = 64;

/// Signed sets of rules beside the built-in ones, as `wiregate rules update` installs them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Packs {
    /// The keys whose packs are taken. Without any, none is, and installed ones are not in use.
    pub trust: Vec<Trusted>,
    /// The folder they are installed in. Default: `$XDG_STATE_HOME/wiregate/rules`, or
    /// `~/.local/state/wiregate/rules`.
    pub dir: Option<PathBuf>,
}

/// One key whose packs are taken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Trusted {
    /// Who holds it, for messages.
    pub name: String,
    /// The public key, `ed25519:` and base64; `wiregate keys new NAME --sign FILE` prints it.
    pub key: String,
}

impl Packs {
    /// The folder of installed packs: as written, else the one in the user's state folder, which
    /// `env` tells. `None` when it tells nothing.
    pub fn folder(&self, env: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
        self.dir.clone().or_else(|| Some(super::state(env)?.join("rules")))
    }

    /// The trusted keys; those that are none were told by then.
    pub fn keys(&self) -> Trust {
        let key = |one: &Trusted| Some((one.name.clone(), PublicKey::parse(&one.key)?));
        Trust::new(self.trust.iter().filter_map(key))
    }

    /// What is wrong with it: pointers below the section, and why.
    pub(super) fn problems(&self) -> Vec<(String, &'static str)> {
        let mut found = Vec::new();
        if self.trust.len() > MAX_TRUSTED {
            found.push(("trust".to_owned(), "more than 64 keys"));
        }
        for (i, one) in self.trust.iter().enumerate() {
            if !super::is_principal(&one.name) {
                let problem = "a name is 1 to 64 letters, digits, `-`, `_`, `.` or `@`";
                found.push((format!("trust/{i}/name"), problem));
            }
            if PublicKey::parse(&one.key).is_none() {
                let problem = "no public key: `ed25519:` and 32 bytes in base64";
                found.push((format!("trust/{i}/key"), problem));
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packs::SigningKey;

    #[test]
    fn a_key_that_is_none_is_told() {
        let (key, _) = SigningKey::generate().unwrap();
        let trusted = |name: &str, key: &str| Trusted { name: name.into(), key: key.into() };
        let good = trusted("ops", &key.public().to_string());
        let packs = |trust: &[&Trusted]| Packs {
            trust: trust.iter().map(|one| (*one).clone()).collect(),
            dir: None,
        };
        assert_eq!(packs(&[&good]).problems(), []);
        assert!(packs(&[&good]).keys().find(&key.public().id()).is_some());
        let wrong = packs(&[&good, &trusted("a b", "ed25519:AAAA")]);
        let at: Vec<String> = wrong.problems().into_iter().map(|(at, _)| at).collect();
        assert_eq!(at, ["trust/1/name", "trust/1/key"]);
        assert_eq!(packs(&[&good; 65]).problems().len(), 1);
    }
}
