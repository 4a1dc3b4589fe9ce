//! Tests of a server that starts after another one ended during a render.

use std::fs;

use super::*;

/// Starts a server on `store` whose materializer succeeds.
fn start_marked(store: &Arc<StoreHandle>) -> Cluster {
    let materializer = Scripted(|snapshot: &RegistrationSnapshot| Ok(one_file_each(snapshot, "x")));
    start_on(
        store.clone(),
        spec(&format!("ready: {{nodes: 1}}{PEERS}")),
        vec![Arc::new(materializer)],
    )
}

/// Returns a store with one node, and a crash mark as a server leaves it that is killed during the first render.
async fn store_after_a_crash(directory: &Path) -> Arc<StoreHandle> {
    let crash_mark = directory.join("rendering");
    let store = Arc::new(StoreHandle {
        crash_mark: Some(crash_mark.clone()),
        ..StoreHandle::of(store())
    });
    let seen = Arc::new(Mutex::new(None));
    let materializer = {
        let (crash_mark, seen) = (crash_mark.clone(), seen.clone());
        Scripted(move |_: &RegistrationSnapshot| {
            *seen.lock().unwrap() = fs::read(&crash_mark).ok();
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
    assert!(!crash_mark.exists(), "the render has ended");
    let mark = seen.lock().unwrap().take().expect("the render is marked");
    fs::write(&crash_mark, mark).unwrap();
    store
}

#[tokio::test(start_paused = true)]
async fn render_in_which_a_server_ended_is_repeated_after_a_pause() {
    let directory = tempfile::tempdir().unwrap();
    let store = store_after_a_crash(directory.path()).await;
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
    assert!(!store.crash_mark.as_ref().unwrap().exists());
}

#[tokio::test(start_paused = true)]
async fn render_in_which_two_servers_ended_waits_for_another_input_or_an_operator() {
    let directory = tempfile::tempdir().unwrap();
    for ends_by_input in [false, true] {
        let store = store_after_a_crash(directory.path()).await;
        let crash_mark = store.crash_mark.as_ref().unwrap();
        let mark = fs::read_to_string(crash_mark).unwrap();
        let mark = mark.trim_end().strip_suffix('1').unwrap();
        fs::write(crash_mark, format!("{mark}2\n")).unwrap();
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
        assert!(!store.crash_mark.as_ref().unwrap().exists());
    }
}
