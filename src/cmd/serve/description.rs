//! The description that a server gives of itself to the other servers of its cluster.

use std::{collections::BTreeMap, net::SocketAddr};

use cfgsync_model::Digest;
use cfgsync_spec::Spec;
use cfgsync_store::ServerDescription;
use cfgsync_support::clock::Timestamp;
use cfgsync_wire::SigningKey;

/// Returns the description of this server. `urls` are those that the operator has named; without any, these are the
/// addresses that it listens on.
pub(super) fn of_server(
    name: Option<&str>,
    urls: &[String],
    scheme: &str,
    addresses: &[SocketAddr],
    spec: &Spec,
    sign_key: Option<&SigningKey>,
) -> ServerDescription {
    let listening = addresses
        .iter()
        .map(|address| format!("{scheme}://{address}"));
    let mut digests = BTreeMap::from([("spec".to_owned(), spec.digest.to_string())]);
    if let Some(key) = sign_key {
        let digest = Digest::of(key.verify_key().to_pem().as_bytes());
        digests.insert("signing key".to_owned(), digest.to_string());
    }
    ServerDescription {
        name: name.map_or_else(host_name, str::to_owned),
        urls: if urls.is_empty() {
            listening.collect()
        } else {
            urls.to_vec()
        },
        digests,
        since: Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
    }
}

fn host_name() -> String {
    let host = rustix::system::uname();
    host.nodename().to_string_lossy().into_owned()
}
