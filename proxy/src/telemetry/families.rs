//! The table of metrics, and the words that may stand in a `method` label.
//!
//! What counts them is [`super::Metrics`].

use inspect::surface::METHODS;

/// A metric as its reference describes it.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// The name a query uses.
    pub name: &'static str,
    /// `counter`, `gauge`, `histogram` or `info`.
    pub kind: &'static str,
    /// Its labels, with their values where they are few.
    pub labels: &'static str,
    /// What it counts or measures.
    pub help: &'static str,
}

/// Shortens the table below to one entry a metric.
const fn family(
    name: &'static str,
    kind: &'static str,
    labels: &'static str,
    help: &'static str,
) -> Family {
    Family { name, kind, labels, help }
}

/// Every metric there is. The text at `/metrics` and the reference both come from here.
pub const FAMILIES: [Family; 33] = [
    family(
        "wiregate_requests_total",
        "counter",
        "server, method, outcome: ok, error, denied, blocked",
        "Requests that were answered",
    ),
    family(
        "wiregate_messages_total",
        "counter",
        "direction: to_server, to_client; kind: request, notification, response, error",
        "Messages that came in",
    ),
    family(
        "wiregate_verdicts_total",
        "counter",
        "rule; action: allow, flag, redact, block",
        "Findings, by rule (or `pin.…`) and by the action enforced",
    ),
    family(
        "wiregate_processing_seconds",
        "histogram",
        "direction",
        "The gateway's own work on one message, without waiting for the other side",
    ),
    family(
        "wiregate_upstream_seconds",
        "histogram",
        "server",
        "From sending a request to a server to the head of its response",
    ),
    family(
        "wiregate_denied_total",
        "counter",
        "reason",
        "Messages refused before a server saw them",
    ),
    family(
        "wiregate_era_changes_total",
        "counter",
        "server; to: legacy, modern",
        "Servers that turned out to speak other revisions than before",
    ),
    family(
        "wiregate_catalog_left_out_total",
        "counter",
        "server; reason: missing, collision",
        "Parts of merged lists that were left out: a server failed or was slow, or two have a name",
    ),
    family("wiregate_inflight_requests", "gauge", "", "Requests under way"),
    family("wiregate_open_streams", "gauge", "", "Event streams open to clients"),
    family("wiregate_connections", "gauge", "", "Client connections open"),
    family("wiregate_capture_enqueued_total", "counter", "", "Rows handed to the recorder"),
    family("wiregate_capture_written_total", "counter", "", "Rows written to files"),
    family("wiregate_capture_dropped_total", "counter", "", "Rows lost to a full queue"),
    family("wiregate_capture_durable_total", "counter", "", "Rows safe on disk, journal included"),
    family(
        "wiregate_capture_left_out_total",
        "counter",
        "",
        "Messages that `capture.rules` leaves out",
    ),
    family("wiregate_capture_errors_total", "counter", "", "Failures of the recorder"),
    family("wiregate_capture_queue_rows", "gauge", "", "Rows that wait to be written"),
    family("wiregate_capture_queue_bytes", "gauge", "", "Bytes that wait to be written"),
    family("wiregate_store_uploaded_files_total", "counter", "", "Capture files uploaded"),
    family("wiregate_store_uploaded_bytes_total", "counter", "", "Bytes of capture files uploaded"),
    family("wiregate_store_errors_total", "counter", "", "Failed uploads, each tried again"),
    family(
        "wiregate_store_removed_files_total",
        "counter",
        "",
        "Capture files removed unsent, because too many waited",
    ),
    family("wiregate_store_waiting_files", "gauge", "", "Capture files that wait for the store"),
    family("wiregate_store_waiting_bytes", "gauge", "", "Bytes of these files"),
    family("wiregate_pins", "gauge", "state: pending, approved, changed", "Pinned definitions"),
    family(
        "wiregate_pin_store_errors_total",
        "counter",
        "",
        "Times the store of pins could not be opened, read or written",
    ),
    family(
        "wiregate_pin_store_deferred_total",
        "counter",
        "",
        "Sightings that found the queue to the store full, and wait for the next list",
    ),
    family(
        "wiregate_processes",
        "gauge",
        "server",
        "Processes of servers that the gateway started, until the last of them is gone",
    ),
    family(
        "wiregate_process_ends_total",
        "counter",
        "server; why: itself, closed, idle, memory, stuck, stopped",
        "Ends of such processes",
    ),
    family(
        "wiregate_process_lost_total",
        "counter",
        "server; what: full, nobody, rubbish",
        "Messages of such processes that reached no client",
    ),
    family(
        "wiregate_config_reloads_total",
        "counter",
        "outcome: changed, unchanged, refused",
        "Times the configuration was read anew",
    ),
    family("wiregate_build_info", "info", "version", "The version that runs"),
];

/// The notifications of the protocol.
const NOTIFICATIONS: [&str; 13] = [
    "notifications/cancelled",
    "notifications/elicitation/complete",
    "notifications/initialized",
    "notifications/message",
    "notifications/progress",
    "notifications/prompts/list_changed",
    "notifications/resources/list_changed",
    "notifications/resources/updated",
    "notifications/roots/list_changed",
    "notifications/subscriptions/acknowledged",
    "notifications/tasks",
    "notifications/tasks/status",
    "notifications/tools/list_changed",
];

/// The label of a method: itself when the protocol knows it, else `other`.
pub fn method_label(method: &str) -> &'static str {
    let mut known = METHODS.iter().chain(&NOTIFICATIONS);
    known.find(|known| **known == method).copied().unwrap_or("other")
}

/// The name without the suffix that the encoder adds by the metric's kind.
pub(super) fn stem(name: &str) -> &str {
    name.strip_suffix("_total").or_else(|| name.strip_suffix("_info")).unwrap_or(name)
}

/// The help of a metric of ours.
pub(super) fn help(name: &str) -> &'static str {
    FAMILIES.iter().find(|family| family.name == name).map_or("", |family| family.help)
}
