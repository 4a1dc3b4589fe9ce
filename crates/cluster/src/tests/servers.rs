//! Tests of restarts, and of several servers on one store.

use super::*;

#[tokio::test(start_paused = true)]
async fn two_coordinators_on_one_store_serve_one_generation() {
    let store = store();
    let clusters: Vec<Cluster> = (0..2)
        .map(|_| {
            start_on(
                store.clone(),
                spec(&format!(
                    "ready: {{nodes: 1}}\nonce: {{c: random_hex(8)}}{PEERS}"
                )),
                vec![],
            )
        })
        .collect();
    clusters[0].add("a").await;
    let digests: Vec<_> = [clusters[0].files("a").await, clusters[1].files("a").await]
        .map(|payload| (number(&payload), payload.digest))
        .into();
    assert_eq!(digests[0], digests[1]);
}

#[tokio::test(start_paused = true)]
async fn restart_does_not_repeat_renders_with_varying_results() {
    let store = store();
    let renders = Arc::new(AtomicUsize::new(0));
    let start = || {
        let renders = renders.clone();
        let never_twice = Scripted(move |snapshot: &RegistrationSnapshot| {
            let render = renders.fetch_add(1, Ordering::Relaxed);
            Ok(one_file_each(snapshot, &render.to_string()))
        });
        let spec = spec(&format!("ready: {{nodes: 1}}{PEERS}"));
        start_on(store.clone(), spec, vec![Arc::new(never_twice)])
    };
    let first = start();
    first.add("a").await;
    let sealed = first.files("a").await;
    drop(first);
    let second = start();
    // A node sends the same facts again when it reconnects to its server.
    second.add("a").await;
    second.evaluated("a").await;
    advance(Duration::from_mins(1)).await;
    let again = second.files("a").await;
    assert_eq!((number(&again), again.digest), (1, sealed.digest));
    assert_eq!(renders.load(Ordering::Relaxed), 1);
    second.add("b").await;
    assert_eq!(number(&second.files("b").await), 2);
}

#[tokio::test(start_paused = true)]
async fn restarted_server_serves_a_node_whose_change_gave_the_same_files() {
    let store = store();
    let start = |is_broken: bool| {
        let same = Scripted(move |snapshot: &RegistrationSnapshot| {
            if is_broken {
                return Err(MaterializeError::new("broken"));
            }
            Ok(one_file_each(snapshot, "same"))
        });
        let spec = spec(&format!("ready: {{nodes: 1}}{PEERS}"));
        start_on(store.clone(), spec, vec![Arc::new(same)])
    };
    let changed = |turn: u32| {
        let facts = serde_json::json!({ "unused": turn });
        node("a", "10.0.0.1").with_metadata_value(facts)
    };
    let first = start(false);
    first.add("a").await;
    let sealed = first.files("a").await;
    first.register(changed(1)).await.unwrap();
    assert_eq!(first.files("a").await.digest, sealed.digest);
    assert_eq!(first.generations().len(), 1);
    // The record is written a little later.
    tokio::time::sleep(Duration::from_secs(1)).await;
    drop(first);

    let second = start(true);
    // Before the first evaluation, and after the failed render.
    assert_eq!(received(second.answer("a")).digest, sealed.digest);
    assert_eq!(received(second.evaluated("a").await).digest, sealed.digest);
    assert!(second.cluster().failure.is_some());
    // No render has included this change.
    second.register(changed(2)).await.unwrap();
    assert!(matches!(second.evaluated("a").await, Answer::NotReady(_)));
}

#[tokio::test(start_paused = true)]
async fn server_does_not_render_over_the_generation_of_another() {
    let store = store();
    let renders = Arc::new(AtomicUsize::new(0));
    let start = || {
        let renders = renders.clone();
        let never_twice = Scripted(move |snapshot: &RegistrationSnapshot| {
            let render = renders.fetch_add(1, Ordering::Relaxed);
            Ok(one_file_each(snapshot, &render.to_string()))
        });
        let spec = spec(&format!("ready: {{nodes: 1}}{PEERS}"));
        start_on(store.clone(), spec, vec![Arc::new(never_twice)])
    };
    let servers = [start(), start()];
    for (at, name) in ["a", "b"].into_iter().enumerate() {
        servers[at].add(name).await;
        for server in &servers {
            server.files(name).await;
        }
        tokio::time::sleep(Duration::from_mins(1)).await;
        let digests = servers.each_ref().map(|server| {
            let generations = server.generations();
            (generations.len(), generations[0].digest)
        });
        assert_eq!(digests[0], digests[1]);
        assert_eq!(digests[0].0, at + 1, "one generation for each change");
    }
}
