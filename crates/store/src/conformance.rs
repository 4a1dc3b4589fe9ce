//! What every store must do, whatever it is made of. Each check gets a fresh store.

use std::{collections::BTreeMap, sync::Arc};

use super::{Bounds, Full, Input, Outcome, Record, Seal, Store};
use cfgsync_model::{
    ArtifactFile, ArtifactSet, Digest, Failure, FailureKind, Generation, GenerationNumber,
    NodeRegistration, Revision,
};
use cfgsync_support::clock::Timestamp;

/// Runs all checks against stores that `make` creates; each keeps at most three generations.
pub(super) async fn check<S: Store>(make: impl Fn() -> Arc<S>) {
    revisions_grow_with_every_change_and_with_nothing_else(&*make()).await;
    the_same_facts_again_change_nothing(&*make()).await;
    a_removal_may_insist_on_the_facts(&*make()).await;
    overrides_are_inputs(&*make()).await;
    records_are_not_inputs(&*make()).await;
    the_first_key_has_the_identifier(&*make()).await;
    registrations_find_room_or_change_nothing(&*make()).await;
    as_many_find_room_as_there_is_room_for(make()).await;
    states_are_immutable(&*make()).await;
    a_follower_learns_of_changes_that_came_before_it_looked(&*make()).await;
    one_of_many_concurrent_seals_wins(make()).await;
    history_is_bounded(&*make()).await;
    concurrent_registrations_are_all_kept(make()).await;
}

fn node(name: &str, ip: &str) -> NodeRegistration {
    NodeRegistration::without_metadata(name.parse().unwrap(), ip.parse().unwrap())
}

async fn register(store: &impl Store, name: &str, ip: &str) -> Outcome {
    store.put(Input::register(node(name, ip))).await.unwrap()
}

/// A generation without files.
pub(super) fn generation(number: u64, salt: &str) -> Arc<Generation> {
    Arc::new(Generation {
        number: GenerationNumber(number),
        digest: Digest::of(salt.as_bytes()),
        revision: Revision(0),
        spec: Digest::of(b"spec"),
        sealed_at: Timestamp::UNIX_EPOCH,
        nodes: BTreeMap::new(),
        shared: Arc::default(),
        seats: Arc::default(),
        once: Arc::default(),
    })
}

async fn revisions_grow_with_every_change_and_with_nothing_else(store: &impl Store) {
    let Outcome::Changed(first) = register(store, "a", "10.0.0.1").await else {
        panic!()
    };
    let Outcome::Changed(second) = register(store, "a", "10.0.0.2").await else {
        panic!()
    };
    assert!(Revision(0) < first && first < second);
    let state = store.state();
    assert!(state.inputs >= second && state.revision >= state.inputs);
    assert_eq!(state.registrations["a"].revision, second);
}

async fn the_same_facts_again_change_nothing(store: &impl Store) {
    let Outcome::Changed(first) = register(store, "a", "10.0.0.1").await else {
        panic!()
    };
    assert_eq!(
        register(store, "a", "10.0.0.1").await,
        Outcome::Unchanged(first)
    );
    assert_eq!(store.state().inputs, first);
}

async fn a_removal_may_insist_on_the_facts(store: &impl Store) {
    let remove = |only_if| Input::Remove {
        identifier: "a".parse().unwrap(),
        only_if,
    };
    assert_eq!(store.put(remove(None)).await.unwrap(), Outcome::Absent);
    register(store, "a", "10.0.0.1").await;
    let others = Some(node("a", "10.0.0.9"));
    assert_eq!(
        store.put(remove(others)).await.unwrap(),
        Outcome::OtherFacts
    );
    let own = Some(node("a", "10.0.0.1"));
    assert!(matches!(
        store.put(remove(own)).await.unwrap(),
        Outcome::Changed(_)
    ));
    assert!(store.state().registrations.is_empty());
}

async fn overrides_are_inputs(store: &impl Store) {
    let files = ArtifactSet::new(vec![ArtifactFile::new("a".parse().unwrap(), "x")]).unwrap();
    let put = || Input::Override {
        identifier: "n".parse().unwrap(),
        files: files.clone(),
    };
    let Outcome::Changed(at) = store.put(put()).await.unwrap() else {
        panic!()
    };
    assert_eq!(store.put(put()).await.unwrap(), Outcome::Unchanged(at));
    let state = store.state();
    assert_eq!((state.inputs, state.override_inputs), (at, at));
    assert_eq!(*state.overrides["n"].files, files);
    let end = || Input::RemoveOverride("n".parse().unwrap());
    assert!(matches!(
        store.put(end()).await.unwrap(),
        Outcome::Changed(_)
    ));
    assert_eq!(store.put(end()).await.unwrap(), Outcome::Absent);
}

async fn records_are_not_inputs(store: &impl Store) {
    register(store, "a", "10.0.0.1").await;
    let before = store.state();
    let delivered = |name: &str| Record::Delivered {
        identifier: name.parse().unwrap(),
        generation: GenerationNumber(1),
    };
    let failure = Failure {
        kind: FailureKind::Operator,
        reason: "no".into(),
        at: Timestamp::UNIX_EPOCH,
    };
    store
        .record(vec![
            delivered("a"),
            delivered("stranger"),
            Record::Failed(failure),
        ])
        .await
        .unwrap();
    let state = store.state();
    assert!(state.revision > before.revision);
    assert_eq!(state.inputs, before.inputs);
    assert_eq!(state.deliveries.len(), 1);
    assert_eq!(state.failure.as_ref().unwrap().reason, "no");
    store.record(vec![Record::Reset]).await.unwrap();
    assert!(store.state().failure.is_none());
}

async fn the_first_key_has_the_identifier(store: &impl Store) {
    let claim = |name: &str| Record::Claimed {
        identifier: "a".parse().unwrap(),
        key: Digest::of(name.as_bytes()),
    };
    let before = store.state();
    for _ in 0..2 {
        store
            .record(vec![claim("first"), claim("second")])
            .await
            .unwrap();
        store.record(vec![claim("third")]).await.unwrap();
        assert_eq!(store.state().keys["a"], Digest::of(b"first"));
        // Whoever is taken out has the name still.
        register(store, "a", "10.0.0.1").await;
        let remove = Input::Remove {
            identifier: "a".parse().unwrap(),
            only_if: None,
        };
        store.put(remove).await.unwrap();
        assert_eq!(store.state().keys.len(), 1);
        let release = Record::Released("a".parse().unwrap());
        store.record(vec![release]).await.unwrap();
        assert!(store.state().keys.is_empty());
    }
    assert!(before.keys.is_empty());
}

async fn register_within(store: &impl Store, name: &str, text: &str, within: Bounds) -> Outcome {
    let registration = node(name, "10.0.0.1").with_metadata_value(text.into());
    let input = Input::Register {
        registration,
        within,
    };
    store.put(input).await.unwrap()
}

async fn registrations_find_room_or_change_nothing(store: &impl Store) {
    let within = Bounds {
        nodes_max: 2,
        // A text takes 64 beside its length.
        metadata_total_max_bytes: 136,
    };
    let put = async |name: &str, text: &str| register_within(store, name, text, within).await;
    let no_room_for_metadata = Outcome::Full(Full::Metadata { max_bytes: 136 });
    let Outcome::Changed(first) = put("a", "12345678").await else {
        panic!()
    };
    assert_eq!(put("b", "1").await, no_room_for_metadata);
    assert_eq!(store.state().revision, first);
    assert!(matches!(put("b", "").await, Outcome::Changed(_)));
    assert_eq!(put("b", "1").await, no_room_for_metadata);
    assert_eq!(put("c", "").await, Outcome::Full(Full::Nodes { max: 2 }));
    assert_eq!(put("a", "12345678").await, Outcome::Unchanged(first));
    assert_eq!(store.state().metadata_total_bytes, 136);

    // What is there beyond the bounds stays, and may change as long as it does not grow.
    assert!(matches!(
        register(store, "c", "10.0.0.1").await,
        Outcome::Changed(_)
    ));
    let grown = register_within(store, "a", "1234567890", Bounds::NONE).await;
    assert!(matches!(grown, Outcome::Changed(_)));
    assert_eq!(store.state().metadata_total_bytes, 138);
    assert!(matches!(put("a", "abcdefghij").await, Outcome::Changed(_)));
    assert_eq!(put("a", "abcdefghijk").await, no_room_for_metadata);
    assert!(matches!(put("a", "abc").await, Outcome::Changed(_)));
    let remove = Input::Remove {
        identifier: "a".parse().unwrap(),
        only_if: None,
    };
    store.put(remove).await.unwrap();
    assert_eq!(store.state().metadata_total_bytes, 64);
}

async fn as_many_find_room_as_there_is_room_for(store: Arc<impl Store>) {
    for (prefix, text, within, room) in [
        (
            "n",
            "",
            Bounds {
                nodes_max: 10,
                ..Bounds::NONE
            },
            10,
        ),
        // Those before take 640 bytes, and each of these takes 66.
        (
            "m",
            "12",
            Bounds {
                metadata_total_max_bytes: 1_110,
                ..Bounds::NONE
            },
            7,
        ),
    ] {
        let mut tasks = tokio::task::JoinSet::new();
        for at in 0..64 {
            let store = store.clone();
            let name = format!("{prefix}{at}");
            tasks.spawn(async move { register_within(&*store, &name, text, within).await });
        }
        let outcomes = tasks.join_all().await;
        let accepted = outcomes
            .iter()
            .filter(|outcome| matches!(outcome, Outcome::Changed(_)));
        assert_eq!(accepted.count(), room, "{within:?}");
    }
    let state = store.state();
    assert_eq!(
        (state.registrations.len(), state.metadata_total_bytes),
        (17, 1_102)
    );
}

async fn states_are_immutable(store: &impl Store) {
    register(store, "a", "10.0.0.1").await;
    let held = store.state();
    register(store, "b", "10.0.0.2").await;
    assert_eq!(
        (held.registrations.len(), store.state().registrations.len()),
        (1, 2)
    );
}

async fn a_follower_learns_of_changes_that_came_before_it_looked(store: &impl Store) {
    let mut follower = store.follow();
    register(store, "a", "10.0.0.1").await;
    register(store, "b", "10.0.0.2").await;
    follower.changed().await.unwrap();
    assert_eq!(*follower.borrow_and_update(), store.state().revision);
}

async fn one_of_many_concurrent_seals_wins(store: Arc<impl Store>) {
    let mut seals = tokio::task::JoinSet::new();
    for salt in 0..16 {
        let store = store.clone();
        seals.spawn(async move {
            let mine = generation(1, &salt.to_string());
            (mine.digest, store.seal(mine).await)
        });
    }
    let answers = seals.join_all().await;
    let sealed = store.state().generation().unwrap().digest;
    let mut won = 0;
    for (mine, answer) in answers {
        match answer {
            Seal::Won => {
                won += 1;
                assert_eq!(mine, sealed);
            }
            Seal::Lost(winner) => assert_eq!(winner.digest, sealed),
            Seal::Unavailable(error) => panic!("{error}"),
        }
    }
    assert_eq!(won, 1);
}

async fn history_is_bounded(store: &impl Store) {
    for number in 1..=5 {
        assert!(matches!(
            store.seal(generation(number, "")).await,
            Seal::Won
        ));
    }
    assert!(
        matches!(store.seal(generation(7, "")).await, Seal::Lost(_)),
        "a gap"
    );
    let kept: Vec<u64> = store
        .state()
        .generations
        .iter()
        .map(|g| g.number.0)
        .collect();
    assert_eq!(kept, [3, 4, 5]);
}

async fn concurrent_registrations_are_all_kept(store: Arc<impl Store>) {
    let mut tasks = tokio::task::JoinSet::new();
    for at in 0..64 {
        let store = store.clone();
        tasks.spawn(async move { register(&*store, &format!("n{at}"), "10.0.0.1").await });
    }
    tasks.join_all().await;
    let state = store.state();
    assert_eq!(state.registrations.len(), 64);
    let mut revisions: Vec<_> = state.registrations.values().map(|r| r.revision).collect();
    revisions.sort();
    revisions.dedup();
    assert_eq!(
        revisions.len(),
        64,
        "every accepted change has a revision of its own"
    );
}
