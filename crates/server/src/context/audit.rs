//! The audit line of a request: what handlers note for it, its announcement before a change, and its end.

use hyper::{Method, StatusCode};

use super::RequestContext;
use crate::rejection::Rejection;
use cfgsync_access::{AuditLine, AuditLog, AuditOutcome};
use cfgsync_cluster::{Delivery, Refusal};
use cfgsync_model::{Digest, Identifier, NodeRegistration};

impl RequestContext {
    /// Notes the node that the request is about.
    pub(in super::super) fn set_node(&mut self, identifier: &Identifier) {
        self.audit.node = Some(identifier.clone());
    }

    /// Notes the value or the alias that the request is about.
    pub(in super::super) fn set_value(&mut self, name: String) {
        self.audit.value = Some(name);
    }

    /// Notes the value of `once` that the request is about.
    pub(in super::super) fn set_once(&mut self, key: &str) {
        self.audit.once = Some(key.to_owned());
    }

    /// Notes the hash of a content that the request brings or shows.
    pub(in super::super) fn attach_hash(&mut self, part: impl Into<String>, hash: Digest) {
        if self.server().config.access.audit().is_some() {
            self.audit.add_hash(part, hash);
        }
    }

    /// Notes the hash of the registration that the request brings.
    pub(in super::super) fn attach_registration(&mut self, registration: &NodeRegistration) {
        if self.server().config.access.audit().is_some() {
            // Absent metadata and `{}` are the same facts, so they have the same hash.
            let facts = serde_json::json!({
                "identifier": registration.identifier,
                "ip": registration.ip,
                "metadata": registration.metadata,
            });
            self.audit
                .add_hash("facts", Digest::of(facts.to_string().as_bytes()));
        }
    }

    /// Notes that the request asked for a state that existed already.
    pub(in super::super) fn set_unchanged(&mut self) {
        self.audit.is_unchanged = true;
    }

    /// Notes that the response refuses the request for this reason.
    pub(in super::super) fn set_refusal(&mut self, reason: &'static str) {
        self.audit.refusal = Some(reason);
    }

    /// Notes that the request reads secret content, and announces it where the audit log is required.
    pub(in super::super) async fn announce_reveal(&mut self) -> Result<(), Rejection> {
        self.audit.reveals = true;
        self.announce().await
    }

    /// Notes that the response has a payload for `identifier`. Returns whether it counts as delivered when it has been
    /// sent. An operator may fetch any node's payload, so the secrets in it are revealed.
    pub(in super::super) async fn begin_delivery(
        &mut self,
        identifier: &Identifier,
        delivery: &Delivery,
    ) -> Result<bool, Rejection> {
        // A response to HEAD has no content.
        let is_news = !delivery.is_known && self.head.method != Method::HEAD;
        let coordinator = &self.server().coordinator;
        let is_first = is_news && coordinator.begin_delivery(identifier, delivery.generation);
        let reveals = delivery.shows_secrets && self.is_operator();
        if reveals || is_first {
            self.audit.generation = Some(delivery.generation);
            self.attach_hash("payload", delivery.payload.digest);
        }
        if reveals {
            // Boxed, so that held requests do not reserve memory for this.
            Box::pin(self.announce_reveal()).await?;
        }
        Ok(is_news)
    }

    /// Announces the change that the request is about to make, where the audit log is required.
    pub(in super::super) async fn announce(&self) -> Result<(), Rejection> {
        if let Some(audit) = self.server().config.access.audit() {
            let line = || self.audit_line(AuditOutcome::Asked, None, None);
            audit.write_ahead(line).await?;
        }
        Ok(())
    }

    /// Announces a change of a node, as [`Self::announce`] does, unless `check` refuses it. The lines of refusals are
    /// limited, but those of announcements are not, so a node could fill the log with refused changes.
    pub(in super::super) async fn announce_checked(
        &self,
        check: impl FnOnce() -> Result<(), Refusal>,
    ) -> Result<(), Rejection> {
        let audit = self.server().config.access.audit();
        if audit.is_some_and(AuditLog::is_required) {
            check()?;
        }
        self.announce().await
    }

    /// Counts a refusal, and writes the audit line of the response, if the request belongs into the log.
    pub(in super::super) fn finish(&mut self, status: StatusCode, reason: Option<&'static str>) {
        let refusal = reason.or(self.audit.refusal);
        if let Some(reason) = refusal {
            self.server().coordinator.metrics().count_refusal(reason);
        }
        let access = &self.server().config.access;
        if access.audit().is_none() {
            return;
        }
        let is_change = self.endpoint.is_some_and(|row| row.action.is_change());
        if let Some(outcome) = self.audit.outcome(is_change, status, refusal) {
            access.record(self.audit_line(outcome, Some(status), refusal));
        }
    }

    fn audit_line(
        &self,
        outcome: AuditOutcome,
        status: Option<StatusCode>,
        reason: Option<&'static str>,
    ) -> AuditLine {
        let draft = &self.audit;
        let unknown = || "unknown".to_owned();
        let node = draft.node.clone().or_else(|| self.path_identifier().ok());
        AuditLine {
            at: self.server().config.access.clock().now(),
            what: format!("{} {}", self.method(), self.pattern()),
            outcome,
            who: draft.principal.clone().unwrap_or_else(unknown),
            from: Some(self.peer().address.ip()),
            node: node.map(|node| node.to_string()),
            value: draft.value.clone(),
            once: draft.once.clone(),
            generation: draft.generation,
            revision: None,
            status: status.map(|status| status.as_u16()),
            reason: reason.map(str::to_owned),
            left_out: 0,
            sha256: draft.sha256.clone(),
        }
    }
}
