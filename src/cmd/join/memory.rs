//! Gives memory back to the system after a delivery, because `join --watch` then stays beside CMD for a long time.

/// Returns the memory of a payload that was dropped. glibc would keep tens of megabytes of it for the next allocation.
#[cfg(target_env = "gnu")]
#[allow(unsafe_code, reason = "only the C library can do it")]
pub(super) fn release_unused() {
    // SAFETY: the function may be called at any time. It changes no memory that is in use.
    unsafe { libc::malloc_trim(0) };
}

/// Does nothing: other C libraries return large allocations at once.
#[cfg(not(target_env = "gnu"))]
pub(super) fn release_unused() {}
