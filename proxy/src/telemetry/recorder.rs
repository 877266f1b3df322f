//! The recorder's counts among the metrics: nothing is counted here, the recorder is asked.

use std::sync::{Arc, Mutex, PoisonError};

use capture::{Recorder, Stats};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::families::{help, stem};

/// Asks the recorder at each scrape. Without one, every count is 0.
#[derive(Clone, Debug, Default)]
pub(super) struct CaptureCollector {
    recorder: Arc<Mutex<Option<Recorder>>>,
}

impl CaptureCollector {
    /// Asks `recorder` from now on.
    pub(super) fn watch(&self, recorder: Recorder) {
        *self.recorder.lock().unwrap_or_else(PoisonError::into_inner) = Some(recorder);
    }

    fn stats(&self) -> Stats {
        let recorder = self.recorder.lock().unwrap_or_else(PoisonError::into_inner);
        recorder.as_ref().map(Recorder::stats).unwrap_or_default()
    }
}

impl Collector for CaptureCollector {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        encode(&self.stats(), encoder)
    }
}

fn encode(stats: &Stats, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
    // Sequence numbers start at 1, so the last durable one is also their count.
    let store = stats.store.clone().unwrap_or_default();
    let durable = u64::try_from(stats.durable_seq).unwrap_or(0);
    for (name, count) in [
        ("wiregate_capture_enqueued_total", stats.enqueued),
        ("wiregate_capture_written_total", stats.written),
        ("wiregate_capture_dropped_total", stats.dropped),
        ("wiregate_capture_durable_total", durable),
        ("wiregate_capture_left_out_total", stats.left_out),
        ("wiregate_capture_errors_total", stats.errors),
        ("wiregate_store_uploaded_files_total", store.uploaded_files),
        ("wiregate_store_uploaded_bytes_total", store.uploaded_bytes),
        ("wiregate_store_errors_total", store.errors),
        ("wiregate_store_removed_files_total", store.removed_files),
    ] {
        put(&mut encoder, name, &ConstCounter::new(count))?;
    }
    for (name, value) in [
        ("wiregate_capture_queue_rows", stats.in_queue),
        ("wiregate_capture_queue_bytes", stats.in_queue_bytes),
        ("wiregate_store_waiting_files", store.waiting_files),
        ("wiregate_store_waiting_bytes", store.waiting_bytes),
    ] {
        put(&mut encoder, name, &ConstGauge::new(value))?;
    }
    Ok(())
}

/// Writes one metric without labels, under its name and help in the table.
fn put(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    metric: &impl EncodeMetric,
) -> std::fmt::Result {
    // The registry ends the help texts of its own metrics with a full stop too.
    let help = format!("{}.", help(name));
    metric.encode(encoder.encode_descriptor(stem(name), &help, None, metric.metric_type())?)
}
