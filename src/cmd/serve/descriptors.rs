//! How many files the process may open: each node that waits holds one.

use rustix::process::{Resource, Rlimit, getrlimit, prlimit, setrlimit};

use super::Child;

/// Descriptors beside those of connections: listeners, files that are read, the log, connections that are turned away.
const OTHER_DESCRIPTORS: u64 = 64;

/// The process's bound on open files: each node that waits holds one.
pub(super) struct Descriptors {
    before: Rlimit,
    now: Option<u64>,
}

impl Descriptors {
    /// Raises the soft limit as far as the hard one.
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

    /// How many connections there can be beside everything else.
    pub(super) fn connections_max(&self) -> usize {
        let free = self
            .now
            .map_or(u64::MAX, |now| now.saturating_sub(OTHER_DESCRIPTORS));
        usize::try_from(free).unwrap_or(usize::MAX).max(1)
    }

    /// Programs that count on the usual limit get it back.
    pub(super) fn restore_for(&self, child: &Child) {
        if let Some(pid) = child.pid() {
            // It may have ended already.
            let _ = prlimit(Some(pid), Resource::Nofile, self.before);
        }
    }

    /// As if there were no bound.
    #[cfg(test)]
    pub(super) fn unlimited() -> Self {
        Self {
            before: getrlimit(Resource::Nofile),
            now: None,
        }
    }
}
