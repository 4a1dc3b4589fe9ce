//! What is told to whoever keeps account of a coordinator, on a paused clock.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::{
    Answer, Config, Deed, Ending, Objection, Witness,
    tests::{Cluster, PEERS, spec, start_with, store},
};
use crate::{
    model::{GenerationNumber, Revision},
    store::Promise,
};

/// Allows all or nothing, and remembers.
#[derive(Debug)]
struct Clerk {
    allows: AtomicBool,
    seen: Mutex<Vec<(Deed, Ending)>>,
}

impl Witness for Clerk {
    fn allows(&self, deed: Deed) -> Promise<'_, Result<(), Objection>> {
        assert!(matches!(deed, Deed::Seal { .. }), "{deed:?}");
        Box::pin(async {
            match self.allows.load(Ordering::Relaxed) {
                true => Ok(()),
                false => Err(Objection("the clerk is out".to_owned())),
            }
        })
    }

    fn sees(&self, deed: Deed, ending: Ending) {
        self.seen.lock().unwrap().push((deed, ending));
    }
}

fn witnessed(rest: &str, allows: bool) -> (Cluster, Arc<Clerk>) {
    let clerk = Arc::new(Clerk {
        allows: allows.into(),
        seen: Mutex::default(),
    });
    let config = Config {
        witness: Some(clerk.clone()),
        ..Config::default()
    };
    let cluster = start_with(store(), spec(rest), vec![], config);
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
    let sealed = Deed::Seal {
        generation: GenerationNumber(1),
        revision: Revision(1),
        digest: cluster.generations()[0].digest,
    };
    assert_eq!(*clerk.seen.lock().unwrap(), [(sealed, Ending::Done)]);
}

#[tokio::test(start_paused = true)]
async fn what_frees_the_waiters_is_seen_once() {
    let (cluster, clerk) = witnessed(&format!("ready: {{nodes: 2, deadline: 5m}}{PEERS}"), true);
    cluster.come("a").await;
    assert!(matches!(cluster.ask("a").await, Answer::Failed(_)));
    tokio::time::sleep(Duration::from_hours(1)).await;
    let missed = (Deed::Attempt, Ending::Failed("deadline"));
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
    let failed = (Deed::Render { revision }, Ending::Failed("materializer"));
    assert_eq!(*clerk.seen.lock().unwrap(), [failed]);
}
