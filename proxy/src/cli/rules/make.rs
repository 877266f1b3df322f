//! `wiregate rules pack`: a folder of rules → a signed pack.

use std::process::ExitCode;

use jiff::Timestamp;
use serde_json::json;

use super::args::RulesPackArgs;
use super::{CliError, print, print_json, source};
use crate::packs::{SigningKey, seal};

/// Makes a pack.
pub(super) fn run(args: &RulesPackArgs) -> Result<ExitCode, CliError> {
    let key = SigningKey::read(&args.key)?;
    let set = source::folder(&args.dir)?.set;
    let requires = args.requires.as_ref().map(ToString::to_string);
    let created = Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default();
    let pack = seal(&set, &created.to_string(), requires.as_deref(), &key)?;
    std::fs::write(&args.out, pack.bytes()).map_err(CliError::io("the pack can't be written"))?;
    let (manifest, key) = (&pack.manifest, key.public());
    if args.json {
        return print_json(&json!({
            "file": args.out.display().to_string(), "manifest": manifest,
            "key": key.to_string(), "key_id": key.id(),
        }));
    }
    let (name, version) = (&manifest.name, &manifest.version);
    print(&format!("{name} {version}, {} rules, {}\n", manifest.rules, manifest.digest))?;
    eprintln!("signed with the key {}: {}", key.id(), args.out.display());
    Ok(ExitCode::SUCCESS)
}
