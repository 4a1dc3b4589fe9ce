//! Tests of the timers `settle` and `deadline`.

use super::*;

#[tokio::test(start_paused = true)]
async fn deadline_releases_waiting_nodes_and_the_next_registration_starts_over() {
    let cluster = start("ready: {nodes: 2, deadline: 5m}");
    cluster.add("a").await;
    match cluster.fetch("a").await {
        Answer::Failed(failure) => assert_eq!(failure.reason, "not ready within 5m: 1/2"),
        other => panic!("{other:?}"),
    }
    assert_eq!(cluster.cluster().state, ClusterState::Failed);
    cluster.add("a").await; // the same facts: no input, but a new attempt
    assert!(matches!(cluster.answer("a"), Answer::NotReady(_)));
    cluster.add("b").await;
    assert_eq!(number(&cluster.files("a").await), 1);
}

#[tokio::test(start_paused = true)]
async fn deadline_ends_with_the_first_seal() {
    let cluster = start("ready: {nodes: 1, deadline: 5m}");
    cluster.add("a").await;
    cluster.files("a").await;
    advance(Duration::from_hours(1)).await;
    cluster.register(node("a", "10.0.0.2")).await.unwrap();
    assert_eq!(number(&cluster.files("a").await), 2);
}

#[tokio::test(start_paused = true)]
async fn settle_counts_from_the_last_registration() {
    let cluster = start("ready: {nodes: 1, settle: 10s}");
    cluster.add("a").await;
    cluster.evaluated("a").await;
    let begun = Instant::now();
    let soon = begun + Duration::from_secs(6);
    assert!(matches!(
        cluster.wait("a", None, soon).await,
        Answer::NotReady(_)
    ));
    cluster.add("b").await;
    let payload = cluster.files("a").await;
    assert_eq!(text(&payload, "peers"), "0:a@10.0.0.1 1:b@10.0.0.1 ");
    assert!(begun.elapsed() >= Duration::from_secs(16));
}

#[tokio::test(start_paused = true)]
async fn registration_during_the_deadline_failure_starts_the_next_attempt() {
    let store = store();
    let cluster = start_on(
        store.clone(),
        spec(
            "ready: {nodes: 2, deadline: 5m}\nmaterializers: [{kind: template, files: [{path: p, template: x}]}]",
        ),
        vec![],
    );
    cluster.add("a").await;
    assert!(matches!(cluster.fetch("a").await, Answer::Failed(_)));
    // The node registers just before the failure is published, so no command begins the next attempt.
    store
        .apply(vec![Change::register(node("b", "10.0.0.1"))])
        .await
        .unwrap();
    cluster.evaluated("b").await;
    assert_eq!(number(&cluster.files("b").await), 1);
}

#[tokio::test(start_paused = true)]
async fn deadline_does_not_hide_a_failed_render() {
    let is_broken = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let scripted = {
        let is_broken = is_broken.clone();
        Scripted(move |snapshot: &RegistrationSnapshot| {
            if is_broken.load(Ordering::Relaxed) {
                return Err(MaterializeError::new("no files"));
            }
            Ok(one_file_each(snapshot, "x"))
        })
    };
    let rule = || {
        spec(&format!(
            "ready: {{nodes: 1, deadline: 3s, settle: 1s}}{PEERS}"
        ))
    };
    let cluster = start_on(store(), rule(), vec![Arc::new(scripted)]);
    let failed = |answer| match answer {
        Answer::Failed(failure) => failure.reason.clone(),
        other => panic!("{other:?}"),
    };
    cluster.add("a").await;
    assert_eq!(failed(cluster.fetch("a").await), "no files");
    // The deadline passes, and the reason stays.
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(failed(cluster.answer("a")), "no files");
    // The next input begins another attempt, with its own time.
    cluster.register(node("a", "10.0.0.2")).await.unwrap();
    assert_eq!(failed(cluster.fetch("a").await), "no files");
    tokio::time::sleep(Duration::from_secs(10)).await;
    // A reread spec, as on SIGHUP, tries again without a registration.
    is_broken.store(false, Ordering::Relaxed);
    cluster.reload(rule()).await.unwrap();
    assert_eq!(number(&cluster.files("a").await), 1);
}

#[tokio::test(start_paused = true)]
async fn deadline_does_not_fail_a_ready_set_that_waits_for_the_render_interval() {
    let by_address = Scripted(|snapshot: &RegistrationSnapshot| {
        match snapshot.nodes[0].ip.to_string().as_str() {
            "10.0.0.1" => Err(MaterializeError::new("no files")),
            _ => Ok(one_file_each(snapshot, "x")),
        }
    });
    let spec = spec(
        "ready: {nodes: 1, deadline: 500ms}\nmaterializers: [{kind: template, files: [{path: p, template: x}]}]",
    );
    let cluster = start_on(store(), spec, vec![Arc::new(by_address)]);
    cluster.add("a").await;
    assert!(matches!(cluster.fetch("a").await, Answer::Failed(_)));
    cluster.register(node("a", "10.0.0.2")).await.unwrap();
    assert_eq!(number(&cluster.files("a").await), 1);
}

#[tokio::test(start_paused = true)]
async fn override_does_not_restart_settle() {
    let cluster = start("ready: {nodes: 1, settle: 10s}");
    let begun = Instant::now();
    cluster.add("a").await;
    let set_override = async {
        tokio::time::sleep(Duration::from_secs(8)).await;
        let files = files_of(&[("file", "by hand")]);
        cluster.replace("a".parse().unwrap(), files).await.unwrap();
    };
    let (payload, ()) = tokio::join!(cluster.files("a"), set_override);
    assert_eq!(text(&payload, "file"), "by hand");
    assert!(
        begun.elapsed() < Duration::from_secs(11),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn deadline_holds_for_a_new_node_of_a_set_that_a_spec_made_incomplete() {
    let cluster = start("ready: {nodes: 1}");
    cluster.add("a").await;
    cluster.files("a").await;
    let larger = spec(&format!("ready: {{nodes: 3, deadline: 5m}}{PEERS}"));
    cluster.reload(larger).await.unwrap();
    cluster.add("b").await;
    assert_eq!(
        cluster.reason("b").await,
        "not ready: 2/3; sealed: generation 1 stays served, but the set is no longer complete by the spec in force"
    );
    let begun = Instant::now();
    let Answer::Failed(failure) = cluster.fetch("b").await else {
        panic!("the deadline does not hold");
    };
    assert_eq!(begun.elapsed().as_secs(), 300);
    assert!(
        failure.reason.starts_with("not ready within 5m: 2/3"),
        "{}",
        failure.reason
    );
    // The node that has files keeps them, and the cluster is not failed.
    assert_eq!(number(&cluster.files("a").await), 1);
    let body = cluster.cluster();
    assert_eq!(body.state, ClusterState::Ready);
    assert_eq!(body.failure.as_ref(), Some(&*failure));
    assert!(
        cluster
            .status()
            .contains("serving generation 1 to 1 nodes; not ready within 5m")
    );
    // The next registration begins a new attempt, which succeeds.
    cluster.add("b").await;
    assert!(matches!(cluster.evaluated("b").await, Answer::NotReady(_)));
    cluster.add("c").await;
    assert_eq!(number(&cluster.files("b").await), 2);
    assert_eq!(cluster.cluster().failure, None);
}

#[tokio::test(start_paused = true)]
async fn sealed_set_without_waiting_nodes_misses_no_deadline() {
    let cluster = start("ready: {nodes: 1}");
    cluster.add("a").await;
    cluster.files("a").await;
    let larger = spec(&format!("ready: {{nodes: 3, deadline: 5m}}{PEERS}"));
    cluster.reload(larger).await.unwrap();
    advance(Duration::from_hours(1)).await;
    cluster.evaluated("a").await;
    assert_eq!(cluster.cluster().failure, None);
}
