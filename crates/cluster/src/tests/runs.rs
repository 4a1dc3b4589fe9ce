//! Tests of runs: one runner at a time, leases and fences.

use super::*;
use crate::{RunAnswer, RunRequest};
use cfgsync_model::{ClaimId, Fence};
use cfgsync_store::RunRejection;

const LEASE: Duration = Duration::from_secs(15);

fn request(runner: &str) -> RunRequest {
    let process = runner.bytes().last().unwrap();
    RunRequest {
        name: "init".parse().unwrap(),
        runner: runner.parse().unwrap(),
        claim: ClaimId([process; 16]),
        is_per_generation: false,
        generation: None,
        tries_max: 2,
    }
}

impl Cluster {
    async fn claims(&self, runner: &str) -> RunAnswer {
        let until = Instant::now() + Duration::from_hours(1);
        self.claim_run(&request(runner), until).await.unwrap()
    }

    /// Claims without waiting.
    async fn claims_now(&self, runner: &str) -> RunAnswer {
        self.claim_run(&request(runner), Instant::now())
            .await
            .unwrap()
    }

    async fn done(&self, runner: &str, fence: Fence) -> Result<(), Refusal> {
        let runner = runner.parse().unwrap();
        self.finish_run("init".parse().unwrap(), runner, fence, "ok".into())
            .await
    }

    async fn failed(&self, runner: &str, fence: Fence, reason: &str) {
        let (name, runner) = ("init".parse().unwrap(), runner.parse().unwrap());
        self.fail_run(name, runner, fence, reason.to_owned())
            .await
            .unwrap();
    }
}

fn fence(answer: RunAnswer) -> Fence {
    match answer {
        RunAnswer::Run { fence, lease } => {
            assert_eq!(lease, LEASE);
            fence
        }
        other => panic!("{other:?}"),
    }
}

fn is_fenced(result: &Result<(), Refusal>) -> bool {
    matches!(result, Err(Refusal::Run(RunRejection::Fenced(_))))
}

async fn pair() -> Cluster {
    let cluster = start("ready: {nodes: 2}");
    for name in ["a", "b"] {
        cluster.add(name).await;
    }
    cluster
}

#[tokio::test(start_paused = true)]
async fn one_of_two_callers_runs_and_both_get_the_result() {
    let cluster = pair().await;
    let (first, second) = tokio::join!(cluster.claims_now("a"), cluster.claims_now("b"));
    let first = fence(first);
    assert!(matches!(second, RunAnswer::Waiting(runner) if runner.as_str() == "a"));
    assert_eq!(
        fence(cluster.claims_now("a").await),
        first,
        "a repeated claim"
    );
    let (waited, ended) = tokio::join!(cluster.claims("b"), cluster.done("a", first));
    ended.unwrap();
    for answer in [waited, cluster.claims("a").await] {
        match answer {
            RunAnswer::Done { output, .. } => assert_eq!(&output[..], b"ok"),
            other => panic!("{other:?}"),
        }
    }
    let other = cluster.claim_run(&request("x"), Instant::now()).await;
    assert!(matches!(other, Err(Refusal::Unregistered(_))));
}

#[tokio::test(start_paused = true)]
async fn late_success_of_a_runner_that_was_replaced_is_refused() {
    let cluster = pair().await;
    let begun = Instant::now();
    let first = fence(cluster.claims("a").await);
    advance(LEASE / 2).await;
    let (name, runner) = ("init".parse().unwrap(), "a".parse().unwrap());
    cluster.renew_run(&name, &runner, first).unwrap();
    // The runner stops, and the other one takes over when the lease has ended.
    let second = fence(cluster.claims("b").await);
    assert!(begun.elapsed() >= LEASE + LEASE / 2 && second > first);
    assert!(is_fenced(&cluster.done("a", first).await));
    assert!(is_fenced(
        &cluster.renew_run(&name, &runner, first).map(drop)
    ));
    cluster.done("b", second).await.unwrap();
    // The answer to the first request was lost.
    cluster.done("b", second).await.unwrap();
    assert!(is_fenced(&cluster.done("a", first).await));
}

#[tokio::test(start_paused = true)]
async fn runner_that_is_not_replaced_may_end_after_its_lease() {
    let cluster = pair().await;
    let first = fence(cluster.claims("a").await);
    advance(LEASE * 2).await;
    cluster.done("a", first).await.unwrap();
    assert!(matches!(cluster.claims("b").await, RunAnswer::Done { .. }));
}

#[tokio::test(start_paused = true)]
async fn failures_pass_the_run_on_until_the_tries_are_used_up() {
    let cluster = pair().await;
    let first = fence(cluster.claims("a").await);
    let (second, ()) = tokio::join!(cluster.claims("b"), cluster.failed("a", first, "exit 1"));
    fence(second);
    // The second runner dies.
    match cluster.claims("a").await {
        RunAnswer::Exhausted {
            failures, reason, ..
        } => assert_eq!((failures, &*reason), (2, "b did not renew its lease")),
        other => panic!("{other:?}"),
    }
    cluster.forget_run("init".parse().unwrap()).await.unwrap();
    let third = fence(cluster.claims("a").await);
    assert_eq!(third, Fence(3), "fences rise after the run was forgotten");
    let runs = cluster.runs();
    assert_eq!((runs.len(), &*runs[0].state), (1, "running"));
    // The runner of a forgotten run cannot end it.
    cluster.forget_run("init".parse().unwrap()).await.unwrap();
    assert!(is_fenced(&cluster.done("a", third).await));
}

#[tokio::test(start_paused = true)]
async fn leases_begin_anew_after_a_restart() {
    let store = store();
    let spec_of = || spec(&format!("ready: {{nodes: 2}}{PEERS}"));
    let cluster = start_on(store.clone(), spec_of(), vec![]);
    for name in ["a", "b"] {
        cluster.add(name).await;
    }
    let first = fence(cluster.claims("a").await);
    drop(cluster);
    advance(LEASE * 3).await;
    let cluster = start_on(store, spec_of(), vec![]);
    assert!(matches!(
        cluster.claims_now("b").await,
        RunAnswer::Waiting(_)
    ));
    let (name, runner) = ("init".parse().unwrap(), "a".parse().unwrap());
    advance(LEASE / 2).await;
    cluster.renew_run(&name, &runner, first).unwrap();
    advance(LEASE * 3 / 4).await;
    assert!(matches!(
        cluster.claims_now("b").await,
        RunAnswer::Waiting(_)
    ));
    cluster.done("a", first).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn run_per_generation_is_done_once_for_each() {
    let cluster = pair().await;
    let each = || RunRequest {
        is_per_generation: true,
        ..request("a")
    };
    let early = start("ready: {nodes: 2}");
    early.add("a").await;
    let refused = early.claim_run(&each(), Instant::now()).await;
    assert!(matches!(refused, Err(Refusal::NothingDelivered(_))));
    cluster.files("a").await;
    for unsealed in [0, 2, u64::MAX] {
        let unsealed = cfgsync_model::GenerationNumber(unsealed);
        let unsealed_claim = RunRequest {
            generation: Some(unsealed),
            ..each()
        };
        let refused = cluster.claim_run(&unsealed_claim, Instant::now()).await;
        assert_eq!(refused.unwrap_err(), Refusal::NotSealed(unsealed));
    }
    let first = fence(cluster.claim_run(&each(), Instant::now()).await.unwrap());
    cluster.done("a", first).await.unwrap();
    let again = cluster.claim_run(&each(), Instant::now()).await.unwrap();
    assert!(matches!(again, RunAnswer::Done { .. }));
    cluster.add("c").await;
    cluster.files("c").await;
    fence(cluster.claim_run(&each(), Instant::now()).await.unwrap());
    assert_eq!(cluster.runs()[0].generation.unwrap().0, 2);
}

#[tokio::test(start_paused = true)]
async fn failed_or_stopping_server_answers_at_once() {
    let cluster = pair().await;
    fence(cluster.claims("a").await);
    let (answer, ()) = tokio::join!(cluster.claims("b"), async { cluster.drain() });
    assert!(matches!(answer, RunAnswer::Draining));
    let cluster = pair().await;
    fence(cluster.claims("a").await);
    let (answer, failed) = tokio::join!(cluster.claims("b"), cluster.fail("broken".to_owned()));
    failed.unwrap();
    assert!(matches!(answer, RunAnswer::Failed(_)));
}
