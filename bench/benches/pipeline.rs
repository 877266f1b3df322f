//! A call through the whole pipeline and back, without sockets: a server in this process answers
//! at once, so that what is measured is the gateway's own work.
#![expect(clippy::unwrap_used, reason = "a bench stops at what it does not expect")]

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use futures::future::BoxFuture;
use http::StatusCode;
use proxy::audit::Audit;
use proxy::config::Config;
use proxy::envelope::{Body, Context, McpHeaders, Reply, Transport};
use proxy::pipeline::Pipeline;
use proxy::recording;
use proxy::snapshot::{ServerSpec, Snapshot};
use proxy::telemetry::Metrics;
use proxy::upstream::{Outgoing, Upstream, UpstreamError};

struct Fixed(Bytes);

impl Upstream for Fixed {
    fn call<'a>(
        &'a self,
        _: &'a Context,
        _: Outgoing,
    ) -> BoxFuture<'a, Result<Reply, UpstreamError>> {
        Box::pin(async { Ok(Reply::one(StatusCode::OK, self.0.clone())) })
    }
}

fn pipeline(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut group = c.benchmark_group("pipeline");
    let samples = bench::samples();
    let call = Bytes::from(samples[0].raw.clone());
    for recording in [false, true] {
        for sample in &samples[1..] {
            let dir = tempfile::tempdir().unwrap();
            let mut config = Config::default();
            config.capture.enabled = recording;
            config.capture.dir = Some(dir.path().to_owned());
            let spec = Arc::new(ServerSpec::child("bench"));
            let mut snapshot = Snapshot::for_child(config, Arc::clone(&spec)).unwrap();
            let recorder = recording::open(&snapshot).unwrap().map(|(recorder, _)| recorder);
            let server: Arc<dyn Upstream> = Arc::new(Fixed(sample.raw.clone().into()));
            snapshot.ways.insert(spec.name.clone(), server);
            let snapshot = Arc::new(snapshot);
            let metrics = Arc::new(Metrics::new());
            let audit = Audit::new(recorder.clone(), &snapshot.config.capture);
            let pipeline = Arc::new(Pipeline::new(Arc::clone(&snapshot), audit, metrics));
            let cx = Arc::new(Context {
                snapshot,
                server: spec,
                transport: Transport::Http1,
                http_method: Some("POST".into()),
                headers: McpHeaders::default(),
                conn_id: "c1".into(),
                session: None,
                principal: None,
                negotiated: OnceLock::new(),
                front: OnceLock::new(),
                owned: false,
                rows: proxy::audit::Rows::default(),
                arrival: proxy::linkage::Arrival::default(),
            });
            let name = if recording { "inspect and record" } else { "inspect" };
            group.throughput(Throughput::Bytes((call.len() + sample.raw.len()) as u64));
            group.bench_function(BenchmarkId::new(name, sample.name), |b| {
                b.iter(|| {
                    let handled = Arc::clone(&pipeline).handle(Arc::clone(&cx), call.clone());
                    let Body::One(answer) = runtime.block_on(handled).body else {
                        panic!("no answer")
                    };
                    assert_eq!(answer == sample.raw, sample.findings == 0);
                    answer
                });
            });
            if let Some(recorder) = recorder {
                recorder.close(Duration::from_secs(60)).unwrap();
            }
        }
    }
    group.finish();
}

criterion_group!(benches, pipeline);
criterion_main!(benches);
