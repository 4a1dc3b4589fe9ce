//! Small parts that several crates share: files, the clock, durations, the order of names, suggestions for misspelt names,
//! waits before retries, and threads.
//!
//! Nothing here depends on the concepts of cfgsync. This crate imports no other crate of the workspace, and every other
//! crate may import it.

pub mod backoff;
pub mod bounded_file;
pub mod clock;
pub mod duration;
pub mod escape;
pub mod natural_order;
pub mod nearest;
pub mod deep_stack;
pub mod parallel;
pub mod replace_file;
