//! A state that is copied from a directory to a real etcd and back is the same state.

use std::path::Path;

use crate::etcd::Etcd;
use cfgsync_etcd::{EtcdErrorKind, EtcdSource, EtcdStore, EtcdTarget};
use cfgsync_model::NodeRegistration;
use cfgsync_store::{
    Change, DirectoryConfig, DirectorySource, DirectoryTarget, EventBounds, Relocation, StateCopy,
    Store, StoreErrorKind, conformance,
};

fn directory(path: &Path) -> DirectoryConfig {
    DirectoryConfig {
        directory: path.to_owned(),
        cluster: "moving".to_owned(),
        history: 3,
        relocation: Relocation::Unstated,
        event_bounds: EventBounds::default(),
    }
}

fn register(name: &str) -> Change {
    Change::register(NodeRegistration::new(name, [10, 0, 0, 1]).unwrap())
}

/// Registers nodes, and seals generations.
async fn use_store(store: &dyn Store, first: u64) {
    for number in first..first + 3 {
        let changes = vec![register(&format!("node-{number}"))];
        store.apply(changes).await.unwrap();
        let generation = conformance::generation(number, "mark");
        store.seal(generation).await.unwrap();
    }
}

fn assert_same(one: &StateCopy, other: &StateCopy) {
    assert_eq!(one.difference(other), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn state_moves_to_etcd_and_back() {
    let (etcd, place) = (Etcd::start().await, tempfile::tempdir().unwrap());
    let (first, last) = (place.path().join("first"), place.path().join("last"));
    let store = directory(&first).open().unwrap();
    use_store(&*store, 1).await;
    let (instance, revision) = (store.instance(), store.state().revision);
    store.close().await;
    drop(store);

    let source = DirectorySource::open(&first).unwrap();
    let mut target = EtcdTarget::open(etcd.config("moving")).await.unwrap();
    target.write(source.copy(), "first").await.unwrap();
    assert_same(source.copy(), &target.read_back().await.unwrap());

    // Until the copy is complete, etcd is refused, and the source is not marked.
    let refused = EtcdStore::open(etcd.config("moving")).await.err().unwrap();
    assert_eq!(refused.kind, EtcdErrorKind::Moved, "{refused}");
    drop((source, target));
    drop(directory(&first).open().unwrap());

    // The interrupted copy is started again, and is interrupted once more between the two marks.
    let source = DirectorySource::open(&first).unwrap();
    let mut target = EtcdTarget::open(etcd.config("moving")).await.unwrap();
    assert_eq!(target.incoming(), Some(instance));
    target.write(source.copy(), "first").await.unwrap();
    source.mark_moved(&target.name()).unwrap();
    drop((source, target));
    let refused = directory(&first).open().err().unwrap();
    assert_eq!(refused.kind(), StoreErrorKind::Moved, "{refused}");
    let refused = EtcdStore::open(etcd.config("moving")).await.err().unwrap();
    assert_eq!(refused.kind, EtcdErrorKind::Moved, "{refused}");

    let source = DirectorySource::open(&first).unwrap();
    let mut target = EtcdTarget::open(etcd.config("moving")).await.unwrap();
    assert_eq!(source.moved_to(), Some(target.name().as_str()));
    target.write(source.copy(), "first").await.unwrap();
    target.complete(source.copy()).await.unwrap();
    let refused = EtcdTarget::open(etcd.config("moving")).await.err().unwrap();
    assert_eq!(refused.kind, EtcdErrorKind::NotEmpty, "{refused}");

    // The instance stays, and revisions go on above those of the source.
    let store = EtcdStore::open(etcd.config("moving")).await.unwrap();
    assert_eq!(
        (store.instance(), store.state().revision),
        (instance, revision)
    );
    let running = EtcdSource::open(etcd.config("moving")).await;
    if let Err(error) = running {
        assert_eq!(error.kind, EtcdErrorKind::InUse, "{error}");
    }
    use_store(&store, 4).await;
    assert!(store.state().revision > revision);
    store.close().await;
    drop(store);

    let source = EtcdSource::open(etcd.config("moving")).await.unwrap();
    let target = DirectoryTarget::open(&last).unwrap();
    target.write(source.copy(), "etcd").unwrap();
    assert_same(source.copy(), &target.read_back().unwrap());
    source.mark_moved("last").await.unwrap();
    let refused = directory(&last).open().err();
    assert!(refused.is_some(), "the target is locked while it is copied");
    target.complete().unwrap();
    let refused = EtcdStore::open(etcd.config("moving")).await.err().unwrap();
    assert_eq!(refused.kind, EtcdErrorKind::Moved, "{refused}");
    let copied = source.copy().state.revision;
    let store = directory(&last).open().unwrap();
    assert_eq!(
        (store.instance(), store.state().revision),
        (instance, copied)
    );
    use_store(&*store, 7).await;
    drop(store);

    // Moved data can be used again only as another instance.
    let restored = EtcdStore::open_restored(etcd.config("moving"))
        .await
        .unwrap();
    assert_ne!(restored.instance(), instance);
    assert_eq!(restored.state().generations.len(), 1);
    assert_eq!(restored.state().registrations.len(), 6);
    restored.apply(vec![register("more")]).await.unwrap();
    restored.close().await;
}
