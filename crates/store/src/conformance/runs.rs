//! Checks of runs: one runner at a time, fences that rise, and one recorded success.

use super::{apply, id, rejected};
use crate::{CapacityExceeded, Change, NewClaim, RejectionReason, RunChange, RunRejection, Store};
use cfgsync_model::{ClaimId, Fence, GenerationNumber, RunState};
use cfgsync_support::clock::Timestamp;

/// Returns a claim of the run `init`, with two tries.
fn claim(runner: &str, process: u8, replaces: Option<u64>) -> NewClaim {
    NewClaim {
        name: "init".parse().expect("test names are valid"),
        generation: GenerationNumber(0),
        runner: id(runner),
        claim: ClaimId([process; 16]),
        tries_max: 2,
        replaces: replaces.map(Fence),
        at: Timestamp::UNIX_EPOCH,
        runs_max: 8,
    }
}

fn claimed(runner: &str, process: u8, replaces: Option<u64>) -> Vec<Change> {
    vec![Change::Run(RunChange::Claim(claim(
        runner, process, replaces,
    )))]
}

pub(crate) fn claim_run(name: &str, process: u8) -> Change {
    let claim = NewClaim {
        name: name.parse().expect("test names are valid"),
        ..claim("a", process, None)
    };
    Change::Run(RunChange::Claim(claim))
}

pub(crate) fn done(runner: &str, fence: u64) -> Vec<Change> {
    vec![Change::Run(RunChange::Done {
        name: "init".parse().expect("test names are valid"),
        runner: id(runner),
        fence: Fence(fence),
        output: "ok\n".into(),
        at: Timestamp::UNIX_EPOCH,
    })]
}

fn failed(runner: &str, fence: u64) -> Vec<Change> {
    vec![Change::Run(RunChange::Fail {
        name: "init".parse().expect("test names are valid"),
        runner: id(runner),
        fence: Fence(fence),
        reason: format!("{fence} failed").into(),
        at: Timestamp::UNIX_EPOCH,
    })]
}

async fn refused(store: &impl Store, changes: Vec<Change>) -> RunRejection {
    match rejected(store, changes).await {
        (0, RejectionReason::Run(reason)) => reason,
        other => panic!("expected a rejected run, got {other:?}"),
    }
}

/// Returns the fence, the failures and the last error of the run.
fn shown(store: &impl Store) -> (u64, u32, Option<String>) {
    let state = store.state();
    let run = state.runs.get("init").expect("it is known");
    let error = run.last_error.as_deref().map(str::to_owned);
    (run.fence.0, run.failures, error)
}

pub(super) async fn one_runner_at_a_time_and_one_success(store: &impl Store) {
    let inputs = store.state().inputs;
    let first = apply(store, claimed("a", 1, None)).await;
    assert_eq!(store.state().runs.revision(), first.revision);
    assert_eq!(store.state().inputs, inputs, "runs are no inputs");
    assert!(
        !apply(store, claimed("a", 1, None)).await.is_changed(),
        "the same process"
    );
    let other = refused(store, claimed("b", 2, None)).await;
    assert_eq!(other, RunRejection::Running(id("a")));
    // The lease of `a` has ended. Its late success is refused.
    apply(store, claimed("b", 2, Some(1))).await;
    let lost = Some("a did not renew its lease".to_owned());
    assert_eq!(shown(store), (2, 1, lost));
    for late in [done("a", 1), done("a", 2), failed("a", 1)] {
        let fenced = refused(store, late).await;
        assert_eq!(fenced, RunRejection::Fenced("init".parse().unwrap()));
    }
    assert!(apply(store, done("b", 2)).await.is_changed());
    assert!(
        !apply(store, done("b", 2)).await.is_changed(),
        "a repeated request"
    );
    let state = store.state();
    let run = state.runs.get("init").unwrap();
    assert_eq!(run.state, RunState::Done("ok\n".into()));
    drop(state);
    assert_eq!(
        refused(store, claimed("a", 3, None)).await,
        RunRejection::Done
    );
}

pub(super) async fn tries_are_counted_and_fences_rise_for_ever(store: &impl Store) {
    apply(store, claimed("a", 1, None)).await;
    apply(store, failed("a", 1)).await;
    assert!(!apply(store, failed("a", 1)).await.is_changed());
    apply(store, claimed("b", 2, None)).await;
    // The last try ends without a result.
    apply(store, claimed("a", 3, Some(2))).await;
    assert_eq!(
        shown(store),
        (2, 2, Some("b did not renew its lease".to_owned()))
    );
    assert_eq!(
        refused(store, claimed("a", 3, None)).await,
        RunRejection::Exhausted
    );
    let forget = || vec![Change::Run(RunChange::Forget("init".parse().unwrap()))];
    apply(store, forget()).await;
    assert!(matches!(
        refused(store, forget()).await,
        RunRejection::NoRun(_)
    ));
    apply(store, claimed("a", 4, None)).await;
    assert_eq!(shown(store), (3, 0, None), "fences go on");
    apply(store, done("a", 3)).await;
    // A run for a newer generation begins anew.
    let newer = NewClaim {
        generation: GenerationNumber(2),
        ..claim("b", 5, None)
    };
    apply(store, vec![Change::Run(RunChange::Claim(newer))]).await;
    assert_eq!(shown(store), (4, 0, None));
    assert!(matches!(
        refused(store, claimed("a", 6, None)).await,
        RunRejection::Running(_)
    ));
    apply(store, done("b", 4)).await;
    assert_eq!(
        refused(store, claimed("a", 6, None)).await,
        RunRejection::Done
    );
    for at in 1..8 {
        apply(store, vec![claim_run(&format!("run-{at}"), 9)]).await;
    }
    let full = refused(store, vec![claim_run("run-8", 9)]).await;
    assert_eq!(full, CapacityExceeded::Runs { max: 8 }.into());
}
