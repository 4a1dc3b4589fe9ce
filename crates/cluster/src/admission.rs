//! All decisions about one identifier: whether it may register, claim its identifier, fetch, leave or be removed, and
//! which capacity limits apply. The decisions depend only on the spec, the store's state and the served generation.

use std::{net::IpAddr, sync::Arc};

use crate::{
    answer::Refusal,
    attempt_failure::{AttemptFailure, InputRevisions},
    render::Pipeline,
};
use cfgsync_model::{
    ArtifactSet, Digest, Failure, Identifier, NodeRegistration, PathIndex, Revision, Sender,
};
use cfgsync_spec::IdentityMode;
use cfgsync_store::{Bounds, State};

/// The inputs of the decisions, at one moment.
#[derive(Clone, Copy)]
pub(crate) struct Admission<'a> {
    /// The spec and its materializers.
    pub(crate) pipeline: &'a Pipeline,
    /// The store's newest state.
    pub(crate) state: &'a State,
    /// The registrations that the served generation includes. `None` before the first seal.
    pub(crate) sealed: Option<Coverage>,
    /// The reason why the waiting nodes were released before the first seal.
    pub(crate) failure: Option<&'a AttemptFailure>,
}

/// The registrations that a generation includes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Coverage {
    /// The registrations up to this revision are included.
    pub(crate) up_to: Revision,
    /// Whether the files depend on no registration, because the files are static and the generation was sealed with the
    /// current spec.
    pub(crate) is_independent: bool,
    /// Whether all registrations are included, because the files are static and the current pipeline made them.
    pub(crate) is_complete: bool,
}

/// The decision about a registration that may be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Permit {
    /// The bounds that the registration must fit in.
    pub(crate) within: Bounds,
    /// The key that becomes the owner of the identifier in the same batch.
    pub(crate) claim: Option<Digest>,
    /// Whether the store rejects a new node once a generation is sealed. It may be sealed while the node registers.
    pub(crate) before_seal: bool,
}

/// The decision about a fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FetchDecision {
    /// The node receives its payload of the served generation.
    Serve,
    /// There is no payload for the node, now or later.
    Refuse(Refusal),
    /// The cluster has failed, with this reason.
    Failed(Arc<Failure>),
    /// There is no payload for the node yet.
    Wait {
        /// Whether the node is registered.
        is_registered: bool,
    },
}

/// Decides whether the spec accepts this registration. This does not depend on the state of the cluster.
///
/// # Errors
/// Fails with [`Refusal::NotListed`] or [`Refusal::Metadata`].
pub fn check_registration(
    pipeline: &Pipeline,
    registration: &NodeRegistration,
) -> Result<(), Refusal> {
    if pipeline.excludes(&registration.identifier) {
        return Err(Refusal::NotListed(registration.identifier.clone()));
    }
    check_metadata(pipeline, registration)
}

fn check_metadata(pipeline: &Pipeline, registration: &NodeRegistration) -> Result<(), Refusal> {
    pipeline.spec.metadata.check(&registration.metadata)?;
    Ok(())
}

impl<'a> Admission<'a> {
    /// Decides whether a node may register. `key` is the hash of the key with which it claims the identifier. Other nodes
    /// register at the same time, so the store checks the bounds and the owner again when it applies the batch.
    pub(crate) fn register(
        &self,
        registration: &NodeRegistration,
        key: Option<Digest>,
        limits: Bounds,
    ) -> Result<Permit, Refusal> {
        let identifier = &registration.identifier;
        self.refuse_banned(identifier.as_str())?;
        // An override gives files to a node for which the spec has none.
        let has_override = self.pipeline.is_unlisted(identifier.as_str())
            && self.state.overrides.contains_key(identifier);
        if self.pipeline.excludes(identifier) && !has_override {
            return Err(Refusal::NotListed(identifier.clone()));
        }
        if self.is_closed_to(identifier) && !self.is_registered(identifier.as_str()) {
            return Err(Refusal::TooLate(identifier.clone()));
        }
        check_metadata(self.pipeline, registration)?;
        let within = self.bounds_for(identifier, limits);
        let claim = match (key, self.state.keys.get(identifier)) {
            (None, _) => None,
            (Some(key), Some(owner)) if key == *owner => None,
            (Some(_), Some(_)) => return Err(Refusal::OtherKey(identifier.clone())),
            (Some(key), None) => Some(key),
        };
        Ok(Permit {
            within,
            claim,
            before_seal: self.pipeline.is_closed_after_seal(identifier.as_str()),
        })
    }

    /// Returns the name and the address of the registration of `identifier` if another machine than `sender` sent it.
    /// Without proof of identity only: a key, a certificate or a token proves that both are the same node.
    pub(crate) fn other_machine(
        &self,
        identifier: &str,
        sender: Sender<'_>,
    ) -> Option<(&'a Identifier, IpAddr)> {
        if self.pipeline.spec.identity != IdentityMode::Open {
            return None;
        }
        let known = self.state.registrations.get(identifier)?;
        let is_other = sender.conflicts_with(known.origin.joiner, &known.registration);
        is_other.then_some((&known.registration.identifier, known.registration.ip))
    }

    /// Returns the bounds for `identifier`. The limit on the number of nodes does not apply to nodes that the spec names.
    fn bounds_for(&self, identifier: &Identifier, limits: Bounds) -> Bounds {
        if self.pipeline.expects(identifier) {
            Bounds {
                nodes_max: usize::MAX,
                ..limits
            }
        } else {
            limits
        }
    }

    /// Decides whether an operator may remove `identifier`.
    pub(crate) fn remove(&self, identifier: &Identifier) -> Result<(), Refusal> {
        match (
            self.is_closed_to(identifier),
            self.is_registered(identifier.as_str()),
        ) {
            (true, true) => Err(Refusal::Sealed(identifier.clone())),
            (_, false) => Err(Refusal::Unregistered(identifier.clone())),
            (false, true) => Ok(()),
        }
    }

    /// Decides whether a node may withdraw its own registration. `has_payload` says whether the served generation has
    /// files for it.
    pub(crate) fn leave(&self, identifier: &Identifier, has_payload: bool) -> Result<(), Refusal> {
        match (self.is_registered(identifier.as_str()), has_payload) {
            (false, _) => Err(Refusal::Unregistered(identifier.clone())),
            (true, true) => Err(Refusal::LeftTooLate(identifier.clone())),
            (true, false) => Ok(()),
        }
    }

    /// Decides whether an operator may replace a node's own files by `files`. `sealed` is the set of shared files of the
    /// served generation. A conflicting override would fail the render for all nodes.
    pub(crate) fn replace(
        &self,
        files: &ArtifactSet,
        sealed: Option<&ArtifactSet>,
    ) -> Result<(), Refusal> {
        let paths = files.files().iter().map(|file| &file.path);
        let mut shared = paths.filter(|path| {
            self.pipeline.declares_shared(path)
                || sealed.is_some_and(|sealed| sealed.get(path).is_some())
        });
        if let Some(path) = shared.next() {
            return Err(Refusal::SharedPath { path: path.clone() });
        }
        let mut index = PathIndex::default();
        let of_all = sealed.map_or(&[][..], ArtifactSet::files).iter();
        let of_all = of_all.map(|file| &file.path);
        for path in self.pipeline.declared_shared().chain(of_all) {
            // The spec may have changed since the seal. Then only the next render can tell.
            let _ = index.add(path);
        }
        let own = files.files().iter().map(|file| &file.path);
        let nested = own.map(|path| index.check(path)).find_map(Result::err);
        nested.map_or(Ok(()), |nested| Err(Refusal::NestedPath(nested)))
    }

    /// Decides the answer to a node that fetches its files. `has_payload` says whether the served generation has files
    /// for it. The cost is one look-up for any number of nodes.
    pub(crate) fn fetch(&self, identifier: &str, has_payload: bool) -> FetchDecision {
        if let Err(refusal) = self.refuse_banned(identifier) {
            return FetchDecision::Refuse(refusal);
        }
        if let Some(failure) = &self.state.failure {
            return FetchDecision::Failed(failure.clone());
        }
        if has_payload && self.may_have_payload(identifier) {
            return FetchDecision::Serve;
        }
        let is_registered = self.is_registered(identifier);
        if let Ok(identifier) = Identifier::new(identifier) {
            if self.pipeline.excludes(&identifier) {
                return FetchDecision::Refuse(Refusal::NotListed(identifier));
            }
            if self.sealed.is_some_and(|sealed| sealed.is_complete) && is_registered {
                return FetchDecision::Refuse(Refusal::NoFiles(identifier));
            }
            if self.is_closed_to(&identifier) && !is_registered {
                return FetchDecision::Refuse(Refusal::TooLate(identifier));
            }
        }
        match self.failed_attempt() {
            Some(failure) => FetchDecision::Failed(failure.clone()),
            None => FetchDecision::Wait { is_registered },
        }
    }

    /// Returns whether `identifier` may receive its payload of the served generation. It may not if the generation is
    /// older than the node's own registration.
    fn may_have_payload(&self, identifier: &str) -> bool {
        let Some(sealed) = self.sealed else {
            return false;
        };
        // If no registration has changed since the generation was made, every node with a payload has the same
        // registration as then. A static generation also has payloads for nodes that are not registered.
        let nothing_changed = InputRevisions::of(self.state).registrations <= sealed.up_to
            && !self.pipeline.is_static();
        nothing_changed
            || self.pipeline.is_open_to(identifier)
            // An unlisted node has a payload only because of an override.
            || self.pipeline.is_unlisted(identifier)
            || self
                .state
                .registrations
                .get(identifier)
                .is_some_and(|node| {
                    sealed.is_complete || sealed.is_independent || node.revision <= sealed.up_to
                })
    }

    /// Returns the reason why the cluster has failed before the first seal. A failed render no longer counts as soon as
    /// an input changes.
    pub(crate) fn failed_attempt(&self) -> Option<&'a Arc<Failure>> {
        let AttemptFailure { failure, inputs } = self.failure?;
        let is_current = inputs.is_none_or(|inputs| inputs == InputRevisions::of(self.state));
        is_current.then_some(failure)
    }

    /// Returns whether the registered node `identifier` should receive the served generation. The closed list or the
    /// files may exclude it.
    pub(crate) fn is_recipient(&self, identifier: &Identifier, has_payload: bool) -> bool {
        let Some(sealed) = self.sealed else {
            return false;
        };
        let is_excluded = self.pipeline.excludes(identifier);
        if has_payload {
            !is_excluded || self.state.overrides.contains_key(identifier)
        } else {
            !is_excluded && !sealed.is_complete
        }
    }

    /// Refuses a node that an operator has banned.
    fn refuse_banned(&self, identifier: &str) -> Result<(), Refusal> {
        match self.state.bans.get(identifier) {
            Some(banned) => Err(Refusal::Banned(banned.clone())),
            None => Ok(()),
        }
    }

    fn is_registered(&self, identifier: &str) -> bool {
        self.state.registrations.contains_key(identifier)
    }

    /// Returns whether the cluster is sealed and refuses to add or remove `identifier` (`late: refuse`).
    fn is_closed_to(&self, identifier: &Identifier) -> bool {
        self.sealed.is_some() && self.pipeline.is_closed_after_seal(identifier.as_str())
    }
}

#[cfg(test)]
mod tests;
