//! How an item of a server looks here: under its name here, and on a virtual server with the
//! description and without the arguments that the configuration gives. Whatever is not changed
//! keeps its bytes.

use bytes::Bytes;
use capture::Str;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::face::{Face, Pick};
use super::page::{Item, Kind};
use super::wire::{Members, Object, quoted, replaced, span, string};
use super::{Desk, uri};

impl Face {
    /// What a virtual server selects of this kind.
    pub(super) fn picks(&self, kind: Kind) -> Option<&[Pick]> {
        let selection = self.selection.as_ref()?;
        match kind {
            Kind::Tools => Some(&selection.tools),
            Kind::Prompts => Some(&selection.prompts),
            Kind::Resources | Kind::Templates => None,
        }
    }

    /// The pick that is called so here.
    pub(super) fn pick(&self, kind: Kind, shown: &str) -> Option<&Pick> {
        self.picks(kind)?.iter().find(|pick| &*pick.name == shown)
    }
}

impl Desk {
    /// What a server's tool or prompt is called here: nothing where it is not shown.
    pub(super) fn called(&self, kind: Kind, server: &str, item: &str) -> Vec<Str> {
        let names: Vec<Str> = match self.face.picks(kind) {
            Some(picks) => {
                let these = picks.iter().filter(|p| &*p.server == server && &*p.item == item);
                these.map(|pick| pick.name.clone()).collect()
            }
            None => vec![self.face.naming.shown(server, item).into()],
        };
        // What the configuration defines is not taken over by a server.
        let own = |name: &Str| kind == Kind::Tools && self.face.composites.contains_key(&**name);
        names.into_iter().filter(|name| !own(name)).collect()
    }

    /// An item under its name here. Nothing of one that cannot be shown as the configuration asks.
    pub(super) fn dressed(
        &self,
        kind: Kind,
        server: &Str,
        item: &Item,
        shown: &str,
    ) -> Option<Bytes> {
        let text = std::str::from_utf8(&item.raw).ok()?;
        let members = Members::of(text);
        let mut parts = Vec::new();
        let mut name = quoted(shown);
        if let Some(pick) = self.face.pick(kind, shown) {
            if let Some(description) = &pick.description {
                match members.get("description") {
                    Some(old) => parts.push((span(&item.raw, old.get())?, quoted(description))),
                    None => name = format!(r#"{name},"description":{}"#, quoted(description)),
                }
            }
            if !pick.fixed.is_empty() {
                let schema = members.get("inputSchema")?;
                parts.push((span(&item.raw, schema.get())?, without(schema, &pick.fixed)));
            }
        }
        if kind == Kind::Tools {
            parts.extend(self.ui_link(server, &item.raw, &members));
        }
        parts.push((item.span, name));
        Some(replaced(&item.raw, parts))
    }

    /// The link from a tool to its user interface, as it is called here.
    fn ui_link(
        &self,
        server: &Str,
        raw: &Bytes,
        members: &Members<'_>,
    ) -> Option<(inspect::Span, String)> {
        if self.face.servers.len() < 2 {
            return None;
        }
        let ui = Members::of(members.get("_meta")?.get()).get("ui")?;
        let link = Members::of(ui.get()).get("resourceUri")?;
        Some((span(raw, link.get())?, quoted(&uri::of(server, &string(link)?))))
    }
}

/// A schema without the arguments that are fixed; every other value in it stays as it is written.
fn without(schema: &RawValue, fixed: &Map<String, Value>) -> String {
    let mut out = Object::new();
    for (key, value) in Members::of(schema.get()).0 {
        match &*key {
            "properties" => {
                let left = Members::of(value.get()).0.into_iter();
                let left = left.filter(|(name, _)| !fixed.contains_key(&**name));
                let left = left.fold(Object::new(), |all, (name, v)| all.raw(&name, v.get()));
                out = out.raw(&key, &left.end());
            }
            "required" => {
                let names: Vec<&RawValue> = serde_json::from_str(value.get()).unwrap_or_default();
                let is_left =
                    |raw: &&&RawValue| string(raw).is_none_or(|name| !fixed.contains_key(&*name));
                let left: Vec<&str> = names.iter().filter(is_left).map(|raw| raw.get()).collect();
                if !left.is_empty() {
                    out = out.raw(&key, &format!("[{}]", left.join(",")));
                }
            }
            _ => out = out.raw(&key, value.get()),
        }
    }
    out.end()
}

/// Arguments with those that are fixed.
///
/// # Errors
/// The name of a fixed one that the client sent itself.
pub(super) fn with_fixed(
    arguments: Option<&RawValue>,
    fixed: &Map<String, Value>,
) -> Result<String, String> {
    let mut out = Object::new();
    let sent = arguments.map(|raw| Members::of(raw.get())).unwrap_or_default();
    for (key, value) in sent.0 {
        if fixed.contains_key(&*key) {
            return Err(key.into_owned());
        }
        out = out.raw(&key, value.get());
    }
    Ok(fixed.iter().fold(out, |out, (key, value)| out.with(key, value)).end())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fixed() -> Map<String, Value> {
        json!({ "repo": "wiregate", "deep": { "x": 1 } }).as_object().cloned().unwrap()
    }

    #[test]
    fn a_fixed_argument_is_in_no_schema_and_the_rest_keeps_its_text() {
        let schema = r#"{"$anchor": "a", "properties": {"repo": {}, "title": {"minLength": 1.0}}, "required": ["repo", "t\u0069tle"]}"#;
        let schema: &RawValue = serde_json::from_str(schema).unwrap();
        let expected = r#"{"$anchor":"a","properties":{"title":{"minLength": 1.0}},"required":["t\u0069tle"]}"#;
        assert_eq!(without(schema, &fixed()), expected);
    }

    #[test]
    fn a_fixed_argument_is_put_in_and_no_client_sends_it() {
        let sent: &RawValue = serde_json::from_str(r#"{"title": "x", "n":1.0}"#).unwrap();
        let expected = r#"{"title":"x","n":1.0,"repo":"wiregate","deep":{"x":1}}"#;
        assert_eq!(with_fixed(Some(sent), &fixed()).as_deref(), Ok(expected));
        assert_eq!(
            with_fixed(None, &fixed()).as_deref(),
            Ok(r#"{"repo":"wiregate","deep":{"x":1}}"#)
        );
        let sent: &RawValue = serde_json::from_str(r#"{"\u0072epo": "mine"}"#).unwrap();
        assert_eq!(with_fixed(Some(sent), &fixed()), Err("repo".into()));
    }
}
