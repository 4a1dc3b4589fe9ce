//! Tests of several servers on one store of which one has the turn to render.

use tokio::sync::watch;

use super::*;

/// Two servers, with the number of renders of each. The first one has the turn, and hangs if `hangs`.
struct Servers {
    clusters: [Cluster; 2],
    stores: [Arc<StoreHandle>; 2],
    renders: [Arc<AtomicUsize>; 2],
}

impl Servers {
    fn start(answer: impl Fn(usize) -> bool + Copy + Send + Sync + 'static) -> Self {
        let inner = store();
        let stores = [true, false].map(|has_turn| {
            Arc::new(StoreHandle {
                turn: Some(watch::Sender::new(has_turn)),
                ..StoreHandle::of(inner.clone())
            })
        });
        let renders = [0, 1].map(|_| Arc::<AtomicUsize>::default());
        let clusters = [0, 1].map(|at| {
            let renders = renders[at].clone();
            let materializer = Scripted(move |snapshot: &RegistrationSnapshot| {
                renders.fetch_add(1, Ordering::Relaxed);
                if answer(at) {
                    Ok(one_file_each(snapshot, "x"))
                } else {
                    Err(MaterializeError::new("broken"))
                }
            });
            let spec = spec(&format!("ready: {{nodes: 1}}{PEERS}"));
            start_on(stores[at].clone(), spec, vec![Arc::new(materializer)])
        });
        Self {
            clusters,
            stores,
            renders,
        }
    }

    fn counts(&self) -> [usize; 2] {
        self.renders
            .each_ref()
            .map(|count| count.load(Ordering::Relaxed))
    }
}

#[tokio::test(start_paused = true)]
async fn only_the_server_with_the_turn_renders() {
    let servers = Servers::start(|_| true);
    servers.clusters[1].add("a").await;
    for cluster in &servers.clusters {
        cluster.files("a").await;
    }
    assert_eq!(servers.counts(), [1, 0]);
    for (store, has_turn) in servers.stores.iter().zip([false, true]) {
        store.turn.as_ref().unwrap().send_replace(has_turn);
    }
    servers.clusters[0].add("b").await;
    for cluster in &servers.clusters {
        cluster.files("b").await;
    }
    assert_eq!(servers.counts(), [1, 1]);
}

#[tokio::test(start_paused = true)]
async fn server_takes_over_when_nothing_is_sealed_for_a_while() {
    let servers = Servers::start(|at| at == 1);
    let begun = Instant::now();
    servers.clusters[1].add("a").await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let waiting = servers.clusters[1].answer("a");
    let Answer::NotReady(progress) = waiting else {
        panic!("nothing is sealed: {waiting:?}");
    };
    let text = String::from_utf8_lossy(&progress);
    assert!(text.contains("another server is rendering"), "{text}");
    servers.clusters[1].files("a").await;
    assert_eq!(begun.elapsed().as_secs(), 15);
    assert_eq!(servers.counts()[1], 1);
}
