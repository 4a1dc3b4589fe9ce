//! The requests of clients and the answers to them, for the checker.

use std::{
    sync::{Arc, Mutex},
    time::Instant,
};

/// One observation of a client.
#[derive(Debug, Clone)]
pub(crate) enum Observation {
    /// A node sent a registration with an address that no other registration has.
    Registered {
        node: String,
        ip: String,
        result: Effect,
    },
    /// A node was removed. The client had seen revision `seen` before, and `until` with the answer.
    Removed { node: String, seen: u64, until: u64 },
    /// A node received its files.
    Fetched(Fetched),
    /// A node reported a phase of a generation.
    Reported { node: String, generation: u64 },
    /// A client wrote a value if it had version `version`.
    Wrote {
        key: String,
        value: String,
        version: u64,
        result: Effect,
    },
    /// A process may run the program.
    Claimed {
        run: String,
        fence: u64,
        lease: Lease,
    },
    /// The process ended the run, at this time at the latest.
    Ended {
        run: String,
        fence: u64,
        result: Effect,
    },
}

/// The files that a node received.
#[derive(Debug, Clone)]
pub(crate) struct Fetched {
    pub(crate) node: String,
    pub(crate) generation: u64,
    pub(crate) digest: String,
    pub(crate) own: String,
    pub(crate) shared: String,
    /// The address of the last acknowledged registration when the request began, if no removal followed.
    pub(crate) registered: Option<String>,
    /// The place of the last acknowledged removal in the history, if no registration followed.
    pub(crate) removal: Option<(u64, u64)>,
}

/// The effect of a request, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// It was acknowledged by a server at this revision or a later one.
    Done { by: u64 },
    /// It was refused.
    Refused,
    /// No answer, or the server does not know.
    Unknown,
}

/// The times of a runner between which its lease is certain.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lease {
    /// When it received its claim.
    pub(crate) claimed: Instant,
    /// When it sent the last request that was answered.
    pub(crate) renewed: Instant,
    /// When it sent the end of the run, or gave up.
    pub(crate) ended: Instant,
}

/// The observations of all clients.
#[derive(Debug, Clone, Default)]
pub(crate) struct History(Arc<Mutex<Vec<Observation>>>);

impl History {
    pub(crate) fn add(&self, observation: Observation) {
        self.0.lock().unwrap().push(observation);
    }

    pub(crate) fn all(&self) -> Vec<Observation> {
        self.0.lock().unwrap().clone()
    }
}
