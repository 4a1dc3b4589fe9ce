//! The answer to a renewed lease.

use serde::{Deserialize, Serialize};

/// The answer of `PUT /v1/nodes/{id}/lease`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseBody {
    /// The time within which the node must send its next request, in seconds. `None` if the spec has no `lease`.
    pub lease_seconds: Option<u64>,
}
