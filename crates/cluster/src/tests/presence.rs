//! Tests of what servers tell each other about the nodes that reach them.

use tokio::sync::broadcast;

use super::*;

/// Starts two servers on one store.
fn two_servers(spec_text: &str) -> [Cluster; 2] {
    let inner = store();
    let (first, second) = (broadcast::Sender::new(64), broadcast::Sender::new(64));
    let start = |to_others: &broadcast::Sender<_>, from_others: &broadcast::Sender<_>| {
        let store = Arc::new(StoreHandle {
            presences: Some([to_others.clone(), from_others.clone()]),
            ..StoreHandle::of(inner.clone())
        });
        start_on(store, spec(&format!("{spec_text}{PEERS}")), vec![])
    };
    [start(&first, &second), start(&second, &first)]
}

fn registered(cluster: &Cluster) -> usize {
    cluster.cluster().registrations.len()
}

/// Lets time pass in small steps, so that both reconcilers run in between.
async fn pass(seconds: u64) {
    for _ in 0..seconds * 4 {
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn lease_that_is_renewed_at_one_server_holds_at_the_other() {
    let [first, second] = two_servers("lease: 30s\nready: {nodes: 4}");
    first.add("a").await;
    let node: Identifier = "a".parse().unwrap();
    for _ in 0..10 {
        pass(20).await;
        second.renew(&node).unwrap();
    }
    let slot = second.hold(crate::AccessKind::Delivery, &node, 9);
    pass(100).await;
    assert_eq!(registered(&first), 1);
    drop(slot);
    pass(60).await;
    assert_eq!((registered(&first), registered(&second)), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn node_that_left_its_program_alone_stays_at_both_servers() {
    let [first, second] = two_servers("lease: 30s\nready: {nodes: 1}");
    first.add("a").await;
    first.files("a").await;
    pass(200).await;
    assert_eq!((registered(&first), registered(&second)), (1, 1));
}
