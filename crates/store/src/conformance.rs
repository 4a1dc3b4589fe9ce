//! The conformance suite: checks of the contract that every implementation of [`Store`] must pass.
//!
//! A store passes if [`check`] returns. Each check gets a fresh store. The suite makes no assumption about the distance
//! between two revisions.

#![allow(clippy::unwrap_used, reason = "a panic is how a check fails")]

mod batches;
mod capacity;
mod changes;
mod concurrency;
mod events;
mod lost_answers;
pub(crate) mod phases;
pub(crate) mod runs;
mod seals;
pub(crate) mod values;

use std::{collections::BTreeMap, fmt::Debug, sync::Arc, time::Duration};

use crate::{Change, Commit, CommitError, RejectionReason, Store};
use cfgsync_model::{Digest, Generation, GenerationNumber, Identifier, NodeRegistration, Revision};
use cfgsync_support::clock::Timestamp;

/// The number of generations that the stores of the suite keep.
pub const HISTORY_GENERATIONS: usize = 3;

/// The longest time until one handle shows a change that another handle wrote.
const REPLICATION_MAX: Duration = Duration::from_secs(10);

/// Two handles of one fresh store, one for each of two servers. A store that only one process can open returns the
/// same handle twice.
pub type Handles<S> = [Arc<S>; 2];

/// Runs all checks against fresh stores, which must keep [`HISTORY_GENERATIONS`] generations.
///
/// # Panics
/// Panics if the store breaks the contract.
pub async fn check<S: Store>(make: impl AsyncFn() -> Handles<S>) {
    let one = async || {
        let [first, _second] = make().await;
        first
    };
    changes::equal_facts_change_nothing(&*one().await).await;
    changes::revisions_rise_with_each_change(&*one().await).await;
    changes::removal_checks_required_facts(&*one().await).await;
    changes::another_joiner_with_equal_facts_is_a_record(&*one().await).await;
    changes::joiner_removes_only_its_own_registration(&*one().await).await;
    changes::overrides_are_inputs(&*one().await).await;
    changes::records_are_not_inputs(&*one().await).await;
    changes::each_kind_of_input_has_a_revision(&*one().await).await;
    changes::redraw_is_requested_until_a_generation_includes_it(&*one().await).await;
    changes::confirmation_extends_the_newest_generation(&*one().await).await;
    changes::stop_of_a_roll_out_lasts_until_it_is_continued(&*one().await).await;
    changes::banned_node_is_removed_and_cannot_register(&*one().await).await;
    changes::first_key_owns_an_identifier(&*one().await).await;
    changes::held_state_does_not_change(&*one().await).await;
    changes::follower_is_woken_by_earlier_changes(&*one().await).await;
    batches::rejected_batch_changes_nothing(&*one().await).await;
    batches::batch_takes_effect_in_order_at_one_revision(&*one().await).await;
    batches::claim_and_registration_are_one_decision(&*one().await).await;
    batches::unchanged_batch_uses_no_revision(&*one().await).await;
    capacity::registrations_must_fit_or_change_nothing(&*one().await).await;
    capacity::claims_must_fit_or_change_nothing(&*one().await).await;
    capacity::concurrent_registrations_respect_bounds(make().await).await;
    seals::one_of_many_concurrent_seals_wins(make().await).await;
    seals::repeated_seal_is_won(&*one().await).await;
    seals::equal_files_with_other_drawn_values_lose(&*one().await).await;
    seals::first_generation_has_number_one(&*one().await).await;
    seals::history_is_bounded(&*one().await).await;
    concurrency::concurrent_registrations_are_all_kept(make().await).await;
    concurrency::writer_reads_its_own_writes(make().await).await;
    concurrency::one_of_two_keys_owns_a_contested_identifier(make().await).await;
    phases::reports_are_about_sealed_generations_of_registered_nodes(&*one().await).await;
    phases::reports_are_carried_over_while_the_payload_is_unchanged(&*one().await).await;
    phases::reports_are_bounded(&*one().await).await;
    runs::one_runner_at_a_time_and_one_success(&*one().await).await;
    runs::tries_are_counted_and_fences_rise_for_ever(&*one().await).await;
    values::each_write_makes_a_version(&*one().await).await;
    values::history_survives_deletion_and_versions_go_on(&*one().await).await;
    values::writes_respect_their_conditions(&*one().await).await;
    values::aliases_stand_for_keys_only(&*one().await).await;
    values::history_and_sizes_are_bounded(&*one().await).await;
    values::one_of_two_writers_of_a_version_wins(make().await).await;
    events::follower_sees_every_event_once_and_in_order(make().await).await;
    events::commit_answers_with_its_events(&*one().await).await;
    events::history_reaches_back_a_bounded_number_of_events(&*one().await).await;
    lost_answers::unknown_registration_can_be_repeated(one().await).await;
    lost_answers::unknown_batch_can_be_repeated(one().await).await;
    lost_answers::unknown_seal_can_be_repeated(one().await).await;
}

fn id(name: &str) -> Identifier {
    name.parse().expect("test identifiers are valid")
}

fn node(name: &str, ip: &str) -> NodeRegistration {
    NodeRegistration::without_metadata(id(name), ip.parse().expect("test addresses are valid"))
}

fn remove(name: &str) -> Change {
    Change::Remove {
        identifier: id(name),
        only_if: None,
        joiner: None,
    }
}

fn deliver(name: &str, number: u64) -> Change {
    Change::Deliver {
        identifier: id(name),
        generation: GenerationNumber(number),
        at: Some(Timestamp::UNIX_EPOCH),
    }
}

fn claim(name: &str, key: &str) -> Change {
    Change::Claim {
        identifier: id(name),
        key: Digest::of(key.as_bytes()),
        within: crate::Bounds::NONE,
    }
}

/// Applies changes that must be accepted.
async fn apply(store: &impl Store, changes: Vec<Change>) -> Commit {
    accepted(store.apply(changes).await)
}

async fn register(store: &impl Store, name: &str, ip: &str) -> Commit {
    apply(store, vec![Change::register(node(name, ip))]).await
}

/// Applies changes of which one must be rejected. Returns its index and the reason.
async fn rejected(store: &impl Store, changes: Vec<Change>) -> (usize, RejectionReason) {
    match store.apply(changes).await {
        Err(CommitError::Rejected(rejection)) => (rejection.index, rejection.reason),
        other => panic!("expected a rejection, got {other:?}"),
    }
}

fn accepted<T: Debug>(result: Result<T, CommitError>) -> T {
    result.unwrap_or_else(|error| panic!("the store refused a valid request: {error}"))
}

/// Waits until `store` shows `revision`.
async fn catch_up(store: &impl Store, revision: Revision) {
    let mut follower = store.follow();
    let shown = async {
        while store.state().revision < revision {
            follower.changed().await.expect("the store is open");
        }
    };
    let shown = tokio::time::timeout(REPLICATION_MAX, shown).await;
    assert!(shown.is_ok(), "revision {revision} is not shown");
}

/// A generation without files.
pub(crate) fn generation(number: u64, salt: &str) -> Arc<Generation> {
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
        provenance: Arc::default(),
    })
}
