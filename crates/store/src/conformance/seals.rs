//! Checks of seals: compare-and-set on the newest generation, which is safe to repeat.

use std::sync::Arc;

use super::{Handles, accepted, apply, catch_up, generation, id, node, register, rejected, remove};
use crate::{Bounds, Change, CommitError, RejectionReason, SealCondition, SealOutcome, Store};
use cfgsync_model::{Digest, Generation, GenerationNumber, Origin, Revision};

async fn win(store: &impl Store, generation: Arc<Generation>) {
    let outcome = accepted(store.seal(generation).await);
    assert!(matches!(outcome, SealOutcome::Won), "{outcome:?}");
}

/// Seals a generation that must lose. Returns the generation that it lost to.
async fn lose(store: &impl Store, generation: Arc<Generation>) -> Arc<Generation> {
    match accepted(store.seal(generation).await) {
        SealOutcome::Lost(newest) => newest,
        outcome => panic!("expected the seal to lose, got {outcome:?}"),
    }
}

pub(super) async fn one_of_many_concurrent_seals_wins<S: Store>(handles: Handles<S>) {
    let mut seals = tokio::task::JoinSet::new();
    for salt in 0..16 {
        let store: Arc<S> = handles[salt % 2].clone();
        seals.spawn(async move {
            let mine = generation(1, &salt.to_string());
            let outcome = accepted(store.seal(mine.clone()).await);
            let shown = store.state().generation().expect("one is sealed").digest;
            (mine.digest, outcome, shown)
        });
    }
    let answers = seals.join_all().await;
    let sealed = handles[0].state().generation().unwrap().digest;
    let mut won = 0;
    for (mine, outcome, shown) in answers {
        assert_eq!(shown, sealed);
        match outcome {
            SealOutcome::Won => {
                won += 1;
                assert_eq!(mine, sealed);
            }
            SealOutcome::Lost(winner) => assert_eq!(winner.digest, sealed),
            SealOutcome::Outdated => panic!("the seal has no condition"),
        }
    }
    assert_eq!(won, 1);
    catch_up(&*handles[1], handles[0].state().revision).await;
}

pub(super) async fn repeated_seal_is_won(store: &impl Store) {
    let first = generation(1, "first");
    win(store, first.clone()).await;
    let revision = store.state().revision;
    win(store, first.clone()).await;
    assert_eq!(store.state().revision, revision);
    win(store, generation(2, "second")).await;
    let revision = store.state().revision;
    // The seal of an older generation took effect, although a newer generation follows it.
    win(store, first).await;
    assert_eq!(store.state().revision, revision);
    let newest = lose(store, generation(1, "other")).await;
    assert_eq!(newest.number, GenerationNumber(2));
}

pub(super) async fn equal_files_with_other_drawn_values_lose(store: &impl Store) {
    let sealed = generation(1, "files");
    win(store, sealed.clone()).await;
    let mut other = Generation::clone(&sealed);
    Arc::make_mut(&mut other.once).insert("cookie".to_owned(), "other".into());
    let newest = lose(store, Arc::new(other)).await;
    assert!(newest.once.is_empty());
}

pub(super) async fn first_generation_has_number_one(store: &impl Store) {
    match store.seal(generation(2, "")).await {
        Err(CommitError::Rejected(rejection)) => assert_eq!(
            rejection.reason,
            RejectionReason::NotFirstGeneration(GenerationNumber(2))
        ),
        other => panic!("expected a rejection, got {other:?}"),
    }
    assert!(store.state().generation().is_none());
}

pub(super) async fn history_is_bounded(store: &impl Store) {
    for number in 1..=5 {
        win(store, generation(number, &number.to_string())).await;
    }
    let newest = lose(store, generation(7, "gap")).await;
    assert_eq!(newest.number, GenerationNumber(5));
    let state = store.state();
    let kept: Vec<u64> = state.generations.iter().map(|g| g.number.0).collect();
    assert_eq!(kept, [3, 4, 5]);
}

/// A first generation with this condition has every node that was acknowledged.
pub(super) async fn seal_can_require_that_no_registration_changed(store: &impl Store) {
    let only_if = |registrations| SealCondition {
        registrations: Some(registrations),
        same_spec: false,
    };
    let seen = register(store, "a", "10.0.0.1").await.revision;
    apply(store, vec![remove("a")]).await;
    let removed = store.state().registrations_revision;
    let first = generation(1, "one");
    for outdated in [Revision(0), seen] {
        let outcome = accepted(store.seal_if(first.clone(), only_if(outdated)).await);
        assert!(matches!(outcome, SealOutcome::Outdated), "{outcome:?}");
    }
    assert!(store.state().generation().is_none());
    let outcome = accepted(store.seal_if(first.clone(), only_if(removed)).await);
    assert!(matches!(outcome, SealOutcome::Won), "{outcome:?}");
    // A repeated request has taken effect, whatever has changed since.
    register(store, "b", "10.0.0.2").await;
    let outcome = accepted(store.seal_if(first, only_if(removed)).await);
    assert!(matches!(outcome, SealOutcome::Won), "{outcome:?}");
}

pub(super) async fn seal_can_require_the_spec_of_the_newest_generation(store: &impl Store) {
    let same_spec = SealCondition {
        registrations: None,
        same_spec: true,
    };
    let of_spec = |number, spec: &str| {
        Arc::new(Generation {
            spec: Digest::of(spec.as_bytes()),
            ..Generation::clone(&generation(number, &number.to_string()))
        })
    };
    for (number, spec, is_won) in [(1, "x", true), (2, "y", false), (2, "x", true)] {
        let outcome = accepted(store.seal_if(of_spec(number, spec), same_spec).await);
        assert_eq!(matches!(outcome, SealOutcome::Won), is_won, "{outcome:?}");
    }
    let outcome = accepted(store.seal(of_spec(3, "y")).await);
    assert!(matches!(outcome, SealOutcome::Won), "{outcome:?}");
}

/// Under `late: refuse`, a node that registers while a generation is sealed is in it or is rejected.
pub(super) async fn registration_can_require_that_nothing_is_sealed(store: &impl Store) {
    let early = |name: &str, ip: &str| {
        vec![Change::Register {
            registration: node(name, ip),
            origin: Origin::default(),
            within: Bounds::NONE,
            before_seal: true,
        }]
    };
    apply(store, early("a", "10.0.0.1")).await;
    accepted(store.seal(generation(1, "one")).await);
    let too_late = RejectionReason::TooLate(id("b"));
    assert_eq!(rejected(store, early("b", "10.0.0.2")).await, (0, too_late));
    let commit = apply(store, early("a", "10.0.0.3")).await;
    assert!(
        commit.is_changed(),
        "a registered node may change its facts"
    );
}
