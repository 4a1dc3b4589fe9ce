//! Checks of seals: compare-and-set on the newest generation, which is safe to repeat.

use std::sync::Arc;

use super::{Handles, accepted, catch_up, generation};
use crate::{CommitError, RejectionReason, SealOutcome, Store};
use cfgsync_model::{Generation, GenerationNumber};

async fn win(store: &impl Store, generation: Arc<Generation>) {
    let outcome = accepted(store.seal(generation).await);
    assert!(matches!(outcome, SealOutcome::Won), "{outcome:?}");
}

/// Seals a generation that must lose. Returns the generation that it lost to.
async fn lose(store: &impl Store, generation: Arc<Generation>) -> Arc<Generation> {
    match accepted(store.seal(generation).await) {
        SealOutcome::Lost(newest) => newest,
        SealOutcome::Won => panic!("expected the seal to lose"),
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
