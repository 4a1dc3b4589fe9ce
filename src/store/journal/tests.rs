//! The journal as a store on a real disk: the suite of all stores, also reopened after every step.

use std::{path::Path, sync::Arc};

use arc_swap::ArcSwap;
use tempfile::TempDir;
use tokio::sync::{Mutex, watch};

use super::{JournalConfig, JournalError, JournalStore, artifacts, snapshot};
use crate::{
    model::{Generation, Instance, Revision},
    store::{Input, Outcome, Promise, Record, Seal, State, Store, Unavailable, conformance},
};

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

    fn state(&self) -> Arc<State> {
        self.journal.state()
    }

    fn follow(&self) -> watch::Receiver<Revision> {
        self.journal.follow()
    }

    fn put(&self, input: Input) -> Promise<'_, Result<Outcome, Unavailable>> {
        self.journal.put(input)
    }

    fn record(&self, records: Vec<Record>) -> Promise<'_, Result<Revision, Unavailable>> {
        self.journal.record(records)
    }

    fn seal(&self, generation: Arc<Generation>) -> Promise<'_, Seal> {
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
            state: ArcSwap::new(journal.state()),
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

    fn state(&self) -> Arc<State> {
        self.state.load_full()
    }

    fn follow(&self) -> watch::Receiver<Revision> {
        self.changed.subscribe()
    }

    fn put(&self, input: Input) -> Promise<'_, Result<Outcome, Unavailable>> {
        Box::pin(self.change(async move |journal: &JournalStore| journal.put(input).await))
    }

    fn record(&self, records: Vec<Record>) -> Promise<'_, Result<Revision, Unavailable>> {
        Box::pin(self.change(async move |journal: &JournalStore| journal.record(records).await))
    }

    fn seal(&self, generation: Arc<Generation>) -> Promise<'_, Seal> {
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
