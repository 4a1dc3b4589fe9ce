//! The store on a real etcd keeps the contract of all stores, with one server for each of two handles.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::etcd::Etcd;
use cfgsync_etcd::{EtcdConfig, EtcdStore, Housekeeping};

async fn check(change: impl Fn(EtcdConfig) -> EtcdConfig) {
    let etcd = Etcd::start().await;
    let clusters = AtomicUsize::new(0);
    cfgsync_store::conformance::check(async || {
        let cluster = format!("c{}", clusters.fetch_add(1, Ordering::Relaxed));
        let open = async || {
            let config = change(etcd.config(&cluster));
            Arc::new(EtcdStore::open(config).await.expect("etcd is ready"))
        };
        [open().await, open().await]
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conforms() {
    check(|config| config).await;
}

/// A snapshot is due after each change, and the log is deleted while the checks run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conforms_while_the_log_is_deleted() {
    check(|config| EtcdConfig {
        housekeeping: Housekeeping {
            interval: Duration::from_millis(5),
            snapshot_after_bytes: 0,
            snapshot_after_entries: 0,
            unreferenced_max: Duration::from_millis(200),
        },
        ..config
    })
    .await;
}
