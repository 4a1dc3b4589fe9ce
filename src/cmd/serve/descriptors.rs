//! The limit on open files of the process: each waiting node needs a connection, which is one file.

use rustix::process::{Resource, Rlimit, getrlimit, prlimit, setrlimit};

use super::Child;

/// Descriptors that are not for connections: listeners, files, the log, and connections that are being refused.
const OTHER_DESCRIPTORS: u64 = 64;

/// The limit on open files, before and after it was raised.
pub(super) struct Descriptors {
    before: Rlimit,
    now: Option<u64>,
}

impl Descriptors {
    /// Raises the soft limit to the hard limit.
    pub(super) fn raise() -> Self {
        let before = getrlimit(Resource::Nofile);
        let raised = Rlimit {
            current: before.maximum,
            maximum: before.maximum,
        };
        let now = match setrlimit(Resource::Nofile, raised) {
            Ok(()) => raised.current,
            Err(_) => before.current,
        };
        Self { before, now }
    }

    /// Returns how many connections the limit leaves room for.
    pub(super) fn connections_max(&self) -> usize {
        let free = self
            .now
            .map_or(u64::MAX, |now| now.saturating_sub(OTHER_DESCRIPTORS));
        usize::try_from(free).unwrap_or(usize::MAX).max(1)
    }

    /// Restores the former limit for CMD: some programs break with a high one.
    pub(super) fn restore_for(&self, child: &Child) {
        if let Some(pid) = child.pid() {
            // The program may have exited already.
            let _ = prlimit(Some(pid), Resource::Nofile, self.before);
        }
    }

    /// No limit, for tests.
    #[cfg(test)]
    pub(super) fn unlimited() -> Self {
        Self {
            before: getrlimit(Resource::Nofile),
            now: None,
        }
    }
}
