//! The store on a real etcd keeps the contract of all stores, with one server for each of two handles.

mod support;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use support::Etcd;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conforms() {
    let etcd = Etcd::start().await;
    let clusters = AtomicUsize::new(0);
    cfgsync_store::conformance::check(async || {
        let cluster = format!("c{}", clusters.fetch_add(1, Ordering::Relaxed));
        [
            Arc::new(etcd.open(&cluster).await),
            Arc::new(etcd.open(&cluster).await),
        ]
    })
    .await;
}
