//! Checks of bounds: a change that does not fit is rejected and changes nothing.

use std::sync::Arc;

use super::{Handles, accepted, apply, catch_up, id, node, register, rejected, remove};
use crate::{Bounds, CapacityExceeded, Change, CommitError, RejectionReason, Store};
use cfgsync_model::{Digest, Origin};

fn register_within(name: &str, text: &str, within: Bounds) -> Vec<Change> {
    let registration = node(name, "10.0.0.1").with_metadata_value(text.into());
    vec![Change::Register {
        origin: Origin::default(),
        registration,
        within,
        before_seal: false,
    }]
}

fn exceeded(reason: CapacityExceeded) -> (usize, RejectionReason) {
    (0, RejectionReason::CapacityExceeded(reason))
}

pub(super) async fn registrations_must_fit_or_change_nothing(store: &impl Store) {
    let within = Bounds {
        nodes_max: 2,
        // A text takes 64 bytes and its length.
        metadata_total_max_bytes: 136,
    };
    let put = |name: &str, text: &str| register_within(name, text, within);
    let too_much_metadata = || exceeded(CapacityExceeded::Metadata { max_bytes: 136 });
    let first = apply(store, put("a", "12345678")).await.revision;
    assert_eq!(rejected(store, put("b", "1")).await, too_much_metadata());
    assert_eq!(store.state().revision, first);
    assert!(apply(store, put("b", "")).await.is_changed());
    assert_eq!(rejected(store, put("b", "1")).await, too_much_metadata());
    assert_eq!(
        rejected(store, put("c", "")).await,
        exceeded(CapacityExceeded::Nodes { max: 2 })
    );
    let again = apply(store, put("a", "12345678")).await;
    assert_eq!((again.is_changed(), again.revision), (false, first));
    assert_eq!(store.state().metadata_total_bytes, 136);

    // Data that already exceeds the bounds stays. It may change if it does not grow.
    assert!(register(store, "c", "10.0.0.1").await.is_changed());
    let grown = register_within("a", "1234567890", Bounds::NONE);
    assert!(apply(store, grown).await.is_changed());
    assert_eq!(store.state().metadata_total_bytes, 138);
    assert!(apply(store, put("a", "abcdefghij")).await.is_changed());
    assert_eq!(
        rejected(store, put("a", "abcdefghijk")).await,
        too_much_metadata()
    );
    assert!(apply(store, put("a", "abc")).await.is_changed());
    apply(store, vec![remove("a")]).await;
    assert_eq!(store.state().metadata_total_bytes, 64);
}

pub(super) async fn claims_must_fit_or_change_nothing(store: &impl Store) {
    let within = Bounds {
        nodes_max: 1,
        ..Bounds::NONE
    };
    let claim = |name: &str| {
        vec![Change::Claim {
            identifier: id(name),
            key: Digest::of(b"key"),
            within,
        }]
    };
    register(store, "registered", "10.0.0.1").await;
    assert!(apply(store, claim("a")).await.is_changed());
    assert!(!apply(store, claim("a")).await.is_changed());
    assert_eq!(
        rejected(store, claim("b")).await,
        exceeded(CapacityExceeded::Names { max: 1 })
    );
    assert!(apply(store, claim("registered")).await.is_changed());
    assert_eq!(store.state().keys.len(), 2);
}

pub(super) async fn concurrent_registrations_respect_bounds<S: Store>(handles: Handles<S>) {
    let nodes_max = Bounds {
        nodes_max: 10,
        ..Bounds::NONE
    };
    // The ten nodes of the first round take 640 bytes, and each of the second round takes 66.
    let metadata_max = Bounds {
        metadata_total_max_bytes: 1_110,
        ..Bounds::NONE
    };
    let rounds = [("n", "", nodes_max, 10), ("m", "12", metadata_max, 7)];
    for (prefix, text, within, expected) in rounds {
        let mut tasks = tokio::task::JoinSet::new();
        for at in 0..64 {
            let store: Arc<S> = handles[at % 2].clone();
            let changes = register_within(&format!("{prefix}{at}"), text, within);
            tasks.spawn(async move { store.apply(changes).await });
        }
        let mut count = 0;
        for answer in tasks.join_all().await {
            match answer {
                Err(CommitError::Rejected(_)) => {}
                answer => count += usize::from(accepted(answer).is_changed()),
            }
        }
        assert_eq!(count, expected, "{within:?}");
    }
    let newest = handles.iter().map(|store| store.state().revision).max();
    for store in &handles {
        catch_up(&**store, newest.unwrap()).await;
        let state = store.state();
        assert_eq!(
            (state.registrations.len(), state.metadata_total_bytes),
            (17, 1_102)
        );
    }
}
