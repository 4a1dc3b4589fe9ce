//! Tests of the times at which renders run, and of renders that fail or are not ready.

use super::*;

#[tokio::test(start_paused = true)]
async fn renders_respect_the_interval_and_use_the_newest_inputs() {
    let cluster = start("ready: {nodes: 1}");
    cluster.add("a").await;
    cluster.files("a").await;
    for ip in ["10.0.0.2", "10.0.0.3", "10.0.0.4"] {
        cluster.register(node("a", ip)).await.unwrap();
    }
    let soon = Instant::now() + Duration::from_millis(100);
    assert_eq!(
        message_of(cluster.wait("a", None, soon).await),
        "not ready: 1/1; render: the server is collecting changes; it renders at most once in 1s"
    );
    let payload = cluster.files("a").await;
    assert_eq!(number(&payload), 2, "three registrations, one generation");
}

/// Clients of the older protocol give up after a second.
#[tokio::test(start_paused = true)]
async fn new_node_does_not_wait_for_the_interval() {
    let cluster = start("ready: {nodes: 1}");
    cluster.add("a").await;
    cluster.files("a").await;
    cluster.add("b").await;
    let soon = Instant::now() + Duration::from_millis(100);
    assert_eq!(number(&received(cluster.wait("b", None, soon).await)), 2);
}

#[tokio::test(start_paused = true)]
async fn new_node_waits_for_the_interval_after_a_failed_render() {
    let failing = Scripted(
        |snapshot: &RegistrationSnapshot| match snapshot.nodes.len() {
            2 => Err(MaterializeError::new("no files")),
            _ => Ok(one_file_each(snapshot, "x")),
        },
    );
    let spec = spec(
        "ready: {nodes: 1}\nmaterializers: [{kind: template, files: [{path: p, template: x}]}]",
    );
    let cluster = start_on(store(), spec, vec![Arc::new(failing)]);
    cluster.add("a").await;
    cluster.files("a").await;
    cluster.add("b").await;
    while cluster.cluster().failure.is_none() {
        // Advance the clock explicitly: a paused clock does not advance while a blocking thread works. Little by
        // little, because the interval must not pass meanwhile.
        advance(Duration::from_micros(1)).await;
    }
    cluster.add("c").await;
    let soon = Instant::now() + Duration::from_millis(100);
    assert!(matches!(
        cluster.wait("c", None, soon).await,
        Answer::NotReady(_)
    ));
    assert_eq!(number(&cluster.files("c").await), 2);
}

#[tokio::test(start_paused = true)]
async fn reason_names_a_render_in_progress() {
    let (go, gone) = std::sync::mpsc::channel::<()>();
    let gone = Mutex::new(gone);
    let slow = Scripted(move |snapshot: &RegistrationSnapshot| {
        let _ = gone.lock().unwrap().recv();
        Ok(one_file_each(snapshot, "x"))
    });
    let cluster = start_on(
        store(),
        spec(&format!("ready: {{nodes: 1}}{PEERS}")),
        vec![Arc::new(slow)],
    );
    cluster.add("a").await;
    let expected = "not ready: 1/1; render: the server is rendering the files";
    while message_of(cluster.answer("a")) != expected {
        // Advance the clock explicitly: a paused clock does not advance while a blocking thread works.
        advance(Duration::from_millis(1)).await;
    }
    drop(go);
    assert_eq!(number(&cluster.files("a").await), 1);
}

#[tokio::test(start_paused = true)]
async fn failed_render_releases_waiting_nodes_until_an_input_changes() {
    let by_address = Scripted(|snapshot: &RegistrationSnapshot| {
        match snapshot.nodes[0].ip.to_string().as_str() {
            "10.0.0.1" => Err(MaterializeError::new("no files for 10.0.0.1")),
            "10.0.0.2" => panic!("scripted"),
            _ => Ok(one_file_each(snapshot, "x")),
        }
    });
    let spec = spec(&format!("ready: {{nodes: 1}}{PEERS}"));
    let cluster = start_on(store(), spec, vec![Arc::new(by_address)]);
    cluster.add("a").await;
    match cluster.fetch("a").await {
        Answer::Failed(failure) => assert_eq!(failure.reason, "no files for 10.0.0.1"),
        other => panic!("{other:?}"),
    }
    cluster.register(node("a", "10.0.0.2")).await.unwrap();
    assert!(
        matches!(cluster.answer("a"), Answer::NotReady(_)),
        "the failure was of older inputs"
    );
    match cluster.fetch("a").await {
        Answer::Failed(failure) => assert!(failure.reason.contains("panicked"), "{failure:?}"),
        other => panic!("{other:?}"),
    }
    cluster.register(node("a", "10.0.0.3")).await.unwrap();
    assert_eq!(number(&cluster.files("a").await), 1);
}

#[tokio::test(start_paused = true)]
async fn failed_render_after_a_seal_is_reported_and_the_last_generation_stays() {
    let at_most_one = Scripted(
        |snapshot: &RegistrationSnapshot| match snapshot.nodes.len() {
            1 => Ok(one_file_each(snapshot, "x")),
            _ => Err(MaterializeError::new("too many")),
        },
    );
    let spec = spec(&format!("ready: {{nodes: 1}}{PEERS}"));
    let cluster = start_on(store(), spec, vec![Arc::new(at_most_one)]);
    cluster.add("a").await;
    cluster.files("a").await;
    cluster.add("b").await;
    cluster.evaluated("b").await;
    assert_eq!(number(&received(cluster.answer("a"))), 1);
    assert_eq!(
        cluster.reason("b").await,
        "not ready: 2 registered (1 needed); render: the newest render failed: too many"
    );
    let described = cluster.cluster();
    assert_eq!(described.state, ClusterState::Ready);
    assert_eq!(described.failure.unwrap().reason, "too many");
}

#[tokio::test(start_paused = true)]
async fn materializer_that_is_not_ready_is_retried_and_its_reason_shown() {
    let asked = Arc::new(AtomicUsize::new(0));
    let third_time = {
        let asked = asked.clone();
        Scripted(move |snapshot: &RegistrationSnapshot| {
            match asked.fetch_add(1, Ordering::Relaxed) {
                0 | 1 => Ok(MaterializationResult::NotReady {
                    message: "no quorum".into(),
                }),
                _ => Ok(one_file_each(snapshot, "x")),
            }
        })
    };
    let spec = spec(&format!("ready: {{nodes: 1}}{PEERS}"));
    let cluster = start_on(store(), spec, vec![Arc::new(third_time)]);
    cluster.add("a").await;
    assert_eq!(
        cluster.reason("a").await,
        "not ready: 1/1; scripted: no quorum"
    );
    assert_eq!(number(&cluster.files("a").await), 1);
    assert_eq!(asked.load(Ordering::Relaxed), 3);
}

#[tokio::test(start_paused = true)]
async fn declared_failure_stays_until_reset() {
    let cluster = start("ready: {nodes: 1}");
    cluster.add("a").await;
    cluster.files("a").await;
    cluster.fail("wrong image".into()).await.unwrap();
    cluster.add("b").await;
    match cluster.fetch("a").await {
        Answer::Failed(failure) => assert_eq!(failure.reason, "wrong image"),
        other => panic!("{other:?}"),
    }
    cluster.reset().await.unwrap();
    assert_eq!(number(&cluster.files("b").await), 2);
}

#[tokio::test(start_paused = true)]
async fn same_registration_retries_a_failed_render_at_most_once_a_second() {
    let renders = Arc::new(AtomicUsize::new(0));
    let third_time = {
        let renders = renders.clone();
        Scripted(move |snapshot: &RegistrationSnapshot| {
            match renders.fetch_add(1, Ordering::Relaxed) {
                0 | 1 => Err(MaterializeError::new("out of order")),
                _ => Ok(one_file_each(snapshot, "x")),
            }
        })
    };
    let spec = spec(&format!("ready: {{nodes: 1}}{PEERS}"));
    let cluster = start_on(store(), spec, vec![Arc::new(third_time)]);
    cluster.add("a").await;
    assert!(matches!(cluster.fetch("a").await, Answer::Failed(_)));
    for _ in 0..3 {
        cluster.add("a").await;
        assert!(matches!(cluster.answer("a"), Answer::Failed(_)), "too soon");
    }
    advance(Duration::from_secs(1)).await;
    cluster.add("a").await;
    assert!(matches!(cluster.fetch("a").await, Answer::Failed(_)));
    assert_eq!(renders.load(Ordering::Relaxed), 2);
    advance(Duration::from_secs(1)).await;
    cluster.add("a").await;
    assert_eq!(number(&cluster.files("a").await), 1);
}
