//! What things are called here, and what they are called at their servers. A name is made by rule
//! and undone by looking it up in what was listed: it is never taken apart.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use capture::Str;
use sha2::{Digest, Sha256};

use super::headers::Mirror;
use super::page::Kind;
use crate::snapshot::hex;

/// How a name is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Naming {
    /// Whether the server's name goes in front.
    pub(super) prefixed: bool,
    /// What stands between.
    pub(super) separator: Str,
    /// Bytes at most.
    pub(super) longest: usize,
}

/// Hexadecimal digits of the digest at the end of a name that was cut.
const DIGITS: usize = 8;

impl Naming {
    /// What `name` of `server` is called here.
    pub(super) fn shown(&self, server: &str, name: &str) -> String {
        let full = match self.prefixed {
            true => format!("{server}{}{name}", self.separator),
            false => name.to_owned(),
        };
        if full.len() <= self.longest {
            return full;
        }
        // The digest is of what the name stands for, so that it is the same wherever it is made.
        let hash = Sha256::new().chain_update(server).chain_update([0]).chain_update(name);
        let digest = hex(&hash.finalize()[..DIGITS / 2]);
        let kept = full.floor_char_boundary(self.longest.saturating_sub(DIGITS + 1));
        format!("{}_{digest}", &full[..kept])
    }

    /// Whether a name may be one of `server`'s by its beginning: a hint where to look first.
    pub(super) fn may_be_of(&self, server: &str, shown: &str) -> bool {
        !self.prefixed
            || shown.strip_prefix(server).is_some_and(|rest| rest.starts_with(&*self.separator))
    }
}

/// Where a name leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) server: Str,
    pub(super) name: Str,
    /// Which arguments its server wants in headers too.
    pub(super) mirrors: Vec<Mirror>,
}

impl Target {
    /// A tool of the gateway's own: it is at no server.
    pub(super) fn own(name: &str) -> Target {
        Target { server: "".into(), name: name.into(), mirrors: Vec::new() }
    }
}

/// The names of one generation of a list.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    to: HashMap<Str, Target>,
    /// Names that more than one server has, and the first two of them.
    clashes: BTreeMap<Str, [Str; 2]>,
}

impl Names {
    /// Adds a name. Of two servers' it is neither's; of one server's own, the first counts.
    pub(super) fn add(&mut self, shown: Str, target: Target) {
        if self.clashes.contains_key(&shown) {
            return;
        }
        match self.to.get(&shown) {
            None => {
                self.to.insert(shown, target);
            }
            Some(first) if first.server == target.server => {}
            Some(first) => {
                let both = [first.server.clone(), target.server];
                self.to.remove(&shown);
                self.clashes.insert(shown, both);
            }
        }
    }

    /// Where a name leads.
    pub(super) fn get(&self, shown: &str) -> Option<&Target> {
        self.to.get(shown)
    }

    /// The servers that both have this name.
    pub(super) fn clash(&self, shown: &str) -> Option<&[Str; 2]> {
        self.clashes.get(shown)
    }

    /// Every name that two servers have.
    pub(super) fn clashes(&self) -> impl Iterator<Item = (&Str, &[Str; 2])> {
        self.clashes.iter()
    }

    /// Adds what an earlier generation knew of these servers, which did not answer this time. None
    /// of their names goes to another server meanwhile.
    pub(super) fn keep(&mut self, earlier: &Names, of: impl Fn(&str) -> bool) {
        for (shown, target) in earlier.to.iter().filter(|(_, target)| of(&target.server)) {
            self.add(shown.clone(), target.clone());
        }
    }

    /// Every name, and where it leads.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Str, &Target)> {
        self.to.iter()
    }
}

/// Whose list it is: the endpoint, the kind, and the principal.
type Key = (Str, Kind, Option<Str>);

/// The newest generation of each list, bounded: the oldest make room.
#[derive(Debug, Default)]
pub(super) struct Lists {
    state: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    lists: HashMap<Key, Arc<Names>>,
    order: VecDeque<Key>,
}

impl Lists {
    /// The names last listed.
    pub(super) fn get(&self, key: &Key) -> Option<Arc<Names>> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.lists.get(key).cloned()
    }

    /// A new generation.
    pub(super) fn put(&self, key: Key, names: Arc<Names>, limit: usize) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Kept { lists, order } = &mut *state;
        if lists.insert(key.clone(), names).is_none() {
            order.push_back(key);
        }
        while lists.len() > limit {
            let Some(oldest) = order.pop_front() else { break };
            lists.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn naming(prefixed: bool, longest: usize) -> Naming {
        Naming { prefixed, separator: "__".into(), longest }
    }

    fn target(server: &str, name: &str) -> Target {
        Target { server: server.into(), name: name.into(), mirrors: Vec::new() }
    }

    #[test]
    fn a_name_has_its_servers_in_front_where_that_is_asked() {
        assert_eq!(naming(true, 128).shown("files", "read"), "files__read");
        assert_eq!(naming(false, 128).shown("files", "read"), "read");
        assert!(naming(true, 128).may_be_of("files", "files__read"));
        assert!(!naming(true, 128).may_be_of("file", "files__read"));
        assert!(naming(false, 128).may_be_of("anything", "read"));
    }

    #[test]
    fn a_long_name_is_cut_the_same_way_each_time_and_stays_apart_from_its_like() {
        let long = "a".repeat(100);
        let (one, other) = (format!("{long}1"), format!("{long}2"));
        let naming = naming(true, 64);
        let shown = naming.shown("files", &one);
        assert_eq!(shown.len(), 64);
        assert_eq!(shown, naming.shown("files", &one));
        assert_ne!(shown, naming.shown("files", &other));
        assert_eq!(naming.shown("ss", &"é".repeat(100)).len(), 64 - 1);
    }

    #[test]
    fn a_name_of_two_servers_leads_nowhere_and_tells_both() {
        let mut names = Names::default();
        for (server, name) in [("a", "echo"), ("b", "echo"), ("c", "echo"), ("a", "add")] {
            names.add(name.into(), target(server, name));
        }
        assert_eq!(names.get("echo"), None);
        assert_eq!(names.clash("echo"), Some(&["a".into(), "b".into()]));
        assert_eq!(names.get("add"), Some(&target("a", "add")));
    }

    #[test]
    fn names_with_the_separator_in_them_find_their_servers() {
        // "a-b" has "c", "a" has "b-c": with "-" between, both would be "a-b-c".
        let naming = Naming { separator: "-".into(), ..naming(true, 128) };
        let mut names = Names::default();
        for (server, name) in [("a", "b-c"), ("a-b", "c"), ("a", "b-d")] {
            names.add(naming.shown(server, name).into(), target(server, name));
        }
        assert_eq!(names.clash("a-b-c"), Some(&["a".into(), "a-b".into()]));
        assert_eq!(names.get("a-b-d"), Some(&target("a", "b-d")));
    }

    #[test]
    fn what_a_silent_server_had_is_kept_and_taken_over_by_nobody() {
        let mut earlier = Names::default();
        earlier.add("x".into(), target("gone", "x"));
        earlier.add("y".into(), target("gone", "y"));
        earlier.add("z".into(), target("there", "z"));
        let mut now = Names::default();
        now.add("x".into(), target("there", "x"));
        now.keep(&earlier, |server| server == "gone");
        assert_eq!(now.get("x"), None);
        assert!(now.clash("x").is_some());
        assert_eq!(now.get("y"), Some(&target("gone", "y")));
        assert_eq!(now.get("z"), None);
    }

    #[test]
    fn the_oldest_list_makes_room() {
        let lists = Lists::default();
        let key = |n: usize| ("*".into(), Kind::Tools, Some(n.to_string().into()));
        for n in 0..5 {
            lists.put(key(n), Arc::default(), 2);
            lists.put(key(n), Arc::default(), 2);
        }
        assert!(lists.get(&key(2)).is_none());
        assert!(lists.get(&key(3)).is_some() && lists.get(&key(4)).is_some());
    }
}
