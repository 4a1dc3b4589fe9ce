//! The encoding of states and changes as bytes, for the journal and for the log that several servers share. It does no
//! I/O.
//!
//! The order of fields and variants is the format. Add new ones at the end. The fixtures in `crates/store/fixtures/` must
//! stay readable.

pub(crate) mod error;
pub(crate) mod frame;
pub(crate) mod scalar_entry;
pub(crate) mod value_entry;
pub(crate) mod entry;
pub(crate) mod phase_entry;
pub(crate) mod run_entry;
pub(crate) mod condition_entry;
pub(crate) mod commit_entry;
pub(crate) mod header;
pub(crate) mod snapshot;
pub(crate) mod event_entry;
pub(crate) mod event_file;
pub(crate) mod generation_file;
pub mod shared_log;
