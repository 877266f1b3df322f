//! Tools that pass for another server's, and definitions that speak of them.

use std::collections::{HashMap, HashSet};

use super::json::{self, Node};

/// The tools of other servers, to compare one server's tools with.
#[derive(Clone, Debug, Default)]
pub struct Others<'a> {
    /// By folded name: server and tool.
    folded: HashMap<String, (&'a str, &'a str)>,
    /// Distinctive names, with their server.
    distinctive: HashMap<&'a str, &'a str>,
}

impl<'a> Others<'a> {
    /// From `own`, the names of this server's tools, and `others`, the servers and names of everyone else's. Of two
    /// tools with one name the first counts.
    pub fn new(
        own: impl IntoIterator<Item = &'a str>,
        others: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Self {
        let own: HashSet<&str> = own.into_iter().collect();
        let mut this = Self::default();
        for (server, tool) in others {
            this.folded.entry(fold(tool)).or_insert((server, tool));
            // A server may speak of its own tools, whoever else has one of that name.
            if is_distinctive(tool) && !own.contains(tool) {
                this.distinctive.entry(tool).or_insert(server);
            }
        }
        this
    }

    /// The server and tool that a tool of this name passes for: the same name, but for case, `-` and `_`.
    #[must_use]
    pub fn shadowed_by(&self, name: &str) -> Option<(&'a str, &'a str)> {
        self.folded.get(&fold(name)).copied()
    }

    /// The first server and tool that a definition (JSON) mentions anywhere but in its `name`: a distinctive name as a
    /// whole word. A text that is no JSON mentions nothing.
    #[must_use]
    pub fn referred_to_by(&self, definition: &str) -> Option<(&'a str, &'a str)> {
        if self.distinctive.is_empty() {
            return None;
        }
        match json::read(definition).ok()? {
            Node::Object(members) => members
                .iter()
                .filter(|(key, _)| key != "name")
                .find_map(|(key, value)| self.in_text(key).or_else(|| self.in_node(value))),
            node => self.in_node(&node),
        }
    }

    fn in_node(&self, node: &Node<'_>) -> Option<(&'a str, &'a str)> {
        match node {
            Node::Word(_) => None,
            Node::Text(text) => self.in_text(text),
            Node::Array(items) => items.iter().find_map(|item| self.in_node(item)),
            Node::Object(members) => members
                .iter()
                .find_map(|(key, value)| self.in_text(key).or_else(|| self.in_node(value))),
        }
    }

    fn in_text(&self, text: &str) -> Option<(&'a str, &'a str)> {
        let part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
        text.split(|c| !part(c)).find_map(|word| {
            // A full stop or a dash at an end is punctuation.
            let word = word.trim_matches(['.', '-']);
            self.distinctive.get_key_value(word).map(|(tool, server)| (*server, *tool))
        })
    }
}

/// Whether a name is hardly an ordinary word: at least 6 characters with `_` or `-` among them, or a capital behind a
/// small letter.
#[must_use]
pub fn is_distinctive(name: &str) -> bool {
    let inner = |pair: (char, char)| pair.0.is_lowercase() && pair.1.is_uppercase();
    name.chars().count() >= 6
        && (name.contains(['_', '-']) || name.chars().zip(name.chars().skip(1)).any(inner))
}

fn fold(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '-' | '_')).flat_map(char::to_lowercase).collect()
}
