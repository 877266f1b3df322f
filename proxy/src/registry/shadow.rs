//! Whether a server's tools have the names of another server's: a model that sees both may call
//! the wrong one.

use super::vet::{Check, Outcome};

/// The check, against the tools of other servers as `(server, tool)`; `None` when nothing is known
/// of them.
pub fn check(tools: &[String], others: Option<&[(String, String)]>) -> Check {
    let told = |outcome, detail| Check { id: "shadowing", outcome, detail };
    let Some(others) = others else {
        return told(Outcome::Unknown, "no pins of other servers to compare with".into());
    };
    let same: Vec<String> = tools
        .iter()
        .filter_map(|tool| {
            let (server, _) = others.iter().find(|(_, other)| folded(other) == folded(tool))?;
            Some(format!("{tool} (of {server})"))
        })
        .collect();
    match same.as_slice() {
        [] => told(Outcome::Pass, "no other server has a tool of the same name".into()),
        some => {
            let names = some.iter().take(10).cloned().collect::<Vec<_>>().join(", ");
            told(Outcome::Warn, format!("{} names of other servers' tools: {names}", some.len()))
        }
    }
}

/// A name without what a reader overlooks.
fn folded(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_read_the_same_are_told() {
        let tools = ["read_file".to_owned(), "weather".to_owned()];
        let others = [("files".to_owned(), "Read-File".to_owned())];
        let found = check(&tools, Some(&others));
        assert_eq!(found.outcome, Outcome::Warn);
        assert!(found.detail.contains("read_file (of files)"), "{}", found.detail);
        assert_eq!(check(&tools[1..], Some(&others)).outcome, Outcome::Pass);
        assert_eq!(check(&tools, None).outcome, Outcome::Unknown);
    }
}
