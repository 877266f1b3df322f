//! The rules that Wiregate ships, as data: [`builtin`] is the set that is there by default, [`pack`] an extra one.
//!
//! The rules themselves are the YAML files beside this crate; here they are only embedded, so that a single binary
//! has them. Nothing is parsed or compiled here: that is the `inspect` crate, which this one knows only in its tests.
//!
//! ```
//! let (name, text) = rules::builtin()[0];
//! assert!(name.ends_with(".yaml") && text.contains("rules:"));
//! ```
#![forbid(unsafe_code)]

/// Embeds files by their path below the crate.
macro_rules! embed {
    ($($path:literal),+ $(,)?) => {
        &[$(($path, include_str!(concat!("../", $path)))),+]
    };
}

const BUILTIN: &[(&str, &str)] = embed![
    "dlp/agents.yaml",
    "dlp/ai.yaml",
    "dlp/alerting.yaml",
    "dlp/azure.yaml",
    "dlp/chat.yaml",
    "dlp/ci.yaml",
    "dlp/cloud-regional.yaml",
    "dlp/cloud.yaml",
    "dlp/code.yaml",
    "dlp/command.yaml",
    "dlp/commerce.yaml",
    "dlp/connection.yaml",
    "dlp/content.yaml",
    "dlp/data.yaml",
    "dlp/devtools.yaml",
    "dlp/errors.yaml",
    "dlp/framework.yaml",
    "dlp/generic.yaml",
    "dlp/hash.yaml",
    "dlp/home.yaml",
    "dlp/hosting.yaml",
    "dlp/identity.yaml",
    "dlp/inference.yaml",
    "dlp/infra.yaml",
    "dlp/lookup.yaml",
    "dlp/mail.yaml",
    "dlp/media-models.yaml",
    "dlp/messaging.yaml",
    "dlp/observability.yaml",
    "dlp/password.yaml",
    "dlp/payment.yaml",
    "dlp/pipelines.yaml",
    "dlp/private-key.yaml",
    "dlp/registry.yaml",
    "dlp/retrieval.yaml",
    "dlp/saas.yaml",
    "dlp/security.yaml",
    "dlp/social.yaml",
    "dlp/trading.yaml",
    "dlp/vault.yaml",
    "dlp/wallets.yaml",
    "dlp/web3.yaml",
    "dlp/work.yaml",
    "injection/agent.yaml",
    "injection/answer.yaml",
    "injection/channels.yaml",
    "injection/exfiltration.yaml",
    "injection/instructions.yaml",
    "injection/languages.yaml",
    "injection/override.yaml",
    "injection/persona.yaml",
    "injection/poison.yaml",
    "injection/pretext.yaml",
    "injection/tools.yaml",
    "injection/unsafe-data.yaml",
    "injection/unsafe-shell.yaml",
    "injection/unsafe-web.yaml",
    "injection/unsafe.yaml",
    "pii/americas.yaml",
    "pii/asia.yaml",
    "pii/contact.yaml",
    "pii/europe-east.yaml",
    "pii/europe-west.yaml",
    "pii/financial.yaml",
    "pii/national.yaml",
    "pii/south.yaml",
    "set.yaml",
];

/// The name of the set that [`builtin`] is.
pub const NAME: &str = "wiregate-builtin";

/// Its version, which is this crate's: rules change with releases.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

const PACKS: &[(&str, &str)] = embed!["packs/learned.yaml", "packs/paranoid.yaml"];

/// The built-in rule files: path below this crate and text, in the order of their paths.
#[must_use]
pub fn builtin() -> &'static [(&'static str, &'static str)] {
    BUILTIN
}

/// Every extra rule file: path below this crate and text.
#[must_use]
pub fn packs() -> &'static [(&'static str, &'static str)] {
    PACKS
}

/// The text of the extra rule file of this name (`paranoid`), which is not among the built-in ones.
///
/// ```
/// assert!(rules::pack("paranoid").is_some());
/// assert!(rules::pack("no-such-pack").is_none());
/// ```
#[must_use]
pub fn pack(name: &str) -> Option<&'static str> {
    let path = format!("packs/{name}.yaml");
    PACKS.iter().find(|(known, _)| *known == path).map(|(_, text)| *text)
}

/// What stands above the catalogue of these rules.
pub const INTRO: &str = "\
# The rules Wiregate ships

This page is generated from the rule files beside it (`WIREGATE_BLESS=1 cargo test -p rules --test catalogue`).

A rule is one entry of a YAML file: what it finds, where it looks, what is done, its explanation, and at least two
examples and two counter-examples. Tests run them all (`wiregate-replay test rules`); a gateway that starts does not run
those of the rules it comes with. Token formats are facts from the providers' own documentation; patterns and texts were
written for this project. Examples hold templates such as `{{hex:40}}` instead
of anything that looks like a secret.

- **Action** is what the `balanced` preset does: `block` refuses the message, `redact` replaces the found text, `flag`
  records it. `strict` is harder, `audit` only records.
- **Level** is the paranoia level from which a rule takes part. Level 1 is on by default; what is common in honest
  traffic (e-mail addresses, phone numbers, public addresses) waits for a higher one.
- **Where** is empty for every surface; `@out` is on the way to a server, `@in` on the way to the client.

Patterns find wording and form. They do not find an attack that is phrased as a plain request, a secret without a
prefix, a telling name or a telling place, or a number outside its context; for those there are tool allow-lists, pins
and outbound policy.
";

/// The folders of the catalogue, in its order, with their headings.
pub const SECTIONS: [(&str, &str); 4] = [
    ("dlp", "Secrets"),
    ("pii", "Personal data"),
    ("injection", "Injection, poisoning, exfiltration, dangerous arguments"),
    ("packs", "Packs: not built in, loaded by name (`wiregate-replay --pack`) or from a folder"),
];

const CORPUS: &[(&str, &str)] = embed![
    "corpus/attack/dlp.jsonl",
    "corpus/attack/injection.jsonl",
    "corpus/attack/pii.jsonl",
    "corpus/attack/providers.jsonl",
    "corpus/benign/attack-words.jsonl",
    "corpus/benign/everyday.jsonl",
    "corpus/benign/providers.jsonl",
];

/// What the built-in rules are held against: path below this crate (`corpus/attack/…` or `corpus/benign/…`) and JSON
/// lines, with templates in the place of secrets.
#[must_use]
pub fn corpus() -> &'static [(&'static str, &'static str)] {
    CORPUS
}
