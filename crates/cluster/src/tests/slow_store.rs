//! Tests with a store that hangs, fails or does not confirm: the reconciler continues, and nothing is sealed twice.

use std::collections::VecDeque;

use tokio::sync::{Notify, watch};

use super::*;
use cfgsync_model::{Generation, GenerationNumber, Revision};

/// The behaviour of the store at the next seal.
#[derive(Clone, Copy, Debug)]
enum Seal {
    /// The store never answers, and does not seal.
    Hang,
    /// Waits for `proceed`, then seals.
    Wait,
    /// The store seals, but answers [`CommitError::Unknown`].
    Unconfirmed,
    /// The store does not seal, and answers [`CommitError::Unknown`].
    LostUnconfirmed,
    /// The store answers that it cannot seal now.
    Unavailable,
}

/// A memory store whose seals and delivery records follow a script. Without one, they work.
struct ScriptedStore {
    inner: Arc<MemoryStore>,
    seals: Mutex<VecDeque<Seal>>,
    proceed: Notify,
    /// The number of seals that were requested.
    asked: AtomicUsize,
    /// Whether batches of deliveries never end.
    deliveries_hang: bool,
}

impl Store for ScriptedStore {
    fn instance(&self) -> Instance {
        self.inner.instance()
    }

    fn state(&self) -> StateGuard {
        self.inner.state()
    }

    fn follow(&self) -> watch::Receiver<Revision> {
        self.inner.follow()
    }

    fn apply(&self, changes: Vec<Change>) -> BoxFuture<'_, Result<Commit, CommitError>> {
        let is_delivery = matches!(changes.first(), Some(Change::Deliver { .. }));
        if is_delivery && self.deliveries_hang {
            Box::pin(std::future::pending())
        } else {
            self.inner.apply(changes)
        }
    }

    fn seal_if(
        &self,
        generation: Arc<Generation>,
        only_if: SealCondition,
    ) -> BoxFuture<'_, Result<SealOutcome, CommitError>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let script = self.seals.lock().unwrap().pop_front();
        Box::pin(async move {
            let unknown = || CommitError::Unknown("the connection was lost".to_owned());
            match script {
                Some(Seal::Hang) => std::future::pending().await,
                Some(Seal::LostUnconfirmed) => Err(unknown()),
                Some(Seal::Unavailable) => Err(CommitError::Unavailable("no quorum".to_owned())),
                Some(Seal::Wait) => {
                    self.proceed.notified().await;
                    self.inner.seal_if(generation, only_if).await
                }
                Some(Seal::Unconfirmed) => {
                    self.inner.seal_if(generation, only_if).await?;
                    Err(unknown())
                }
                None => self.inner.seal_if(generation, only_if).await,
            }
        })
    }
}

fn scripted(seals: &[Seal]) -> Arc<ScriptedStore> {
    Arc::new(ScriptedStore {
        inner: store(),
        seals: Mutex::new(seals.iter().copied().collect()),
        proceed: Notify::new(),
        asked: AtomicUsize::new(0),
        deliveries_hang: false,
    })
}

/// Returns a cluster with `seals` as the script of its store.
fn start_with_seals(rest: &str, seals: &[Seal]) -> (Cluster, Arc<ScriptedStore>) {
    let store = scripted(seals);
    let cluster = start_on(store.clone(), spec(&format!("{rest}{PEERS}")), vec![]);
    (cluster, store)
}

/// Waits until the number of requested seals is `times`.
async fn asked_to_seal(store: &ScriptedStore, times: usize) {
    while store.asked.load(Ordering::Relaxed) < times {
        // Advance the clock explicitly: a paused clock does not advance while a blocking thread works.
        advance(Duration::from_millis(1)).await;
        tokio::task::yield_now().await;
    }
}

/// Waits until a registered node receives `reason`.
async fn reason_is(cluster: &Cluster, name: &str, reason: &str) {
    for _ in 0..10_000 {
        if message_of(cluster.answer(name)) == reason {
            return;
        }
        advance(Duration::from_millis(1)).await;
        tokio::task::yield_now().await;
    }
    panic!("still {}", message_of(cluster.answer(name)));
}

#[tokio::test(start_paused = true)]
async fn deadline_fires_while_a_seal_hangs() {
    let (cluster, store) = start_with_seals("ready: {nodes: 1, deadline: 5m}", &[Seal::Hang]);
    cluster.add("a").await;
    asked_to_seal(&store, 1).await;
    match cluster.fetch("a").await {
        Answer::Failed(failure) => assert_eq!(
            failure.reason,
            "not ready within 5m: 1/1; seal: the store has not answered yet"
        ),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn quick_seal_at_the_deadline_is_in_time() {
    let (cluster, store) = start_with_seals("ready: {nodes: 1, deadline: 100ms}", &[Seal::Wait]);
    cluster.add("a").await;
    asked_to_seal(&store, 1).await;
    advance(Duration::from_millis(500)).await;
    store.proceed.notify_one();
    assert_eq!(number(&cluster.files("a").await), 1);
}

#[tokio::test(start_paused = true)]
async fn reload_and_publishing_work_while_a_seal_hangs() {
    let (cluster, store) = start_with_seals("ready: {nodes: 1}", &[Seal::Wait]);
    cluster.add("a").await;
    asked_to_seal(&store, 1).await;
    reason_is(
        &cluster,
        "a",
        "not ready: 1/1; seal: the store has not answered yet",
    )
    .await;
    cluster.add("b").await;
    reason_is(
        &cluster,
        "b",
        "not ready: 2 registered (1 needed); seal: the store has not answered yet",
    )
    .await;
    let changed = PEERS.replace("path: peers", "path: members");
    let changed = spec(&format!("ready: {{nodes: [a, b, c]}}{changed}"));
    cluster.reload(changed).await.unwrap();
    reason_is(
        &cluster,
        "a",
        "not ready: 2/3, missing c; seal: the store has not answered yet",
    )
    .await;
    store.proceed.notify_one();
    let first = cluster.files("a").await;
    assert_eq!(
        (number(&first), text(&first, "peers").as_str()),
        (1, "0:a@10.0.0.1 ")
    );
    cluster.add("c").await;
    let later = Instant::now() + Duration::from_mins(1);
    let second = received(cluster.wait("a", first.digest, later).await);
    assert_eq!(number(&second), 2);
    assert_eq!(
        text(&second, "members"),
        "0:a@10.0.0.1 1:b@10.0.0.1 2:c@10.0.0.1 "
    );
}

#[tokio::test(start_paused = true)]
async fn hanging_delivery_records_delay_nothing() {
    let store = Arc::new(ScriptedStore {
        deliveries_hang: true,
        ..Arc::into_inner(scripted(&[])).unwrap()
    });
    let rest = format!("ready: {{nodes: 1}}{PEERS}");
    let cluster = start_on(store, spec(&rest), vec![]);
    cluster.add("a").await;
    cluster.files("a").await;
    advance(Duration::from_secs(10)).await;
    cluster.add("b").await;
    assert_eq!(number(&cluster.files("b").await), 2);
}

#[tokio::test(start_paused = true)]
async fn unconfirmed_seal_that_took_effect_is_found_by_the_retry() {
    let (cluster, store) = start_with_seals(
        "ready: {nodes: 1}\nonce: {c: random_hex(8)}",
        &[Seal::Unconfirmed],
    );
    cluster.add("a").await;
    let payload = cluster.files("a").await;
    assert_eq!(number(&payload), 1);
    let kept = store.inner.state().generation().cloned().unwrap();
    assert_eq!(Some(kept.nodes["a"].digest), payload.digest);
    advance(Duration::from_mins(1)).await;
    cluster.evaluated("a").await;
    assert_eq!(cluster.generations().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn seal_that_took_no_effect_is_retried_with_the_same_generation() {
    for script in [Seal::LostUnconfirmed, Seal::Unavailable] {
        let renders = Arc::new(AtomicUsize::new(0));
        let counted = {
            let renders = renders.clone();
            Scripted(move |snapshot: &RegistrationSnapshot| {
                let render = renders.fetch_add(1, Ordering::Relaxed);
                Ok(one_file_each(snapshot, &render.to_string()))
            })
        };
        let store = scripted(&[script, script]);
        let rest = format!("ready: {{nodes: 1}}{PEERS}");
        let cluster = start_on(store.clone(), spec(&rest), vec![Arc::new(counted)]);
        cluster.add("a").await;
        let payload = cluster.files("a").await;
        assert_eq!(
            (number(&payload), text(&payload, "file").as_str()),
            (1, "0"),
            "{script:?}"
        );
        assert_eq!(store.asked.load(Ordering::Relaxed), 3, "{script:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn waiting_nodes_get_the_reason_why_a_seal_is_retried() {
    for (script, clause) in [
        (
            Seal::LostUnconfirmed,
            "seal: the store did not confirm it; trying again",
        ),
        (
            Seal::Unavailable,
            "seal: the store is unavailable; trying again",
        ),
    ] {
        let (cluster, store) = start_with_seals("ready: {nodes: 1}", &[script, Seal::Hang]);
        cluster.add("a").await;
        asked_to_seal(&store, 1).await;
        reason_is(&cluster, "a", &format!("not ready: 1/1; {clause}")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn generation_of_another_server_is_adopted() {
    let store = store();
    let rest = format!("ready: {{nodes: 1}}{PEERS}");
    let reader = start_on(
        store.clone(),
        spec(&format!("ready: {{nodes: 99}}{PEERS}")),
        vec![],
    );
    let writer = start_on(store.clone(), spec(&rest), vec![]);
    writer.add("a").await;
    let sealed = writer.files("a").await;
    let adopted = reader.files("a").await;
    assert_eq!((number(&adopted), adopted.digest), (1, sealed.digest));
}

#[tokio::test(start_paused = true)]
async fn running_seal_is_finished_at_shutdown() {
    let store = scripted(&[Seal::Wait]);
    let (stop, stopped) = oneshot::channel::<()>();
    let (coordinator, reconciler) = Coordinator::new(
        store.clone(),
        spec(&format!("ready: {{nodes: 1}}{PEERS}")),
        vec![],
        Config::default(),
        WallClock::from_fn(|| Timestamp::UNIX_EPOCH),
        async {
            let _ = stopped.await;
        },
    );
    let reconciler = tokio::spawn(reconciler);
    coordinator.register(node("a", "10.0.0.1")).await.unwrap();
    asked_to_seal(&store, 1).await;
    stop.send(()).unwrap();
    store.proceed.notify_one();
    reconciler.await.unwrap();
    let sealed = store.inner.state().generation().map(|sealed| sealed.number);
    assert_eq!(sealed, Some(GenerationNumber(1)));
}
