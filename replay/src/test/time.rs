//! What each rule costs: a set of it alone, timed over texts, less what a set costs that finds nothing.

use std::time::{Duration, Instant};

use ::scan::text::{Align, Table};
use inspect::rule::RuleDef;
use inspect::{Direction, RuleSet, Scanner, Subject, Surface, yaml};
use serde::Serialize;

use crate::error::Error;
use crate::output::Progress;

/// Passes over the texts; the fastest counts, since all else on the machine only slows one down.
const PASSES: usize = 5;

/// A rule whose literal stands in no text: the scanner's own work.
const IDLE: &str = "rules: [{id: idle.rule, title: idle, class: unsafe, severity: low, pattern: 'qZxJ~qZxJ~qZxJ', \
    docs: {finds: nothing, why: it idles}, tests: {match: ['qZxJ~qZxJ~qZxJ', 'a qZxJ~qZxJ~qZxJ'], no_match: [a, b]}}]";

/// Costs over some texts.
#[derive(Debug, Serialize)]
pub(crate) struct Timing {
    /// Bytes of text in a pass.
    bytes: usize,
    /// The scanner without rules, and the whole set.
    idle_ns_per_kib: f64,
    set_ns_per_kib: f64,
    /// The dearest first.
    rules: Vec<Cost>,
}

#[derive(Debug, Serialize)]
struct Cost {
    rule: String,
    ns_per_kib: f64,
    /// How often its literals open a text, per megabyte of ordinary traffic, by the compiler's estimate; none: always.
    looks_per_mb: Option<f64>,
}

/// Times every rule of the set alone.
pub(crate) fn measure(set: &RuleSet, texts: &[String]) -> Result<Timing, Error> {
    let bytes = texts.iter().map(String::len).sum();
    let progress = Progress::counting("timing", "rules");
    let (idle, _) = yaml::from_str::<inspect::rule::RuleDefs>("idle", IDLE, None)
        .map_err(|_| Error::Usage("the idle rule cannot be read".to_owned()))?;
    let mut scanner = Scanner::new();
    let idle =
        pass(&mut scanner, &alone(&idle.rules)?, texts, Surface::ResultText, Direction::ToClient);
    let whole = pass(&mut scanner, set, texts, Surface::ResultText, Direction::ToClient);
    let mut rules = Vec::with_capacity(set.len());
    for (done, rule) in (0_u64..).zip(set.rules()) {
        progress.at(done);
        let directions = [Direction::ToClient, Direction::ToServer];
        let place = Surface::ALL
            .into_iter()
            .flat_map(|surface| directions.map(|direction| (surface, direction)))
            .find(|(surface, direction)| rule.surfaces().has(*surface, *direction));
        // a rule that looks nowhere costs nothing
        let Some((surface, direction)) = place else { continue };
        let one = alone(std::slice::from_ref(rule.def()))?;
        let time = pass(&mut scanner, &one, texts, surface, direction).saturating_sub(idle);
        rules.push(Cost {
            rule: rule.id().to_owned(),
            ns_per_kib: per_kib(time, bytes),
            looks_per_mb: rule.cost(),
        });
    }
    rules.sort_by(|a, b| b.ns_per_kib.total_cmp(&a.ns_per_kib).then_with(|| a.rule.cmp(&b.rule)));
    Ok(Timing {
        bytes,
        idle_ns_per_kib: per_kib(idle, bytes),
        set_ns_per_kib: per_kib(whole, bytes),
        rules,
    })
}

fn alone(defs: &[RuleDef]) -> Result<RuleSet, Error> {
    RuleSet::from_defs(defs).map_err(|errors| Error::Rules(errors.to_string()))
}

/// The fastest pass over the texts.
fn pass(
    scanner: &mut Scanner,
    set: &RuleSet,
    texts: &[String],
    surface: Surface,
    direction: Direction,
) -> Duration {
    let subject = Subject {
        direction,
        server: "time",
        method: None,
        name: None,
        paranoia: 4,
        budget: usize::MAX,
        now: 0,
    };
    let mut best = Duration::MAX;
    for _ in 0..PASSES {
        let start = Instant::now();
        for text in texts {
            std::hint::black_box(scanner.scan_text(set, text, surface, &subject));
        }
        best = best.min(start.elapsed());
    }
    best
}

#[expect(clippy::cast_precision_loss, reason = "a rate, shown with few digits")]
fn per_kib(time: Duration, bytes: usize) -> f64 {
    time.as_nanos() as f64 / (bytes.max(1) as f64 / 1024.0)
}

impl Timing {
    /// The dearest rules, with what the figures mean.
    pub(crate) fn print(&self, top: usize, width: Option<usize>) -> String {
        let right = Align::Right;
        let mut table =
            Table::new(&[("rule", Align::Left), ("ns/KiB", right), ("looks/MB", right)]);
        for cost in self.rules.iter().take(top) {
            let looks =
                cost.looks_per_mb.map_or_else(|| "always".to_owned(), |n| format!("{n:.1}"));
            table.push([cost.rule.clone(), format!("{:.0}", cost.ns_per_kib), looks]);
        }
        format!(
            "{}{} bytes of text a pass, the fastest of {PASSES}, one core. Scanner alone {:.0} ns/KiB, whole set {:.0}.\n\
             A rule's figure is that of a set of it alone, less the scanner's: in the whole set rules share passes.\n",
            table.render(width),
            self.bytes,
            self.idle_ns_per_kib,
            self.set_ns_per_kib,
        )
    }
}
