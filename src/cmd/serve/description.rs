//! The description that a server gives of itself to the other servers of its cluster. A reload changes it.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use cfgsync_access::Tokens;
use cfgsync_model::Digest;
use cfgsync_spec::Spec;
use cfgsync_store::{ServerDescription, Store};
use cfgsync_support::clock::Timestamp;
use cfgsync_wire::SigningKey;

/// The name of the spec's digest, and the beginning of the names of the digests of its parts.
const SPEC: &str = "spec";

/// The name of the digest of the tokens.
const TOKENS: &str = "tokens";

/// The name of the digest of the signing key.
const SIGNING_KEY: &str = "signing key";

/// The number of files of the spec that have a digest of their own, so that a description has less than 100 KiB.
const SPEC_FILES_MAX: usize = 100;

/// The newest description of this server, which is told to the others after each change.
pub(super) struct Description {
    /// `None` if no other server can see it.
    store: Option<Arc<dyn Store>>,
    newest: Mutex<ServerDescription>,
}

/// The name of a server, and how nodes reach it.
pub(super) struct Place<'a> {
    /// The name that the operator has chosen.
    pub(super) name: Option<&'a str>,
    /// The URLs that the operator has named. Without any, these are the addresses that it listens on.
    pub(super) urls: &'a [String],
    pub(super) scheme: &'a str,
    pub(super) addresses: &'a [SocketAddr],
}

impl Description {
    /// Describes this server to the others in `store`.
    pub(super) fn begin(
        store: Option<Arc<dyn Store>>,
        place: &Place<'_>,
        spec: &Spec,
        tokens: Option<&Tokens>,
        sign_key: Option<&SigningKey>,
    ) -> Self {
        let addresses = place.addresses.iter();
        let listening = addresses.map(|address| format!("{}://{address}", place.scheme));
        let mut newest = ServerDescription {
            name: place.name.map_or_else(host_name, str::to_owned),
            urls: if place.urls.is_empty() {
                listening.collect()
            } else {
                place.urls.to_vec()
            },
            since: Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            ..ServerDescription::default()
        };
        if let Some(key) = sign_key {
            let digest = Digest::of(key.verify_key().to_pem().as_bytes());
            let digest = (SIGNING_KEY.to_owned(), digest.to_string());
            newest.digests.extend([digest]);
        }
        let description = Self {
            store,
            newest: Mutex::new(newest),
        };
        description.set_spec(spec);
        description.set_tokens(tokens);
        description
    }

    /// Describes a spec that was read again.
    pub(super) fn set_spec(&self, spec: &Spec) {
        let mut newest = self.newest();
        newest.digests.retain(|name, _| !name.starts_with(SPEC));
        let whole = (SPEC.to_owned(), spec.digest.to_string());
        let fields = spec.fields.iter();
        let fields =
            fields.map(|(name, digest)| (format!("{SPEC} field {name}"), digest.to_string()));
        let files = spec.sources.files.iter().take(SPEC_FILES_MAX);
        let files = files.map(|(name, digest)| (format!("{SPEC} file {name}"), digest.to_string()));
        newest.digests.extend(fields.chain(files).chain([whole]));
        self.tell(newest);
    }

    /// Describes tokens that were read again.
    pub(super) fn set_tokens(&self, tokens: Option<&Tokens>) {
        let mut newest = self.newest();
        let digest = tokens.map(|tokens| (TOKENS.to_owned(), tokens.rights_digest().to_string()));
        newest.digests.extend(digest);
        self.tell(newest);
    }

    fn tell(&self, newest: MutexGuard<'_, ServerDescription>) {
        let description = newest.clone();
        drop(newest);
        if let Some(store) = &self.store {
            store.describe(description);
        }
    }

    fn newest(&self) -> MutexGuard<'_, ServerDescription> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn host_name() -> String {
    let host = rustix::system::uname();
    host.nodename().to_string_lossy().into_owned()
}
