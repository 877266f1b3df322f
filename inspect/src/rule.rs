//! The rule file as written: what serde reads and what the JSON Schema describes. The compiled form is in `compile`.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use crate::set::SetDef;

/// What kind of danger a rule finds.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// A credential.
    Secret,
    /// Personal data.
    Pii,
    /// Text that tries to instruct the model.
    Injection,
    /// A tool definition that lies or lures.
    Poisoning,
    /// Data on its way to where it does not belong.
    Exfiltration,
    /// A dangerous command or argument.
    Unsafe,
}

/// How bad a true finding is.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Low,
    /// Worth a look.
    Medium,
    /// Worth acting on.
    High,
    /// Worth waking someone.
    Critical,
}

/// How sure a finding is to be true.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Confidence {
    /// Often wrong.
    Low,
    /// Usually right.
    Medium,
    /// Nearly always right.
    High,
}

/// What is done about a finding, mildest first.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Nothing.
    Allow,
    /// Recorded only.
    Flag,
    /// The found text is replaced.
    Redact,
    /// The message is refused.
    Block,
}

/// How a text is read.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum View {
    /// As it stands, its JSON escapes undone; values of JSON inside a string too.
    Raw,
    /// Without invisible characters, look-alikes as what they look like.
    Normalised,
    /// Encoded parts decoded: base64, hex, percent, entities, escapes.
    Decoded,
    /// Letter games undone: spaced letters always; figures for letters, rotated, reversed, scrambled words and Morse
    /// from paranoia 2 on.
    Folded,
}

/// Gives an enum of lower-case words its `as_str`, `Display` and `FromStr`.
macro_rules! words {
    ($type:ident { $($variant:ident = $word:literal),+ $(,)? }) => {
        impl $type {
            /// The lower-case word.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }
        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
        impl std::str::FromStr for $type {
            type Err = crate::rule::UnknownWord;
            fn from_str(word: &str) -> Result<Self, Self::Err> {
                match word {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(crate::rule::UnknownWord(word.to_owned())),
                }
            }
        }
    };
}
pub(crate) use words;

/// A word that names no variant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown word \"{0}\"")]
pub struct UnknownWord(pub(crate) String);

words!(Class {
    Secret = "secret",
    Pii = "pii",
    Injection = "injection",
    Poisoning = "poisoning",
    Exfiltration = "exfiltration",
    Unsafe = "unsafe",
});
words!(Severity { Low = "low", Medium = "medium", High = "high", Critical = "critical" });
words!(Confidence { Low = "low", Medium = "medium", High = "high" });
words!(View {
    Raw = "raw",
    Normalised = "normalised",
    Decoded = "decoded",
    Folded = "folded",
});
words!(Action { Allow = "allow", Flag = "flag", Redact = "redact", Block = "block" });

/// A rule file: a list of rules.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RuleDefs {
    /// What the set is called that the rules belong to; a list where several sets were joined.
    #[serde(
        default,
        deserialize_with = "crate::set::one_or_many",
        skip_serializing_if = "Vec::is_empty"
    )]
    #[schemars(schema_with = "crate::set::one_or_many_schema")]
    pub set: Vec<SetDef>,
    /// The rules.
    pub rules: Vec<RuleDef>,
}

/// One rule, as written. Unknown keys are refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RuleDef {
    /// Stable name: lower-case words in two or more parts, `dlp.aws.access-key`.
    pub id: String,
    /// Raised whenever what the rule finds changes.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub rev: u32,
    /// One line for people.
    pub title: String,
    /// What kind of danger it finds.
    pub class: Class,
    /// How bad a true finding is.
    pub severity: Severity,
    /// How sure a finding is to be true.
    #[serde(default = "medium")]
    pub confidence: Confidence,
    /// 1 (always on) to 4 (only for the wary).
    #[serde(default = "one_u8", skip_serializing_if = "is_one_u8")]
    pub paranoia: u8,
    /// Points a finding adds; by severity 2, 4, 7 or 10 when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<u32>,
    /// Where it looks: `tool.description`, `result.text`, a prefix as `tool`, with `@out` (to the server) or `@in` (to
    /// the client) after it. Empty: everywhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub surfaces: Vec<String>,
    /// Which readings of a text it looks at. Empty: all; for personal data all but `folded`, likewise for secrets that
    /// take part only above paranoia 1 or that ask for a key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub views: Vec<View>,
    /// Rust regex, ASCII classes unless `unicode`. The named group `secret`, if any, is what is found and redacted.
    pub pattern: String,
    /// Regex over the object key that names the value (the nearest one above it): required when given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// One of these must stand in the same text, or in the key that names it; case does not matter.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keywords: Vec<String>,
    /// How many bytes before or after the match a keyword may be; anywhere in the text when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<usize>,
    /// The explicit escape for a pattern without a literal of four bytes: the rule runs over every text.
    #[serde(default, skip_serializing_if = "is_false")]
    pub slow: bool,
    /// Unicode classes and case folding in `pattern` and `key`.
    #[serde(default, skip_serializing_if = "is_false")]
    pub unicode: bool,
    /// The secret's least Shannon entropy, in bits a byte (0 to 8).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entropy: Option<f64>,
    /// A second look at the secret: see the list in the crate's README.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validator: Option<String>,
    /// Words nearby that make a finding worth more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<ContextDef>,
    /// Whether a finding inside quotes or a code fence counts half: text that tells of an attack is not one. Never in
    /// tool definitions, and never below the threshold for `flag`.
    #[serde(default, skip_serializing_if = "is_false")]
    pub quotable: bool,
    /// Evaluated and recorded, without any effect on what is enforced.
    #[serde(default, skip_serializing_if = "is_false")]
    pub shadow: bool,
    /// What is let through after all: one list or several.
    #[serde(default, deserialize_with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "one_or_many_schema")]
    pub allow: Vec<AllowDef>,
    /// What is done. When not given: `redact` for secret and pii; for the others what their score comes to, together
    /// with that of other findings nearby. Given for those, it is the least (`block`) or the most (`flag`) done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<Action>,
    /// What a redacted text becomes; `{id}` is the rule. `[redacted:{id}]` when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redact: Option<String>,
    /// The rule explained.
    pub docs: Docs,
    /// Examples it must match and must not match.
    pub tests: Tests,
}

/// Words nearby that make a finding worth more.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ContextDef {
    /// One of these makes the difference; case does not matter.
    pub words: Vec<String>,
    /// Points added.
    pub score: u32,
    /// How many bytes before or after the match a word may be.
    pub distance: usize,
}

/// What an allow list looks at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AllowTarget {
    /// The `secret` group, or the match without one.
    #[default]
    Secret,
    /// The whole match.
    Match,
    /// The line of the text the match is in.
    Line,
    /// The tool, prompt or resource.
    Tool,
    /// The server.
    Server,
}

/// One allow list: a finding is dropped when any entry fits its target.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AllowDef {
    /// What is looked at.
    #[serde(default)]
    pub target: AllowTarget,
    /// Fits when one of these matches.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub regexes: Vec<String>,
    /// Fits when the target contains one of these; case does not matter.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stopwords: Vec<String>,
    /// Fits when the target's SHA-256 is one of these (hex).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hashes: Vec<String>,
}

/// A rule explained, in fixed sections.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Docs {
    /// What it finds.
    pub finds: String,
    /// Why that matters.
    pub why: String,
    /// An example, in words or made up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub example: Option<String>,
    /// What to do instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instead: Option<String>,
    /// Further reading, MITRE and OWASP ids.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<String>,
}

/// A rule's examples.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tests {
    /// Found by the rule.
    #[serde(default, rename = "match")]
    pub matches: Vec<Example>,
    /// Found neither by the rule nor by any rule that redacts or blocks.
    #[serde(default)]
    pub no_match: Vec<Example>,
}

/// One example: a text, or a value with the key that names it.
///
/// A text that is a JSON object is scanned as that object, keys and all; templates as `{{hex:40}}` are expanded first.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Example {
    /// A text.
    Text(String),
    /// `{key: api_key, value: …}`
    Keyed(Keyed),
}

impl<'de> Deserialize<'de> for Example {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Example;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a text in quotes, or {key: …, value: …}")
            }
            fn visit_str<E>(self, text: &str) -> Result<Example, E> {
                Ok(Example::Text(text.to_owned()))
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<Example, A::Error> {
                Keyed::deserialize(serde::de::value::MapAccessDeserializer::new(map))
                    .map(Example::Keyed)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// A value with the key that names it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Keyed {
    /// The object key.
    pub key: String,
    /// The text under it.
    pub value: String,
}

fn one() -> u32 {
    1
}
fn one_u8() -> u8 {
    1
}
fn medium() -> Confidence {
    Confidence::Medium
}
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_one(n: &u32) -> bool {
    *n == 1
}
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_one_u8(n: &u8) -> bool {
    *n == 1
}
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(b: &bool) -> bool {
    !*b
}

fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<AllowDef>, D::Error> {
    struct Visitor;
    impl<'de> serde::de::Visitor<'de> for Visitor {
        type Value = Vec<AllowDef>;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an allow list or a sequence of them")
        }
        fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
            AllowDef::deserialize(serde::de::value::MapAccessDeserializer::new(map))
                .map(|one| vec![one])
        }
        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
            Vec::deserialize(serde::de::value::SeqAccessDeserializer::new(seq))
        }
    }
    deserializer.deserialize_any(Visitor)
}

fn one_or_many_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
    let one = generator.subschema_for::<AllowDef>();
    schemars::json_schema!({ "anyOf": [one, { "type": "array", "items": one }] })
}
