//! The integration tests: one binary, one module per subject.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

mod bad_renders;
mod bad_specs;
mod cli;
mod concurrent_joins;
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
mod overload;
mod pki;
mod plan;
mod processes;
mod receipts;
mod reload;
mod sandbox;
mod schema;
mod secrets;
mod service_manager;
mod shutdown;
mod signed;
mod staged_failures;
mod state_directory;
mod support;
mod tls;
mod tls_command;
mod wire;
