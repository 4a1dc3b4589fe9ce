//! What is fuzzed, for libFuzzer. The integration tests run the same targets on the committed corpus.

mod targets;

pub use targets::*;
