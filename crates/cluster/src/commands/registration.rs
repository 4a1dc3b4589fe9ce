//! The commands of nodes: register and leave.

use std::net::IpAddr;

use tracing::Instrument as _;

use crate::{Accepted, Coordinator, Refusal, reconciler::Command};
use cfgsync_model::{Digest, Identifier, JoinerId, NodeRegistration, Origin, Revision, Sender};
use cfgsync_spec::OnConflict;
use cfgsync_store::Change;
use cfgsync_wire::{LeaveBody, RefusedEntry};

impl Coordinator {
    /// Registers a node. Equal facts change nothing.
    ///
    /// # Errors
    /// Fails as [`Coordinator::register_as`] does.
    pub async fn register(&self, registration: NodeRegistration) -> Result<Revision, Refusal> {
        let accepted = self.register_as(registration, None, None).await?;
        Ok(accepted.revision)
    }

    /// Registers a node that proves its identity by a key. `key` is the hash of this key. The key becomes the owner of
    /// the identifier in the same batch. `joiner` is the process that registers the node.
    ///
    /// If another machine with the same identifier waits under `identity: open`, the spec decides which of the two counts.
    ///
    /// # Errors
    /// Fails if the node is not listed, is late, does not own its identifier or has invalid metadata. Fails as well if a
    /// limit is reached, or if the store does not acknowledge the registration.
    pub async fn register_as(
        &self,
        registration: NodeRegistration,
        key: Option<Digest>,
        joiner: Option<JoinerId>,
    ) -> Result<Accepted, Refusal> {
        let span = tracing::debug_span!("register", node = %registration.identifier);
        let identifier = registration.identifier.clone();
        let ip = registration.ip;
        let (changes, replaced) = self.admit(registration, key, joiner)?;
        let commit = self.apply(changes).instrument(span).await?;
        self.shared.refused.clear(&identifier);
        self.shared.leases.on_registered(&identifier);
        let (is_failed, is_complete) = {
            let view = self.shared.view.load();
            (view.failure.is_some(), view.coverage.is_complete)
        };
        if is_failed {
            // Wait until the new attempt is published. Otherwise this node's next fetch could still return the failure.
            self.command(Command::BeginAttempt).await;
        }
        if let Some(replaced) = replaced {
            tracing::warn!(
                event = "node_replaced",
                node = %identifier,
                peer = %ip,
                "another machine registered as {identifier} from {ip}; the one at {replaced}, which was waiting, gets no \
                 files"
            );
            self.shared.release.send_replace(());
        }
        if commit.is_changed() {
            self.shared.metrics.changes.register.inc();
            if is_complete {
                // No render follows, so nothing else wakes the clients that wait for this node.
                self.shared.release.send_replace(());
            }
        }
        Ok(Accepted {
            revision: commit.revision,
            changed: commit.is_changed(),
        })
    }

    /// Keeps the refusal of a node that tried to register, until it registers. Operators and waiting nodes see it.
    /// `reason` is the short identifier of the reason. Returns whether the last refusal of the node said something else.
    ///
    /// The number of refusals is bounded, so call this only for clients that have the right to register nodes.
    pub fn note_refused(
        &self,
        identifier: Identifier,
        ip: IpAddr,
        reason: &str,
        message: String,
    ) -> bool {
        self.shared.refused.note(RefusedEntry {
            identifier,
            ip,
            at: self.shared.clock.now(),
            reason: reason.to_owned(),
            message,
        })
    }

    /// Returns the refusal that [`Coordinator::register_as`] would give now. It changes nothing.
    ///
    /// # Errors
    /// Fails as [`Coordinator::register_as`] does, except for a store that does not acknowledge changes.
    pub fn check_register(
        &self,
        registration: &NodeRegistration,
        key: Option<Digest>,
        joiner: Option<JoinerId>,
    ) -> Result<(), Refusal> {
        let (changes, _) = self.admit(registration.clone(), key, joiner)?;
        self.check_changes(changes)
    }

    /// Returns the refusal that [`Coordinator::leave`] would give now. It changes nothing.
    ///
    /// # Errors
    /// Fails as [`Coordinator::leave`] does, except for a store that does not acknowledge changes.
    pub fn check_leave(&self, leave: &LeaveBody, joiner: Option<JoinerId>) -> Result<(), Refusal> {
        let changes = self.withdraw(leave.clone(), joiner)?;
        self.check_changes(changes)
    }

    /// Decides whether the node may register. Returns the batch to store: the registration, with a claim if the node
    /// needs one. Returns as well the address of another machine that waits under the identifier, if the spec lets this
    /// registration replace it.
    fn admit(
        &self,
        registration: NodeRegistration,
        key: Option<Digest>,
        joiner: Option<JoinerId>,
    ) -> Result<(Vec<Change>, Option<IpAddr>), Refusal> {
        let view = self.shared.view.load();
        let state = self.shared.store.state();
        let identifier = &registration.identifier;
        let admission = view.admission(&state);
        let sender = Sender::new(joiner, &registration);
        let other = admission.other_machine(identifier.as_str(), sender);
        let waits = |_: &_| self.shared.held_requests.waits(identifier.as_str());
        let replaced = other.filter(waits).map(|(_, ip)| ip);
        if let Some(ip) = replaced
            && view.pipeline.spec.on_conflict == OnConflict::Refuse
        {
            let identifier = identifier.clone();
            return Err(Refusal::NameInUse { identifier, ip });
        }
        let permit = admission.register(&registration, key, self.shared.capacity.bounds())?;
        let claim = permit.claim.map(|key| Change::Claim {
            identifier: registration.identifier.clone(),
            key,
            within: permit.within,
        });
        let register = Change::Register {
            registration,
            origin: Origin {
                joiner,
                at: Some(self.shared.clock.now()),
            },
            within: permit.within,
            before_seal: permit.before_seal,
        };
        let changes = match claim {
            Some(claim) => vec![claim, register],
            None => vec![register],
        };
        Ok((changes, replaced))
    }

    /// Withdraws a node's own registration before the first seal, and ends the ownership of its identifier. The node may
    /// then register again from another machine. `joiner` is the process that withdraws. It withdraws only its own
    /// registration.
    ///
    /// # Errors
    /// Fails if the node is not registered, is registered with different facts, or already has files. Fails as well if
    /// the store does not acknowledge the change.
    pub async fn leave(
        &self,
        leave: LeaveBody,
        joiner: Option<JoinerId>,
    ) -> Result<Revision, Refusal> {
        let changes = self.withdraw(leave, joiner)?;
        self.apply_removal(changes).await
    }

    /// Decides whether the node may withdraw its registration. Returns the batch to store.
    fn withdraw(&self, leave: LeaveBody, joiner: Option<JoinerId>) -> Result<Vec<Change>, Refusal> {
        let LeaveBody {
            identifier,
            ip,
            metadata,
        } = leave;
        let facts = {
            let view = self.shared.view.load();
            let state = self.shared.store.state();
            let served = view.served.as_ref();
            let has_payload = served.is_some_and(|served| served.has(identifier.as_str()));
            view.admission(&state).leave(&identifier, has_payload)?;
            let known = state.registrations.get(&identifier);
            let known = known.expect("an unregistered node may not leave");
            let mut facts = NodeRegistration::clone(&known.registration);
            facts.ip = ip.unwrap_or(facts.ip);
            match metadata {
                Some(metadata) => facts.with_metadata_value(metadata),
                None => facts,
            }
        };
        let remove = Change::Remove {
            identifier: identifier.clone(),
            only_if: Some(facts),
            joiner,
        };
        Ok(vec![remove, Change::Release(identifier)])
    }
}
