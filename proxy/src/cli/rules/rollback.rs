//! `wiregate rules rollback`: an earlier version of an installed pack, or none.

use std::process::ExitCode;

use inspect::Version;
use serde_json::json;

use super::args::{RulesRollbackArgs, To};
use super::{CliError, configured, in_use_with, print, print_json, shelf};
use crate::packs::{Installed, PackError};

/// Makes another version the one in use.
pub(super) fn run(args: &RulesRollbackArgs) -> Result<ExitCode, CliError> {
    let config = configured(&args.using)?;
    let shelf = shelf(&config)?;
    let lock = shelf.lock()?;
    let name = &args.name;
    if !inspect::set::is_set_name(name) {
        return Err(PackError::Missing(scan::text::visible(name).into_owned()).into());
    }
    let installed = shelf.installed_of(name)?;
    let to = target(&installed, args.to.as_ref())?;
    if let Some(version) = &to {
        // The next start is not to fail for it.
        let pack = shelf.open(name, version, &config.inspect.packs.keys())?;
        in_use_with(&config, &pack)?;
    }
    shelf.switch(&lock, name, to.as_ref())?;
    let word = |version: Option<&Version>| version.map_or("none".to_owned(), Version::to_string);
    let (from, to) = (word(installed.active.as_ref()), word(to.as_ref()));
    if args.using.json {
        return print_json(&json!({ "name": name, "from": from, "to": to }));
    }
    print(&format!("{name} {from} -> {to}\n"))?;
    eprintln!("in effect when the gateway starts next");
    Ok(ExitCode::SUCCESS)
}

/// Where a rollback leads.
fn target(installed: &Installed, to: Option<&To>) -> Result<Option<Version>, PackError> {
    let Installed { name, versions, active } = installed;
    let missing = |what: String| Err(PackError::Missing(what));
    match (to, active) {
        _ if versions.is_empty() => missing(name.clone()),
        (Some(To::None), None) => missing(format!("an active version of {name}")),
        (Some(To::None), Some(_)) => Ok(None),
        (Some(To::Version(version)), _) if versions.contains(version) => Ok(Some(version.clone())),
        (Some(To::Version(version)), _) => missing(format!("{name}@{version}")),
        (None, None) => missing(format!("an active version of {name}")),
        (None, Some(active)) => match versions.iter().rfind(|version| *version < active) {
            Some(version) => Ok(Some(version.clone())),
            None => missing(format!("a version of {name} before {active}")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_back_or_where_it_is_told_to_go() {
        let version = |text: &str| text.parse::<Version>().unwrap();
        let installed = |active: Option<&str>| Installed {
            name: "acme".into(),
            versions: ["1.2", "1.9", "1.10"].map(version).to_vec(),
            active: active.map(version),
        };
        let to = |active, to: Option<&To>| {
            target(&installed(active), to).map(|to| to.map(|version| version.to_string())).ok()
        };
        assert_eq!(to(Some("1.10"), None), Some(Some("1.9".into())));
        assert_eq!(to(Some("1.2"), None), None);
        assert_eq!(to(None, None), None);
        assert_eq!(to(Some("1.10"), Some(&To::None)), Some(None));
        assert_eq!(to(None, Some(&To::Version(version("1.10")))), Some(Some("1.10".into())));
        assert_eq!(to(Some("1.2"), Some(&To::Version(version("1.3")))), None);
    }
}
