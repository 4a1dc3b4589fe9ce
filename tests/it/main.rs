//! The library's integration tests, one binary. Each module is one feature.

mod support;
mod wire;
