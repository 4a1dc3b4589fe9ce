//! Tests of overrides, which replace a node's own files by an operator's.

use super::*;

const SHARED: &str = "
materializers:
  - kind: template
    files: [{path: all, shared: true, template: x}, {path: own, template: y}]
";

#[tokio::test(start_paused = true)]
async fn override_replaces_a_nodes_own_files() {
    let cluster = start("ready: {nodes: 1}\nlate: refuse");
    let a: Identifier = "a".parse().unwrap();
    cluster
        .replace(a.clone(), files_of(&[("x", "before")]))
        .await
        .unwrap();
    cluster.add("a").await;
    let first = cluster.files("a").await;
    assert_eq!((number(&first), text(&first, "x").as_str()), (1, "before"));
    assert_eq!(first.files.files().len(), 1);
    cluster
        .replace(a.clone(), files_of(&[("y", "after")]))
        .await
        .unwrap();
    let second = received(cluster.answer("a"));
    assert_eq!(
        (number(&second), text(&second, "y").as_str()),
        (2, "after"),
        "at once"
    );
    cluster.remove_override(&a).await.unwrap();
    assert_eq!(
        text(&received(cluster.answer("a")), "peers"),
        "0:a@10.0.0.1 "
    );
    assert_eq!(
        cluster.remove_override(&a).await,
        Err(Refusal::NoOverride(a))
    );
}

#[tokio::test(start_paused = true)]
async fn override_is_answered_after_its_seal_despite_settle() {
    let cluster = start("ready: {nodes: 1, settle: 3s}");
    let a: Identifier = "a".parse().unwrap();
    cluster.add("a").await;
    cluster.files("a").await;
    let files = files_of(&[("x", "by hand")]);
    cluster.replace(a.clone(), files).await.unwrap();
    let second = received(cluster.answer("a"));
    assert_eq!(
        (number(&second), text(&second, "x").as_str()),
        (2, "by hand")
    );
    cluster.remove_override(&a).await.unwrap();
    assert_eq!(number(&received(cluster.answer("a"))), 3);
}

#[tokio::test(start_paused = true)]
async fn override_is_answered_after_its_seal_despite_a_materializer_that_is_not_ready() {
    let asked = Arc::new(AtomicUsize::new(0));
    let busy_after_the_first = {
        let asked = asked.clone();
        Scripted(move |snapshot: &RegistrationSnapshot| {
            match asked.fetch_add(1, Ordering::Relaxed) {
                1..=3 => Ok(MaterializationResult::NotReady {
                    message: "busy".into(),
                }),
                _ => Ok(one_file_each(snapshot, "x")),
            }
        })
    };
    let spec = spec(&format!("ready: {{nodes: 1}}{PEERS}"));
    let cluster = start_on(store(), spec, vec![Arc::new(busy_after_the_first)]);
    cluster.add("a").await;
    cluster.files("a").await;
    let files = files_of(&[("x", "by hand")]);
    cluster.replace("a".parse().unwrap(), files).await.unwrap();
    let second = received(cluster.answer("a"));
    assert_eq!(
        (number(&second), text(&second, "x").as_str()),
        (2, "by hand")
    );
}

#[tokio::test(start_paused = true)]
async fn override_is_answered_while_inputs_change_all_the_time() {
    let cluster = start("ready: {nodes: 1}");
    cluster.add("a").await;
    cluster.files("a").await;
    let begun = Instant::now();
    let changes = async {
        for change in 0..200_u32 {
            let ip = format!("10.0.{}.{}", 1 + change / 200, change % 200);
            cluster.register(node("a", &ip)).await.unwrap();
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    };
    let replaced = async {
        let files = files_of(&[("file", "by hand")]);
        cluster.replace("a".parse().unwrap(), files).await.unwrap();
        begun.elapsed()
    };
    let (took, ()) = tokio::join!(replaced, changes);
    assert!(took < Duration::from_secs(5), "answered after {took:?}");
}

#[tokio::test(start_paused = true)]
async fn rejects_override_of_a_shared_file() {
    let cluster = start_on(
        store(),
        spec(&format!("ready: {{nodes: 1}}{SHARED}")),
        vec![],
    );
    let refused = cluster
        .replace(
            "z".parse().unwrap(),
            files_of(&[("own", "1"), ("/all", "2")]),
        )
        .await;
    let path = "all".parse().unwrap();
    assert_eq!(refused, Err(Refusal::SharedPath { path }));
    let refused = cluster
        .replace("z".parse().unwrap(), files_of(&[("all/below", "2")]))
        .await;
    assert_eq!(
        refused.unwrap_err().to_string(),
        "an override replaces only a node's own files, not the shared ones: all is a file, but all/below needs a \
         directory of that name; rename one of them"
    );
    cluster.add("a").await;
    assert_eq!(text(&cluster.files("a").await, "all"), "x");
}

#[tokio::test(start_paused = true)]
async fn render_error_names_an_override_that_conflicts_with_a_new_shared_file() {
    let cluster = start("ready: {nodes: 1}");
    let a: Identifier = "a".parse().unwrap();
    let files = files_of(&[("all", "by hand")]);
    cluster.replace(a.clone(), files).await.unwrap();
    let rest = format!("ready: {{nodes: 1}}{SHARED}");
    cluster.reload(spec(&rest)).await.unwrap();
    let all = "all".parse().unwrap();
    while !cluster.shared.view.load().pipeline.declares_shared(&all) {
        tokio::task::yield_now().await;
    }
    cluster.add("a").await;
    match cluster.fetch("a").await {
        Answer::Failed(failure) => assert_eq!(
            failure.reason,
            "all: the override of a contains this path, which is a shared file; remove the override with \
             `cfgsync rm a --override`"
        ),
        other => panic!("{other:?}"),
    }
    cluster.remove_override(&a).await.unwrap();
    assert_eq!(text(&cluster.files("a").await, "all"), "x");
}
