//! Whole servers that share a cluster on a real etcd.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![allow(clippy::print_stdout, reason = "a run says its seed")]

#[allow(dead_code, reason = "the tests of the store use the rest")]
#[path = "../../crates/etcd/tests/it/etcd.rs"]
mod etcd;
#[allow(dead_code, reason = "the tests of the store use the rest")]
#[path = "../../crates/etcd/tests/it/proxy.rs"]
mod proxy;
#[path = "../../crates/etcd/tests/it/random.rs"]
mod random;

mod checker;
mod fault_schedule;
mod history;
mod http;
mod node_client;
mod randomized;
mod run_client;
mod servers;
mod value_client;
mod watch_client;
