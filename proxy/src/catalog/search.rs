//! Search mode: two tools in place of all. `find_tools` gives the definitions that fit a query,
//! taken from the servers' own lists as their pipelines let them pass; `call_tool` calls one of
//! them the way any call goes. The ranking is BM25, over names, descriptions and parameters.

use std::collections::HashMap;

use bytes::Bytes;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::lists::MISSING;
use super::page::Kind;
use super::wire::{Asked, Members, Object, array, request, string};
use super::{Desk, selection, unknown};
use crate::envelope::{Head, Reply};
use crate::policy::Denied;

/// Definitions in one answer: by default, and at most.
const USUAL: usize = 8;
const MOST: usize = 50;
/// Bytes of a query at most.
const LONGEST_QUERY: usize = 4096;

impl Desk {
    /// The list of an endpoint in search mode.
    pub(super) fn search_tools(&self, modern: bool) -> String {
        let mut result = json!({ "tools": [
            {
                "name": "find_tools",
                "description": "Finds tools by what they do. Returns their definitions, best first; \
                    call one with call_tool.",
                "inputSchema": {
                    "type": "object",
                    "properties": {
                        "query": { "type": "string", "description": "What the tool should do, in words" },
                        "limit": { "type": "integer", "minimum": 1, "maximum": MOST,
                            "description": format!("How many at most; {USUAL} if left out") },
                    },
                    "required": ["query"],
                },
                "annotations": { "readOnlyHint": true },
            },
            {
                "name": "call_tool",
                "description": "Calls a tool that find_tools returned.",
                "inputSchema": {
                    "type": "object",
                    "properties": {
                        "name": { "type": "string", "description": "The tool's name" },
                        "arguments": { "type": "object",
                            "description": "Its arguments, by its inputSchema" },
                    },
                    "required": ["name"],
                },
            },
        ] });
        if modern {
            result["resultType"] = "complete".into();
            result["ttlMs"] = 0.into();
            result["cacheScope"] = "private".into();
        }
        result.to_string()
    }

    /// Answers a call of `find_tools`.
    pub(super) async fn find_tools(&self, head: &Head, asked: &Asked<'_>) -> Result<Reply, Denied> {
        let arguments = Members::of(asked.params.arguments.map_or("{}", RawValue::get));
        let query = arguments.get("query").and_then(string);
        let query = query.filter(|query| query.len() <= LONGEST_QUERY);
        let query = query.ok_or_else(|| unknown("query: a text of at most 4096 bytes"))?;
        let limit = arguments.get("limit").and_then(|raw| raw.get().parse::<usize>().ok());
        let limit = limit.unwrap_or(USUAL).clamp(1, MOST);
        let modern = self.cx.is_modern(head);
        let all = self.everywhere();
        let round = self.round(Kind::Tools, all, asked.params.meta, modern, usize::MAX).await;
        self.report(Kind::Tools, &round, !self.face.composites.is_empty())?;
        let names = self.learn(Kind::Tools, &round);
        let mut tools = self.own_tools();
        for drawn in &round.drawn {
            tools.extend(self.shown(Kind::Tools, drawn, &names));
        }
        let index = Index::new(tools.iter().map(words));
        let found: Vec<&Bytes> =
            index.search(&query, limit).into_iter().filter_map(|n| tools.get(n)).collect();
        let found = array(found.into_iter().map(|tool| &**tool));
        let found = String::from_utf8_lossy(&found);
        let text = json!([{ "type": "text", "text": found }]);
        let structured = Object::new().raw("tools", &found).end();
        let mut result = Object::new().with("content", &text).raw("structuredContent", &structured);
        if modern {
            result = result.with("resultType", &"complete");
        }
        if !round.missing.is_empty() {
            result = result.raw("_meta", &Object::new().with(MISSING, &round.missing).end());
        }
        Ok(self.tell(head, &result.end()))
    }

    /// Answers a call of `call_tool`: it becomes a call of the tool it names.
    pub(super) async fn call_found(
        &self,
        frame: &Bytes,
        head: &Head,
        asked: &Asked<'_>,
    ) -> Result<Reply, Denied> {
        let outer = Members::of(asked.params.arguments.map_or("{}", RawValue::get));
        let shown = outer.get("name").and_then(string);
        let shown = shown.ok_or_else(|| unknown("name: the tool's, as find_tools tells it"))?;
        let arguments = outer.get("arguments");
        if let Some(tool) = self.face.composites.get(&*shown) {
            return self.compose(&shown, tool, head, arguments, asked.params.meta).await;
        }
        let modern = self.cx.is_modern(head);
        let target = self.find(Kind::Tools, &shown, asked.params.meta, modern).await?;
        let arguments = match self.face.pick(Kind::Tools, &shown) {
            Some(pick) => selection::with_fixed(arguments, &pick.fixed).map_err(|name| {
                unknown(format!("the argument {name} is set here and cannot be sent"))
            })?,
            None => arguments.map_or("{}", RawValue::get).to_owned(),
        };
        // What else the request has (an earlier round's state, say) goes along as it is.
        let text = std::str::from_utf8(frame).unwrap_or_default();
        let params = Members::of(text).get("params").map(|raw| Members::of(raw.get()));
        let mut inner = Object::new();
        for (key, value) in params.unwrap_or_default().0 {
            if key != "name" && key != "arguments" {
                inner = inner.raw(&key, value.get());
            }
        }
        let inner = inner.with("name", &target.name).raw("arguments", &arguments).end();
        let inner = request(head.id.as_deref().unwrap_or("null"), "tools/call", &inner);
        self.pass_made(&target, inner, head, modern, &arguments).await
    }
}

/// The words of a tool, each as often as it counts: those of the name three times.
fn words(tool: &Bytes) -> Vec<String> {
    let tool: Value = serde_json::from_slice(tool).unwrap_or_default();
    let mut words = Vec::new();
    for _ in 0..3 {
        split(tool["name"].as_str().unwrap_or_default(), &mut words);
    }
    for text in [&tool["title"], &tool["description"]] {
        split(text.as_str().unwrap_or_default(), &mut words);
    }
    if let Some(properties) = tool["inputSchema"]["properties"].as_object() {
        for (name, property) in properties {
            split(name, &mut words);
            split(property["description"].as_str().unwrap_or_default(), &mut words);
        }
    }
    words
}

/// Adds the words of a text: lower case, parted at everything but letters and digits and within
/// `camelCase`, without a plural's s.
fn split(text: &str, words: &mut Vec<String>) {
    let mut word = String::new();
    let mut was_lower = false;
    for c in text.chars().chain([' ']) {
        if !c.is_alphanumeric() || (c.is_uppercase() && was_lower) {
            if word.len() > 3 && word.ends_with('s') && !word.ends_with("ss") {
                word.pop();
            }
            if !word.is_empty() {
                words.push(std::mem::take(&mut word));
            }
        }
        if c.is_alphanumeric() {
            word.extend(c.to_lowercase());
        }
        was_lower = c.is_lowercase() || c.is_numeric();
    }
}

/// How much a word's repetition in one text adds, and how much a long text counts against it: the
/// usual values of BM25.
const K1: f64 = 1.2;
const B: f64 = 0.75;

/// Texts that can be ranked against a query.
struct Index {
    /// For each word, the texts it is in and how often.
    postings: HashMap<String, Vec<(usize, f64)>>,
    lengths: Vec<f64>,
    mean: f64,
}

impl Index {
    fn new(texts: impl Iterator<Item = Vec<String>>) -> Index {
        let mut postings: HashMap<String, Vec<(usize, f64)>> = HashMap::new();
        let mut lengths = Vec::new();
        for (n, words) in texts.enumerate() {
            lengths.push(words.len() as f64);
            for word in words {
                let places = postings.entry(word).or_default();
                match places.last_mut() {
                    Some((last, times)) if *last == n => *times += 1.0,
                    _ => places.push((n, 1.0)),
                }
            }
        }
        let mean = lengths.iter().sum::<f64>() / (lengths.len().max(1) as f64);
        Index { postings, lengths, mean: mean.max(1.0) }
    }

    /// The texts that fit best, best first; of equals, the first in order.
    fn search(&self, query: &str, limit: usize) -> Vec<usize> {
        let mut words = Vec::new();
        split(query, &mut words);
        words.sort_unstable();
        words.dedup();
        let mut scores = vec![0.0; self.lengths.len()];
        for word in words {
            let Some(places) = self.postings.get(&word) else { continue };
            let (all, with) = (self.lengths.len() as f64, places.len() as f64);
            let rarity = (1.0 + (all - with + 0.5) / (with + 0.5)).ln();
            for (n, times) in places {
                let long = 1.0 - B + B * self.lengths[*n] / self.mean;
                scores[*n] += rarity * times * (K1 + 1.0) / (times + K1 * long);
            }
        }
        let mut found: Vec<usize> = (0..scores.len()).filter(|n| scores[*n] > 0.0).collect();
        found.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]).then(a.cmp(b)));
        found.truncate(limit);
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(texts: &[&str]) -> Index {
        Index::new(texts.iter().map(|text| {
            let mut words = Vec::new();
            split(text, &mut words);
            words
        }))
    }

    #[test]
    fn words_are_parted_as_names_are_written() {
        let mut words = Vec::new();
        split("createPullRequests for_github v2-API, Größe class", &mut words);
        let expected =
            ["create", "pull", "request", "for", "github", "v2", "api", "größe", "class"];
        assert_eq!(words, expected);
    }

    #[test]
    fn a_rare_word_counts_more_than_a_common_one_and_a_short_text_more_than_a_long_one() {
        let index = index(&[
            "read a file from disk and also many other things that are listed here at length",
            "read a file",
            "read an issue",
            "weather",
        ]);
        assert_eq!(index.search("file", 10), [1, 0]);
        assert_eq!(index.search("read the issue", 1), [2]);
        assert_eq!(index.search("WEATHERS", 10), [3]);
        assert_eq!(index.search("nothing like it", 10), [] as [usize; 0]);
        assert_eq!(index.search("", 10), [] as [usize; 0]);
        // A word said twice in the query counts once, and repetition in a text has an end.
        assert_eq!(index.search("weather file file", 1), [3]);
    }

    #[test]
    fn a_tools_name_counts_most_and_its_parameters_count_too() {
        let tools: Vec<Bytes> = [
            json!({ "name": "files__read", "description": "Opens what issue names." }),
            json!({ "name": "issue_get", "description": "Gets one." }),
            json!({ "name": "x", "inputSchema": { "properties": { "latitude": {
                "description": "degrees north" } } } }),
        ]
        .iter()
        .map(|tool| tool.to_string().into())
        .collect();
        let index = Index::new(tools.iter().map(words));
        assert_eq!(index.search("issue", 10), [1, 0]);
        assert_eq!(index.search("latitude", 10), [2]);
        assert_eq!(index.search("degrees", 10), [2]);
    }
}
