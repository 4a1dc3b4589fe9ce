//! What is fuzzed, for libFuzzer. The integration tests run the same targets on the committed corpus.

mod targets;

pub use targets::*;

/// For targets that reach the template engine, whose own panics are caught and become errors: libFuzzer's hook would
/// end the run at each of them. A panic that leaves the target still ends it; `cargo test` says where it came from.
pub fn caught_panics_are_no_crashes() {
    std::panic::set_hook(Box::new(|_| {}));
}
