//! The client of etcd's API that `build.rs` generates.

#![allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::pedantic,
    dead_code,
    reason = "it is generated"
)]

tonic::include_proto!("etcdserverpb");
