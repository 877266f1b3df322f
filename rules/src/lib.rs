//! The rules that Wiregate ships, as data: [`builtin`] is the set that is always there, [`pack`] a stricter extra one.
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
    "dlp/ai.yaml",
    "dlp/azure.yaml",
    "dlp/ci.yaml",
    "dlp/cloud-regional.yaml",
    "dlp/cloud.yaml",
    "dlp/code.yaml",
    "dlp/command.yaml",
    "dlp/connection.yaml",
    "dlp/framework.yaml",
    "dlp/generic.yaml",
    "dlp/hash.yaml",
    "dlp/hosting.yaml",
    "dlp/infra.yaml",
    "dlp/observability.yaml",
    "dlp/password.yaml",
    "dlp/private-key.yaml",
    "dlp/registry.yaml",
    "dlp/saas.yaml",
    "dlp/vault.yaml",
    "injection/exfiltration.yaml",
    "injection/instructions.yaml",
    "injection/tools.yaml",
    "injection/unsafe.yaml",
    "pii/contact.yaml",
    "pii/financial.yaml",
    "pii/national.yaml",
];

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
