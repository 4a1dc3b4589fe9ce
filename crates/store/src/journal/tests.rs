//! Tests of the journal as a store: the conformance suite on a real disk, and the errors that callers receive. The
//! suite also runs with a restart after every change.

use std::{
    path::Path,
    sync::Arc,
    task::{Context, Waker},
};

use tempfile::TempDir;
use tokio::sync::{Mutex, watch};

use super::{
    DirectoryConfig, DirectoryError, JournalStore, recover::recover, simulated_disk::SimulatedDisk,
};
use crate::{
    BoxFuture, Change, Commit, CommitError, Event, EventBounds, PublishedState, Relocation,
    SealCondition, SealOutcome, State, StateGuard, Store,
    conformance::{self, values},
    encoding::{
        generation_file,
        snapshot::{self, Instances},
    },
};
use cfgsync_model::{
    Digest, EventPosition, Generation, GenerationChanges, GenerationNumber, InputChange, Instance,
    NodeRegistration, Provenance, RenderTime, Revision, SealedReads, SpecSources, ValueReader,
};
use cfgsync_support::clock::Timestamp;

fn config(directory: &Path) -> DirectoryConfig {
    DirectoryConfig {
        directory: directory.to_owned(),
        cluster: "devnet".to_owned(),
        history: 3,
        relocation: Relocation::Unstated,
        event_bounds: EventBounds::default(),
    }
}

/// A journal in a temporary directory.
struct TemporaryJournal {
    journal: JournalStore,
    _directory: TempDir,
}

impl TemporaryJournal {
    fn new() -> Arc<Self> {
        let directory = tempfile::tempdir().unwrap();
        Arc::new(Self {
            journal: JournalStore::open(&config(directory.path())).unwrap(),
            _directory: directory,
        })
    }
}

impl Store for TemporaryJournal {
    fn instance(&self) -> Instance {
        self.journal.instance()
    }

    fn state(&self) -> StateGuard {
        self.journal.state()
    }

    fn follow(&self) -> watch::Receiver<Revision> {
        self.journal.follow()
    }

    fn apply(&self, changes: Vec<Change>) -> BoxFuture<'_, Result<Commit, CommitError>> {
        self.journal.apply(changes)
    }

    fn seal_if(
        &self,
        generation: Arc<Generation>,
        only_if: SealCondition,
    ) -> BoxFuture<'_, Result<SealOutcome, CommitError>> {
        self.journal.seal_if(generation, only_if)
    }
}

/// A journal that is closed and reopened after every change. It must then have the same state.
struct RestartingJournal {
    directory: TempDir,
    instance: Instance,
    journal: Mutex<Option<JournalStore>>,
    published: PublishedState,
}

impl RestartingJournal {
    fn new() -> Arc<Self> {
        let directory = tempfile::tempdir().unwrap();
        let journal = JournalStore::open(&config(directory.path())).unwrap();
        Arc::new(Self {
            instance: journal.instance(),
            published: PublishedState::new(journal.state().into_arc()),
            journal: Mutex::new(Some(journal)),
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
        self.published.publish(after.into_arc());
        done
    }
}

impl Store for RestartingJournal {
    fn instance(&self) -> Instance {
        self.instance
    }

    fn state(&self) -> StateGuard {
        self.published.state()
    }

    fn follow(&self) -> watch::Receiver<Revision> {
        self.published.follow()
    }

    fn apply(&self, changes: Vec<Change>) -> BoxFuture<'_, Result<Commit, CommitError>> {
        Box::pin(self.change(async move |journal: &JournalStore| journal.apply(changes).await))
    }

    fn seal_if(
        &self,
        generation: Arc<Generation>,
        only_if: SealCondition,
    ) -> BoxFuture<'_, Result<SealOutcome, CommitError>> {
        Box::pin(
            self.change(async move |journal: &JournalStore| {
                journal.seal_if(generation, only_if).await
            }),
        )
    }
}

/// Checks that two states are equal, with all files. Their event histories may differ.
pub(super) fn assert_same(one: &State, other: &State) {
    let instances = Instances {
        log: Instance::from_bytes([0; 16]),
        state: Instance::from_bytes([0; 16]),
    };
    assert_eq!(
        snapshot::to_file(instances, one, 3),
        snapshot::to_file(instances, other, 3),
        "{one:?}\n{other:?}"
    );
    let files = |state: &State| -> Vec<_> {
        let generations = state.generations.iter();
        generations.map(|g| generation_file::to_file(g)).collect()
    };
    assert_eq!(files(one), files(other));
    assert_eq!(one.metadata_total_bytes, other.metadata_total_bytes);
}

/// Returns two handles of one store, because only one server can open a directory.
fn twice<S>(store: Arc<S>) -> [Arc<S>; 2] {
    [store.clone(), store]
}

#[tokio::test]
async fn conforms() {
    conformance::check(async || twice(TemporaryJournal::new())).await;
}

#[tokio::test]
async fn conforms_with_a_restart_after_every_change() {
    conformance::check(async || twice(RestartingJournal::new())).await;
}

#[test]
fn second_server_is_told_which_process_uses_the_directory() {
    let directory = tempfile::tempdir().unwrap();
    let _first = JournalStore::open(&config(directory.path())).unwrap();
    let second = JournalStore::open(&config(directory.path())).err();
    let own = std::process::id();
    assert!(
        matches!(second, Some(DirectoryError::InUse { pid, .. }) if pid == Some(own)),
        "{second:?}"
    );
}

#[test]
fn second_server_is_refused_after_the_lock_file_was_removed() {
    let directory = tempfile::tempdir().unwrap();
    let _first = JournalStore::open(&config(directory.path())).unwrap();
    std::fs::remove_file(directory.path().join("lock")).unwrap();
    let second = JournalStore::open(&config(directory.path())).err();
    assert!(
        matches!(second, Some(DirectoryError::InUse { pid: None, .. })),
        "{second:?}"
    );
}

#[tokio::test]
async fn removed_log_acknowledges_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let journal = JournalStore::open(&config(directory.path())).unwrap();
    std::fs::remove_file(directory.path().join("log")).unwrap();
    let node =
        NodeRegistration::without_metadata("a".parse().unwrap(), "10.0.0.1".parse().unwrap());
    journal
        .apply(vec![Change::register(node)])
        .await
        .unwrap_err();
    let reason = journal.failed().await;
    assert!(reason.contains("the file was removed"), "{reason}");
}

#[tokio::test]
async fn changes_share_one_sync_and_are_invisible_before_it() {
    let disk = SimulatedDisk::default();
    let directory = Path::new("simulated");
    let journal = JournalStore::open_on(Arc::new(disk.clone()), &config(directory)).unwrap();
    // Tokio makes a task yield after this number of channel operations.
    let mut registrations: Vec<_> = (0..50)
        .map(|at| {
            let name = format!("n{at}").parse().unwrap();
            let node = NodeRegistration::without_metadata(name, "10.0.0.1".parse().unwrap());
            journal.apply(vec![Change::register(node)])
        })
        .collect();
    disk.while_blocked(|| {
        for registration in &mut registrations {
            let polled = registration
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()));
            assert!(polled.is_pending());
        }
        assert!(journal.state().registrations.is_empty());
    });
    for registration in registrations {
        assert!(matches!(registration.await, Ok(commit) if commit.is_changed()));
    }
    assert_eq!(journal.state().registrations.len(), 50);
    let frames = recover(&disk).unwrap().unwrap().log.frames;
    assert!(frames <= 2, "{frames}");
}

#[tokio::test]
async fn failed_sync_fails_the_store_with_its_reason() {
    let disk = SimulatedDisk::default();
    let directory = Path::new("simulated");
    let journal = JournalStore::open_on(Arc::new(disk.clone()), &config(directory)).unwrap();
    let register = |name: &str| {
        let ip = "10.0.0.1".parse().unwrap();
        vec![Change::register(NodeRegistration::without_metadata(
            name.parse().unwrap(),
            ip,
        ))]
    };
    journal.apply(register("a")).await.unwrap();
    disk.fail_syncs();
    let unknown = journal.apply(register("b")).await;
    assert!(
        matches!(unknown, Err(CommitError::Unknown(_))),
        "{unknown:?}"
    );
    let reason = journal.failed().await;
    assert!(reason.starts_with("cannot sync simulated/log"), "{reason}");
    // The store accepts no more changes, and acknowledged changes stay visible.
    let refused = journal.apply(register("a")).await;
    assert!(
        matches!(refused, Err(CommitError::Unavailable(_))),
        "{refused:?}"
    );
    let state = journal.state();
    assert!(state.registrations.contains_key("a") && !state.registrations.contains_key("b"));
}

#[test]
fn directory_of_another_cluster_or_program_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    drop(JournalStore::open(&config(directory.path())).unwrap());
    let other = DirectoryConfig {
        cluster: "other".to_owned(),
        ..config(directory.path())
    };
    assert!(matches!(
        JournalStore::open(&other).err(),
        Some(DirectoryError::AnotherCluster { .. })
    ));
    let shared = tempfile::tempdir().unwrap();
    let open_to_all = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(shared.path(), open_to_all).unwrap();
    std::fs::write(shared.path().join("theirs"), "x").unwrap();
    assert!(matches!(
        JournalStore::open(&config(shared.path())).err(),
        Some(DirectoryError::Exposed { mode: 0o755, .. })
    ));
    assert_eq!(std::fs::read_dir(shared.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn raised_history_does_not_need_removed_generations() {
    let directory = tempfile::tempdir().unwrap();
    let open = |history| {
        JournalStore::open(&DirectoryConfig {
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
        assert!(matches!(sealed.await, Ok(SealOutcome::Won)));
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
    // A shorter history takes effect at the next seal, so that the log agrees with the files that are removed.
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

#[tokio::test]
async fn events_come_back_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let open = |events_max| {
        JournalStore::open(&DirectoryConfig {
            event_bounds: EventBounds {
                events_max,
                ..EventBounds::default()
            },
            ..config(directory.path())
        })
        .unwrap()
    };
    let all_of = |journal: &JournalStore| -> Option<Vec<(EventPosition, Event)>> {
        let start = EventPosition::after(Revision(0));
        let events = journal.state().events_behind(start)?;
        Some(
            events
                .map(|event| (event.position, (*event).clone()))
                .collect(),
        )
    };
    let journal = open(100);
    let register =
        |name: &str| Change::register(NodeRegistration::new(name, [10, 0, 0, 1]).unwrap());
    let batches = [
        vec![register("a"), register("b")],
        values::set(values::new_value("k", "1", 0)),
        values::set_alias("old", "k"),
        values::set(values::new_value("k", "2", 7)),
        values::delete("k", None),
        vec![Change::Remove {
            identifier: "a".parse().unwrap(),
            only_if: None,
            joiner: None,
        }],
    ];
    for batch in batches {
        journal.apply(batch).await.unwrap();
    }
    let sealed = journal.seal(conformance::generation(1, "x")).await;
    assert!(matches!(sealed, Ok(SealOutcome::Won)));
    let before = all_of(&journal);
    assert_eq!(before.as_ref().unwrap().len(), 8);
    drop(journal);
    let journal = open(100);
    assert_eq!(all_of(&journal), before);
    drop(journal);
    let journal = open(3);
    assert_eq!(all_of(&journal), None);
    let newest = Revision(journal.state().revision.0 - 3);
    assert_eq!(journal.state().events_after(newest).unwrap().count(), 3);
}

#[tokio::test]
async fn events_before_a_snapshot_come_back_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let open = || JournalStore::open(&config(directory.path())).unwrap();
    let journal = open();
    for at in 0..6 {
        let large = values::new_value("large", &"x".repeat(1 << 20), at);
        journal.apply(values::set(large)).await.unwrap();
    }
    journal.apply(values::delete("large", None)).await.unwrap();
    let events = |journal: &JournalStore| {
        let start = EventPosition::after(Revision(0));
        let events = journal.state().events_behind(start);
        events.map(|events| events.map(|event| (*event).clone()).collect::<Vec<_>>())
    };
    let before = events(&journal);
    assert_eq!(before.as_ref().unwrap().len(), 7);
    drop(journal);
    assert!(directory.path().join("snapshot").exists());
    assert_eq!(events(&open()), before);
    // Without the file, or with a damaged one, the history begins with the snapshot.
    let file = directory.path().join("events");
    std::fs::write(&file, "damaged").unwrap();
    let journal = open();
    assert_eq!(
        (events(&journal), journal.state().revision),
        (None, Revision(7))
    );
    drop(journal);
    std::fs::remove_file(&file).unwrap();
    assert_eq!(events(&open()), None);
}

#[tokio::test]
async fn provenance_of_a_seal_and_times_of_deliveries_come_back_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let open = || JournalStore::open(&config(directory.path())).unwrap();
    let values = ValueReader::default();
    values.get("prod", "absent").unwrap();
    let reads = values.reads();
    let provenance = Arc::new(Provenance {
        render: Some(RenderTime {
            started_at: Timestamp::UNIX_EPOCH,
            took_micros: 1500,
        }),
        sources: Some(SpecSources::new(Digest::of(b"spec"), [])),
        changes: Some(GenerationChanges::new(vec![InputChange::SpecChanged], true)),
        reads: SealedReads::of(&reads),
    });
    let journal = open();
    let node = NodeRegistration::new("a", [10, 0, 0, 1]).unwrap();
    journal.apply(vec![Change::register(node)]).await.unwrap();
    for number in 1..=2 {
        let plain = conformance::generation(number, &number.to_string());
        let generation = Generation {
            provenance: provenance.clone(),
            ..Generation::clone(&plain)
        };
        journal.seal(Arc::new(generation)).await.unwrap();
    }
    let at = Timestamp::from_second(7).unwrap();
    let deliver = Change::Deliver {
        identifier: "a".parse().unwrap(),
        generation: GenerationNumber(2),
        at: Some(at),
    };
    journal.apply(vec![deliver]).await.unwrap();
    let check = |journal: &JournalStore| {
        let state = journal.state();
        let all = state.generations.iter();
        assert!(all.map(|one| &one.provenance).eq([&provenance; 2]));
        let mut events = state
            .events_behind(EventPosition::after(Revision(0)))
            .unwrap();
        let delivered = events.find(|event| event.kind.name() == "delivered");
        assert_eq!(delivered.unwrap().at, Some(at));
    };
    drop(journal);
    let journal = open();
    check(&journal);
    for version in 0..6 {
        let large = values::new_value("large", &"x".repeat(1 << 20), version);
        journal.apply(values::set(large)).await.unwrap();
    }
    drop(journal);
    assert!(directory.path().join("snapshot").exists());
    check(&open());
}
