//! The store on a real etcd.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod chaos;
mod conformance;
mod copy;
mod etcd;
mod faults;
mod proxy;
mod random;
mod restart;
mod start;
