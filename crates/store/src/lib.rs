//! Stores of registrations, overrides, records and sealed generations.
//!
//! `cfgsync-cluster` calls a [`Store`] through its contract and does not depend on an implementation. `cfgsync-model`
//! has the data types. A store publishes immutable [`State`]s, so readers take no lock, and a slow follower skips to a
//! newer state.
//!
//! Invariants:
//! - Only [`State::apply`] and [`State::seal`] define the effect of a change. All stores use them.
//! - A batch of changes takes effect completely or not at all, at one revision.
//! - An acknowledged change is visible in [`Store::state`], and is as durable as the store makes it.

mod bounds;
mod directory_error;
mod error;
mod event;
mod event_history;
mod value_change;
mod phase_change;
mod run_change;
mod change;
mod value_history;
mod values;
mod phases;
mod runs;
mod payload_ages;
mod state;
mod apply;
mod published;
mod servers;
mod render_mark;
mod contract;
mod memory;
mod journal;
#[cfg(any(test, feature = "testing"))]
pub mod conformance;

pub use bounds::{Bounds, CapacityExceeded, PhaseBounds, ValueBounds};
pub use change::{
    Change, Commit, CommitError, Rejection, RejectionReason, SealCondition, SealOutcome,
    StoppedRollout,
};
pub use contract::{BoxFuture, Store};
pub use error::{StoreError, StoreErrorKind};
pub use event::{Event, EventKind};
pub use event_history::{EventBounds, PositionedEvent};
pub use journal::{DirectoryConfig, DirectoryContents, Relocation, shared_log};
pub use memory::MemoryStore;
pub use phase_change::NewReport;
pub use phases::Phases;
pub use published::{PublishedState, StateGuard};
pub use render_mark::RenderMark;
pub use run_change::{NewClaim, RunChange, RunRejection};
pub use runs::Runs;
pub use servers::{Database, DatabaseMember, Freshness, Presence, ServerDescription, ServerStatus};
pub use state::{NodeOverride, RegisteredNode, State};
pub use value_change::{SetValue, ValueChange, ValueRejection};
pub use value_history::ValueHistory;
pub use values::{NamespaceValues, Values};
