//! What is told to whoever keeps account of a coordinator, on a paused clock.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use super::{
    Answer, AuditEvent, AuditRefused, AuditSink, Config, RenderOutcome,
    tests::{Cluster, PEERS, Scripted, number, one_file_each, spec, start_with, store, text},
};
use cfgsync_materialize::Materializer;
use cfgsync_model::{GenerationNumber, RegistrationSnapshot, Revision};
use cfgsync_store::BoxFuture;

/// Allows all or nothing, and remembers.
#[derive(Debug)]
struct Clerk {
    allows: AtomicBool,
    seen: Mutex<Vec<(AuditEvent, RenderOutcome)>>,
}

impl AuditSink for Clerk {
    fn allows(&self, deed: AuditEvent) -> BoxFuture<'_, Result<(), AuditRefused>> {
        assert!(matches!(deed, AuditEvent::Seal { .. }), "{deed:?}");
        Box::pin(async {
            match self.allows.load(Ordering::Relaxed) {
                true => Ok(()),
                false => Err(AuditRefused("the clerk is out".to_owned())),
            }
        })
    }

    fn sees(&self, deed: AuditEvent, ending: RenderOutcome) {
        self.seen.lock().unwrap().push((deed, ending));
    }
}

fn witnessed(rest: &str, allows: bool) -> (Cluster, Arc<Clerk>) {
    witnessed_with(rest, allows, vec![])
}

fn witnessed_with(
    rest: &str,
    allows: bool,
    embedded: Vec<Arc<dyn Materializer>>,
) -> (Cluster, Arc<Clerk>) {
    let clerk = Arc::new(Clerk {
        allows: allows.into(),
        seen: Mutex::default(),
    });
    let config = Config {
        audit_sink: Some(clerk.clone()),
        ..Config::default()
    };
    let cluster = start_with(store(), spec(rest), embedded, config);
    (cluster, clerk)
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sealed_that_is_not_allowed() {
    let (cluster, clerk) = witnessed(&format!("ready: {{nodes: 1}}{PEERS}"), false);
    cluster.come("a").await;
    let reason = cluster.reason("a").await;
    let expected = "seal: the clerk is out; tried again";
    assert!(reason.contains(expected), "{reason}");
    assert_eq!(cluster.generations().len(), 0);
    assert_eq!(*clerk.seen.lock().unwrap(), []);

    clerk.allows.store(true, Ordering::Relaxed);
    cluster.files("a").await;
    let sealed = AuditEvent::Seal {
        generation: GenerationNumber(1),
        revision: Revision(1),
        digest: cluster.generations()[0].digest,
    };
    assert_eq!(*clerk.seen.lock().unwrap(), [(sealed, RenderOutcome::Done)]);
}

/// What waited for its seal was rendered anew every second, programs and all.
#[tokio::test(start_paused = true)]
async fn what_waits_for_its_seal_is_rendered_once() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = {
        let asked = asked.clone();
        Scripted(move |snapshot: &RegistrationSnapshot| {
            let time = asked.fetch_add(1, Ordering::Relaxed);
            Ok(one_file_each(snapshot, &time.to_string()))
        })
    };
    let rest = format!("ready: {{nodes: 1}}{PEERS}");
    let (cluster, clerk) = witnessed_with(&rest, false, vec![Arc::new(counted)]);
    cluster.come("a").await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(cluster.generations().len(), 0);
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    // Whoever comes meanwhile is in what is sealed.
    cluster.come("b").await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(asked.load(Ordering::Relaxed), 2);
    clerk.allows.store(true, Ordering::Relaxed);
    let payload = cluster.files("b").await;
    assert_eq!(
        (number(&payload), text(&payload, "file").as_str()),
        (1, "1")
    );
}

#[tokio::test(start_paused = true)]
async fn what_frees_the_waiters_is_seen_once() {
    let (cluster, clerk) = witnessed(&format!("ready: {{nodes: 2, deadline: 5m}}{PEERS}"), true);
    cluster.come("a").await;
    assert!(matches!(cluster.ask("a").await, Answer::Failed(_)));
    tokio::time::sleep(Duration::from_hours(1)).await;
    let missed = (AuditEvent::Attempt, RenderOutcome::Failed("deadline"));
    assert_eq!(*clerk.seen.lock().unwrap(), [missed]);

    let broken = "
ready: {nodes: 1}
materializers: [{kind: template, files: [{path: a, template: '{{ node.metadata.nothing }}'}]}]
";
    let (cluster, clerk) = witnessed(broken, true);
    cluster.come("a").await;
    assert!(matches!(cluster.ask("a").await, Answer::Failed(_)));
    tokio::time::sleep(Duration::from_hours(1)).await;
    let revision = Revision(1);
    let failed = (
        AuditEvent::Render { revision },
        RenderOutcome::Failed("materializer"),
    );
    assert_eq!(*clerk.seen.lock().unwrap(), [failed]);
}
