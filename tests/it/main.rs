//! Integration tests, in one binary: compiled once.
#![allow(
    clippy::unwrap_used,
    reason = "a panic is how a test, and what helps it, fails"
)]

mod disk;
mod fake;
mod join;
