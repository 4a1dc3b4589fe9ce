//! The journal as a store on a real disk: the suite of all stores, also reopened after every step.

use std::{
    path::Path,
    sync::Arc,
    task::{Context, Waker},
};

use arc_swap::{ArcSwap, Guard};
use tempfile::TempDir;
use tokio::sync::{Mutex, watch};

use super::{
    JournalConfig, JournalError, JournalStore, artifacts, recover::recover,
    simulated_tests::Simulated, snapshot,
};
use crate::{
    BoxFuture, Input, Outcome, Record, Seal, State, StateGuard, Store, Unavailable, conformance,
};
use cfgsync_model::{Generation, Instance, NodeRegistration, Revision};

fn config(directory: &Path) -> JournalConfig {
    JournalConfig {
        directory: directory.to_owned(),
        cluster: "devnet".to_owned(),
        history: 3,
    }
}

/// A journal in a directory that goes with it.
struct Fresh {
    journal: JournalStore,
    _directory: TempDir,
}

impl Fresh {
    fn new() -> Arc<Self> {
        let directory = tempfile::tempdir().unwrap();
        Arc::new(Self {
            journal: JournalStore::open(&config(directory.path())).unwrap(),
            _directory: directory,
        })
    }
}

impl Store for Fresh {
    fn instance(&self) -> Instance {
        self.journal.instance()
    }

    fn state(&self) -> StateGuard {
        self.journal.state()
    }

    fn follow(&self) -> watch::Receiver<Revision> {
        self.journal.follow()
    }

    fn put(&self, input: Input) -> BoxFuture<'_, Result<Outcome, Unavailable>> {
        self.journal.put(input)
    }

    fn record(&self, records: Vec<Record>) -> BoxFuture<'_, Result<Revision, Unavailable>> {
        self.journal.record(records)
    }

    fn seal(&self, generation: Arc<Generation>) -> BoxFuture<'_, Seal> {
        self.journal.seal(generation)
    }
}

/// A journal that is closed and opened again after every change, and must be the same then.
struct Reopened {
    directory: TempDir,
    instance: Instance,
    journal: Mutex<Option<JournalStore>>,
    state: ArcSwap<State>,
    changed: watch::Sender<Revision>,
}

impl Reopened {
    fn new() -> Arc<Self> {
        let directory = tempfile::tempdir().unwrap();
        let journal = JournalStore::open(&config(directory.path())).unwrap();
        Arc::new(Self {
            instance: journal.instance(),
            state: ArcSwap::new(Guard::into_inner(journal.state())),
            journal: Mutex::new(Some(journal)),
            changed: watch::Sender::default(),
            directory,
        })
    }

    async fn change<T>(&self, change: impl AsyncFnOnce(&JournalStore) -> T) -> T {
        let mut slot = self.journal.lock().await;
        let journal = slot.take().unwrap();
        let done = change(&journal).await;
        let before = journal.state();
        drop(journal);
        let journal = JournalStore::open(&config(self.directory.path())).unwrap();
        assert_eq!(journal.instance(), self.instance);
        let after = journal.state();
        assert_same(&before, &after);
        *slot = Some(journal);
        if self.state.load().revision != after.revision {
            self.state.store(after.clone());
            self.changed.send_replace(after.revision);
        }
        done
    }
}

impl Store for Reopened {
    fn instance(&self) -> Instance {
        self.instance
    }

    fn state(&self) -> StateGuard {
        self.state.load()
    }

    fn follow(&self) -> watch::Receiver<Revision> {
        self.changed.subscribe()
    }

    fn put(&self, input: Input) -> BoxFuture<'_, Result<Outcome, Unavailable>> {
        Box::pin(self.change(async move |journal: &JournalStore| journal.put(input).await))
    }

    fn record(&self, records: Vec<Record>) -> BoxFuture<'_, Result<Revision, Unavailable>> {
        Box::pin(self.change(async move |journal: &JournalStore| journal.record(records).await))
    }

    fn seal(&self, generation: Arc<Generation>) -> BoxFuture<'_, Seal> {
        Box::pin(self.change(async move |journal: &JournalStore| journal.seal(generation).await))
    }
}

/// Whether two states are equal to the last byte.
pub(super) fn assert_same(one: &State, other: &State) {
    let instance = Instance::from_bytes([0; 16]);
    assert_eq!(
        snapshot::to_file(instance, one, 3),
        snapshot::to_file(instance, other, 3),
        "{one:?}\n{other:?}"
    );
    let files = |state: &State| -> Vec<_> {
        let generations = state.generations.iter();
        generations.map(|g| artifacts::to_file(g)).collect()
    };
    assert_eq!(files(one), files(other));
    assert_eq!(one.metadata_total_bytes, other.metadata_total_bytes);
}

#[tokio::test]
async fn conforms() {
    conformance::check(Fresh::new).await;
}

#[tokio::test]
async fn conforms_when_it_is_opened_again_after_every_change() {
    conformance::check(Reopened::new).await;
}

#[test]
fn a_second_server_is_told_who_holds_the_directory() {
    let directory = tempfile::tempdir().unwrap();
    let _first = JournalStore::open(&config(directory.path())).unwrap();
    let second = JournalStore::open(&config(directory.path())).err();
    let own = std::process::id();
    assert!(
        matches!(second, Some(JournalError::InUse { pid, .. }) if pid == Some(own)),
        "{second:?}"
    );
}

/// Whoever took the file with the number in it for stale let a second server in, and both wrote.
#[test]
fn a_second_server_stays_out_although_the_lock_was_removed() {
    let directory = tempfile::tempdir().unwrap();
    let _first = JournalStore::open(&config(directory.path())).unwrap();
    std::fs::remove_file(directory.path().join("lock")).unwrap();
    let second = JournalStore::open(&config(directory.path())).err();
    assert!(
        matches!(second, Some(JournalError::InUse { pid: None, .. })),
        "{second:?}"
    );
}

/// Changes were acknowledged that stood in a log which nobody would find again.
#[tokio::test]
async fn a_log_that_was_removed_takes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let journal = JournalStore::open(&config(directory.path())).unwrap();
    std::fs::remove_file(directory.path().join("log")).unwrap();
    let node =
        NodeRegistration::without_metadata("a".parse().unwrap(), "10.0.0.1".parse().unwrap());
    journal.put(Input::register(node)).await.unwrap_err();
    let reason = journal.broken().await;
    assert!(reason.contains("somebody has removed it"), "{reason}");
}

#[tokio::test]
async fn many_changes_share_one_sync_and_none_is_seen_before_it() {
    let disk = Simulated::default();
    let directory = Path::new("simulated");
    let journal = JournalStore::on(Arc::new(disk.clone()), &config(directory)).unwrap();
    // As many as one task may begin without a pause.
    let mut puts: Vec<_> = (0..50)
        .map(|at| {
            let name = format!("n{at}").parse().unwrap();
            let node = NodeRegistration::without_metadata(name, "10.0.0.1".parse().unwrap());
            journal.put(Input::register(node))
        })
        .collect();
    disk.while_it_hangs(|| {
        for put in &mut puts {
            let polled = put.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            assert!(polled.is_pending());
        }
        assert!(journal.state().registrations.is_empty());
    });
    for put in puts {
        assert!(matches!(put.await, Ok(Outcome::Changed(_))));
    }
    assert_eq!(journal.state().registrations.len(), 50);
    let batches = recover(&disk).unwrap().unwrap().log.batches;
    assert!(batches <= 2, "{batches}");
}

#[tokio::test]
async fn a_sync_that_fails_breaks_the_store_and_says_why() {
    let disk = Simulated::default();
    let directory = Path::new("simulated");
    let journal = JournalStore::on(Arc::new(disk.clone()), &config(directory)).unwrap();
    let register = |name: &str| {
        let ip = "10.0.0.1".parse().unwrap();
        Input::register(NodeRegistration::without_metadata(
            name.parse().unwrap(),
            ip,
        ))
    };
    journal.put(register("a")).await.unwrap();
    disk.fail_syncs();
    journal.put(register("b")).await.unwrap_err();
    let reason = journal.broken().await;
    assert!(
        reason.starts_with("simulated/log could not be synced"),
        "{reason}"
    );
    // Nothing is taken any more, and what was acknowledged is seen still.
    journal.put(register("a")).await.unwrap_err();
    let state = journal.state();
    assert!(state.registrations.contains_key("a") && !state.registrations.contains_key("b"));
}

#[test]
fn another_clusters_directory_and_one_that_others_use_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    drop(JournalStore::open(&config(directory.path())).unwrap());
    let other = JournalConfig {
        cluster: "other".to_owned(),
        ..config(directory.path())
    };
    assert!(matches!(
        JournalStore::open(&other).err(),
        Some(JournalError::AnotherCluster { .. })
    ));
    let shared = tempfile::tempdir().unwrap();
    let open_to_all = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(shared.path(), open_to_all).unwrap();
    std::fs::write(shared.path().join("theirs"), "x").unwrap();
    assert!(matches!(
        JournalStore::open(&config(shared.path())).err(),
        Some(JournalError::Exposed { mode: 0o755, .. })
    ));
    assert_eq!(std::fs::read_dir(shared.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn a_longer_history_does_not_ask_for_what_is_gone() {
    let directory = tempfile::tempdir().unwrap();
    let open = |history| {
        JournalStore::open(&JournalConfig {
            history,
            ..config(directory.path())
        })
        .unwrap()
    };
    let kept = |journal: &JournalStore| -> Vec<u64> {
        let state = journal.state();
        state.generations.iter().map(|g| g.number.0).collect()
    };
    let seal = async |journal: &JournalStore, number| {
        let sealed = journal.seal(conformance::generation(number, &number.to_string()));
        assert!(matches!(sealed.await, Seal::Won));
    };
    let journal = open(2);
    for number in 1..=4 {
        seal(&journal, number).await;
    }
    drop(journal);
    let journal = open(8);
    assert_eq!(kept(&journal), [3, 4]);
    seal(&journal, 5).await;
    drop(journal);
    // Fewer are kept from the next seal on, so that what is gone is what the log says is gone.
    let journal = open(1);
    assert_eq!(kept(&journal), [3, 4, 5]);
    drop(journal);
    let journal = open(8);
    assert_eq!(kept(&journal), [3, 4, 5]);
    drop(journal);
    let journal = open(1);
    seal(&journal, 6).await;
    assert_eq!(kept(&journal), [6]);
    drop(journal);
    assert_eq!(kept(&open(8)), [6]);
    let files = std::fs::read_dir(directory.path().join("generations"));
    assert_eq!(files.unwrap().count(), 1);
}
