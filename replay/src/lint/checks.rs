//! The checks, one function each, and the table that names them.

use inspect::rule::{Example, RuleDef};
use inspect::{Class, Severity, template};
use regex_syntax::hir::{Hir, HirKind};

use super::Look;

/// Tells of a field (a JSON Pointer below the rule) what is to be changed.
type Tell<'t> = dyn FnMut(&str, String) + 't;

/// One check.
pub(super) struct Lint {
    pub(super) code: &'static str,
    pub(super) meaning: &'static str,
    pub(super) check: fn(&Look<'_>, &mut Tell<'_>),
}

const fn lint(
    code: &'static str,
    meaning: &'static str,
    check: fn(&Look<'_>, &mut Tell<'_>),
) -> Lint {
    Lint { code, meaning, check }
}

/// Every check. Codes are stable; one that goes leaves a gap.
pub(super) const LINTS: &[Lint] = &[
    lint(
        "L001",
        "the literals that open a text for the rule are common in ordinary traffic",
        anchors,
    ),
    lint(
        "L002",
        "an example holds a secret as it is, where a template as `{{hex:40}}` would do",
        literal_secrets,
    ),
    lint("L003", "no reference", references_missing),
    lint(
        "L004",
        "the documentation has no `example` or no `instead`, or a section says next to nothing",
        docs,
    ),
    lint(
        "L005",
        "a reference is neither an https address nor an id of MITRE, CWE or OWASP",
        reference_forms,
    ),
    lint("L006", "the rule looks where its class has no business", surfaces),
    lint(
        "L007",
        "a rule of level 1 with neither a literal in its pattern, nor a key, a validator or an entropy",
        bare,
    ),
    lint("L008", "a keyword that changes nothing", keywords),
    lint("L009", "`slow` on a rule that has literals to be opened by", slow),
    lint("L010", "the pattern is that of another rule", duplicates),
    lint(
        "L011",
        "what the rule finds has changed and `rev` has not gone up (with --against)",
        revisions,
    ),
    lint("L012", "the score is far from what the severity stands for", scores),
    lint(
        "L013",
        "no counter-example holds a literal of the rule, so none tries its pattern",
        counter_examples,
    ),
];

/// Looks per megabyte of ordinary traffic that are still cheap: those of one common word, which many rules can't do without.
const MANY_LOOKS: f64 = 125.0;

fn anchors(look: &Look<'_>, tell: &mut Tell<'_>) {
    let (Some(cost), Some((dearest, own))) = (look.rule.cost(), look.rule.dearest_anchor()) else {
        return;
    };
    if cost > MANY_LOOKS {
        let literal = String::from_utf8_lossy(dearest);
        let others = match look.rule.anchors().len() {
            1 => String::new(),
            n => format!(", the dearest of {n}"),
        };
        tell(
            "/pattern",
            format!(
                "{cost:.0} looks a megabyte expected; \"{literal}\" alone {own:.0}{others}: ask for more fixed text"
            ),
        );
    }
}

/// Shortest text that is taken for a secret.
const SECRET_LEN: usize = 16;
/// Bits a byte from which it is.
const SECRET_ENTROPY: f64 = 3.2;

fn literal_secrets(look: &Look<'_>, tell: &mut Tell<'_>) {
    if look.def.class != Class::Secret {
        return;
    }
    let built =
        regex::bytes::RegexBuilder::new(&look.def.pattern).unicode(look.def.unicode).build();
    // the set compiled, so the pattern does
    let Ok(regex) = built else { return };
    for (at, example) in look.def.tests.matches.iter().enumerate() {
        let (field, text) = match example {
            Example::Text(text) => (format!("/tests/match/{at}"), text),
            Example::Keyed(keyed) => (format!("/tests/match/{at}/value"), &keyed.value),
        };
        let Some(found) = regex.captures(text.as_bytes()) else { continue };
        let Some(secret) = found.name("secret").or_else(|| found.get(0)) else { continue };
        let secret = String::from_utf8_lossy(secret.as_bytes());
        let documented = secret.to_ascii_lowercase().contains("example");
        let templated = secret.contains("{{");
        if secret.len() >= SECRET_LEN
            && entropy(&secret) >= SECRET_ENTROPY
            && !documented
            && !templated
        {
            tell(&field, "the secret is written out; write it as a template".to_owned());
        }
    }
}

/// Bits a byte.
#[expect(clippy::cast_precision_loss, reason = "texts are far below 2^52 bytes")]
fn entropy(text: &str) -> f64 {
    let mut counts = [0_usize; 256];
    text.bytes().for_each(|byte| counts[usize::from(byte)] += 1);
    let share = |count: &usize| *count as f64 / text.len().max(1) as f64;
    counts.iter().filter(|count| **count > 0).map(share).map(|p| -p * p.log2()).sum()
}

fn references_missing(look: &Look<'_>, tell: &mut Tell<'_>) {
    if look.def.docs.references.is_empty() {
        tell("/docs", "name where the form or the attack is described".to_owned());
    }
}

fn docs(look: &Look<'_>, tell: &mut Tell<'_>) {
    let docs = &look.def.docs;
    let sections = [
        ("finds", Some(&docs.finds)),
        ("why", Some(&docs.why)),
        ("example", docs.example.as_ref()),
        ("instead", docs.instead.as_ref()),
    ];
    for (name, text) in sections {
        match text.map(|text| text.trim().len()) {
            None => tell("/docs", format!("no `{name}`")),
            Some(0..5) => tell(&format!("/docs/{name}"), format!("`{name}` says next to nothing")),
            Some(_) => {}
        }
    }
}

fn reference_forms(look: &Look<'_>, tell: &mut Tell<'_>) {
    const IDS: [&str; 7] = ["AML.T", "TA0", "T1", "CWE-", "CAPEC-", "LLM", "OWASP"];
    for (at, reference) in look.def.docs.references.iter().enumerate() {
        let id = IDS.iter().any(|start| reference.starts_with(start));
        if !reference.starts_with("https://") && !id {
            tell(&format!("/docs/references/{at}"), "no https address and no known id".to_owned());
        }
    }
}

fn surfaces(look: &Look<'_>, tell: &mut Tell<'_>) {
    let only = |start: &str| {
        let surfaces = &look.def.surfaces;
        !surfaces.is_empty() && surfaces.iter().all(|surface| surface.starts_with(start))
    };
    let message = match look.def.class {
        Class::Poisoning if !only("tool") => "poisoning stands in tool definitions: `tool`",
        Class::Unsafe if !only("call.args") => "arguments are dangerous in calls: `call.args@out`",
        Class::Injection | Class::Exfiltration if look.def.surfaces.is_empty() => {
            "name the surfaces: what a user writes in arguments is no attack on the model"
        }
        _ => return,
    };
    let field = if look.def.surfaces.is_empty() { "/class" } else { "/surfaces" };
    tell(field, message.to_owned());
}

fn bare(look: &Look<'_>, tell: &mut Tell<'_>) {
    let def = look.def;
    let data = matches!(def.class, Class::Secret | Class::Pii);
    let asks = def.validator.is_some() || def.entropy.is_some() || def.key.is_some();
    let lower: Vec<String> = def.keywords.iter().map(|word| word.to_ascii_lowercase()).collect();
    let anchors = look.rule.anchors();
    let by_keyword =
        anchors.iter().all(|literal| lower.iter().any(|word| word.as_bytes() == literal));
    if data && def.paranoia == 1 && !asks && by_keyword {
        tell(
            "/pattern",
            "nothing tells a true finding from a chance one: raise `paranoia` or ask for more"
                .to_owned(),
        );
    }
}

fn keywords(look: &Look<'_>, tell: &mut Tell<'_>) {
    let words: Vec<String> =
        look.def.keywords.iter().map(|word| word.to_ascii_lowercase()).collect();
    for (at, word) in words.iter().enumerate() {
        let other = words.iter().enumerate().find(|(other, shorter)| {
            *other != at && word.contains(*shorter) && (word != *shorter || *other < at)
        });
        if let Some((_, shorter)) = other {
            let message = format!("where it stands, `{shorter}` stands too");
            tell(&format!("/keywords/{at}"), message);
        }
    }
    let Some(hir) = parse(look.def) else { return };
    let mut fixed = Vec::new();
    literals(&hir, &mut fixed);
    let inside = words.iter().find(|word| fixed.iter().any(|literal| literal.contains(*word)));
    if let Some(word) = inside {
        tell("/keywords", format!("every match holds `{word}` by its pattern"));
    }
}

/// The literals that stand in every match, lower case.
fn literals(hir: &Hir, out: &mut Vec<String>) {
    match hir.kind() {
        HirKind::Literal(literal) => {
            out.push(String::from_utf8_lossy(&literal.0).to_ascii_lowercase());
        }
        HirKind::Concat(parts) => parts.iter().for_each(|part| literals(part, out)),
        HirKind::Capture(capture) => literals(&capture.sub, out),
        HirKind::Repetition(repetition) if repetition.min > 0 => literals(&repetition.sub, out),
        _ => {}
    }
}

fn parse(def: &RuleDef) -> Option<Hir> {
    let mut builder = regex_syntax::ParserBuilder::new();
    builder.unicode(def.unicode).utf8(false).build().parse(&def.pattern).ok()
}

fn slow(look: &Look<'_>, tell: &mut Tell<'_>) {
    if look.def.slow && look.rule.cost().is_some() {
        tell("/slow", "the rule has literals; take `slow` out".to_owned());
    }
}

fn duplicates(look: &Look<'_>, tell: &mut Tell<'_>) {
    if let Some(other) = look.twin {
        tell("/pattern", format!("{other} has it too"));
    }
}

/// What two rules have in common that find the same: the pattern, however it is spelt, and what it asks for.
pub(super) fn pattern_of(def: &RuleDef) -> String {
    let hir = parse(def).map_or_else(|| def.pattern.clone(), |hir| hir.to_string());
    format!("{}\0{:?}\0{:?}\0{hir}", def.unicode, def.key, def.validator)
}

fn revisions(look: &Look<'_>, tell: &mut Tell<'_>) {
    let (def, Some(before)) = (look.def, look.before) else { return };
    let mut changed = Vec::new();
    let mut differs = |name: &'static str, differs: bool| changed.extend(differs.then_some(name));
    differs("pattern", def.pattern != before.pattern);
    differs("key", def.key != before.key);
    differs("keywords", def.keywords != before.keywords || def.window != before.window);
    differs("entropy", def.entropy != before.entropy);
    differs("validator", def.validator != before.validator);
    differs("unicode", def.unicode != before.unicode);
    differs("views", def.views != before.views);
    differs("surfaces", def.surfaces != before.surfaces);
    differs("allow", def.allow != before.allow);
    if !changed.is_empty() && def.rev <= before.rev {
        let next = before.rev.saturating_add(1);
        tell(
            "/rev",
            format!("{} changed since rev {}: make it {next}", changed.join(", "), before.rev),
        );
    }
}

fn scores(look: &Look<'_>, tell: &mut Tell<'_>) {
    let range = match look.def.severity {
        Severity::Low => 0..=3,
        Severity::Medium => 2..=5,
        Severity::High => 4..=8,
        Severity::Critical => 8..=100,
    };
    let score = look.rule.score();
    if !range.contains(&score) {
        let severity = look.def.severity;
        let (from, to) = range.into_inner();
        tell(
            "/score",
            format!("{score} points for severity {severity}, which stands for {from} to {to}"),
        );
    }
}

fn counter_examples(look: &Look<'_>, tell: &mut Tell<'_>) {
    let anchors = look.rule.anchors();
    let examples = &look.def.tests.no_match;
    if anchors.is_empty() || examples.is_empty() {
        return;
    }
    let tries = examples.iter().enumerate().any(|(at, example)| {
        let text = match example {
            Example::Text(text) => text.clone(),
            Example::Keyed(keyed) => format!("{} {}", keyed.key, keyed.value),
        };
        // the compiler has expanded it before
        let text = template::expand(&text, &format!("{}/no_match/{at}", look.def.id));
        let text = text.unwrap_or_default().to_ascii_lowercase();
        anchors.iter().any(|literal| memchr::memmem::find(text.as_bytes(), literal).is_some())
    });
    if !tries {
        tell(
            "/tests/no_match",
            "add a near miss: one that has the literal and is not found".to_owned(),
        );
    }
}
