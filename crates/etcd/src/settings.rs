//! How this program reaches etcd, and where its data are there.

use std::{path::PathBuf, time::Duration};

use secrecy::SecretString;

use crate::Endpoint;
use cfgsync_store::EventBounds;

/// The settings of a store on etcd.
#[derive(Debug, Clone)]
pub struct EtcdConfig {
    /// The members of etcd, at least one. After a failure the next one is tried.
    pub endpoints: Vec<Endpoint>,
    /// The prefix of all keys, without a slash at its end.
    pub prefix: String,
    /// The name of the cluster. Its keys are below the prefix.
    pub cluster: String,
    /// A PEM file of certificate authorities, in place of those of the public web.
    pub authorities: Option<PathBuf>,
    /// The certificate and the key that this program presents: two PEM files.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The name and the password of etcd's user.
    pub user: Option<(String, SecretString)>,
    /// The time that the store may take to open.
    pub start_timeout: Duration,
    /// The time after which a change that etcd has not confirmed is answered.
    pub write_timeout: Duration,
    /// The number of generations that are kept, at least one.
    pub history: usize,
    /// The bounds on the history of events.
    pub event_bounds: EventBounds,
}

impl EtcdConfig {
    /// Returns the prefix of the keys of the cluster, with a slash at its end.
    pub(crate) fn cluster_prefix(&self) -> String {
        format!("{}/{}/", self.prefix, self.cluster)
    }
}
