//! `--output json`: what was delivered, and which way it went.

use std::net::IpAddr;

use cfgsync::ArtifactFile;
use cfgsync_client::{
    Join, Receipt, Standing,
    disk::{Outcome, Written},
};
use cfgsync_wire::ReceivedPayload;
use serde::Serialize;

use super::resolve;

#[derive(Serialize)]
pub(super) struct Document<'a> {
    identifier: &'a str,
    ip: Option<IpAddr>,
    /// Whether the server delivered them, or they stood here already (`--fallback`).
    source: Source,
    instance: Option<String>,
    generation: Option<u64>,
    digest: Option<String>,
    files: Vec<DocumentFile<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Source {
    Server,
    Existing,
}

#[derive(Serialize)]
struct DocumentFile<'a> {
    artifact: &'a str,
    /// Absent for what was printed, or became CMD's environment.
    path: Option<String>,
    outcome: &'static str,
    secret: bool,
    mode: String,
    bytes: u64,
    sha256: String,
}

impl<'a> Document<'a> {
    /// Of what the server delivered.
    pub(super) fn of(
        plan: &'a resolve::Plan,
        join: &Join,
        payload: &'a ReceivedPayload,
        written: &[Written],
    ) -> Self {
        let file = |file: &'a ArtifactFile| {
            let written = written.iter().find(|written| written.artifact == file.path);
            DocumentFile {
                artifact: file.path.as_str(),
                path: written.map(|written| written.path.display().to_string()),
                outcome: match written.map(|written| written.outcome) {
                    Some(Outcome::Created) => "created",
                    Some(Outcome::Replaced) => "replaced",
                    Some(Outcome::Unchanged) => "unchanged",
                    Some(Outcome::Overwritten) => "overwritten",
                    None => "environment",
                },
                secret: file.secret,
                mode: file.mode.to_string(),
                bytes: file.content.len() as u64,
                sha256: file.content.sha256().to_string(),
            }
        };
        Self {
            identifier: plan.options.identifier.as_str(),
            ip: join.registration().map(|registration| registration.ip),
            source: Source::Server,
            instance: payload.instance.map(|instance| instance.to_string()),
            generation: payload.generation.map(|number| number.0),
            digest: payload.digest.map(|digest| digest.to_string()),
            files: payload.files.files().iter().map(file).collect(),
        }
    }

    /// The text of it.
    pub(super) fn to_json(&self) -> String {
        let json = serde_json::to_string_pretty(self);
        json.expect("map keys are strings") + "\n"
    }

    /// Of what stood here already.
    pub(super) fn of_existing(join: &Join, receipt: &'a Receipt, standing: &'a [Standing]) -> Self {
        let file = |standing: &'a Standing| DocumentFile {
            artifact: standing.noted.artifact.as_str(),
            path: Some(standing.path.display().to_string()),
            outcome: "existing",
            secret: standing.noted.secret,
            mode: standing.noted.mode.to_string(),
            bytes: standing.noted.bytes,
            sha256: standing.noted.sha256.to_string(),
        };
        Self {
            identifier: receipt.identifier.as_str(),
            ip: join.registration().map(|registration| registration.ip),
            source: Source::Existing,
            instance: receipt.instance.map(|instance| instance.to_string()),
            generation: receipt.generation.map(|number| number.0),
            digest: receipt.digest.map(|digest| digest.to_string()),
            files: standing.iter().map(file).collect(),
        }
    }
}
