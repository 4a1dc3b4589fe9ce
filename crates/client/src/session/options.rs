//! The options of a session: the node, and how it joins.

use std::{net::IpAddr, time::Duration};

use crate::{DeliveredGeneration, KeyLocation};
use cfgsync_model::{Identifier, Metadata, NodeRegistration};
use cfgsync_wire::VerifyKey;

/// Longest wait that a session asks of a server by default.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// The options of a [`Session`](crate::Session).
///
/// ```
/// use std::time::Duration;
/// use cfgsync_client::JoinOptions;
///
/// let options = JoinOptions::new("node-1".parse()?)
///     .with_metadata(serde_json::json!({ "port": 9000 }))
///     .with_cluster("devnet")
///     .with_timeout(Duration::from_secs(600));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct JoinOptions {
    /// The node's identifier.
    pub identifier: Identifier,
    /// The node's address. Default: [`NodeAddress::TowardsServer`].
    pub address: NodeAddress,
    /// The node's metadata. Default: `{}`.
    pub metadata: Metadata,
    /// The name of the cluster that the server must serve. Default: any.
    pub cluster: Option<String>,
    /// The keys of which one must have signed the payload. Default: none, and the payload need not be signed.
    pub verify_keys: Vec<VerifyKey>,
    /// Whether a signature may be of the first version, which does not cover the cluster's name. Servers before this
    /// version make such signatures. Default: no.
    pub accept_signature_v1: bool,
    /// The generation that was delivered to this node before. The session rejects an older one of the same instance.
    /// With keys, it also rejects payloads of another instance or cluster. Default: none.
    pub delivered: Option<DeliveredGeneration>,
    /// How long to try. Default: `None`, without a limit.
    pub timeout: Option<Duration>,
    /// The longest wait that one request asks of the server. Short waits report progress sooner. Default: 30 s.
    pub wait_max: Duration,
    /// The place of the node's own key, for a server that requires one. Default: [`KeyLocation::None`].
    pub key: KeyLocation,
}

/// The address at which other nodes reach the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeAddress {
    /// This address.
    Fixed(IpAddr),
    /// The local address of the connection to the server. It is determined anew before each registration.
    TowardsServer,
}

impl JoinOptions {
    /// Creates the default options for a node.
    pub fn new(identifier: Identifier) -> Self {
        Self {
            identifier,
            address: NodeAddress::TowardsServer,
            metadata: Metadata::Object(serde_json::Map::new()),
            cluster: None,
            verify_keys: vec![],
            accept_signature_v1: false,
            delivered: None,
            timeout: None,
            wait_max: WAIT_MAX,
            key: KeyLocation::None,
        }
    }

    /// Creates the default options for a node with the address and metadata of `registration`.
    pub fn for_registration(registration: &NodeRegistration) -> Self {
        Self::new(registration.identifier.clone())
            .with_address(NodeAddress::Fixed(registration.ip))
            .with_metadata(registration.metadata.clone())
    }

    /// Sets the node's address.
    #[must_use]
    pub fn with_address(mut self, address: NodeAddress) -> Self {
        self.address = address;
        self
    }

    /// Sets the node's metadata.
    #[must_use]
    pub fn with_metadata(mut self, metadata: Metadata) -> Self {
        self.metadata = metadata;
        self
    }

    /// Requires the server to serve the cluster with this name.
    #[must_use]
    pub fn with_cluster(mut self, cluster: impl Into<String>) -> Self {
        self.cluster = Some(cluster.into());
        self
    }

    /// Requires a signature of one of `keys`.
    #[must_use]
    pub fn with_verify_keys(mut self, keys: impl IntoIterator<Item = VerifyKey>) -> Self {
        self.verify_keys = keys.into_iter().collect();
        self
    }

    /// Also accepts signatures of the first version.
    #[must_use]
    pub fn with_accept_signature_v1(mut self, accept: bool) -> Self {
        self.accept_signature_v1 = accept;
        self
    }

    /// Rejects generations older than `delivered`.
    #[must_use]
    pub fn with_delivered(mut self, delivered: DeliveredGeneration) -> Self {
        self.delivered = Some(delivered);
        self
    }

    /// Limits how long to try.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sets the longest wait that one request asks of the server.
    #[must_use]
    pub fn with_wait_max(mut self, wait_max: Duration) -> Self {
        self.wait_max = wait_max;
        self
    }

    /// Sets where the node's own key is stored.
    #[must_use]
    pub fn with_key(mut self, key: KeyLocation) -> Self {
        self.key = key;
        self
    }
}
