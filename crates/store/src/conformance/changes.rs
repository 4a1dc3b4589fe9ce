//! Checks of single changes: the effect of each change, and the revisions that it raises.

use std::sync::Arc;

use super::{accepted, apply, claim, deliver, generation, id, node, register, rejected, remove};
use crate::{Bounds, CapacityExceeded, Change, RejectionReason, StoppedRollout, Store};
use cfgsync_model::{
    ArtifactFile, ArtifactSet, Digest, Failure, FailureKind, Generation, GenerationNumber,
    JoinerId, Origin, Revision,
};
use cfgsync_support::clock::Timestamp;

pub(super) async fn revisions_rise_with_each_change(store: &impl Store) {
    let before = store.state().revision;
    let first = register(store, "a", "10.0.0.1").await;
    let second = register(store, "a", "10.0.0.2").await;
    assert!(first.is_changed() && second.is_changed());
    assert!(before < first.revision && first.revision < second.revision);
    let state = store.state();
    assert!(state.inputs >= second.revision && state.revision >= state.inputs);
    assert_eq!(state.registrations["a"].revision, second.revision);
}

pub(super) async fn equal_facts_change_nothing(store: &impl Store) {
    let first = register(store, "a", "10.0.0.1").await;
    let again = register(store, "a", "10.0.0.1").await;
    assert!(!again.is_changed());
    assert_eq!(again.revision, first.revision);
    assert_eq!(store.state().revision, first.revision);
}

pub(super) async fn removal_checks_required_facts(store: &impl Store) {
    let not_registered = RejectionReason::NotRegistered(id("a"));
    assert_eq!(
        rejected(store, vec![remove("a")]).await,
        (0, not_registered)
    );
    let remove_if = |ip| {
        vec![Change::Remove {
            identifier: id("a"),
            only_if: Some(node("a", ip)),
            joiner: None,
        }]
    };
    register(store, "a", "10.0.0.1").await;
    let different_facts = RejectionReason::DifferentFacts(id("a"));
    assert_eq!(
        rejected(store, remove_if("10.0.0.9")).await,
        (0, different_facts)
    );
    assert!(store.state().registrations.contains_key("a"));
    assert!(apply(store, remove_if("10.0.0.1")).await.is_changed());
    assert!(store.state().registrations.is_empty());
}

fn register_from(joiner: u8, ip: &str) -> (Origin, Vec<Change>) {
    let origin = Origin {
        joiner: Some(JoinerId::from_bytes([joiner; 16])),
        at: Some(Timestamp::UNIX_EPOCH),
    };
    let register = Change::Register {
        registration: node("a", ip),
        origin,
        within: Bounds::NONE,
        before_seal: false,
    };
    (origin, vec![register])
}

pub(super) async fn another_joiner_with_equal_facts_is_a_record(store: &impl Store) {
    let (first, change) = register_from(1, "10.0.0.1");
    let registered = apply(store, change.clone()).await;
    assert_eq!(store.state().registrations["a"].origin, first);
    assert!(!apply(store, change).await.is_changed());

    let (second, change) = register_from(2, "10.0.0.1");
    assert!(apply(store, change).await.is_changed());
    let state = store.state();
    assert_eq!(state.registrations["a"].origin, second);
    assert_eq!(state.registrations["a"].revision, registered.revision);
    assert_eq!(state.inputs, registered.revision);
    drop(state);

    // A client without a joiner id does not hide the joiner.
    let again = register(store, "a", "10.0.0.1").await;
    assert!(!again.is_changed());
    assert_eq!(store.state().registrations["a"].origin, second);
}

pub(super) async fn joiner_removes_only_its_own_registration(store: &impl Store) {
    let remove_by = |joiner: Option<u8>, ip| {
        vec![Change::Remove {
            identifier: id("a"),
            only_if: Some(node("a", ip)),
            joiner: joiner.map(|joiner| JoinerId::from_bytes([joiner; 16])),
        }]
    };
    let register = register_from(1, "10.0.0.1").1;
    apply(store, register.clone()).await;
    let other = (0, RejectionReason::DifferentFacts(id("a")));
    assert_eq!(rejected(store, remove_by(Some(2), "10.0.0.1")).await, other);
    assert_eq!(rejected(store, remove_by(None, "10.0.0.2")).await, other);
    // The joiner's address may have changed since.
    apply(store, remove_by(Some(1), "10.0.0.2")).await;
    apply(store, register).await;
    apply(store, remove_by(None, "10.0.0.1")).await;
    assert!(store.state().registrations.is_empty());
}

pub(super) async fn overrides_are_inputs(store: &impl Store) {
    let put = || vec![override_of("n")];
    let commit = apply(store, put()).await;
    let again = apply(store, put()).await;
    assert!(commit.is_changed() && !again.is_changed());
    assert_eq!(again.revision, commit.revision);
    let state = store.state();
    assert_eq!(state.inputs, commit.revision);
    assert_eq!(*state.overrides["n"].files, files());
    let end = || vec![Change::RemoveOverride(id("n"))];
    let ended = apply(store, end()).await;
    assert!(ended.is_changed() && store.state().inputs == ended.revision);
    let no_override = RejectionReason::NoOverride(id("n"));
    assert_eq!(rejected(store, end()).await, (0, no_override));
}

pub(super) async fn records_are_not_inputs(store: &impl Store) {
    register(store, "a", "10.0.0.1").await;
    let before = store.state();
    let failure = Failure {
        kind: FailureKind::Operator,
        reason: "no".into(),
        at: Timestamp::UNIX_EPOCH,
    };
    let changes = vec![
        deliver("a", 1),
        deliver("stranger", 1),
        claim("a", "key"),
        Change::Fail(failure),
    ];
    assert!(changes.iter().all(|change| !change.is_input()));
    apply(store, changes).await;
    let state = store.state();
    assert!(state.revision > before.revision);
    assert_eq!(state.inputs, before.inputs);
    assert_eq!(state.deliveries.len(), 1);
    let times: Vec<_> = state.delivery_times.values().map(|(_, at)| *at).collect();
    assert_eq!(times, [Timestamp::UNIX_EPOCH]);
    assert_eq!(state.failure.as_ref().unwrap().reason, "no");
    apply(store, vec![Change::Reset, Change::Release(id("a"))]).await;
    let state = store.state();
    assert!(state.failure.is_none() && state.keys.is_empty());
    assert_eq!(state.inputs, before.inputs);
}

pub(super) async fn each_kind_of_input_has_a_revision(store: &impl Store) {
    let revisions = || {
        let state = store.state();
        let kinds = [state.registrations_revision, state.overrides_revision];
        let redraws = [state.redraws_revision];
        assert_eq!(Some(&state.inputs), kinds.iter().chain(&redraws).max());
        kinds
    };
    assert_eq!(revisions(), [Revision(0); 2]);
    let registered = register(store, "a", "10.0.0.1").await.revision;
    assert_eq!(revisions(), [registered, Revision(0)]);
    let overridden = apply(store, vec![override_of("a")]).await.revision;
    assert_eq!(revisions(), [registered, overridden]);
    let removed = apply(store, vec![remove("a")]).await.revision;
    assert_eq!(revisions(), [removed, overridden]);
    let ended = apply(store, vec![Change::RemoveOverride(id("a"))]).await;
    assert_eq!(revisions(), [removed, ended.revision]);
}

pub(super) async fn redraw_is_requested_until_a_generation_includes_it(store: &impl Store) {
    let redraw = |key: &str| {
        vec![Change::Redraw {
            key: key.to_owned(),
        }]
    };
    let none = |key: &str| (0, RejectionReason::NoOnceValue(key.to_owned()));
    assert_eq!(rejected(store, redraw("cookie")).await, none("cookie"));
    let sealed = |number, salt: &str, revision| {
        let once = serde_json::from_str(r#"{"cookie":"x","id":7}"#);
        Arc::new(Generation {
            revision,
            once: Arc::new(once.unwrap()),
            ..Generation::clone(&generation(number, salt))
        })
    };
    accepted(store.seal(sealed(1, "one", Revision(0))).await);
    assert_eq!(rejected(store, redraw("other")).await, none("other"));
    let first = apply(store, redraw("cookie")).await;
    assert!(first.is_changed() && redraw("cookie")[0].is_input());
    let again = apply(store, redraw("cookie")).await;
    assert!(!again.is_changed());
    assert_eq!(again.revision, first.revision);
    let second = apply(store, redraw("id")).await;
    {
        let state = store.state();
        let pending: Vec<_> = state.redraws.keys().map(String::as_str).collect();
        assert_eq!(pending, ["cookie", "id"]);
        assert_eq!(
            (state.redraws_revision, state.inputs),
            (second.revision, second.revision)
        );
    }
    // This generation includes the first request, and not the second one.
    accepted(store.seal(sealed(2, "two", first.revision)).await);
    {
        let state = store.state();
        let pending: Vec<_> = state.redraws.keys().map(String::as_str).collect();
        assert_eq!((pending, state.inputs), (vec!["id"], second.revision));
    }
    accepted(store.seal(sealed(3, "three", second.revision)).await);
    assert!(store.state().redraws.is_empty());
    assert!(apply(store, redraw("cookie")).await.is_changed());
}

pub(super) async fn confirmation_extends_the_newest_generation(store: &impl Store) {
    let confirm = |number, inputs| {
        vec![Change::Confirm {
            generation: GenerationNumber(number),
            inputs,
        }]
    };
    let included = || store.state().included_inputs();
    assert!(!apply(store, confirm(1, Revision(1))).await.is_changed());
    let first = register(store, "a", "10.0.0.1").await.revision;
    let sealed = |number, salt: &str, revision| {
        Arc::new(Generation {
            revision,
            ..Generation::clone(&generation(number, salt))
        })
    };
    accepted(store.seal(sealed(1, "one", first)).await);
    assert_eq!(included(), first);
    let second = register(store, "a", "10.0.0.2").await.revision;
    assert!(!apply(store, confirm(2, second)).await.is_changed());
    assert!(!apply(store, confirm(1, first)).await.is_changed());
    assert!(apply(store, confirm(1, second)).await.is_changed());
    assert!(!apply(store, confirm(1, second)).await.is_changed());
    assert_eq!((included(), store.state().inputs), (second, second));
    // A later generation includes what it was rendered from.
    accepted(store.seal(sealed(2, "two", first)).await);
    assert_eq!(included(), first);
}

pub(super) async fn stop_of_a_roll_out_lasts_until_it_is_continued(store: &impl Store) {
    let stopped = |number, reason: &str| StoppedRollout {
        generation: GenerationNumber(number),
        reason: Some(reason.into()),
    };
    let stop = |number, reason| vec![Change::StopRollout(stopped(number, reason))];
    let resume = |number| {
        vec![Change::ResumeRollout {
            generation: GenerationNumber(number),
        }]
    };
    accepted(store.seal(generation(1, "one")).await);
    let inputs = store.state().inputs;
    assert!(!apply(store, resume(1)).await.is_changed());
    assert!(apply(store, stop(1, "first")).await.is_changed());
    assert!(!apply(store, stop(1, "second")).await.is_changed());
    assert_eq!(store.state().inputs, inputs, "a record");
    accepted(store.seal(generation(2, "two")).await);
    let found = store.state().stopped_rollout.clone();
    assert_eq!(found, Some(stopped(1, "first")), "for newer ones as well");
    assert!(apply(store, resume(2)).await.is_changed());
    assert_eq!(store.state().stopped_rollout, None);
}

pub(super) async fn banned_node_is_removed_and_cannot_register(store: &impl Store) {
    let ban = |name: &str| {
        vec![Change::Ban {
            identifier: id(name),
            within: Bounds {
                nodes_max: 1,
                ..Bounds::NONE
            },
        }]
    };
    let unban = || vec![Change::Unban(id("a"))];
    let banned = || (0, RejectionReason::Banned(id("a")));
    register(store, "a", "10.0.0.1").await;
    apply(store, vec![deliver("a", 1), claim("a", "key")]).await;
    let commit = apply(store, ban("a")).await;
    let kinds: Vec<_> = commit
        .events
        .iter()
        .map(|event| event.kind.name())
        .collect();
    assert_eq!(kinds, ["node_removed", "node_banned"]);
    {
        let state = store.state();
        assert!(state.registrations.is_empty() && state.deliveries.is_empty());
        assert!(state.delivery_times.is_empty());
        assert!(state.bans.contains("a") && state.mentions("a"));
        assert_eq!(
            (state.inputs, state.metadata_total_bytes),
            (commit.revision, 0)
        );
        // The claim stays, so that no other machine gets the name.
        assert!(state.keys.contains_key("a"));
    }
    assert!(!apply(store, ban("a")).await.is_changed());
    let register_again = || vec![Change::register(node("a", "10.0.0.1"))];
    assert_eq!(rejected(store, register_again()).await, banned());
    let full = (0, CapacityExceeded::Bans { max: 1 }.into());
    assert_eq!(rejected(store, ban("b")).await, full);
    let inputs = store.state().inputs;
    assert!(apply(store, unban()).await.is_changed());
    assert!(!apply(store, unban()).await.is_changed());
    assert_eq!(store.state().inputs, inputs);
    assert!(apply(store, register_again()).await.is_changed());
}

pub(super) async fn first_key_owns_an_identifier(store: &impl Store) {
    let different_key = || (0, RejectionReason::DifferentKey(id("a")));
    for first in ["one", "two"] {
        assert!(apply(store, vec![claim("a", first)]).await.is_changed());
        assert!(!apply(store, vec![claim("a", first)]).await.is_changed());
        assert_eq!(
            rejected(store, vec![claim("a", "other")]).await,
            different_key()
        );
        assert_eq!(store.state().keys["a"], Digest::of(first.as_bytes()));
        // The key of a removed node still owns its identifier.
        register(store, "a", "10.0.0.1").await;
        apply(store, vec![remove("a")]).await;
        assert_eq!(store.state().keys.len(), 1);
        let release = || vec![Change::Release(id("a"))];
        assert!(apply(store, release()).await.is_changed());
        assert!(!apply(store, release()).await.is_changed());
        assert!(store.state().keys.is_empty());
    }
}

pub(super) async fn held_state_does_not_change(store: &impl Store) {
    register(store, "a", "10.0.0.1").await;
    let held = store.state();
    register(store, "b", "10.0.0.2").await;
    assert_eq!(
        (held.registrations.len(), store.state().registrations.len()),
        (1, 2)
    );
}

pub(super) async fn follower_is_woken_by_earlier_changes(store: &impl Store) {
    let mut follower = store.follow();
    register(store, "a", "10.0.0.1").await;
    let newest = register(store, "b", "10.0.0.2").await;
    follower.changed().await.unwrap();
    assert_eq!(*follower.borrow_and_update(), newest.revision);
}

fn files() -> ArtifactSet {
    ArtifactSet::new(vec![ArtifactFile::new("a".parse().unwrap(), "x")]).unwrap()
}

fn override_of(name: &str) -> Change {
    Change::Override {
        identifier: id(name),
        files: files(),
    }
}
