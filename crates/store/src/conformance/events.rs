//! Checks of events: followers see each event once and in order, and the history is bounded.

use std::{collections::BTreeMap, sync::Arc};

use super::{Handles, accepted, apply, claim, deliver, generation, id, node, register, remove};
use crate::{Change, Event, EventBounds, EventKind, State, Store};
use cfgsync_model::{Identifier, NodeRegistration, Revision};

/// The number of changes in one batch that every store must accept.
const BATCH_CHANGES: usize = 64;

/// Returns all events of `state` after `revision`.
fn events_after(state: &State, revision: Revision) -> Option<Vec<Event>> {
    let commits = state.events_after(revision)?;
    Some(commits.flat_map(|events| events.to_vec()).collect())
}

/// Two writers register, change and remove nodes while a follower of the second handle rebuilds the registrations from
/// events alone.
pub(super) async fn follower_sees_every_event_once_and_in_order<S: Store>(handles: Handles<S>) {
    let mut tasks = tokio::task::JoinSet::new();
    for (writer, store) in handles.iter().cloned().enumerate() {
        tasks.spawn(async move {
            let mut newest = Revision(0);
            for turn in 0..40 {
                let name = format!("n{writer}-{}", turn % 5);
                let changes = match turn % 4 {
                    3 => vec![remove(&format!("n{writer}-{}", (turn - 1) % 5))],
                    2 => vec![
                        Change::register(node(&name, "10.0.0.1")),
                        Change::register(node(&format!("m{writer}-{turn}"), "10.0.0.1")),
                    ],
                    _ => vec![Change::register(node(&name, &format!("10.0.1.{turn}")))],
                };
                newest = apply(&*store, changes).await.revision;
            }
            newest
        });
    }
    let store: Arc<S> = handles[1].clone();
    let mut follower = store.follow();
    let mut seen = Vec::new();
    let mut at = Revision(0);
    let mut rebuilt = BTreeMap::<Identifier, Arc<NodeRegistration>>::new();
    let mut read_newest = |at: &mut Revision| {
        let state = store.state();
        let events = events_after(&state, *at).expect("the history reaches back so far");
        for event in &events {
            match &event.kind {
                EventKind::NodeRegistered { registration } => {
                    rebuilt.insert(registration.identifier.clone(), registration.clone());
                }
                EventKind::NodeRemoved { identifier } => {
                    assert!(rebuilt.remove(identifier).is_some(), "{identifier}");
                }
                other => panic!("nothing wrote {other:?}"),
            }
        }
        let registrations = state.registrations.values();
        let expected: Vec<_> = registrations.map(|known| &known.registration).collect();
        assert_eq!(rebuilt.values().collect::<Vec<_>>(), expected);
        *at = state.revision;
        seen.extend(events);
    };
    let mut newest = Revision(0);
    loop {
        tokio::select! {
            biased;
            changed = follower.changed() => changed.expect("the store is open"),
            Some(last) = tasks.join_next() => newest = newest.max(last.unwrap()),
        }
        read_newest(&mut at);
        if tasks.is_empty() && at >= newest {
            break;
        }
    }
    let ids: Vec<_> = seen.iter().map(|e| (e.revision, e.part)).collect();
    assert!(ids.is_sorted_by(|one, next| one < next), "{ids:?}");
    for pair in ids.windows(2) {
        let ((before, part), (revision, next)) = (pair[0], pair[1]);
        let expected = if before == revision { part + 1 } else { 0 };
        assert_eq!(next, expected, "part of revision {revision}");
    }
    // Each writer makes 30 single registrations or removals and 10 batches of two.
    assert_eq!(seen.len(), 2 * (30 + 10 * 2));
    assert_eq!(Some(seen), events_after(&handles[1].state(), Revision(0)));
}

pub(super) async fn commit_answers_with_its_events(store: &impl Store) {
    let before = store.state().revision;
    let changes = vec![
        claim("a", "key"),
        Change::register(node("a", "10.0.0.1")),
        deliver("stranger", 1),
        deliver("a", 1),
    ];
    let commit = apply(store, changes).await;
    accepted(store.seal(generation(1, "")).await);
    let released = apply(store, vec![Change::Release(id("a"))]).await;
    let events = events_after(&store.state(), before).unwrap();
    let names: Vec<_> = events.iter().map(|event| event.kind.name()).collect();
    assert_eq!(
        names,
        [
            "name_claimed",
            "node_registered",
            "delivered",
            "generation_sealed",
            "name_released"
        ]
    );
    assert_eq!(events[..3], *commit.events);
    assert_eq!(events[4..], *released.events);
    assert!(commit.revision < events[3].revision && events[3].revision < released.revision);
}

pub(super) async fn history_reaches_back_a_bounded_number_of_events(store: &impl Store) {
    let names: Vec<_> = (0..BATCH_CHANGES).map(|at| format!("n{at}")).collect();
    let nodes = names.iter().map(|name| node(name, "10.0.0.1"));
    let registered = apply(store, nodes.map(Change::register).collect()).await;
    let state = store.state();
    let future = Revision(state.revision.0 + 1);
    assert!(state.events_after(future).is_none());
    assert_eq!(events_after(&state, state.revision), Some(vec![]));
    drop(state);

    // The registrations are the oldest events that still fit.
    let events_max = EventBounds::default().events_max;
    let batches = events_max / BATCH_CHANGES;
    for number in 1..batches {
        let number = number as u64;
        apply(
            store,
            names.iter().map(|name| deliver(name, number)).collect(),
        )
        .await;
    }
    let state = store.state();
    let all = events_after(&state, Revision(0)).expect("all events fit");
    assert_eq!(all.len(), events_max);
    assert_eq!(all[..BATCH_CHANGES], *registered.events);

    // One more event removes the oldest commit with all its events.
    register(store, "one-more", "10.0.0.1").await;
    let state = store.state();
    assert!(events_after(&state, Revision(0)).is_none());
    let rest = events_after(&state, registered.revision).expect("the rest fits");
    assert_eq!(rest.len(), events_max - BATCH_CHANGES + 1);
    assert_eq!(rest[..rest.len() - 1], all[BATCH_CHANGES..]);
}
