//! The integration tests: one binary, one module per subject.
#![allow(
    clippy::unwrap_used,
    reason = "a panic is how a test, and what helps it, fails"
)]

mod bad_renders;
mod bad_specs;
mod cli;
mod crowd;
mod disk;
mod durable;
mod failed_store;
mod fake;
mod fuzzed;
mod golden;
mod guarded;
mod hostile_server;
mod join;
mod join_command;
mod manager;
mod pki;
mod place;
mod processes;
mod receipts;
mod schema;
mod secrets;
mod signed;
mod stopping;
mod support;
mod tls;
mod tls_command;
mod wire;
