//! `wiregate pins`: what servers offered, what of it changed, and what a person says to that.

mod args;
mod diff;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use inspect::pin::ItemKind;
use jiff::Timestamp;
use scan::text::{Align, Table, is_hostile, visible};
use serde_json::{Value, json};

use args::{PinsApproveArgs, PinsChoice, PinsDiffArgs, PinsListArgs, PinsResetArgs, PinsStore};

use super::{CliError, print, settings};
use crate::pins::{Definitions, Kept, Missing, Pin, Sqlite, State, Store, StoreError};

pub(super) use args::PinsCommand;

/// The file of the store, and the store.
struct Opened {
    file: PathBuf,
    store: Sqlite,
}

/// Does what was asked.
pub(super) fn run(command: PinsCommand) -> Result<ExitCode, CliError> {
    match command {
        PinsCommand::List(args) => list(&args),
        PinsCommand::Diff(args) => show_diff(&args),
        PinsCommand::Approve(args) => approve(&args),
        PinsCommand::Reset(args) => reset(&args),
    }
}

impl Opened {
    /// Opens the store that the flags, the configuration or the environment name.
    fn open(flags: &PinsStore) -> Result<Opened, CliError> {
        let config = settings::written(flags.config.as_deref())?.config;
        let file = flags.store.clone().or_else(|| config.pins.file(&settings::env));
        let file = file.ok_or(CliError::NoPins)?;
        let store = Sqlite::open(&file, Missing::Refuse).map_err(failed(&file))?;
        Ok(Opened { file, store })
    }

    /// The pins that are meant, with their definitions.
    ///
    /// # Errors
    /// The store cannot be read, or a server or an item that was named has no pin.
    fn pins(&mut self, server: Option<&str>, items: &[String]) -> Result<Vec<Pin>, CliError> {
        self.pins_with(Definitions::With, server, items)
    }

    fn pins_with(
        &mut self,
        definitions: Definitions,
        server: Option<&str>,
        items: &[String],
    ) -> Result<Vec<Pin>, CliError> {
        let pins = self.store.pins(server, definitions).map_err(failed(&self.file))?;
        if let (Some(server), true) = (server, pins.is_empty()) {
            return Err(CliError::NoPin(visible(server).into_owned()));
        }
        if items.is_empty() {
            return Ok(pins);
        }
        let mut named = HashSet::new();
        for item in items {
            let (kind, name) = item
                .split_once('/')
                .and_then(|(kind, name)| Some((ItemKind::from_word(kind)?, name)))
                .ok_or_else(|| CliError::NoPin(visible(item).into_owned()))?;
            // A name may also be given as it is shown, since not every one can be typed.
            let is_meant =
                |pin: &&Pin| pin.kind == kind && (pin.name == name || visible(&pin.name) == name);
            let before = named.len();
            named.extend(pins.iter().filter(is_meant).map(|pin| (pin.kind, pin.name.clone())));
            let known = pins.iter().any(|pin| is_meant(&pin));
            if named.len() == before && !known {
                return Err(CliError::NoPin(visible(item).into_owned()));
            }
        }
        Ok(pins.into_iter().filter(|pin| named.contains(&(pin.kind, pin.name.clone()))).collect())
    }

    fn chosen(&mut self, choice: &PinsChoice) -> Result<Vec<Pin>, CliError> {
        self.pins(choice.server.as_deref(), &choice.items)
    }
}

fn failed(file: &Path) -> impl Fn(StoreError) -> CliError {
    move |source| CliError::Pins { file: file.to_owned(), source }
}

fn list(args: &PinsListArgs) -> Result<ExitCode, CliError> {
    let definitions = if args.store.json { Definitions::With } else { Definitions::Without };
    let mut opened = Opened::open(&args.store)?;
    let mut pins = opened.pins_with(definitions, args.server.as_deref(), &[])?;
    if let Some(state) = &args.state {
        pins.retain(|pin| pin.state().as_str() == state);
    }
    if args.store.json {
        return print_json(&pins.iter().map(pin_json).collect());
    }
    eprintln!("{}", summary(&pins));
    print(&table(&pins))
}

/// How many there are, and how many in each state.
fn summary(pins: &[Pin]) -> String {
    let count = |state| pins.iter().filter(|pin| pin.state() == state).count();
    let states = State::ALL.map(|state| format!("{} {}", count(state), state.as_str()));
    format!("{} pins: {}", pins.len(), states.join(", "))
}

fn table(pins: &[Pin]) -> String {
    let columns = [
        ("server", Align::Left),
        ("kind", Align::Left),
        ("name", Align::Left),
        ("state", Align::Left),
        ("fingerprint", Align::Left),
        ("first seen", Align::Left),
        ("last seen", Align::Left),
    ];
    let mut table = Table::new(&columns);
    for pin in pins {
        table.push([
            &*pin.server,
            pin.kind.as_str(),
            &pin.name,
            pin.state().as_str(),
            &short(pin.latest()),
            &time(pin.first_seen),
            &time(pin.last_seen),
        ]);
    }
    table.render(None)
}

fn show_diff(args: &PinsDiffArgs) -> Result<ExitCode, CliError> {
    let mut pins = Opened::open(&args.store)?.pins(args.server.as_deref(), &args.items)?;
    pins.retain(|pin| pin.changed.is_some());
    if args.store.json {
        print_json(&pins.iter().map(diff::json).collect())?;
    } else {
        print(&pins.iter().map(diff::text).collect::<Vec<_>>().join("\n"))?;
    }
    if pins.is_empty() {
        eprintln!("nothing has changed");
        return Ok(ExitCode::SUCCESS);
    }
    Ok(ExitCode::from(1))
}

fn approve(args: &PinsApproveArgs) -> Result<ExitCode, CliError> {
    let mut opened = Opened::open(&args.store)?;
    let mut pins = opened.chosen(&args.choice)?;
    pins.retain(|pin| pin.state() != State::Approved);
    let asked = pins.len();
    if let Some(start) = &args.fingerprint {
        pins.retain(|pin| pin.latest().fingerprint.to_string().starts_with(start));
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let approved = opened.store.approve(&pins, now).map_err(failed(&opened.file))?;
    done("approved", &pins, approved, args.store.json)?;
    if approved < asked {
        eprintln!("{} left alone, not as shown: look at `wiregate pins diff`", asked - approved);
        return Ok(ExitCode::from(1));
    }
    Ok(ExitCode::SUCCESS)
}

fn reset(args: &PinsResetArgs) -> Result<ExitCode, CliError> {
    let mut opened = Opened::open(&args.store)?;
    let pins = opened.chosen(&args.choice)?;
    let gone = opened.store.reset(&pins).map_err(failed(&opened.file))?;
    done("forgotten", &pins, gone, args.store.json)
}

/// Tells what was done to which pins.
fn done(what: &str, pins: &[Pin], count: usize, as_json: bool) -> Result<ExitCode, CliError> {
    if as_json {
        let pins: Vec<Value> = pins.iter().map(pin_json).collect();
        return print(&escaped(&format!("{:#}\n", json!({ "count": count, "pins": pins }))));
    }
    eprintln!("{count} {what}");
    let line = |pin: &Pin| {
        let name = visible(&pin.name);
        let server = visible(&pin.server).into_owned();
        format!("{server} {}/{name} {}\n", pin.kind.as_str(), short(pin.latest()))
    };
    print(&pins.iter().map(line).collect::<String>())
}

fn pin_json(pin: &Pin) -> Value {
    json!({
        "server": pin.server,
        "kind": pin.kind.as_str(),
        "name": pin.name,
        "state": pin.state().as_str(),
        "fingerprint": pin.latest().fingerprint.to_string(),
        "definition": definition(pin.latest()),
        "first_seen": time(pin.first_seen),
        "last_seen": time(pin.last_seen),
        "approved_at": pin.approved_at.map(time),
    })
}

/// A definition as JSON; what no parser of ours takes, as its text.
fn definition(kept: &Kept) -> Option<Value> {
    let text = kept.definition.as_deref()?;
    Some(serde_json::from_str(text).unwrap_or_else(|_| text.into()))
}

/// So much of a fingerprint that people can tell it from others.
fn short(kept: &Kept) -> String {
    kept.fingerprint.to_string().chars().take("blake3:".len() + 12).collect()
}

fn time(seconds: i64) -> String {
    Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |time| time.to_string())
}

fn print_json(all: &Vec<Value>) -> Result<ExitCode, CliError> {
    print(&escaped(&format!("{:#}\n", json!(all))))
}

/// JSON in which whatever could steer a terminal is an escape. Outside of strings there is nothing
/// of that kind but line breaks.
fn escaped(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if c != '\n' && is_hostile(c) {
            let units = c.encode_utf16(&mut [0; 2]).iter().map(|u| format!("\\u{u:04x}")).collect();
            let units: String = units;
            out.push_str(&units);
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use inspect::pin::Fingerprint;

    use super::*;

    pub(super) fn pin(name: &str, base: &str, changed: Option<&str>) -> Pin {
        let kept = |text: &str| Kept {
            fingerprint: Fingerprint::of(text),
            definition: Some(text.to_owned()),
        };
        Pin {
            server: "files".into(),
            kind: ItemKind::Tool,
            name: name.into(),
            base: kept(base),
            changed: changed.map(kept),
            approved_at: changed.map(|_| 1_795_338_100),
            first_seen: 1_795_338_000,
            last_seen: 1_795_338_200,
        }
    }

    #[test]
    fn a_list_shows_what_there_is_and_steers_no_terminal() {
        let pins = [pin("read_file", "{}", Some("[]")), pin("a\u{1b}[2J\u{202e}b", "{}", None)];
        assert_eq!(summary(&pins), "2 pins: 1 pending, 0 approved, 1 changed");
        insta::assert_snapshot!(table(&pins));
        let json = escaped(&json!(pins.iter().map(pin_json).collect::<Vec<_>>()).to_string());
        assert!(!json.contains(is_hostile), "{json}");
        let read: Vec<Value> = serde_json::from_str(&json).unwrap();
        assert_eq!(read[1]["name"], "a\u{1b}[2J\u{202e}b");
    }
}
