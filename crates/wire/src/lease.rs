//! The answer to a renewed lease.

use serde::{Deserialize, Serialize};

/// The answer of `PUT /v1/nodes/{id}/lease`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseBody {
    /// The time for which the node counts without another sign of life, in seconds. `None` if it counts forever.
    pub lease_seconds: Option<u64>,
}
