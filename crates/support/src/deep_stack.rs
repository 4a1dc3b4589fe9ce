//! Runs work on a thread whose stack has a known size, because nested values need stack in proportion to their depth.

use std::{io, panic::resume_unwind, thread};

/// The size of the stack of threads that render, in bytes. The kernel provides only the pages that are used.
pub const STACK_BYTES: usize = 64 << 20;

/// Runs `work` on a new thread with a stack of [`STACK_BYTES`], and waits for its result.
///
/// # Errors
/// The operating system's error if it cannot start a thread. `work` has not run then.
///
/// # Panics
/// Panics if `work` panics.
pub fn run<T: Send>(work: impl FnOnce() -> T + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let thread = builder().spawn_scoped(scope, work)?;
        Ok(thread.join().unwrap_or_else(|panic| resume_unwind(panic)))
    })
}

/// Returns a builder of threads with a stack of [`STACK_BYTES`].
pub(crate) fn builder() -> thread::Builder {
    thread::Builder::new()
        .name("render".to_owned())
        .stack_size(STACK_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_can_use_most_of_the_stack() {
        fn use_stack(frames: usize) -> u8 {
            let frame = std::hint::black_box([1_u8; 1 << 10]);
            match frames {
                0 => frame[0],
                frames => std::hint::black_box(use_stack(frames - 1)) + frame[1] - 1,
            }
        }
        assert_eq!(run(|| use_stack(16 << 10)).unwrap(), 1);
    }

    #[test]
    fn panic_reaches_the_caller() {
        let caught = std::panic::catch_unwind(|| run(|| panic!("the panic under test")));
        assert!(caught.is_err());
    }
}
