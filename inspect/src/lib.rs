//! The inspection engine of Wiregate: bytes of one MCP message in, findings and edits out.
//!
//! [`RuleSet`] is compiled once from YAML and shared. A [`Parser`] turns raw bytes into a borrowed [`Message`]; a
//! [`Scanner`] runs the set over it and gives [`Finding`]s whose spans point into the **raw** bytes; [`Verdict`]
//! decides with a [`Policy`] and carries the [`Edit`]s that the one applier in [`edit`] puts into effect.
//!
//! ```
//! use inspect::{Direction, ParseLimits, Parser, Policy, RuleFile, RuleSet, Scanner, Subject, Verdict, redact};
//!
//! let text = r#"
//! rules:
//!   - id: demo.ticket
//!     title: A ticket number
//!     class: secret
//!     severity: high
//!     pattern: '\bTICKET-[0-9]{6}\b'
//!     docs: {finds: Ticket numbers., why: They are the demonstration.}
//!     tests:
//!       match: ['see TICKET-123456', 'TICKET-000001']
//!       no_match: ['TICKET-12', 'ticketed']
//! "#;
//! let rules = RuleSet::compile(&[RuleFile { name: "demo.yaml", text }])?;
//!
//! let raw = br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t","arguments":{"q":"TICKET-123456"}}}"#;
//! let (mut parser, mut scanner) = (Parser::new(ParseLimits::default()), Scanner::new());
//! let verdict = parser.parse(raw, |message| {
//!     let subject = Subject {
//!         direction: Direction::ToServer,
//!         server: "demo",
//!         method: message.method(),
//!         name: message.name(),
//!         paranoia: 1,
//!         budget: 1 << 20,
//!         now: 0,
//!     };
//!     let scan = scanner.scan(&rules, message, &subject);
//!     Verdict::decide(&rules, &Policy::default(), &subject, scan, raw)
//! })?;
//! assert_eq!(verdict.findings[0].path, "/params/arguments/q");
//! let (sent, _) = redact(raw, &verdict, &rules, false)?;
//! assert!(String::from_utf8(sent)?.ends_with(r#"{"q":"[redacted:demo.ticket]"}}}"#));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What this crate is not: it does no input or output, reads no clock, never blocks and never panics, whatever the
//! bytes. Every buffer is owned by a `Parser` or a `Scanner` and reused, so a clean message costs no allocation.
#![forbid(unsafe_code)]

mod anchor;
pub mod catalogue;
pub mod compile;
mod cursor;
pub mod edit;
mod filter;
#[doc(hidden)]
pub mod harness;
#[doc(hidden)]
pub mod learned;
pub mod mask;
pub mod message;
mod normalize;
pub mod pin;
#[cfg(test)]
mod properties;
pub mod rule;
pub mod scan;
mod score;
pub mod set;
pub mod suppress;
pub mod surface;
pub mod template;
pub mod validate;
pub mod verdict;
pub mod yaml;

pub use compile::{Code, CompileError, CompileErrors, Identity, Rule, RuleFile, RuleIx, RuleSet};
pub use edit::{Edit, EditError, Placed, Redaction, apply, leave_out, redact};
pub use mask::MaskKey;
pub use message::{
    Id, Kind, Message, ParseError, ParseLimits, Parser, Scalar, Text, ValueKind, split_batch,
};
pub use rule::{Action, Class, Confidence, RuleDef, Severity};
pub use scan::{
    Before, Carry, Direction, Finding, Part, Scan, Scanner, Span, Standing, Subject, Trace,
};
pub use score::Window;
pub use set::{SetDef, Version};
pub use suppress::Suppression;
pub use surface::Surface;
pub use verdict::{Policy, Preset, Reasons, Verdict, Why};
