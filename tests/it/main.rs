//! The integration tests: one binary, one module per subject.

mod bad_specs;
mod cli;
mod disk;
mod fake;
mod golden;
mod join;
mod schema;
mod support;
mod wire;
