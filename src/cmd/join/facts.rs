//! The facts about a node that CMD gets in its environment: its identifier, seat, generation and cluster, the servers, and
//! the files with which `cfgsync report`, `wait` and `run-once` act as this node. The environment never has a secret.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
};

use cfgsync_client::{Receipt, ServerUrl, Session};
use cfgsync_model::{GenerationNumber, Seat};
use cfgsync_wire::ReceivedPayload;

use super::resolve::Plan;
use crate::cmd::{credentials, parsers::absolute, settings::SEAT_VARIABLE};

/// The variables of `join` that would change what `report`, `wait`, `run-once` and other commands do in its programs.
const SETTINGS_OF_JOIN: [&str; 4] = [
    "CFGSYNC_OUTPUT",
    "CFGSYNC_RECEIPT",
    "CFGSYNC_TIMEOUT",
    "CFGSYNC_WATCH",
];

/// Returns the environment for CMD and the hooks, without the facts: that of `join`, without tokens and without settings
/// that are meant for `join` only.
pub(super) fn inherited_variables() -> BTreeMap<OsString, OsString> {
    let mut environment: BTreeMap<OsString, OsString> = std::env::vars_os().collect();
    for variable in credentials::variables_with_token() {
        environment.remove(OsStr::new(variable));
    }
    for variable in SETTINGS_OF_JOIN {
        environment.remove(OsStr::new(variable));
    }
    environment
}

/// The facts that a delivery gave, this one or an earlier one.
pub(super) struct Given<'a> {
    generation: Option<GenerationNumber>,
    seat: Option<Seat>,
    cluster: Option<&'a str>,
}

impl<'a> Given<'a> {
    /// Returns the facts of a payload that `session` received.
    pub(super) fn by_payload(session: &'a Session, payload: &ReceivedPayload) -> Self {
        Self {
            generation: payload.generation,
            seat: payload.seat,
            cluster: session.cluster(),
        }
    }

    /// Returns the facts of an earlier delivery.
    pub(super) fn by_receipt(receipt: &'a Receipt) -> Self {
        Self {
            generation: receipt.generation,
            seat: receipt.seat,
            cluster: receipt.cluster.as_deref(),
        }
    }

    /// Returns the variables for CMD.
    pub(super) fn variables(
        &self,
        plan: &Plan,
        session: &Session,
    ) -> Vec<(&'static str, OsString)> {
        let identifier = plan.options.identifier.to_string();
        let servers = plan.client.servers().map(ServerUrl::without_token);
        let servers: Vec<String> = servers.collect();
        let mut variables: Vec<(&'static str, OsString)> = vec![
            ("CFGSYNC_ID", identifier.into()),
            ("CFGSYNC_SERVER", servers.join("\n").into()),
        ];
        if let Some(generation) = self.generation {
            variables.push(("CFGSYNC_GENERATION", generation.to_string().into()));
        }
        if let Some(Seat(seat)) = self.seat {
            variables.push((SEAT_VARIABLE, seat.to_string().into()));
        }
        if let Some(cluster) = self.cluster {
            variables.push(("CFGSYNC_CLUSTER", cluster.into()));
        }
        if let Some(path) = session.key_file() {
            variables.push(("CFGSYNC_IDENTITY_FILE", absolute(&path).into()));
        }
        variables.extend(plan.access_variables.iter().cloned());
        variables
    }
}
