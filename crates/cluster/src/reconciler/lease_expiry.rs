//! Removes nodes whose leases have expired, in a separate task. An expiry is a removal like any other.

use std::{sync::Arc, time::Duration};

use tokio::{task::JoinHandle, time::Instant};

use crate::{Shared, render::Pipeline};
use cfgsync_model::Identifier;
use cfgsync_spec::Late;
use cfgsync_store::{Change, CommitError, State};
use cfgsync_support::duration;

/// The pause before a failed removal is retried.
const RETRY: Duration = Duration::from_secs(1);

/// The time at which the next lease may expire, and the removal that is running.
#[derive(Default)]
pub(super) struct LeaseExpiry {
    next: Option<Instant>,
    /// The lease for which `next` was found. A reload of the spec may change it.
    lease: Duration,
    /// The nodes that were found since [`LeaseExpiry::take_expired`].
    expired: Vec<Identifier>,
    running: Option<JoinHandle<Result<(), CommitError>>>,
}

impl LeaseExpiry {
    /// Removes the nodes whose leases have expired, if no removal is running. Returns the time of the next call. `None` if
    /// the spec has no `lease`, or if the sealed cluster refuses removals.
    pub(super) fn remove_if_due(
        &mut self,
        shared: &Arc<Shared>,
        state: &State,
        pipeline: &Pipeline,
    ) -> Option<Instant> {
        let lease = pipeline.spec.lease?;
        let is_closed = pipeline.spec.late == Late::Refuse && state.generation().is_some();
        if self.running.is_some() || is_closed {
            return None;
        }
        let now = Instant::now();
        if std::mem::replace(&mut self.lease, lease) != lease {
            self.next = None;
        }
        if let Some(next) = self.next.filter(|next| *next > now) {
            return Some(next);
        }
        let registered = state.registrations.keys().map(|identifier| {
            let has_files = state.deliveries.contains_key(identifier);
            let waits = shared.held_requests.waits(identifier.as_str());
            (identifier, has_files, waits)
        });
        let (expired, next) = shared.leases.expired(registered, lease, now);
        self.next = Some(next);
        if expired.is_empty() {
            return self.next;
        }
        let removals: Vec<Change> = expired
            .iter()
            .filter_map(|identifier| removal(state, identifier))
            .collect();
        let store = shared.store.clone();
        self.running = Some(tokio::spawn(async move {
            for removal in removals {
                // One batch for each: a node that registered meanwhile with other facts stays, and hinders no other.
                match store.apply(vec![removal]).await {
                    Ok(_) | Err(CommitError::Rejected(_)) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        }));
        for identifier in &expired {
            tracing::info!(
                event = "lease_expired",
                node = %identifier,
                "the lease of {identifier} has expired: it has not waited or renewed for {}",
                duration::text(lease)
            );
        }
        self.expired.extend(expired);
        None
    }

    /// Returns the nodes whose leases have expired since the last call.
    pub(super) fn take_expired(&mut self) -> Vec<Identifier> {
        std::mem::take(&mut self.expired)
    }

    /// Waits until the running removal ends. Never resolves if none is running.
    pub(super) async fn removed(&mut self) {
        let Some(running) = &mut self.running else {
            return std::future::pending().await;
        };
        let ended = running.await;
        self.running = None;
        let error = match ended {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(panic) => panic.to_string(),
        };
        tracing::warn!("cannot remove nodes whose leases have expired: {error}; trying again");
        self.next = Some(Instant::now() + RETRY);
    }
}

/// Returns the removal of the registration that `state` has.
fn removal(state: &State, identifier: &Identifier) -> Option<Change> {
    let registered = state.registrations.get(identifier)?;
    Some(Change::Remove {
        identifier: identifier.clone(),
        only_if: Some((*registered.registration).clone()),
        joiner: registered.origin.joiner,
    })
}
