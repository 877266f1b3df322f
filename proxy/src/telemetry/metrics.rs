//! [`Metrics`]: counters, gauges and histograms in the OpenMetrics text format.
//!
//! Every label has a bounded set of values: servers and rules are those of the configuration, the
//! rest are words of ours. A name a client made up counts as `other`.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family as Labelled, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry};

use super::families::{help, method_label, stem};
use super::recorder::CaptureCollector;

/// The content type of [`Metrics::render`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    server: Arc<str>,
    method: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MessageLabels {
    direction: &'static str,
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VerdictLabels {
    rule: Arc<str>,
    action: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DirectionLabel {
    direction: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ServerLabel {
    server: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LeftOutLabels {
    server: Arc<str>,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndLabels {
    server: Arc<str>,
    why: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LostLabels {
    server: Arc<str>,
    what: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabel {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EraLabels {
    server: Arc<str>,
    to: &'static str,
}

/// Histograms with these upper bounds, in seconds.
#[derive(Clone, Copy, Debug)]
struct Buckets(&'static [f64]);

/// 1 µs to 1 s: what the gateway itself takes.
const PROCESSING: Buckets = Buckets(&[
    1e-6, 2.5e-6, 5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2,
    5e-2, 0.1, 0.25, 0.5, 1.0,
]);

/// 1 ms to 5 min: what servers take.
const UPSTREAM: Buckets = Buckets(&[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
    120.0, 300.0,
]);

impl MetricConstructor<Histogram> for Buckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new(self.0.iter().copied())
    }
}

/// The gateway's metrics. One for the process, shared by everything that counts.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    servers: RwLock<HashSet<Arc<str>>>,
    other: Arc<str>,
    requests: Labelled<RequestLabels, Counter>,
    messages: Labelled<MessageLabels, Counter>,
    verdicts: Labelled<VerdictLabels, Counter>,
    processing: Labelled<DirectionLabel, Histogram, Buckets>,
    upstream: Labelled<ServerLabel, Histogram, Buckets>,
    denied: Labelled<ReasonLabel, Counter>,
    era_changes: Labelled<EraLabels, Counter>,
    left_out: Labelled<LeftOutLabels, Counter>,
    inflight: Gauge,
    streams: Gauge,
    connections: Gauge,
    pins: Labelled<StateLabel, Gauge>,
    pin_store_errors: Counter,
    pin_store_deferred: Counter,
    processes: Labelled<ServerLabel, Gauge>,
    process_ends: Labelled<EndLabels, Counter>,
    process_lost: Labelled<LostLabels, Counter>,
    reloads: Labelled<OutcomeLabel, Counter>,
    capture: CaptureCollector,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Metrics without servers: until [`Metrics::set_servers`], any name counts as `other`.
    pub fn new() -> Self {
        let metrics = Self {
            registry: Registry::default(),
            servers: RwLock::default(),
            other: "other".into(),
            requests: Labelled::default(),
            messages: Labelled::default(),
            verdicts: Labelled::default(),
            processing: Labelled::new_with_constructor(PROCESSING),
            upstream: Labelled::new_with_constructor(UPSTREAM),
            denied: Labelled::default(),
            era_changes: Labelled::default(),
            left_out: Labelled::default(),
            inflight: Gauge::default(),
            streams: Gauge::default(),
            connections: Gauge::default(),
            pins: Labelled::default(),
            pin_store_errors: Counter::default(),
            pin_store_deferred: Counter::default(),
            processes: Labelled::default(),
            process_ends: Labelled::default(),
            process_lost: Labelled::default(),
            reloads: Labelled::default(),
            capture: CaptureCollector::default(),
        };
        metrics.registered()
    }

    /// Puts every metric into the registry.
    fn registered(mut self) -> Self {
        self.register("wiregate_requests_total", self.requests.clone());
        self.register("wiregate_messages_total", self.messages.clone());
        self.register("wiregate_verdicts_total", self.verdicts.clone());
        self.register("wiregate_processing_seconds", self.processing.clone());
        self.register("wiregate_upstream_seconds", self.upstream.clone());
        self.register("wiregate_denied_total", self.denied.clone());
        self.register("wiregate_era_changes_total", self.era_changes.clone());
        self.register("wiregate_catalog_left_out_total", self.left_out.clone());
        self.register("wiregate_inflight_requests", self.inflight.clone());
        self.register("wiregate_open_streams", self.streams.clone());
        self.register("wiregate_connections", self.connections.clone());
        self.register("wiregate_pins", self.pins.clone());
        self.register("wiregate_pin_store_errors_total", self.pin_store_errors.clone());
        self.register("wiregate_pin_store_deferred_total", self.pin_store_deferred.clone());
        self.register("wiregate_processes", self.processes.clone());
        self.register("wiregate_process_ends_total", self.process_ends.clone());
        self.register("wiregate_process_lost_total", self.process_lost.clone());
        self.register("wiregate_config_reloads_total", self.reloads.clone());
        let version = vec![("version", env!("CARGO_PKG_VERSION"))];
        self.register("wiregate_build_info", Info::new(version));
        self.registry.register_collector(Box::new(self.capture.clone()));
        self
    }

    /// Registers one metric under its name and help in [`FAMILIES`].
    fn register(&mut self, name: &'static str, metric: impl Metric) {
        self.registry.register(stem(name), help(name), metric);
    }

    /// Says which server names may be labels: those of the configuration in force.
    pub fn set_servers(&self, servers: impl IntoIterator<Item = Arc<str>>) {
        *self.servers.write().unwrap_or_else(PoisonError::into_inner) =
            servers.into_iter().collect();
    }

    /// Shows this recorder's counts from now on.
    pub fn watch_capture(&self, recorder: capture::Recorder) {
        self.capture.watch(recorder);
    }

    /// A request that was answered. `outcome` is `ok` (a result), `error` (the server's error, or no
    /// answer), `denied` (refused before a server saw it) or `blocked` (stopped by a rule).
    pub fn request(&self, server: &str, method: &str, outcome: &'static str) {
        let labels = RequestLabels {
            server: self.server_label(server),
            method: method_label(method),
            outcome,
        };
        self.requests.get_or_create(&labels).inc();
    }

    /// A message that came in; `direction` and `kind` by their `as_str`.
    pub fn message(&self, direction: &'static str, kind: &'static str) {
        self.messages.get_or_create(&MessageLabels { direction, kind }).inc();
    }

    /// A finding of `rule`, and the action enforced.
    pub fn verdict(&self, rule: &str, action: &'static str) {
        self.verdicts.get_or_create(&VerdictLabels { rule: rule.into(), action }).inc();
    }

    /// The gateway's own work on one message.
    pub fn processing(&self, direction: &'static str, took: Duration) {
        self.processing.get_or_create(&DirectionLabel { direction }).observe(took.as_secs_f64());
    }

    /// A part of a merged list that is not in it: `missing` (its server failed or was too slow) or
    /// `collision` (another server has the name too).
    pub fn left_out(&self, server: &str, reason: &'static str) {
        let labels = LeftOutLabels { server: self.server_label(server), reason };
        self.left_out.get_or_create(&labels).inc();
    }

    /// From sending a request to the head of the server's response.
    pub fn upstream(&self, server: &str, took: Duration) {
        let server = self.server_label(server);
        self.upstream.get_or_create(&ServerLabel { server }).observe(took.as_secs_f64());
    }

    /// A message refused before a server saw it.
    pub fn denied(&self, reason: &'static str) {
        self.denied.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// The configuration was read anew.
    pub fn reload(&self, outcome: &'static str) {
        self.reloads.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    /// A server turned out to speak the revisions of another era; `to` is `legacy` or `modern`.
    pub fn era_change(&self, server: &str, to: &'static str) {
        let server = self.server_label(server);
        self.era_changes.get_or_create(&EraLabels { server, to }).inc();
    }

    /// How many pins are in each state.
    pub fn pins<const N: usize>(&self, states: [&'static str; N], counts: [usize; N]) {
        for (state, count) in states.into_iter().zip(counts) {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            self.pins.get_or_create(&StateLabel { state }).set(count);
        }
    }

    /// The store of pins could not be used.
    pub fn pin_store_error(&self) {
        self.pin_store_errors.inc();
    }

    /// A sighting found the queue to the store full.
    pub fn pin_deferred(&self) {
        self.pin_store_deferred.inc();
    }

    /// A process of this server is there until the guard goes.
    pub fn process(&self, server: &str) -> Guard {
        let server = self.server_label(server);
        Guard::new(&self.processes.get_or_create(&ServerLabel { server }))
    }

    /// A process of this server ended, or is being ended.
    pub fn process_end(&self, server: &str, why: &'static str) {
        let server = self.server_label(server);
        self.process_ends.get_or_create(&EndLabels { server, why }).inc();
    }

    /// A message of such a process reached nobody.
    pub fn process_lost(&self, server: &str, what: &'static str) {
        let server = self.server_label(server);
        self.process_lost.get_or_create(&LostLabels { server, what }).inc();
    }

    /// A request is under way until the guard goes.
    pub fn inflight(&self) -> Guard {
        Guard::new(&self.inflight)
    }

    /// An event stream is open until the guard goes.
    pub fn stream(&self) -> Guard {
        Guard::new(&self.streams)
    }

    /// A client connection is open until the guard goes.
    pub fn connection(&self) -> Guard {
        Guard::new(&self.connections)
    }

    /// The text a scrape gets.
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail, and no metric of ours fails by itself.
        if text::encode(&mut text, &self.registry).is_err() {
            tracing::error!("metrics could not be encoded");
        }
        text
    }

    fn server_label(&self, server: &str) -> Arc<str> {
        let servers = self.servers.read().unwrap_or_else(PoisonError::into_inner);
        servers.get(server).unwrap_or(&self.other).clone()
    }
}

/// Counts one in a gauge for as long as it lives.
#[derive(Debug)]
#[must_use]
pub struct Guard(Gauge);

impl Guard {
    fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::FAMILIES;

    /// Metrics of which each family has at least one sample.
    fn touched() -> Metrics {
        let metrics = Metrics::new();
        metrics.reload("changed");
        metrics.set_servers(["files".into()]);
        metrics.request("files", "tools/call", "ok");
        metrics.request("no-such", "made/up", "denied");
        metrics.message("to_server", "request");
        metrics.verdict("secret.example", "redact");
        metrics.processing("to_server", Duration::from_micros(7));
        metrics.upstream("files", Duration::from_millis(20));
        metrics.denied("auth");
        metrics.era_change("files", "legacy");
        metrics.left_out("files", "missing");
        metrics.pins(["pending"], [1]);
        drop(metrics.process("files"));
        metrics.process_end("files", "idle");
        metrics.process_lost("files", "full");
        metrics
    }

    #[test]
    fn every_family_is_described_and_every_description_is_a_family() {
        let text = touched().render();
        let mut shown: Vec<String> = text
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE "))
            .map(|line| {
                let (name, kind) = line.split_once(' ').unwrap();
                match kind {
                    "counter" => format!("{name}_total counter"),
                    "info" => format!("{name}_info info"),
                    _ => format!("{name} {kind}"),
                }
            })
            .collect();
        let mut told: Vec<String> =
            FAMILIES.iter().map(|family| format!("{} {}", family.name, family.kind)).collect();
        shown.sort();
        told.sort();
        assert_eq!(shown, told);
        assert!(FAMILIES.iter().all(|family| text.contains(family.help)), "{text}");
    }

    #[test]
    fn names_made_up_by_clients_count_as_other() {
        let text = touched().render();
        let ok = r#"{server="files",method="tools/call",outcome="ok"} 1"#;
        let other = r#"{server="other",method="other",outcome="denied"} 1"#;
        assert!(text.contains(ok) && text.contains(other), "{text}");
        assert!(!text.contains("made/up") && !text.contains("no-such"));
    }

    #[test]
    fn servers_can_change() {
        let metrics = touched();
        metrics.set_servers(["mail".into()]);
        metrics.request("mail", "ping", "error");
        assert!(metrics.render().contains(r#"server="mail",method="ping",outcome="error""#));
    }

    #[test]
    fn guards_count_for_as_long_as_they_live() {
        let metrics = Metrics::new();
        let first = metrics.inflight();
        let second = metrics.inflight();
        assert!(metrics.render().contains("wiregate_inflight_requests 2\n"));
        drop((first, second));
        assert!(metrics.render().contains("wiregate_inflight_requests 0\n"));
    }

    #[test]
    fn the_buckets_reach_from_a_microsecond_to_a_second() {
        let text = touched().render();
        let bucket = |le, n| format!("_bucket{{le=\"{le}\",direction=\"to_server\"}} {n}\n");
        assert!(text.contains(&bucket("0.000005", 0)), "{text}");
        assert!(text.contains(&bucket("0.00001", 1)), "{text}");
    }
}
