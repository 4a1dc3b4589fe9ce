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
    /// The newest runner of each run.
    runners: Mutex<HashMap<RunName, Runner>>,
    /// Held by one claim at a time, so that of many waiting nodes only one tries to replace a runner.
    pub(crate) claiming: tokio::sync::Mutex<()>,
    /// Marked changed after each change of a run.
    pub(crate) changed: watch::Sender<()>,
}

/// The lease of a runner.
#[derive(Clone, Copy)]
struct Runner {
    fence: Fence,
    ends_at: Instant,
    /// When it was last renewed by a request to this server.
    renewed_here_at: Option<Instant>,
}

impl RunLeases {
    pub(crate) fn new(lease: Duration) -> Self {
        Self {
            lease,
            runners: Mutex::default(),
            claiming: tokio::sync::Mutex::default(),
            changed: watch::Sender::new(()),
        }
    }

    /// Returns the length of a lease.
    pub(crate) fn lease(&self) -> Duration {
        self.lease
    }

    /// Begins or renews the lease of a runner that has asked this server.
    pub(crate) fn renew(&self, name: &RunName, fence: Fence) {
        let now = Instant::now();
        self.insert(name, fence, Some(now));
    }

    /// Renews the lease of a runner that has asked another server.
    pub(crate) fn renew_elsewhere(&self, name: &RunName, fence: Fence) {
        self.insert(name, fence, None);
    }

    fn insert(&self, name: &RunName, fence: Fence, renewed_here_at: Option<Instant>) -> Instant {
        let ends_at = Instant::now() + self.lease;
        let runner = Runner {
            fence,
            ends_at,
            renewed_here_at,
        };
        self.lock().insert(name.clone(), runner);
        ends_at
    }

    /// Ends the lease of a runner.
    pub(crate) fn remove(&self, name: &RunName) {
        self.lock().remove(name);
    }

    /// Returns the end of the lease of a runner. A lease that is not known begins now: the server has restarted, or the
    /// runner claimed the run from another server.
    pub(crate) fn end(&self, name: &RunName, fence: Fence) -> Instant {
        let known = self.lock().get(name).copied();
        match known.filter(|known| known.fence == fence) {
            Some(known) => known.ends_at,
            None => self.insert(name, fence, None),
        }
    }

    /// Returns the runners that have renewed their lease at this server at `since` or later.
    pub(crate) fn renewed_since(&self, since: Instant) -> Vec<(RunName, Fence)> {
        let runners = self.lock();
        let is_new = |runner: &Runner| runner.renewed_here_at.is_some_and(|at| at >= since);
        let renewed = runners.iter().filter(|(_, runner)| is_new(runner));
        renewed
            .map(|(name, runner)| (name.clone(), runner.fence))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RunName, Runner>> {
        self.runners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
