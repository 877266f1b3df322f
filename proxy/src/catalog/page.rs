//! One page of one server's list, read without a byte of its items being written anew.

use bytes::Bytes;
use capture::Str;
use inspect::Span;
use serde_json::value::RawValue;

use super::wire::{Answer, Members, span, string};

/// What is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Tools,
    Prompts,
    Resources,
    Templates,
}

impl Kind {
    pub(super) fn method(self) -> &'static str {
        match self {
            Kind::Tools => "tools/list",
            Kind::Prompts => "prompts/list",
            Kind::Resources => "resources/list",
            Kind::Templates => "resources/templates/list",
        }
    }

    /// The member of the result that holds the items.
    pub(super) fn member(self) -> &'static str {
        match self {
            Kind::Tools => "tools",
            Kind::Prompts => "prompts",
            Kind::Resources => "resources",
            Kind::Templates => "resourceTemplates",
        }
    }

    /// The member of an item by which it is used.
    fn key(self) -> &'static str {
        match self {
            Kind::Tools | Kind::Prompts => "name",
            Kind::Resources => "uri",
            Kind::Templates => "uriTemplate",
        }
    }

    pub(super) fn word(self) -> &'static str {
        match self {
            Kind::Tools => "tool",
            Kind::Prompts => "prompt",
            Kind::Resources => "resource",
            Kind::Templates => "resource template",
        }
    }
}

/// One item as its server lists it.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) raw: Bytes,
    /// Its name, URI or template.
    pub(super) key: Str,
    /// Where that stands in `raw`, quotes included.
    pub(super) span: Span,
}

/// One page of one server's list.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) items: Vec<Item>,
    pub(super) next: Option<String>,
    pub(super) ttl: u64,
    pub(super) private: bool,
}

impl Page {
    /// Reads an answer. A server without this kind of list has an empty one.
    pub(super) fn of(kind: Kind, answer: Bytes) -> Result<Page, &'static str> {
        let read: Answer<'_> = serde_json::from_slice(&answer).map_err(|_| "not an answer")?;
        if let Some(error) = &read.error {
            let none = Page { items: Vec::new(), next: None, ttl: u64::MAX, private: false };
            return if error.code == -32601 { Ok(none) } else { Err("it answered with an error") };
        }
        let result = Members::of(read.result.ok_or("not an answer")?.get());
        let list = result.get(kind.member()).ok_or("no list in its answer")?;
        let list: Vec<&RawValue> = serde_json::from_str(list.get()).map_err(|_| "not a list")?;
        let item = |raw: &&RawValue| {
            let at = span(&answer, raw.get())?;
            let key = Members::of(raw.get()).only(kind.key())?;
            let inner = span(raw.get().as_bytes(), key.get())?;
            let key = string(key).filter(|key| key.len() <= LONGEST_KEY)?;
            Some(Item { raw: answer.slice(at.start..at.end), key: (*key).into(), span: inner })
        };
        let number = |name| result.get(name).and_then(|raw| raw.get().parse::<u64>().ok());
        let private = result.get("cacheScope").and_then(string).as_deref() != Some("public");
        Ok(Page {
            items: list.iter().filter_map(item).collect(),
            next: result.get("nextCursor").and_then(string).map(|cursor| cursor.into_owned()),
            ttl: number("ttlMs").unwrap_or(0),
            private,
        })
    }
}

/// Bytes of a name or URI at most: what is longer is in no list.
const LONGEST_KEY: usize = 8 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_keeps_each_items_bytes_and_knows_where_its_name_is() {
        let item = r#"{"inputSchema":{"$anchor":"a" , "n":1.0}, "name" : "e\u0063ho"}"#;
        let answer = format!(
            r#"{{"jsonrpc":"2.0","id":1,"result":{{"tools":[{item}, 7],"ttlMs":5,"nextCursor":""}}}}"#
        );
        let page = Page::of(Kind::Tools, answer.into()).unwrap();
        assert_eq!(page.items.len(), 1);
        let first = &page.items[0];
        assert_eq!(&first.raw[..], item.as_bytes());
        assert_eq!(&*first.key, "echo");
        assert_eq!(&first.raw[first.span.start..first.span.end], br#""e\u0063ho""#);
        assert_eq!((page.next.as_deref(), page.ttl, page.private), (Some(""), 5, true));
    }

    #[test]
    fn a_server_without_this_list_has_an_empty_one_and_rubbish_is_none() {
        let none = br#"{"id":1,"error":{"code":-32601,"message":"no"}}"#;
        assert!(Page::of(Kind::Prompts, Bytes::from_static(none)).unwrap().items.is_empty());
        // A second name would reach the client as it is.
        let twice = br#"{"result":{"tools":[{"name":"a","n\u0061me":"b__echo"}]}}"#;
        assert!(Page::of(Kind::Tools, Bytes::from_static(twice)).unwrap().items.is_empty());
        for bad in [&b"rubbish"[..], br#"{"id":1,"error":{"code":1}}"#, br#"{"result":{}}"#] {
            assert!(Page::of(Kind::Prompts, Bytes::from_static(bad)).is_err());
        }
    }
}
