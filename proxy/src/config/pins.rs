//! The section `pins`: which definitions are watched, and what a new or a changed one means.

use std::path::PathBuf;

use inspect::pin::ItemKind;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Size;

/// Tools, prompts and resources under watch: what a server lists is compared with what it listed
/// before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Pins {
    /// Whether definitions are watched, and the most that is done. The preset `audit` makes
    /// `block` a `flag`.
    pub mode: PinMode,
    /// What is watched.
    pub kinds: Vec<PinKind>,
    /// What happens to a definition that was never seen before, until it is approved. The first
    /// list of a server is all new.
    pub new: OnNew,
    /// What happens to a definition that is not the one seen first or approved.
    pub changed: OnChanged,
    /// The SQLite file that keeps the pins. Default: `$XDG_STATE_HOME/wiregate/pins.sqlite`, or
    /// `~/.local/state/wiregate/pins.sqlite`. Gateways on one machine may share it; a pin belongs
    /// to the server's name.
    pub store: Option<PathBuf>,
    /// What happens when the store cannot be opened at the start. Default: `refuse` where `mode`
    /// is `block`, else `allow`. While running, the pins last known stay in force.
    pub on_error: Option<OnStoreError>,
    /// Pins of one server, and items of one list.
    pub max_items: usize,
    /// Bytes of one definition.
    pub max_definition: Size,
    /// Bytes of the store's file beyond which no more definitions are kept, only fingerprints.
    pub max_bytes: Size,
    /// Sightings that may wait to be saved. What finds no place is saved with the next list.
    pub queue: usize,
    /// Bytes of definitions that may wait to be saved.
    pub queue_bytes: Size,
}

/// Whether definitions are watched, and the most that is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PinMode {
    /// Nothing is watched.
    Off,
    /// What is found is recorded.
    Flag,
    /// What `new` and `changed` say is done.
    Block,
}

/// What can be watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PinKind {
    /// Tools.
    Tools,
    /// Prompts.
    Prompts,
    /// Resources and their templates.
    Resources,
}

/// What happens to a new definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnNew {
    /// It passes, and waits for approval.
    Allow,
    /// It passes, and each list with it and each use of it is flagged.
    Flag,
    /// It is left out of lists and cannot be used, until it is approved.
    Block,
}

/// What happens to a changed definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnChanged {
    /// It passes, and each list with it and each use of it is flagged.
    Flag,
    /// It is left out of lists and cannot be used, until it is approved.
    Block,
}

/// What happens when the store cannot be opened at the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnStoreError {
    /// The gateway does not start.
    Refuse,
    /// It starts without pins: every definition is new until the store can be opened.
    Allow,
}

impl Default for Pins {
    fn default() -> Self {
        Self {
            mode: PinMode::Flag,
            kinds: vec![PinKind::Tools, PinKind::Prompts, PinKind::Resources],
            new: OnNew::Allow,
            changed: OnChanged::Block,
            store: None,
            on_error: None,
            max_items: 10_000,
            max_definition: Size::new(256 << 10),
            max_bytes: Size::mib(256),
            queue: 4096,
            queue_bytes: Size::mib(16),
        }
    }
}

impl Pins {
    /// The file of the store: as written, else the one in the user's state folder, which `env`
    /// tells. `None` when it tells nothing.
    pub fn file(&self, env: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
        self.store.clone().or_else(|| Some(super::state(env)?.join("pins.sqlite")))
    }

    /// Whether the gateway starts without a store.
    pub fn starts_without_store(&self) -> bool {
        match self.on_error {
            Some(OnStoreError::Refuse) => false,
            Some(OnStoreError::Allow) => true,
            None => self.mode != PinMode::Block,
        }
    }

    /// Whether items of this kind are watched.
    pub fn watches(&self, kind: ItemKind) -> bool {
        self.mode != PinMode::Off
            && self.kinds.contains(&match kind {
                ItemKind::Tool => PinKind::Tools,
                ItemKind::Prompt => PinKind::Prompts,
                ItemKind::Resource | ItemKind::Template => PinKind::Resources,
            })
    }
}
