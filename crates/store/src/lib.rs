//! Where registrations, overrides, records and sealed generations are kept.
//!
//! The cluster above this crate calls a [`Store`] and never asks which one it has. The model below it supplies the
//! nouns. A store publishes immutable [`State`]s, so readers take no lock, and a slow follower finds a newer state.
//!
//! Invariants:
//! - [`State::apply`] and [`State::seal`] are the only places that say what a change means. All stores use them.
//! - A batch of changes takes effect completely or not at all, at one revision.
//! - An acknowledged change is visible in [`Store::state`], and is as durable as the store makes it.

mod bounds;
mod directory_error;
mod error;
mod event;
mod change;
mod state;
mod published;
mod contract;
mod memory;
mod journal;
#[cfg(any(test, feature = "testing"))]
pub mod conformance;

pub use bounds::{Bounds, CapacityExceeded};
pub use change::{Change, Commit, CommitError, Rejection, RejectionReason, SealOutcome};
pub use contract::{BoxFuture, Store};
pub use error::{StoreError, StoreErrorKind};
pub use event::{EVENT_HISTORY_MAX_EVENTS, Event, EventKind};
pub use journal::{DirectoryConfig, DirectoryContents};
pub use memory::MemoryStore;
pub use published::{PublishedState, StateGuard};
pub use state::{NodeOverride, RegisteredNode, State};
