//! Tests of roll-outs: which generation a node gets while a newer one is handed on.

use super::*;
use cfgsync_wire::RolloutState;

const VALUE: &str = "
materializers:
  - kind: template
    files: [{path: v, template: '{{ value(\"prod\", \"v\", default=1) }}'}]
";

/// Starts a cluster of the nodes a, b and c, which all follow and have generation 1.
async fn following(rollout: &str) -> Cluster {
    following_on(store(), rollout).await
}

async fn following_on(store: Arc<MemoryStore>, rollout: &str) -> Cluster {
    let spec = spec(&format!("rollout: {rollout}\nready: {{nodes: 3}}{VALUE}"));
    let cluster = start_on(store, spec, vec![]);
    for name in ["a", "b", "c"] {
        cluster.add(name).await;
    }
    for name in ["a", "b", "c"] {
        assert_eq!(number(&cluster.files(name).await), 1);
        cluster.note_follower(&name.parse().unwrap());
    }
    cluster
}

impl Cluster {
    async fn set_v(&self, content: &str) {
        let value = crate::NewValue {
            namespace: "prod".parse().unwrap(),
            key: "v".parse().unwrap(),
            bytes: content.to_owned().into(),
            codec: None,
            secret: false,
            mode: cfgsync_model::WriteMode::Upsert,
            if_version: None,
            ttl: None,
        };
        self.set_value(value).await.unwrap();
        self.evaluated("a").await;
    }

    /// Returns the generations that the nodes get now.
    fn handed(&self) -> [u64; 3] {
        ["a", "b", "c"].map(|name| match self.answer(name) {
            Answer::NotReady(_) => 0,
            answer => number(&received(answer)),
        })
    }

    /// Delivers the files that a node gets now, and waits until that is taken into account.
    async fn deliver(&self, name: &str) {
        self.files(name).await;
        self.settled().await;
    }

    async fn report_phase(&self, name: &str, phase: &str, generation: u64) {
        let report = cfgsync_wire::ReportBody {
            generation: Some(cfgsync_model::GenerationNumber(generation)),
            reason: (phase == "failed").then(|| "port in use".into()),
        };
        let (name, phase) = (name.parse().unwrap(), phase.parse().unwrap());
        self.report(name, phase, report).await.unwrap();
        self.settled().await;
    }

    /// Lets the reconciler run for a while.
    async fn settled(&self) {
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn nodes_get_a_new_generation_one_after_the_other() {
    let cluster = following("{wait_for: delivered}").await;
    assert_eq!(cluster.rollout().state, RolloutState::Done);
    cluster.set_v("2").await;
    assert_eq!(cluster.handed(), [2, 1, 1]);
    let rollout = cluster.rollout();
    assert_eq!(rollout.state, RolloutState::Running);
    assert_eq!(
        rollout.held_back,
        ["b", "c"].map(|name| name.parse().unwrap())
    );
    cluster.deliver("b").await;
    assert_eq!(cluster.handed(), [2, 1, 1], "b has older files still");
    cluster.deliver("a").await;
    assert_eq!(cluster.handed(), [2, 2, 1]);
    cluster.deliver("b").await;
    cluster.deliver("c").await;
    assert_eq!(cluster.handed(), [2, 2, 2]);
    let rollout = cluster.rollout();
    assert_eq!((rollout.state, rollout.done), (RolloutState::Done, 3));
}

#[tokio::test(start_paused = true)]
async fn failure_stops_the_roll_out_and_resume_continues_it() {
    let cluster = following("{wait_for: healthy, timeout: 1h}").await;
    cluster.set_v("2").await;
    cluster.deliver("a").await;
    assert_eq!(cluster.handed(), [2, 1, 1], "a is not healthy yet");
    cluster.report_phase("a", "failed", 2).await;
    let rollout = cluster.rollout();
    assert_eq!(rollout.state, RolloutState::Stopped);
    assert_eq!(rollout.reason.as_deref(), Some("a failed: port in use"));
    assert_eq!(cluster.handed(), [2, 1, 1]);
    cluster.resume_rollout().await.unwrap();
    assert_eq!(cluster.handed(), [2, 2, 1]);
    cluster.report_phase("b", "healthy", 2).await;
    cluster.report_phase("c", "healthy", 2).await;
    let rollout = cluster.rollout();
    assert_eq!((rollout.state, rollout.done), (RolloutState::Done, 2));
    assert_eq!(rollout.skipped, ["a".parse().unwrap()]);
    assert_eq!(cluster.stop_rollout().await, Err(Refusal::NoRollout));
}

#[tokio::test(start_paused = true)]
async fn new_and_changed_nodes_get_the_newest_generation_at_once() {
    let cluster = following("{wait_for: healthy, timeout: 1h}").await;
    cluster.set_v("2").await;
    assert_eq!(cluster.handed(), [2, 1, 1]);
    cluster.register(node("c", "10.0.0.9")).await.unwrap();
    cluster.add("d").await;
    assert_eq!(number(&cluster.files("d").await), 3);
    assert_eq!(number(&received(cluster.evaluated("c").await)), 3);
    assert_eq!(
        cluster.handed(),
        [3, 1, 3],
        "a follows as the first, b waits"
    );
}

#[tokio::test(start_paused = true)]
async fn newer_generation_replaces_a_roll_out() {
    let cluster = following("{wait_for: healthy, timeout: 1h}").await;
    cluster.set_v("2").await;
    cluster.deliver("a").await;
    cluster.report_phase("a", "healthy", 2).await;
    assert_eq!(cluster.handed(), [2, 2, 1]);
    cluster.set_v("3").await;
    assert_eq!(cluster.handed(), [2, 3, 1], "b has not reported yet");
    cluster.report_phase("b", "healthy", 3).await;
    assert_eq!(cluster.handed(), [3, 3, 1]);
    assert_eq!(cluster.rollout().generation.unwrap().0, 3);
}

#[tokio::test(start_paused = true)]
async fn new_node_does_not_continue_a_stopped_roll_out() {
    let cluster = following("{wait_for: healthy, timeout: 1h}").await;
    cluster.set_v("2").await;
    cluster.deliver("a").await;
    cluster.report_phase("a", "failed", 2).await;
    cluster.add("d").await;
    assert_eq!(number(&cluster.files("d").await), 3);
    cluster.settled().await;
    assert_eq!(cluster.handed(), [3, 1, 1]);
    let rollout = cluster.rollout();
    assert_eq!(rollout.state, RolloutState::Stopped);
    assert_eq!(rollout.reason.as_deref(), Some("a failed: port in use"));
    cluster.resume_rollout().await.unwrap();
    assert_eq!(cluster.handed(), [3, 3, 1]);
}

#[tokio::test(start_paused = true)]
async fn resume_waits_for_the_generation_of_the_newest_inputs() {
    let cluster = following("{wait_for: healthy, timeout: 1h}").await;
    cluster.set_v("2").await;
    cluster.deliver("a").await;
    cluster.report_phase("a", "failed", 2).await;
    let value = crate::NewValue {
        namespace: "prod".parse().unwrap(),
        key: "v".parse().unwrap(),
        bytes: "1".into(),
        codec: None,
        secret: false,
        mode: cfgsync_model::WriteMode::Upsert,
        if_version: None,
        ttl: None,
    };
    cluster.set_value(value).await.unwrap();
    cluster.resume_rollout().await.unwrap();
    assert_eq!(cluster.handed(), [3, 3, 3]);
    let b = received(cluster.answer("b"));
    assert_eq!(text(&b, "v"), "1");
}

#[tokio::test(start_paused = true)]
async fn stop_by_a_failure_stays_when_the_failed_node_leaves() {
    let cluster = following("{wait_for: healthy, timeout: 1h}").await;
    cluster.set_v("2").await;
    cluster.deliver("a").await;
    cluster.report_phase("a", "failed", 2).await;
    cluster.remove(&"a".parse().unwrap()).await.unwrap();
    cluster.settled().await;
    assert_eq!(cluster.rollout().state, RolloutState::Stopped);
    assert_eq!(number(&received(cluster.answer("b"))), 1);
    cluster.resume_rollout().await.unwrap();
    cluster.settled().await;
    assert_eq!(text(&received(cluster.answer("b")), "v"), "2");
}

#[tokio::test(start_paused = true)]
async fn running_roll_out_waits_for_the_same_node_when_another_joins() {
    let cluster = following("{wait_for: healthy, timeout: 1h}").await;
    cluster.set_v("2").await;
    cluster.deliver("a").await;
    cluster.add("d").await;
    assert_eq!(number(&cluster.files("d").await), 3);
    cluster.settled().await;
    assert_eq!(cluster.handed(), [3, 1, 1]);
    assert_eq!(cluster.rollout().in_progress, ["a".parse().unwrap()]);
}

#[tokio::test(start_paused = true)]
async fn node_that_registers_during_a_roll_out_gets_the_newest_files_at_once() {
    let cluster = following("{wait_for: healthy, timeout: 1h}").await;
    cluster.set_v("2").await;
    cluster.deliver("a").await;
    assert_eq!(cluster.handed(), [2, 1, 1]);
    // The files do not use the address, so there is no newer generation.
    cluster.register(node("c", "10.0.0.9")).await.unwrap();
    cluster.settled().await;
    assert_eq!(cluster.handed(), [2, 1, 2]);
    let rollout = cluster.rollout();
    assert_eq!(rollout.in_progress, ["a".parse().unwrap()]);
    assert_eq!(rollout.held_back, ["b".parse().unwrap()]);
}

#[tokio::test(start_paused = true)]
async fn node_that_registered_before_a_roll_out_waits_for_its_turn() {
    let cluster = following("{wait_for: healthy, timeout: 1h}").await;
    // Generation 1 includes these facts, because they do not change its files.
    cluster.register(node("c", "10.0.0.9")).await.unwrap();
    cluster.evaluated("c").await;
    cluster.set_v("2").await;
    cluster.settled().await;
    assert_eq!(cluster.handed(), [2, 1, 1]);
}

#[tokio::test(start_paused = true)]
async fn nodes_that_do_not_follow_are_listed_by_each_roll_out() {
    let cluster = following("{wait_for: delivered}").await;
    advance(Duration::from_mins(2)).await;
    for name in ["a", "b"] {
        cluster.note_follower(&name.parse().unwrap());
    }
    for value in ["2", "3", "4"] {
        cluster.set_v(value).await;
        for name in ["a", "b"] {
            cluster.deliver(name).await;
        }
        let rollout = cluster.rollout();
        assert_eq!(rollout.state, RolloutState::Done);
        assert_eq!(rollout.skipped, ["c".parse().unwrap()], "{value}");
    }
}

#[tokio::test(start_paused = true)]
async fn stop_of_an_operator_stays_for_newer_generations() {
    let cluster = following("{wait_for: healthy, timeout: 1h}").await;
    cluster.set_v("2").await;
    cluster.stop_rollout().await.unwrap();
    cluster.set_v("3").await;
    assert_eq!(cluster.rollout().state, RolloutState::Stopped);
    assert_eq!(cluster.handed()[1..], [1, 1]);
    cluster.resume_rollout().await.unwrap();
    assert_eq!(cluster.handed(), [3, 1, 1]);
}

#[tokio::test(start_paused = true)]
async fn nodes_that_do_not_follow_are_skipped() {
    let cluster = following("{wait_for: healthy, timeout: 1h}").await;
    advance(Duration::from_mins(2)).await;
    cluster.note_follower(&"c".parse().unwrap());
    cluster.set_v("2").await;
    assert_eq!(cluster.handed(), [2, 2, 2]);
    let rollout = cluster.rollout();
    assert_eq!(
        rollout.skipped,
        ["a", "b"].map(|name| name.parse().unwrap())
    );
    assert_eq!(rollout.in_progress, ["c".parse().unwrap()]);
}

const HEALTHY: &str = "{wait_for: healthy, timeout: 1h}";

/// Starts another server on the store of a cluster that [`following_on`] started with [`HEALTHY`].
fn restarted(store: Arc<MemoryStore>) -> Cluster {
    let again = spec(&format!("rollout: {HEALTHY}\nready: {{nodes: 3}}{VALUE}"));
    let cluster = start_on(store, again, vec![]);
    for name in ["a", "b", "c"] {
        cluster.note_follower(&name.parse().unwrap());
    }
    cluster
}

#[tokio::test(start_paused = true)]
async fn restarted_server_keeps_the_order_and_waits_for_the_same_nodes() {
    let store = store();
    let cluster = following_on(store.clone(), HEALTHY).await;
    cluster.set_v("2").await;
    cluster.deliver("a").await;
    drop(cluster);
    let cluster = restarted(store);
    assert_eq!(cluster.handed(), [2, 1, 1], "before the first evaluation");
    cluster.settled().await;
    assert_eq!(cluster.handed(), [2, 1, 1], "as before the restart");
    assert_eq!(cluster.rollout().in_progress, ["a".parse().unwrap()]);
    cluster.report_phase("a", "healthy", 2).await;
    assert_eq!(cluster.handed(), [2, 2, 1]);
    assert_eq!(cluster.rollout().done, 1);
}

#[tokio::test(start_paused = true)]
async fn failure_stops_the_roll_out_after_a_restart_as_well() {
    let store = store();
    let cluster = following_on(store.clone(), HEALTHY).await;
    cluster.set_v("2").await;
    cluster.deliver("a").await;
    cluster.report_phase("a", "failed", 2).await;
    drop(cluster);
    let cluster = restarted(store);
    cluster.settled().await;
    let rollout = cluster.rollout();
    assert_eq!(rollout.state, RolloutState::Stopped);
    assert_eq!(rollout.reason.as_deref(), Some("a failed: port in use"));
    assert_eq!(cluster.handed(), [2, 1, 1]);
}

#[tokio::test(start_paused = true)]
async fn restarted_server_waits_for_a_node_whose_files_a_later_generation_left_as_they_were() {
    let store = store();
    let cluster = following_on(store.clone(), HEALTHY).await;
    cluster.set_v("2").await;
    cluster.deliver("a").await;
    cluster.add("d").await;
    cluster.deliver("d").await;
    drop(cluster);
    let cluster = restarted(store);
    cluster.settled().await;
    assert_eq!(cluster.handed(), [3, 1, 1]);
    assert_eq!(cluster.rollout().in_progress, ["a".parse().unwrap()]);
}

#[tokio::test(start_paused = true)]
async fn restarted_server_keeps_a_stop_by_a_node_that_has_left() {
    let store = store();
    let cluster = following_on(store.clone(), HEALTHY).await;
    cluster.set_v("2").await;
    cluster.deliver("a").await;
    cluster.report_phase("a", "failed", 2).await;
    cluster.remove(&"a".parse().unwrap()).await.unwrap();
    cluster.settled().await;
    drop(cluster);
    for _ in 0..2 {
        let cluster = restarted(store.clone());
        cluster.settled().await;
        let rollout = cluster.rollout();
        assert_eq!(rollout.state, RolloutState::Stopped);
        assert_eq!(rollout.reason.as_deref(), Some("a failed: port in use"));
        assert_eq!(number(&received(cluster.answer("b"))), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn restarted_server_keeps_the_stop_of_an_operator() {
    let store = store();
    let cluster = following_on(store.clone(), HEALTHY).await;
    cluster.set_v("2").await;
    cluster.deliver("a").await;
    cluster.stop_rollout().await.unwrap();
    assert_eq!(cluster.rollout().state, RolloutState::Stopped);
    drop(cluster);
    let cluster = restarted(store.clone());
    cluster.report_phase("a", "healthy", 2).await;
    let rollout = cluster.rollout();
    assert_eq!(rollout.state, RolloutState::Stopped);
    let reason = rollout.reason.as_deref();
    assert_eq!(reason, Some("an operator has stopped it"));
    assert_eq!(cluster.handed(), [2, 1, 1]);
    cluster.resume_rollout().await.unwrap();
    assert_eq!(cluster.rollout().state, RolloutState::Running);
    assert_eq!(cluster.handed(), [2, 2, 1]);
    drop(cluster);
    let cluster = restarted(store);
    cluster.settled().await;
    assert_eq!(cluster.rollout().state, RolloutState::Running);
}

#[tokio::test(start_paused = true)]
async fn restarted_server_keeps_the_files_of_all_older_generations() {
    let store = store();
    let cluster = following_on(store.clone(), HEALTHY).await;
    cluster.set_v("2").await;
    cluster.deliver("a").await;
    cluster.set_v("3").await;
    assert_eq!(cluster.handed(), [3, 1, 1]);
    cluster.stop_rollout().await.unwrap();
    drop(cluster);
    let cluster = restarted(store);
    cluster.settled().await;
    let [_, b, c] = cluster.handed();
    assert_eq!([b, c], [1, 1]);
}

#[tokio::test(start_paused = true)]
async fn node_that_dies_with_its_new_files_stops_the_roll_out() {
    let cluster = following("{wait_for: healthy, timeout: 1h}\nlease: 30s").await;
    cluster.set_v("2").await;
    cluster.deliver("a").await;
    for _ in 0..40 {
        for name in ["b", "c"] {
            cluster.renew(&name.parse().unwrap()).unwrap();
        }
        cluster.settled().await;
    }
    let rollout = cluster.rollout();
    assert_eq!(rollout.state, RolloutState::Stopped);
    assert_eq!(
        rollout.reason.as_deref(),
        Some("the lease of a has expired")
    );
    assert_eq!(cluster.handed()[1..], [1, 1]);
    cluster.resume_rollout().await.unwrap();
    cluster.settled().await;
    assert_eq!(cluster.handed()[2], 1);
    assert!(cluster.handed()[1] > 1);
}
