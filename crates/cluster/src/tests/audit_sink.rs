//! Tests of the calls to the audit sink.

use std::sync::atomic::AtomicBool;

use super::*;
use crate::{AuditEvent, AuditRefused, AuditSink, RenderOutcome};
use cfgsync_model::{GenerationNumber, Revision};

/// An audit sink that allows every seal or none, and keeps the recorded actions.
#[derive(Debug)]
struct RecordingSink {
    allows: AtomicBool,
    recorded: Mutex<Vec<(AuditEvent, RenderOutcome)>>,
}

impl AuditSink for RecordingSink {
    fn allows(&self, event: AuditEvent) -> BoxFuture<'_, Result<(), AuditRefused>> {
        assert!(matches!(event, AuditEvent::Seal { .. }), "{event:?}");
        Box::pin(async {
            if self.allows.load(Ordering::Relaxed) {
                Ok(())
            } else {
                Err(AuditRefused("the disk is full".to_owned()))
            }
        })
    }

    fn record(&self, event: AuditEvent, outcome: RenderOutcome) {
        self.recorded.lock().unwrap().push((event, outcome));
    }
}

fn audited(rest: &str, allows: bool) -> (Cluster, Arc<RecordingSink>) {
    audited_with(rest, allows, vec![])
}

fn audited_with(
    rest: &str,
    allows: bool,
    embedded: Vec<Arc<dyn Materializer>>,
) -> (Cluster, Arc<RecordingSink>) {
    let sink = Arc::new(RecordingSink {
        allows: allows.into(),
        recorded: Mutex::default(),
    });
    let config = Config {
        audit_sink: Some(sink.clone()),
        ..Config::default()
    };
    let cluster = start_with(store(), spec(rest), embedded, config);
    (cluster, sink)
}

#[tokio::test(start_paused = true)]
async fn refused_seal_is_retried_and_its_reason_shown() {
    let (cluster, sink) = audited(&format!("ready: {{nodes: 1}}{PEERS}"), false);
    cluster.add("a").await;
    let reason = cluster.reason("a").await;
    let expected = "seal: the disk is full; trying again";
    assert!(reason.contains(expected), "{reason}");
    assert_eq!(cluster.generations().len(), 0);
    assert_eq!(*sink.recorded.lock().unwrap(), []);

    sink.allows.store(true, Ordering::Relaxed);
    cluster.files("a").await;
    let sealed = AuditEvent::Seal {
        generation: GenerationNumber(1),
        revision: Revision(1),
        digest: cluster.generations()[0].digest,
    };
    assert_eq!(
        *sink.recorded.lock().unwrap(),
        [(sealed, RenderOutcome::Done)]
    );
}

#[tokio::test(start_paused = true)]
async fn unsealed_generation_is_not_rendered_again() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = {
        let asked = asked.clone();
        Scripted(move |snapshot: &RegistrationSnapshot| {
            let time = asked.fetch_add(1, Ordering::Relaxed);
            Ok(one_file_each(snapshot, &time.to_string()))
        })
    };
    let rest = format!("ready: {{nodes: 1}}{PEERS}");
    let (cluster, sink) = audited_with(&rest, false, vec![Arc::new(counted)]);
    cluster.add("a").await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(cluster.generations().len(), 0);
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    // A registration before the seal causes another render, so the sealed generation includes the node.
    cluster.add("b").await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(asked.load(Ordering::Relaxed), 2);
    sink.allows.store(true, Ordering::Relaxed);
    let payload = cluster.files("b").await;
    assert_eq!(
        (number(&payload), text(&payload, "file").as_str()),
        (1, "1")
    );
}

#[tokio::test(start_paused = true)]
async fn failures_that_release_waiting_nodes_are_recorded_once() {
    let (cluster, sink) = audited(&format!("ready: {{nodes: 2, deadline: 5m}}{PEERS}"), true);
    cluster.add("a").await;
    assert!(matches!(cluster.fetch("a").await, Answer::Failed(_)));
    tokio::time::sleep(Duration::from_hours(1)).await;
    let missed = (AuditEvent::Attempt, RenderOutcome::Failed("deadline"));
    assert_eq!(*sink.recorded.lock().unwrap(), [missed]);

    let broken = "
ready: {nodes: 1}
materializers: [{kind: template, files: [{path: a, template: '{{ node.metadata.nothing }}'}]}]
";
    let (cluster, sink) = audited(broken, true);
    cluster.add("a").await;
    assert!(matches!(cluster.fetch("a").await, Answer::Failed(_)));
    tokio::time::sleep(Duration::from_hours(1)).await;
    let revision = Revision(1);
    let failed = (
        AuditEvent::Render { revision },
        RenderOutcome::Failed("materializer"),
    );
    assert_eq!(*sink.recorded.lock().unwrap(), [failed]);
}
