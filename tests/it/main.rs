//! The integration tests: one binary, one module per subject.

mod bad_specs;
mod disk;
mod fake;
mod golden;
mod join;
mod support;
mod wire;
