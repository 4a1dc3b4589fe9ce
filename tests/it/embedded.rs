//! The server that a Rust program embeds.

use std::sync::{Arc, Mutex};

use cfgsync::{
    ArtifactFile, ArtifactSet, MaterializationResult, MaterializedArtifacts, NodeRegistration,
    RuleBuilder, Server, ServerError, Spec, materializer,
};

/// A rule that is ready with `count` nodes, whose files say how many nodes there are.
fn rule(count: usize) -> RuleBuilder {
    let size = materializer("size", |snapshot| {
        let file = ArtifactFile::text("size", snapshot.nodes.len().to_string())?;
        let nodes = snapshot.nodes.iter();
        let nodes = nodes.map(|node| (node.identifier.clone(), file.clone()));
        Ok(MaterializationResult::Ready(
            MaterializedArtifacts::from_nodes(nodes)?,
        ))
    });
    Spec::rule("embedded").nodes(count).materializer(size)
}

fn node(name: &str) -> NodeRegistration {
    NodeRegistration::new(name, [10, 0, 0, 1]).unwrap()
}

#[tokio::test]
async fn calls_hooks_with_each_generation_in_order() {
    let numbers = Arc::new(Mutex::new(Vec::new()));
    let (sealed, mut seals) = tokio::sync::mpsc::unbounded_channel();
    let server = Server::bind("127.0.0.1:0", rule(1))
        .on_seal({
            let numbers = numbers.clone();
            move |generation| numbers.lock().unwrap().push(generation.number.0)
        })
        .on_seal(move |generation| sealed.send(generation.number.0).unwrap())
        .start()
        .await
        .unwrap();
    let handle = server.handle();
    handle.register(node("a")).await.unwrap();
    assert_eq!(seals.recv().await, Some(1));
    let files = ArtifactSet::new(vec![ArtifactFile::text("size", "many").unwrap()]).unwrap();
    handle.replace("a".parse().unwrap(), files).await.unwrap();
    assert_eq!(seals.recv().await, Some(2));
    assert_eq!(*numbers.lock().unwrap(), [1, 2]);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn sealed_waits_for_the_set_and_ends_with_the_server() {
    let server = Server::bind("127.0.0.1:0", rule(2)).start().await.unwrap();
    let handle = server.handle();
    handle.register(node("a")).await.unwrap();
    assert!(handle.generation().is_none());
    let waiting = tokio::spawn({
        let handle = handle.clone();
        async move { handle.sealed().await }
    });
    handle.register(node("b")).await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap().nodes.len(), 2);

    let never = Server::bind("127.0.0.1:0", rule(2)).start().await.unwrap();
    let handle = never.handle();
    let waiting = tokio::spawn(async move { handle.sealed().await });
    never.stop().await.unwrap();
    assert!(waiting.await.unwrap().is_none());
    server.stop().await.unwrap();
}

#[tokio::test]
async fn state_directory_continues_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state");
    let start = || {
        Server::bind("127.0.0.1:0", rule(1))
            .state_dir(&state)
            .start()
    };
    let server = start().await.unwrap();
    server.handle().register(node("a")).await.unwrap();
    let first = server.handle().sealed().await.unwrap();
    server.stop().await.unwrap();
    let server = start().await.unwrap();
    let again = server.handle().sealed().await.unwrap();
    assert_eq!((first.number, first.digest), (again.number, again.digest));
    server.stop().await.unwrap();
}

#[tokio::test]
async fn run_until_stops_with_its_future() {
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = Server::bind("127.0.0.1:0", rule(1));
    let running = tokio::spawn(server.run_until(async move { drop(stopped.await) }));
    stop.send(()).unwrap();
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn refuses_what_it_cannot_serve() {
    let exposed = Server::bind("0.0.0.0:0", rule(1)).start().await;
    assert!(matches!(exposed.err(), Some(ServerError::Exposed(_))));
    let without_rule = Server::bind("127.0.0.1:0", Spec::rule("embedded")).start();
    assert!(matches!(
        without_rule.await.err(),
        Some(ServerError::Spec(_))
    ));
    let first = Server::bind("127.0.0.1:0", rule(1)).start().await.unwrap();
    let taken = Server::bind(first.addresses()[0].to_string(), rule(1)).start();
    assert!(matches!(
        taken.await.err(),
        Some(ServerError::Listen { .. })
    ));
    first.stop().await.unwrap();
}

#[tokio::test]
async fn failed_cluster_releases_waiting_clients() {
    let server = Server::bind("127.0.0.1:0", rule(2)).start().await.unwrap();
    let url = format!("http://{}", server.addresses()[0]);
    let outputs = cfgsync::OutputMap::new().under("unused").unwrap();
    let joining =
        tokio::spawn(
            async move { cfgsync::fetch_and_write(&node("a"), url.as_str(), &outputs).await },
        );
    server.handle().fail("disk is full").await.unwrap();
    let error = joining.await.unwrap().unwrap_err().to_string();
    assert!(error.contains("disk is full"), "{error}");
    server.handle().reset().await.unwrap();
    server.stop().await.unwrap();
}
