//! Checks of batches: a batch takes effect completely or not at all, in order, at one revision.

use super::{apply, claim, deliver, id, node, register, rejected, remove};
use crate::{Change, EventKind, RejectionReason, Store};
use cfgsync_model::Digest;

pub(super) async fn rejected_batch_changes_nothing(store: &impl Store) {
    register(store, "a", "10.0.0.1").await;
    apply(store, vec![claim("a", "key"), deliver("a", 1)]).await;
    let before = store.state();
    let follower = store.follow();
    let changes = vec![
        Change::register(node("b", "10.0.0.2")),
        remove("a"),
        Change::Release(id("a")),
        claim("b", "key"),
        remove("nobody"),
        Change::register(node("c", "10.0.0.3")),
    ];
    let not_registered = RejectionReason::NotRegistered(id("nobody"));
    assert_eq!(rejected(store, changes).await, (4, not_registered));
    let after = store.state();
    assert_eq!(after.revision, before.revision);
    assert_eq!(after.registrations, before.registrations);
    assert_eq!(after.metadata_total_bytes, before.metadata_total_bytes);
    assert_eq!(after.deliveries, before.deliveries);
    assert_eq!(after.delivery_times, before.delivery_times);
    assert_eq!(after.keys, before.keys);
    let events = after.events_after(before.revision);
    assert_eq!(events.unwrap().count(), 0);
    assert!(!follower.has_changed().unwrap());
}

pub(super) async fn batch_takes_effect_in_order_at_one_revision(store: &impl Store) {
    let before = store.state().revision;
    let changes = vec![
        Change::register(node("a", "10.0.0.1")),
        Change::register(node("b", "10.0.0.2")),
        remove("a"),
        Change::register(node("b", "10.0.0.3")),
        deliver("b", 1),
    ];
    let commit = apply(store, changes).await;
    let state = store.state();
    assert!(commit.revision > before && state.revision == commit.revision);
    assert_eq!(state.registrations.len(), 1);
    let registered = &state.registrations["b"];
    assert_eq!(*registered.registration, node("b", "10.0.0.3"));
    assert_eq!(registered.revision, commit.revision);
    let names: Vec<_> = commit
        .events
        .iter()
        .map(|event| (event.revision, event.part, event.kind.name()))
        .collect();
    let at = commit.revision;
    assert_eq!(
        names,
        [
            (at, 0, "node_registered"),
            (at, 1, "node_registered"),
            (at, 2, "node_removed"),
            (at, 3, "node_registered"),
            (at, 4, "delivered"),
        ]
    );
}

pub(super) async fn claim_and_registration_are_one_decision(store: &impl Store) {
    let come = |key: &str, ip: &str| vec![claim("a", key), Change::register(node("a", ip))];
    let commit = apply(store, come("mine", "10.0.0.1")).await;
    let kinds = commit.events.iter().map(|event| &event.kind);
    assert!(
        matches!(
            kinds.collect::<Vec<_>>()[..],
            [
                EventKind::NameClaimed { .. },
                EventKind::NodeRegistered { .. }
            ]
        ),
        "{commit:?}"
    );
    let different_key = RejectionReason::DifferentKey(id("a"));
    assert_eq!(
        rejected(store, come("theirs", "10.0.0.2")).await,
        (0, different_key)
    );
    let state = store.state();
    assert_eq!(
        *state.registrations["a"].registration,
        node("a", "10.0.0.1")
    );
    assert_eq!(state.keys["a"], Digest::of(b"mine"));
    let again = apply(store, come("mine", "10.0.0.1")).await;
    assert!(!again.is_changed());
    assert_eq!(again.revision, commit.revision);
}

pub(super) async fn unchanged_batch_uses_no_revision(store: &impl Store) {
    let newest = register(store, "a", "10.0.0.1").await.revision;
    let follower = store.follow();
    let changes = vec![
        Change::register(node("a", "10.0.0.1")),
        deliver("stranger", 1),
        Change::Reset,
        Change::Release(id("a")),
    ];
    assert!(!apply(store, changes).await.is_changed());
    assert!(!apply(store, vec![]).await.is_changed());
    assert_eq!(store.state().revision, newest);
    assert!(!follower.has_changed().unwrap());
}
