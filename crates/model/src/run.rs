//! Runs: a program that one node of the cluster runs once, for all of them.

use std::sync::Arc;

use bytes::Bytes;

use super::{GenerationNumber, Identifier, Revision, short_name::short_name};
use cfgsync_support::clock::Timestamp;

/// The longest output of a run that is kept, in bytes.
pub const RUN_OUTPUT_MAX_BYTES: usize = 64 << 10;

short_name!(
    /// The name of a run: 1 to 64 characters of `[a-z0-9._-]` that start with a letter or a digit.
    RunName,
    "name of a run"
);

/// The number of a runner. Each runner of any run gets a higher one than all before, also after a restart.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Default,
    serde::Serialize,
    serde::Deserialize,
)]
#[serde(transparent)]
pub struct Fence(pub u64);

/// The random identity of a process that wants to run a program. It is no secret from the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClaimId(pub [u8; 16]);

/// A run, as far as it has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The generation that the run is for. Zero for a run that is done once for the instance.
    pub generation: GenerationNumber,
    /// The number of the newest runner.
    pub fence: Fence,
    /// The newest runner.
    pub runner: Identifier,
    /// The number of runners that failed or died.
    pub failures: u32,
    /// The reason of the newest failure.
    pub last_error: Option<Arc<str>>,
    /// The state of the run.
    pub state: RunState,
    /// The time of the newest change.
    pub at: Timestamp,
    /// The revision of the newest change.
    pub revision: Revision,
}

/// The state of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunState {
    /// The newest runner runs the program.
    Running(ClaimId),
    /// The newest runner has failed. The next one may begin.
    Failed,
    /// The newest runner has succeeded, with this output.
    Done(Bytes),
}

impl std::fmt::Display for Fence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
