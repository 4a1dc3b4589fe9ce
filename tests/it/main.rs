//! The integration tests: one binary, one module per subject.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

mod bad_renders;
mod bad_specs;
mod cli;
mod credentials;
mod delivery;
mod disk;
mod durable;
mod embedded;
mod failed_store;
mod fake;
mod fuzzed;
mod golden;
mod hostile_server;
mod join;
mod join_command;
mod log;
mod overload;
mod pki;
mod plan_live;
mod processes;
mod prometheus;
mod receipts;
mod reload;
mod sandbox;
mod schema;
mod secrets;
mod service_manager;
mod shutdown;
mod signed;
mod support;
mod tls;
mod tls_command;
mod wire;
