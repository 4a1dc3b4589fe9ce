//! Queries of nodes: the current answer to a node, and waiting until it changes. They read the published view and the
//! store's newest state. Each costs one look-up for any number of nodes.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    AccessKind, Answer, Coordinator, Delivery, FirstDelivery, HeldSlot, Refusal, Shared,
    admission::FetchDecision,
    metrics::Metrics,
    view::{ServedGeneration, ServedPayload, View},
};
use cfgsync_model::{Digest, GenerationNumber, Identifier, Instance, Revision, Sender};
use cfgsync_spec::IdentityMode;
use cfgsync_store::{RegisteredNode, State};

/// The payload of a client that waits for another one.
#[derive(Debug, Clone, Copy, Default)]
pub struct Held {
    /// The payload.
    pub payload: Option<Digest>,
    /// If the client has refused this payload: the newest retry that it knows. It gets the payload again after another one.
    pub retry: Option<Revision>,
}

impl Coordinator {
    /// Returns the identity of the store. Revisions and generation numbers are comparable only within one instance.
    pub fn instance(&self) -> Instance {
        self.shared.store.instance()
    }

    /// Returns the cluster's name. It never changes, because one server serves one cluster.
    pub fn cluster_name(&self) -> String {
        self.shared.view.load().pipeline.spec.cluster.clone()
    }

    /// Returns the metrics of this server.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.shared.metrics
    }

    /// Returns the way in which a node proves that it owns an identifier.
    pub fn identity(&self) -> IdentityMode {
        self.shared.view.load().pipeline.spec.identity
    }

    /// Returns the hash of the key that owns `identifier`, if one does.
    pub fn owner(&self, identifier: &Identifier) -> Option<Digest> {
        self.shared.store.state().keys.get(identifier).copied()
    }

    /// Returns the registered nodes whose identifier no key owns.
    pub fn registered_without_key(&self) -> Vec<Identifier> {
        let state = self.shared.store.state();
        state.registered_without_key().cloned().collect()
    }

    /// Holds a request for `identifier` until the slot is dropped. `None` if `max` requests are held for it already.
    pub fn hold(
        &self,
        kind: AccessKind,
        identifier: &Identifier,
        max: usize,
    ) -> Option<HeldSlot<'_>> {
        let Shared {
            held_requests,
            leases,
            ..
        } = &*self.shared;
        held_requests.hold(leases, kind, identifier, max)
    }

    /// Returns the registration of `identifier` and its origin, if it is registered.
    pub fn registration(&self, identifier: &Identifier) -> Option<RegisteredNode> {
        let state = self.shared.store.state();
        state.registrations.get(identifier).cloned()
    }

    /// Returns the answer to a node that must register first, because it does not own the requested identifier yet.
    pub fn unregistered(&self) -> Answer {
        Answer::NotReady(self.shared.view.load().not_ready.body(false))
    }

    /// Returns the current answer to `identifier`, without waiting. A payload counts as delivered when
    /// [`Coordinator::complete_delivery`] is called.
    pub fn answer(&self, identifier: &str) -> Answer {
        self.answer_for(AccessKind::Delivery, identifier)
    }

    /// Like [`Coordinator::answer`], for a delivery or for an operator.
    pub fn answer_for(&self, kind: AccessKind, identifier: &str) -> Answer {
        self.answer_to(kind, identifier, None)
    }

    /// Like [`Coordinator::answer`], for `sender`. It is refused if another machine is registered as `identifier`.
    pub fn answer_as(&self, sender: Sender<'_>, identifier: &str) -> Answer {
        self.answer_to(AccessKind::Delivery, identifier, Some(sender))
    }

    fn answer_to(&self, kind: AccessKind, identifier: &str, sender: Option<Sender<'_>>) -> Answer {
        if kind == AccessKind::Delivery {
            self.shared.leases.on_seen(identifier);
        }
        let view = self.shared.view.load();
        let state = self.shared.store.state();
        if let Some(sender) = sender
            && let Some((identifier, ip)) = view.admission(&state).other_machine(identifier, sender)
        {
            let identifier = identifier.clone();
            return Answer::Refused(Refusal::Replaced { identifier, ip });
        }
        match self.fetch(&view, &state, identifier) {
            Ok((served, identifier, payload)) => match kind {
                AccessKind::Delivery => {
                    let is_known = payload.is_delivered();
                    if is_known {
                        // Only the first delivery of a generation is completed by `complete_delivery`.
                        self.shared.leases.on_delivered(identifier.as_str());
                    }
                    Answer::Payload(Delivery {
                        payload: payload.encoded.clone(),
                        generation: served.generation.number,
                        is_known,
                        shows_secrets: payload.has_secrets,
                        render_failure: view.render_failure.clone(),
                    })
                }
                AccessKind::Look { reveal } => self.show(served, identifier, payload, reveal),
            },
            Err(answer) => answer,
        }
    }

    /// Returns the payload for `identifier`, or the answer that says why there is none.
    fn fetch<'a>(
        &self,
        view: &'a View,
        state: &State,
        identifier: &str,
    ) -> Result<(&'a ServedGeneration, &'a Identifier, &'a ServedPayload), Answer> {
        let served = view.served_to(state, identifier).map(Arc::as_ref);
        let found = served.and_then(|served| {
            let (identifier, payload) = served.payload(identifier)?;
            Some((served, identifier, payload))
        });
        let decision = view.admission(state).fetch(identifier, found.is_some());
        match (decision, found) {
            (FetchDecision::Serve, Some(found)) => Ok(found),
            (FetchDecision::Serve, None) => unreachable!("only a payload is served"),
            (FetchDecision::Refuse(refusal), _) => Err(Answer::Missing(refusal)),
            (FetchDecision::Failed(failure), _) => Err(Answer::Failed(failure)),
            (FetchDecision::Wait { is_registered }, _) => {
                let body = view.not_ready.body(is_registered);
                Err(if self.shared.draining.load(Ordering::Relaxed) {
                    Answer::Draining(body)
                } else {
                    Answer::NotReady(body)
                })
            }
        }
    }

    /// Notes that a payload is about to be sent. Returns whether this server sends it to `identifier` for the first time.
    pub fn begin_delivery(&self, identifier: &Identifier, generation: GenerationNumber) -> bool {
        let view = self.shared.view.load();
        let state = self.shared.store.state();
        let payload = served_payload(&view, &state, identifier, generation);
        payload.is_some_and(ServedPayload::begin)
    }

    /// Records that the whole payload of `generation` was sent to `identifier`. The reconciler records many deliveries
    /// at once.
    pub fn complete_delivery(&self, identifier: Identifier, generation: GenerationNumber) {
        self.shared.leases.on_delivered(identifier.as_str());
        let view = self.shared.view.load();
        let state = self.shared.store.state();
        let payload = served_payload(&view, &state, &identifier, generation);
        let is_news = if let Some(payload) = payload {
            payload.mark_delivered()
        } else {
            // The next generation was published meanwhile. The node may have received it already.
            let recorded = state.deliveries.get(&identifier);
            let served = view.served_to(&state, identifier.as_str());
            !served.is_some_and(|served| served.was_delivered(identifier.as_str()))
                && recorded.is_none_or(|recorded| *recorded < generation)
        };
        if !is_news {
            return;
        }
        let at = self.shared.clock.now();
        let mut deliveries = self.shared.deliveries();
        deliveries.push(FirstDelivery {
            identifier,
            generation,
            at,
        });
        if deliveries.len() == 1 {
            self.shared.delivered.notify_one();
        }
    }

    /// Notes that a node has its newest files and follows changes, so that its lease binds it.
    pub fn note_follower(&self, identifier: &Identifier) {
        self.shared.leases.on_renewed(identifier.as_str());
        self.shared.followers.note(identifier);
    }

    /// Returns the longest time for which a request of a node is held: a third of the lease. A node counts as present while
    /// its request is held, also if its machine is frozen or unplugged. `None` if the spec has no `lease`.
    pub fn hold_max(&self) -> Option<Duration> {
        let lease = self.shared.view.load().pipeline.spec.lease;
        lease.map(|lease| lease / 3)
    }

    /// Renews the lease of a registered node. Returns the time for which it lasts. `None` if the spec has no `lease`.
    ///
    /// # Errors
    /// Fails if the node is not registered.
    pub fn renew(&self, identifier: &Identifier) -> Result<Option<Duration>, Refusal> {
        let state = self.shared.store.state();
        if !state.registrations.contains_key(identifier) {
            return Err(Refusal::Unregistered(identifier.clone()));
        }
        self.shared.leases.on_renewed(identifier.as_str());
        Ok(self.shared.view.load().pipeline.spec.lease)
    }

    /// Waits until the answer is neither "not ready" nor the payload `held`, at most until `until`. At that time it
    /// returns the current answer.
    pub fn wait<'a>(
        &'a self,
        identifier: &'a str,
        held: Option<Digest>,
        until: Instant,
    ) -> impl Future<Output = Answer> + Send + 'a {
        let held = Held {
            payload: held,
            retry: None,
        };
        self.wait_for(AccessKind::Delivery, identifier, held, until)
    }

    /// Like [`Coordinator::wait`], for `sender` and its first payload. It is refused once another machine registers as
    /// `identifier`.
    pub fn wait_as<'a>(
        &'a self,
        sender: Sender<'a>,
        identifier: &'a str,
        until: Instant,
    ) -> impl Future<Output = Answer> + Send + 'a {
        self.wait_to(
            AccessKind::Delivery,
            identifier,
            Some(sender),
            Held::default(),
            until,
        )
    }

    /// Like [`Coordinator::wait`], for `sender`. It is refused once another machine registers as `identifier`.
    pub fn follow_as<'a>(
        &'a self,
        sender: Sender<'a>,
        identifier: &'a str,
        held: Held,
        until: Instant,
    ) -> impl Future<Output = Answer> + Send + 'a {
        self.wait_to(AccessKind::Delivery, identifier, Some(sender), held, until)
    }

    /// Waits for work, but not for nodes: until the newest registrations are evaluated, and then, if they satisfy the
    /// rule, until their files are sealed or have failed. It waits at most until `until`, and not at all for an
    /// identifier that is not registered.
    pub async fn wait_for_seal(
        &self,
        sender: Sender<'_>,
        identifier: &str,
        until: Instant,
    ) -> Answer {
        // Subscribe before comparing, so that no publication is lost.
        let mut published = self.shared.published.subscribe();
        let newest = {
            let state = self.shared.store.state();
            if !state.registrations.contains_key(identifier) {
                drop(state);
                return self.answer_as(sender, identifier);
            }
            state.inputs
        };
        let evaluated = async {
            while self.shared.view.load().evaluated < newest && published.changed().await.is_ok() {}
        };
        // If it takes too long, the current answer is the right one as well.
        let _ = tokio::time::timeout_at(until, evaluated).await;
        if self.shared.view.load().is_satisfied {
            self.wait_as(sender, identifier, until).await
        } else {
            self.answer_as(sender, identifier)
        }
    }

    /// Like [`Coordinator::wait`], for a delivery or for an operator.
    pub fn wait_for<'a>(
        &'a self,
        kind: AccessKind,
        identifier: &'a str,
        held: Held,
        until: Instant,
    ) -> impl Future<Output = Answer> + Send + 'a {
        self.wait_to(kind, identifier, None, held, until)
    }

    async fn wait_to(
        &self,
        kind: AccessKind,
        identifier: &str,
        sender: Option<Sender<'_>>,
        held: Held,
        until: Instant,
    ) -> Answer {
        // Subscribe before comparing, so that a release in between is not lost.
        let mut release = self.shared.release.subscribe();
        loop {
            release.borrow_and_update();
            let answer = self.answer_to(kind, identifier, sender);
            let is_same = match &answer {
                Answer::Payload(delivery) => {
                    held.payload == Some(delivery.payload.digest)
                        && !self.must_retry(identifier, held.retry)
                }
                Answer::NotReady(_) => true,
                Answer::Missing(_)
                | Answer::Failed(_)
                | Answer::Draining(_)
                | Answer::Refused(_) => false,
            };
            if !is_same || self.shared.draining.load(Ordering::Relaxed) {
                return answer;
            }
            if tokio::time::timeout_at(until, release.changed())
                .await
                .is_err()
            {
                return self.answer_to(kind, identifier, sender);
            }
        }
    }
}

/// Returns the payload of `identifier`, if `generation` is the served one.
fn served_payload<'v>(
    view: &'v View,
    state: &State,
    identifier: &Identifier,
    generation: GenerationNumber,
) -> Option<&'v ServedPayload> {
    let served = view.served_to(state, identifier.as_str())?;
    let (_, payload) = served.payload(identifier.as_str())?;
    (served.generation.number == generation).then_some(payload)
}
