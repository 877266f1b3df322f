//! Runs every rule's examples against the whole set: a rule that misses its own example is wrong, and so is one that
//! fires on another's counter-example.

use super::{Code, CompileError, Origin, Rule, RuleIx, RuleSet};
use crate::message::{ParseLimits, Parser};
use crate::rule::{Action, Example};
use crate::scan::Scanner;
use crate::template;

/// Runs all examples; `origins` are those of the set's rules, in its order.
pub(super) fn examples(set: &RuleSet, origins: &[Origin<'_>], errors: &mut Vec<CompileError>) {
    let mut bench =
        Bench { set, parser: Parser::new(ParseLimits::default()), scanner: Scanner::new() };
    let rules = (0_u32..).zip(set.rules()).zip(origins);
    for ((index, rule), origin) in rules.filter(|(_, origin)| !origin.is_proven) {
        let own = RuleIx(index);
        for (at, example) in rule.tests().matches.iter().enumerate() {
            let field = format!("/tests/match/{at}");
            match bench.found(rule, "match", at, example) {
                Err(error) => errors.push(origin.error(Code::BadTemplate, &field, error)),
                Ok(found) if found.contains(&own) => {}
                Ok(_) => errors.push(origin.error(
                    Code::MatchMisses,
                    &field,
                    "the rule does not find it",
                )),
            }
        }
        for (at, example) in rule.tests().no_match.iter().enumerate() {
            let field = format!("/tests/no_match/{at}");
            let found = match bench.found(rule, "no_match", at, example) {
                Ok(found) => found,
                Err(error) => {
                    errors.push(origin.error(Code::BadTemplate, &field, error));
                    continue;
                }
            };
            for other in found {
                if other == own {
                    errors.push(origin.error(Code::NoMatchHits, &field, "the rule finds it"));
                    continue;
                }
                let other = set.rule(other);
                let beside = other.paranoia() <= rule.paranoia()
                    && other.surfaces().overlaps(rule.surfaces());
                if beside && other.action() >= Action::Redact {
                    let message = format!("{} finds it", other.id());
                    errors.push(origin.error(Code::NoMatchHitsOther, &field, message));
                }
            }
        }
    }
}

/// What runs examples.
struct Bench<'s> {
    set: &'s RuleSet,
    parser: Parser,
    scanner: Scanner,
}

impl Bench<'_> {
    /// The rules that find something in an example, wherever they look otherwise.
    fn found(
        &mut self,
        rule: &Rule,
        list: &str,
        at: usize,
        example: &Example,
    ) -> Result<Vec<RuleIx>, String> {
        let seed = format!("{}/{list}/{at}", rule.id());
        let expand = |text: &str| template::expand(text, &seed).map_err(|error| error.to_string());
        let arguments = match example {
            Example::Keyed(keyed) => {
                serde_json::json!({ expand(&keyed.key)?: expand(&keyed.value)? })
            }
            Example::Text(text) => {
                let text = expand(text)?;
                match serde_json::from_str(&text) {
                    Ok(object @ serde_json::Value::Object(_)) => object,
                    _ => serde_json::json!({ "example": text }),
                }
            }
        };
        let message = serde_json::json!({
            "jsonrpc": "2.0", "method": "example", "params": { "arguments": arguments },
        });
        let (set, scanner) = (self.set, &mut self.scanner);
        let scanned = self
            .parser
            .parse(message.to_string().as_bytes(), |message| scanner.scan_example(set, message));
        let mut rules = scanned.map_err(|error| error.to_string())?;
        rules.sort_unstable();
        rules.dedup();
        Ok(rules)
    }
}
