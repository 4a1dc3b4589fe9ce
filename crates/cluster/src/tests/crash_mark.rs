//! Tests of a server that finds the mark of a render during which another one has ended.

use super::*;
use cfgsync_store::RenderMark;

/// Starts a server on `store` whose materializer succeeds.
fn start_marked(store: &Arc<StoreHandle>) -> Cluster {
    let materializer = Scripted(|snapshot: &RegistrationSnapshot| Ok(one_file_each(snapshot, "x")));
    start_on(
        store.clone(),
        spec(&format!("ready: {{nodes: 1}}{PEERS}")),
        vec![Arc::new(materializer)],
    )
}

/// Returns a store with one node, and the mark of its first render.
async fn marked_store() -> (Arc<StoreHandle>, RenderMark) {
    let store = Arc::new(StoreHandle::of(store()));
    let seen = Arc::new(Mutex::new(None));
    let materializer = {
        let (store, seen) = (store.clone(), seen.clone());
        Scripted(move |_: &RegistrationSnapshot| {
            *seen.lock().unwrap() = store.mark.lock().unwrap().clone();
            Err(MaterializeError::new("killed"))
        })
    };
    let killed = start_on(
        store.clone(),
        spec(&format!("ready: {{nodes: 1}}{PEERS}")),
        vec![Arc::new(materializer)],
    );
    killed.add("a").await;
    assert!(matches!(killed.fetch("a").await, Answer::Failed(_)));
    assert_eq!(*store.mark.lock().unwrap(), None, "the render has ended");
    let mark = seen.lock().unwrap().take().expect("the render is marked");
    assert_eq!(mark.starts, 1);
    (store, mark)
}

fn leave(store: &StoreHandle, mark: &RenderMark, starts: u32) {
    store.left_marks.lock().unwrap().push(RenderMark {
        starts,
        ..mark.clone()
    });
}

#[tokio::test(start_paused = true)]
async fn render_in_which_a_server_ended_is_repeated_after_a_pause() {
    let (store, mark) = marked_store().await;
    leave(&store, &mark, 1);
    let cluster = start_marked(&store);
    assert_eq!(
        cluster.reason("a").await,
        "not ready: 1/1; render: the server before ended while it rendered these files; trying again after 10s"
    );
    cluster.add("a").await;
    assert!(
        matches!(cluster.answer("a"), Answer::NotReady(_)),
        "the same registration does not end the pause"
    );
    assert_eq!(number(&cluster.files("a").await), 1);
    assert_eq!(*store.mark.lock().unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn mark_counts_the_servers_that_ended_before() {
    let (store, mark) = marked_store().await;
    leave(&store, &mark, 1);
    let seen = Arc::new(Mutex::new(None));
    let materializer = {
        let (store, seen) = (store.clone(), seen.clone());
        Scripted(move |snapshot: &RegistrationSnapshot| {
            *seen.lock().unwrap() = store.mark.lock().unwrap().clone();
            Ok(one_file_each(snapshot, "x"))
        })
    };
    let cluster = start_on(
        store.clone(),
        spec(&format!("ready: {{nodes: 1}}{PEERS}")),
        vec![Arc::new(materializer)],
    );
    cluster.files("a").await;
    let seen = seen.lock().unwrap().take();
    assert_eq!(seen, Some(RenderMark { starts: 2, ..mark }));
}

#[tokio::test(start_paused = true)]
async fn render_in_which_two_servers_ended_waits_for_another_input_or_an_operator() {
    for ends_by_input in [false, true] {
        let (store, mark) = marked_store().await;
        leave(&store, &mark, 1);
        leave(&store, &mark, 1);
        let cluster = start_marked(&store);
        for _ in 0..2 {
            match cluster.fetch("a").await {
                Answer::Failed(failure) => assert!(
                    failure
                        .reason
                        .starts_with("rendering is paused, because 2 servers"),
                    "{failure:?}"
                ),
                other => panic!("{other:?}"),
            }
            advance(Duration::from_mins(1)).await;
            // The same registration does not end the pause.
            cluster.add("a").await;
        }
        if ends_by_input {
            cluster.add("b").await;
        } else {
            cluster.reset().await.unwrap();
        }
        assert_eq!(number(&cluster.files("a").await), 1);
        assert_eq!(*store.mark.lock().unwrap(), None);
    }
}

#[tokio::test(start_paused = true)]
async fn running_server_pauses_a_render_that_ended_another_one() {
    let (store, mark) = marked_store().await;
    leave(&store, &mark, 1);
    let cluster = start_marked(&store);
    assert!(cluster.reason("a").await.contains("trying again after 10s"));
    leave(&store, &mark, 1);
    cluster.add("a").await;
    assert!(matches!(cluster.fetch("a").await, Answer::Failed(_)));
}

#[tokio::test(start_paused = true)]
async fn mark_of_another_render_delays_nothing() {
    let (store, mark) = marked_store().await;
    let other = RenderMark {
        render: format!("{} ", mark.render),
        starts: 2,
    };
    store.left_marks.lock().unwrap().push(other);
    let cluster = start_marked(&store);
    let begun = Instant::now();
    assert_eq!(number(&cluster.files("a").await), 1);
    // The clock of the test is paused, so this is no measurement.
    assert!(begun.elapsed() < Duration::from_secs(10));
}
