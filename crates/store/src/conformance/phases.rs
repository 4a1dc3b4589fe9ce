//! Checks of the phases that nodes report: the generations that a report is about, and its bounds.

use std::{collections::BTreeMap, sync::Arc};

use super::{accepted, apply, deliver, generation, id, register, rejected, remove};
use crate::{CapacityExceeded, Change, NewReport, PhaseBounds, RejectionReason, Store};
use cfgsync_model::{ArtifactSet, Digest, Generation, GenerationNumber, NodeFiles, Seat};
use cfgsync_support::clock::Timestamp;

/// Returns a report without bounds.
pub(crate) fn report(name: &str, phase: &str, number: u64) -> Change {
    Change::Report(new_report(name, phase, number))
}

fn new_report(name: &str, phase: &str, number: u64) -> NewReport {
    NewReport {
        identifier: id(name),
        phase: phase.parse().expect("test phases are valid"),
        generation: GenerationNumber(number),
        reason: Some(format!("{phase} at {number}").into()),
        at: Timestamp::UNIX_EPOCH,
        within: PhaseBounds::NONE,
    }
}

/// Returns a generation of nodes with the given payloads.
fn generation_of(number: u64, payloads: &[(&str, &str)]) -> Arc<Generation> {
    let nodes: BTreeMap<_, _> = (payloads.iter())
        .map(|(name, payload)| {
            let files = NodeFiles {
                local: ArtifactSet::default(),
                digest: Digest::of(payload.as_bytes()),
            };
            (id(name), files)
        })
        .collect();
    let seats = nodes.keys().cloned().zip((0..).map(Seat)).collect();
    Arc::new(Generation {
        nodes,
        seats: Arc::new(seats),
        ..Generation::clone(&generation(number, &format!("{payloads:?}")))
    })
}

/// Returns the generation that the report of a node about a phase is about now.
fn about(store: &impl Store, name: &str, phase: &str) -> Option<u64> {
    let state = store.state();
    let known = state.phases.get(name, phase)?;
    Some(state.carried(name, known.generation).0)
}

pub(super) async fn reports_are_about_sealed_generations_of_registered_nodes(store: &impl Store) {
    let early = rejected(store, vec![report("a", "started", 1)]).await;
    assert_eq!(early, (0, RejectionReason::NotRegistered(id("a"))));
    register(store, "a", "10.0.0.1").await;
    for number in [0, 1] {
        let early = rejected(store, vec![report("a", "started", number)]).await;
        assert_eq!(
            early,
            (0, RejectionReason::NotSealed(GenerationNumber(number)))
        );
    }
    accepted(store.seal(generation_of(1, &[("a", "x")])).await);
    let inputs = store.state().inputs;
    let first = apply(store, vec![report("a", "started", 1)]).await;
    assert!(first.is_changed());
    let state = store.state();
    assert_eq!(state.inputs, inputs, "reports are no inputs");
    let known = state.phases.get("a", "started").expect("it is reported");
    assert_eq!(
        (known.revision, known.reason.as_deref()),
        (first.revision, Some("started at 1"))
    );
    drop(state);
    let again = apply(store, vec![report("a", "started", 1)]).await;
    assert!(!again.is_changed() && again.revision == first.revision);
    // The same report counts again after another one, because the newest one decides.
    apply(store, vec![report("a", "failed", 1)]).await;
    assert!(
        apply(store, vec![report("a", "started", 1)])
            .await
            .is_changed()
    );
    apply(store, vec![remove("a")]).await;
    assert_eq!(about(store, "a", "started"), None);
}

pub(super) async fn reports_are_carried_over_while_the_payload_is_unchanged(store: &impl Store) {
    for name in ["a", "b"] {
        register(store, name, "10.0.0.1").await;
    }
    accepted(
        store
            .seal(generation_of(1, &[("a", "x"), ("b", "x")]))
            .await,
    );
    apply(store, vec![report("a", "healthy", 1), deliver("b", 1)]).await;
    accepted(
        store
            .seal(generation_of(2, &[("a", "x"), ("b", "y")]))
            .await,
    );
    assert_eq!(about(store, "a", "healthy"), Some(2));
    // A node whose files are unchanged does not learn of the newer generation.
    apply(
        store,
        vec![report("a", "ready", 1), report("b", "healthy", 1)],
    )
    .await;
    assert_eq!(about(store, "a", "ready"), Some(2));
    assert_eq!(about(store, "b", "healthy"), Some(1));
    let state = store.state();
    let delivered = state.deliveries["b"];
    assert_eq!(state.carried("b", delivered), GenerationNumber(1));
    drop(state);
    for number in 3..6 {
        accepted(
            store
                .seal(generation_of(number, &[("a", "x"), ("b", "y")]))
                .await,
        );
    }
    apply(store, vec![report("a", "late", 1), report("b", "late", 2)]).await;
    assert_eq!(
        [about(store, "a", "late"), about(store, "b", "late")],
        [Some(5), Some(5)]
    );
    // With other files the phases end, also if the old files come back.
    accepted(
        store
            .seal(generation_of(6, &[("a", "z"), ("b", "y")]))
            .await,
    );
    assert_eq!(
        [about(store, "a", "late"), about(store, "b", "late")],
        [Some(5), Some(6)]
    );
    accepted(
        store
            .seal(generation_of(7, &[("a", "x"), ("b", "y")]))
            .await,
    );
    assert_eq!(about(store, "a", "healthy"), Some(5));
    // A report about an older generation does not replace one about a newer generation.
    apply(store, vec![report("a", "healthy", 7)]).await;
    let late = apply(store, vec![report("a", "healthy", 6)]).await;
    assert!(!late.is_changed() && about(store, "a", "healthy") == Some(7));
}

pub(super) async fn reports_are_bounded(store: &impl Store) {
    register(store, "a", "10.0.0.1").await;
    accepted(store.seal(generation_of(1, &[("a", "x")])).await);
    let within = |phase, reason: &str, per_node_max, total_max_bytes| {
        let report = NewReport {
            reason: Some(reason.into()),
            within: PhaseBounds {
                per_node_max,
                total_max_bytes,
            },
            ..new_report("a", phase, 1)
        };
        vec![Change::Report(report)]
    };
    apply(store, within("one", "", 1, 200)).await;
    let second = rejected(store, within("two", "", 1, 2000)).await;
    let exceeded = CapacityExceeded::PhasesOfNode { max: 1 };
    assert_eq!(second, (0, exceeded.into()));
    let long = rejected(store, within("one", &"x".repeat(100), 1, 200)).await;
    let exceeded = CapacityExceeded::Phases { max_bytes: 200 };
    assert_eq!(long, (0, exceeded.into()));
    // A known phase may always be reported again, if it does not grow.
    apply(store, within("one", "", 0, 0)).await;
    // A failure may always be reported.
    apply(store, within("failed", "broken", 1, 0)).await;
    // Phases with older files do not count.
    accepted(store.seal(generation_of(2, &[("a", "y")])).await);
    let newer = |phase| {
        let report = NewReport {
            within: PhaseBounds {
                per_node_max: 1,
                total_max_bytes: 2000,
            },
            ..new_report("a", phase, 2)
        };
        vec![Change::Report(report)]
    };
    apply(store, newer("two")).await;
    let third = rejected(store, newer("three")).await;
    let exceeded = CapacityExceeded::PhasesOfNode { max: 1 };
    assert_eq!(third, (0, exceeded.into()));
    assert_eq!(store.state().phases.of("a").count(), 3, "all are kept");
}
