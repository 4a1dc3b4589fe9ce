//! Checks with lost answers: the change takes effect, but the caller does not learn it and tries again.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::watch;

use super::{accepted, claim, generation, id, node, rejected, remove};
use crate::{
    BoxFuture, Change, Commit, CommitError, RejectionReason, SealCondition, SealOutcome,
    StateGuard, Store,
};
use cfgsync_model::{Generation, Instance, Revision};

/// A store that handles each request and loses the first `lost` answers.
struct LostAnswers<S> {
    store: Arc<S>,
    lost: AtomicUsize,
}

impl<S: Store> LostAnswers<S> {
    fn new(store: Arc<S>) -> Self {
        Self {
            store,
            lost: AtomicUsize::new(0),
        }
    }

    fn lose_next(&self, count: usize) {
        self.lost.store(count, Ordering::Relaxed);
    }

    fn answer<T>(&self, answer: Result<T, CommitError>) -> Result<T, CommitError> {
        let less = |lost: usize| lost.checked_sub(1);
        match self
            .lost
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less)
        {
            Ok(_) => Err(CommitError::Unknown("the answer was lost".to_owned())),
            Err(_) => answer,
        }
    }
}

impl<S: Store> Store for LostAnswers<S> {
    fn instance(&self) -> Instance {
        self.store.instance()
    }

    fn state(&self) -> StateGuard {
        self.store.state()
    }

    fn follow(&self) -> watch::Receiver<Revision> {
        self.store.follow()
    }

    fn apply(&self, changes: Vec<Change>) -> BoxFuture<'_, Result<Commit, CommitError>> {
        Box::pin(async { self.answer(self.store.apply(changes).await) })
    }

    fn seal_if(
        &self,
        generation: Arc<Generation>,
        only_if: SealCondition,
    ) -> BoxFuture<'_, Result<SealOutcome, CommitError>> {
        Box::pin(async move { self.answer(self.store.seal_if(generation, only_if).await) })
    }
}

/// Tries until the answer is known.
async fn apply_until_known(store: &impl Store, changes: Vec<Change>) -> Commit {
    loop {
        match store.apply(changes.clone()).await {
            Err(CommitError::Unknown(_)) => {}
            answer => break accepted(answer),
        }
    }
}

pub(super) async fn unknown_registration_can_be_repeated(store: Arc<impl Store>) {
    let store = LostAnswers::new(store);
    for turn in 1..4 {
        store.lose_next(turn);
        let registration = node("a", &format!("10.0.0.{turn}"));
        let commit = apply_until_known(&store, vec![Change::register(registration.clone())]).await;
        // The answer is that of a repeated request. It has the revision at which the change took effect.
        assert!(!commit.is_changed());
        let state = store.state();
        assert_eq!(*state.registrations["a"].registration, registration);
        assert_eq!(state.registrations["a"].revision, commit.revision);
        assert_eq!(state.revision, commit.revision);
    }
}

pub(super) async fn unknown_batch_can_be_repeated(store: Arc<impl Store>) {
    let store = LostAnswers::new(store);
    store.lose_next(1);
    let changes = vec![claim("a", "mine"), Change::register(node("a", "10.0.0.1"))];
    let commit = apply_until_known(&store, changes).await;
    assert!(!commit.is_changed());
    assert_eq!(store.state().revision, commit.revision);
    // A repeated removal is rejected because the node is gone. Its caller wanted exactly that.
    store.lose_next(1);
    let lost = store.apply(vec![remove("a")]).await;
    assert!(matches!(lost, Err(CommitError::Unknown(_))), "{lost:?}");
    let not_registered = RejectionReason::NotRegistered(id("a"));
    assert_eq!(
        rejected(&store, vec![remove("a")]).await,
        (0, not_registered)
    );
}

pub(super) async fn unknown_seal_can_be_repeated(store: Arc<impl Store>) {
    let store = LostAnswers::new(store);
    for number in 1..4 {
        store.lose_next(1);
        let mine = generation(number, &number.to_string());
        let lost = store.seal(mine.clone()).await;
        assert!(matches!(lost, Err(CommitError::Unknown(_))), "{lost:?}");
        let revision = store.state().revision;
        let outcome = accepted(store.seal(mine).await);
        assert!(matches!(outcome, SealOutcome::Won), "{outcome:?}");
        assert_eq!(store.state().revision, revision);
    }
}
