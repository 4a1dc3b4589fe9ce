//! The fuzz targets for libFuzzer. The integration tests run the same targets on the committed corpus.

mod targets;

pub use targets::*;

/// Disables the panic hook for targets that reach the template engine.
///
/// cfgsync catches panics of the engine and turns them into errors, but libFuzzer's hook would abort at each of them.
/// A panic that leaves the target still aborts the run. `cargo test` shows its location.
pub fn ignore_caught_panics() {
    std::panic::set_hook(Box::new(|_| {}));
}
