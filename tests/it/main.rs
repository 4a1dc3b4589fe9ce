//! Integration tests, in one binary: compiled once.

mod disk;
mod fake;
mod join;
