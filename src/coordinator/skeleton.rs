//! Placeholder of the interface, replaced by the real parts.
#![allow(missing_docs, unused_variables, clippy::todo, clippy::unused_async)]
use std::sync::Arc;

use tokio::time::Instant;

use super::{Answer, Refusal};
use crate::{
    metrics::Metrics,
    model::{
        ArtifactSet, Digest, GenerationNumber, Identifier, Instance, NodeRegistration, Revision,
    },
    spec::Spec,
    wire::{ClusterBody, EncodedPayload, GenerationBody, GenerationEntry, LeaveBody, NodeBody},
};

/// A handle; cloning is cheap.
#[derive(Clone)]
pub struct Coordinator(());
impl Coordinator {
    pub fn instance(&self) -> Instance {
        todo!()
    }
    pub fn metrics(&self) -> &Arc<Metrics> {
        todo!()
    }
    /// Whether a generation is served (for /readyz the server is ready when this instance answers at all).
    pub async fn register(&self, registration: NodeRegistration) -> Result<Revision, Refusal> {
        todo!()
    }
    /// O(1), never waits.
    pub fn answer(&self, identifier: &str) -> Answer {
        todo!()
    }
    /// Held until there is a payload whose digest is not `held`, a failure, a final no, or `until` has come
    /// (then the newest not-ready answer; with `held` still current: Payload with that digest).
    pub async fn wait(&self, identifier: &str, held: Option<Digest>, until: Instant) -> Answer {
        todo!()
    }
    pub async fn replace(
        &self,
        identifier: Identifier,
        files: ArtifactSet,
    ) -> Result<Revision, Refusal> {
        todo!()
    }
    pub async fn remove_override(&self, identifier: &Identifier) -> Result<Revision, Refusal> {
        todo!()
    }
    pub async fn remove(&self, identifier: &Identifier) -> Result<Revision, Refusal> {
        todo!()
    }
    pub async fn leave(&self, leave: LeaveBody) -> Result<Revision, Refusal> {
        todo!()
    }
    pub async fn fail(&self, reason: String) -> Result<Revision, Refusal> {
        todo!()
    }
    pub async fn reset(&self) -> Result<Revision, Refusal> {
        todo!()
    }
    pub fn cluster(&self) -> ClusterBody {
        todo!()
    }
    pub fn node(&self, identifier: &str) -> NodeBody {
        todo!()
    }
    pub fn generations(&self) -> Vec<GenerationEntry> {
        todo!()
    }
    pub fn generation(&self, number: GenerationNumber) -> Option<GenerationBody> {
        todo!()
    }
    /// One node's payload of one kept generation, encoded on demand; does not count as a delivery.
    pub fn payload_of(&self, number: GenerationNumber, identifier: &str) -> Option<EncodedPayload> {
        todo!()
    }
    /// Evaluates with another spec from now on.
    pub fn reload(&self, spec: Spec) {
        todo!()
    }
    /// Answers every waiter with `Draining` from now on.
    pub fn drain(&self) {
        todo!()
    }
}
