//! The leases of runners: how long a runner that does not renew its lease counts as running.
//!
//! Leases are in memory, on the server's monotonic clock. After a restart, all leases begin anew.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

use cfgsync_model::{Fence, RunName};

/// The leases of all runners.
pub(crate) struct RunLeases {
    lease: Duration,
    /// The time at which leases without an entry begin.
    started: Instant,
    /// The fence of the newest runner, and the end of its lease.
    ends: Mutex<HashMap<RunName, (Fence, Instant)>>,
    /// Held by one claim at a time, so that of many waiting nodes only one tries to replace a runner.
    pub(crate) claiming: tokio::sync::Mutex<()>,
    /// Marked changed after each change of a run.
    pub(crate) changed: watch::Sender<()>,
}

impl RunLeases {
    pub(crate) fn new(lease: Duration) -> Self {
        Self {
            lease,
            started: Instant::now(),
            ends: Mutex::default(),
            claiming: tokio::sync::Mutex::default(),
            changed: watch::Sender::new(()),
        }
    }

    /// Returns the length of a lease.
    pub(crate) fn lease(&self) -> Duration {
        self.lease
    }

    /// Begins or renews the lease of a runner.
    pub(crate) fn renew(&self, name: &RunName, fence: Fence) {
        let end = Instant::now() + self.lease;
        self.lock().insert(name.clone(), (fence, end));
    }

    /// Ends the lease of a runner.
    pub(crate) fn remove(&self, name: &RunName) {
        self.lock().remove(name);
    }

    /// Returns the end of the lease of a runner.
    pub(crate) fn end(&self, name: &RunName, fence: Fence) -> Instant {
        let known = self.lock().get(name).copied();
        let known = known.filter(|(of, _)| *of == fence);
        known.map_or(self.started + self.lease, |(_, end)| end)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RunName, (Fence, Instant)>> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
