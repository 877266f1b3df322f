//! The recorder's counts among the metrics: nothing is counted here, the recorder is asked.

use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::families::{help, stem};

/// The recorder's counts, read at each scrape.
#[derive(Clone, Debug, Default)]
pub(super) struct CaptureCollector {
    source: Arc<Mutex<Option<Source>>>,
}

/// Where the counts come from.
struct Source(Box<dyn Fn() -> CaptureStats + Send + Sync>);

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Source")
    }
}

/// The recorder's counts, as a scrape shows them.
#[derive(Clone, Copy, Debug, Default)]
pub struct CaptureStats {
    /// Rows handed to the recorder.
    pub enqueued: u64,
    /// Rows written to files.
    pub written: u64,
    /// Rows lost to a full queue.
    pub dropped: u64,
    /// Rows safe on disk.
    pub durable: u64,
    /// Failures.
    pub errors: u64,
    /// Rows that wait.
    pub queue_rows: u64,
    /// Bytes that wait.
    pub queue_bytes: u64,
    /// Whether a failure came last.
    pub failing: bool,
}

impl CaptureCollector {
    /// Asks `stats` at each scrape from now on.
    pub(super) fn watch(&self, stats: Box<dyn Fn() -> CaptureStats + Send + Sync>) {
        *self.source.lock().unwrap_or_else(PoisonError::into_inner) = Some(Source(stats));
    }
}

impl Collector for CaptureCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let source = self.source.lock().unwrap_or_else(PoisonError::into_inner);
        let stats = source.as_ref().map(|source| source.0()).unwrap_or_default();
        drop(source);
        let mut put = |name: &'static str, metric: &dyn EncodeOne| {
            // The registry ends its own help texts with a full stop too.
            metric.encode_as(&mut encoder, stem(name), &format!("{}.", help(name)))
        };
        put(
            "wiregate_capture_enqueued_total",
            &ConstCounter::new(stats.enqueued),
        )?;
        put(
            "wiregate_capture_written_total",
            &ConstCounter::new(stats.written),
        )?;
        put(
            "wiregate_capture_dropped_total",
            &ConstCounter::new(stats.dropped),
        )?;
        put(
            "wiregate_capture_durable_total",
            &ConstCounter::new(stats.durable),
        )?;
        put(
            "wiregate_capture_errors_total",
            &ConstCounter::new(stats.errors),
        )?;
        put(
            "wiregate_capture_queue_rows",
            &ConstGauge::new(stats.queue_rows),
        )?;
        put(
            "wiregate_capture_queue_bytes",
            &ConstGauge::new(stats.queue_bytes),
        )?;
        put(
            "wiregate_capture_last_error",
            &ConstGauge::new(u64::from(stats.failing)),
        )
    }
}

/// The encoding of a counter or a gauge without labels.
trait EncodeOne {
    fn encode_as(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
    ) -> std::fmt::Result;
}

impl<M: EncodeMetric> EncodeOne for M {
    fn encode_as(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
    ) -> std::fmt::Result {
        self.encode(encoder.encode_descriptor(name, help, None, self.metric_type())?)
    }
}
