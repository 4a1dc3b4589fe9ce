//! A state that is copied from a directory to a real etcd and back is the same state.

use std::{path::Path, sync::Arc, time::Duration};

use crate::etcd::Etcd;
use cfgsync_etcd::{EtcdErrorKind, EtcdSource, EtcdStore, EtcdTarget};
use cfgsync_model::{
    Alias, ArtifactFile, ArtifactSet, ClaimId, Digest, Generation, GenerationNumber, NodeFiles,
    NodeRegistration, ValueType, ValueVersion, WriteMode,
};
use cfgsync_store::{
    Bounds, Change, DirectoryConfig, DirectorySource, DirectoryTarget, EventBounds, NewClaim,
    NewReport, PhaseBounds, Relocation, RunChange, SetValue, StateCopy, StoppedRollout, Store,
    StoreErrorKind, ValueBounds, ValueChange, conformance,
};
use cfgsync_support::clock::Timestamp;

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

fn set(key: &str, text: String, value_type: ValueType) -> Change {
    Change::Value(ValueChange::Set(SetValue {
        namespace: "prod".parse().unwrap(),
        key: key.parse().unwrap(),
        content: ValueVersion {
            bytes: text.into(),
            codec: "text".parse().unwrap(),
            value_type,
            version: 0,
            created_at: Timestamp::UNIX_EPOCH,
            updated_at: Timestamp::UNIX_EPOCH,
            expires_at: None,
        },
        mode: WriteMode::Upsert,
        if_version: None,
        within: ValueBounds::NONE,
    }))
}

/// Returns changes of all that a state has besides registrations. Those of another `number` change something again.
fn changes_of(number: u64) -> Vec<Change> {
    let file = ArtifactFile::new("a".parse().unwrap(), format!("by hand {number}"));
    let node = || format!("node-{number}").parse().unwrap();
    vec![
        set("open", format!("value {number}"), ValueType::String),
        set("secret", format!("secret {number}"), ValueType::Secret),
        Change::Value(ValueChange::Delete {
            namespace: "prod".parse().unwrap(),
            key: "secret".parse().unwrap(),
            if_version: None,
        }),
        Change::Value(ValueChange::SetAlias {
            name: format!("alias-{number}").parse().unwrap(),
            alias: Alias {
                target: "open".parse().unwrap(),
                created_at: Timestamp::UNIX_EPOCH,
            },
            within: ValueBounds::NONE,
        }),
        Change::Override {
            identifier: node(),
            files: ArtifactSet::new(vec![file]).unwrap(),
        },
        Change::Claim {
            identifier: node(),
            key: Digest::of(b"key"),
            within: Bounds::NONE,
        },
        Change::Ban {
            identifier: format!("banned-{number}").parse().unwrap(),
            within: Bounds::NONE,
        },
        Change::Report(NewReport {
            identifier: node(),
            phase: "healthy".parse().unwrap(),
            generation: GenerationNumber(number),
            reason: Some("checked".into()),
            at: Timestamp::UNIX_EPOCH,
            within: PhaseBounds::NONE,
        }),
        Change::Run(RunChange::Claim(NewClaim {
            name: format!("run-{number}").parse().unwrap(),
            generation: GenerationNumber(0),
            runner: node(),
            claim: ClaimId([7; 16]),
            tries_max: 3,
            replaces: None,
            at: Timestamp::UNIX_EPOCH,
            runs_max: 100,
        })),
        Change::StopRollout(StoppedRollout {
            generation: GenerationNumber(number),
            reason: Some("a node has failed".into()),
        }),
    ]
}

fn generation(number: u64) -> Arc<Generation> {
    let file = ArtifactFile::new("a".parse().unwrap(), format!("file of {number}"));
    let files = NodeFiles {
        local: ArtifactSet::new(vec![file]).unwrap(),
        digest: Digest::of(b"payload"),
    };
    let nodes = [(format!("node-{number}").parse().unwrap(), files)];
    Arc::new(Generation {
        nodes: nodes.into_iter().collect(),
        ..Generation::clone(&conformance::generation(number, &format!("mark {number}")))
    })
}

/// Registers nodes, seals generations, and changes everything else.
async fn use_store(store: &dyn Store, first: u64) {
    for number in first..first + 3 {
        let changes = vec![register(&format!("node-{number}"))];
        store.apply(changes).await.unwrap();
        store.seal(generation(number)).await.unwrap();
        store.apply(changes_of(number)).await.unwrap();
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
    use_store(&store, 4).await;
    while store.servers().is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let running = EtcdSource::open(etcd.config("moving")).await;
    let refused = running.err().unwrap();
    assert_eq!(refused.kind, EtcdErrorKind::InUse, "{refused}");
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
