//! `--output json`: what was delivered, and to which files.

use std::net::IpAddr;

use cfgsync::ArtifactFile;
use cfgsync_client::{
    PreviousDelivery, Session, StaleFile, StaleOutcome, VerifiedFile,
    disk::{Outcome, WrittenFile},
};
use cfgsync_wire::ReceivedPayload;
use serde::Serialize;

use crate::cmd::output::{self, Text};

#[derive(Serialize)]
pub(super) struct Document<'a> {
    identifier: &'a str,
    ip: Option<IpAddr>,
    source: Source,
    instance: Option<String>,
    generation: Option<u64>,
    digest: Option<String>,
    files: Vec<DocumentFile<'a>>,
    /// The files of the previous delivery that are no longer part of the payload.
    stale: Vec<DocumentStaleFile<'a>>,
}

#[derive(Serialize)]
struct DocumentStaleFile<'a> {
    artifact: &'a str,
    path: String,
    outcome: &'static str,
    secret: bool,
}

/// The source of the files.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Source {
    /// The server delivered them.
    Server,
    /// They are those of the previous delivery (`--fallback`).
    Existing,
}

#[derive(Serialize)]
struct DocumentFile<'a> {
    artifact: &'a str,
    /// `None` if the content became the environment of CMD, or was discarded.
    path: Option<String>,
    outcome: &'static str,
    secret: bool,
    mode: String,
    bytes: u64,
    sha256: String,
}

impl<'a> Document<'a> {
    /// Returns the report of a delivery.
    pub(super) fn of_delivery(
        session: &'a Session,
        payload: &'a ReceivedPayload,
        written: &[WrittenFile],
        stale: &'a [StaleFile],
        is_used: impl Fn(&ArtifactFile) -> bool,
    ) -> Self {
        let stale_file = |file: &'a StaleFile| DocumentStaleFile {
            artifact: file.artifact.as_str(),
            path: file.path.display().to_string(),
            outcome: match file.outcome {
                StaleOutcome::Removed => "removed",
                StaleOutcome::Changed => "changed",
                StaleOutcome::Mounted => "bind_mounted",
                StaleOutcome::OtherRoute => "other_route",
                StaleOutcome::OtherDelivery => "other_delivery",
                StaleOutcome::BehindLink(_) => "symbolic_link",
                StaleOutcome::NotAFile => "not_a_file",
                _ => "kept",
            },
            secret: file.secret,
        };
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
                    None if is_used(file) => "environment",
                    None => "discarded",
                },
                secret: file.secret,
                mode: file.mode.to_string(),
                bytes: file.content.len() as u64,
                sha256: file.content.sha256().to_string(),
            }
        };
        Self {
            identifier: session.options().identifier.as_str(),
            ip: session.registration().map(|registration| registration.ip),
            source: Source::Server,
            instance: payload.instance.map(|instance| instance.to_string()),
            generation: payload.generation.map(|number| number.0),
            digest: payload.digest.map(|digest| digest.to_string()),
            files: payload.files.files().iter().map(file).collect(),
            stale: stale.iter().map(stale_file).collect(),
        }
    }

    /// Returns the report of a previous delivery.
    pub(super) fn of_previous(session: &Session, previous: &'a PreviousDelivery) -> Self {
        let PreviousDelivery { receipt, files, .. } = previous;
        let file = |file: &'a VerifiedFile| DocumentFile {
            artifact: file.entry.artifact.as_str(),
            path: Some(file.path.display().to_string()),
            outcome: "existing",
            secret: file.entry.secret,
            mode: file.entry.mode.to_string(),
            bytes: file.entry.bytes,
            sha256: file.entry.sha256.to_string(),
        };
        Self {
            identifier: receipt.identifier.as_str(),
            ip: session.registration().map(|registration| registration.ip),
            source: Source::Existing,
            instance: receipt.instance.map(|instance| instance.to_string()),
            generation: receipt.generation.map(|number| number.0),
            digest: receipt.digest.map(|digest| digest.to_string()),
            files: files.iter().map(file).collect(),
            stale: vec![],
        }
    }

    /// Returns the JSON text, with a line end.
    pub(super) fn to_json(&self) -> Text {
        output::json(self)
    }
}
