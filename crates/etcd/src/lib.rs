//! The store of several servers: a log of changes in etcd.
//!
//! Every server appends its changes to one log below a prefix in etcd, and every server reads all of it. The order of the
//! log is etcd's own, and so each server comes to the same state (`cfgsync_store::shared_log`). A request on its way to
//! etcd takes this path: [`EtcdStore`] → `writer` (one entry at a time) → etcd → `follower` (one watch) → `view`.
//!
//! Invariants:
//! - The local view is the fold of the log up to one revision of etcd. No reader waits for etcd.
//! - A change is acknowledged when the view has read it from the log.
//! - An entry that may have been written is written again under the same key, so it takes effect at most once.
//! - An entry that this program cannot decode has no effect.

mod api;
mod endpoint;
mod error;
mod settings;
mod keys;
mod log_value;
mod parts;
mod records;
mod observed_stream;
mod connect;
mod session;
mod transaction;
mod database;
mod own_mark;
mod view;
mod load;
mod shared;
mod presence;
mod follower;
mod server_record;
mod mark_writer;
mod writer;
mod housekeeper;
mod quota_watch;
mod store;

pub use endpoint::{Endpoint, EndpointError};
pub use error::{EtcdError, EtcdErrorKind};
pub use settings::{EtcdConfig, Housekeeping};
pub use store::EtcdStore;
