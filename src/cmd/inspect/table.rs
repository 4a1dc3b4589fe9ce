//! The tables that `inspect` prints.

use std::fmt::Write;

use cfgsync_model::{Failure, Identifier, Metadata, Progress};
use cfgsync_support::escape::escape_line;
use cfgsync_wire::{
    ArtifactEntry, ClusterBody, ClusterState, GenerationBody, GenerationEntry, NodeBody, NodeEntry,
    NodeState, RefusedEntry,
};
use serde_json::Value;

use crate::cmd::{
    diff::SHARED,
    output::{Text, columns, indented},
    progress::counted,
};

/// Longest metadata in a table, in characters.
const METADATA_MAX_CHARS: usize = 48;
/// How many names a line has at most.
const NAMES_MAX: usize = 20;
/// How many characters of a digest are shown: enough to tell generations apart.
const DIGEST_CHARS: usize = 12;

/// Returns the state of a cluster in one word.
pub(super) fn state(state: ClusterState) -> &'static str {
    match state {
        ClusterState::Waiting => "waiting",
        ClusterState::Ready => "ready",
        ClusterState::Failed => "failed",
    }
}

/// Returns the state of the cluster and the table of its nodes.
pub(super) fn cluster(body: &ClusterBody) -> Text {
    let mut text = headline(body);
    if let Some(failure) = &body.failure {
        text.push_str(&failed(body.state, failure));
    }
    text.push_str(&lacking(&body.progress));
    if !body.overridden_absent.is_empty() {
        let names = body.overridden_absent.iter().take(NAMES_MAX);
        let names: Vec<&str> = names.map(Identifier::as_str).collect();
        let more = more_than(names.len(), body.overridden_absent.len());
        text.push_str(&format!(
            "overridden, but not registered: {}{more}\n",
            names.join(", ")
        ));
    }
    for refused in body.refused.iter().take(NAMES_MAX) {
        text.push_str(&format!("refused: {}\n", refusal(refused)));
    }
    let more = body.refused.len().saturating_sub(NAMES_MAX);
    if more > 0 {
        text.push_str(&format!("refused: {more} more\n"));
    }
    text.push_str("\n");
    if body.registrations.is_empty() {
        text.push_str("no node has registered yet\n");
        return text;
    }
    let rows: Vec<Vec<String>> = body.registrations.iter().map(row).collect();
    text.push_str(&columns(
        &[
            "NODE",
            "IP",
            "SINCE",
            "WAITS",
            "SEAT",
            "GENERATION",
            "METADATA",
        ],
        &rows,
    ));
    text
}

fn headline(body: &ClusterBody) -> Text {
    use anstyle::AnsiColor::{Green, Red, Yellow};
    let colour = match body.state {
        ClusterState::Waiting => Yellow,
        ClusterState::Ready => Green,
        ClusterState::Failed => Red,
    };
    let style = anstyle::Style::new().bold().fg_color(Some(colour.into()));
    let nodes = match &body.progress {
        Progress {
            registered,
            needed: 0,
            ..
        } => counted(*registered, "node"),
        Progress {
            registered, needed, ..
        } => format!("{registered}/{needed} nodes"),
    };
    let generation = match body.generation {
        Some(number) => format!("generation {number}"),
        None => "no generation yet".to_owned(),
    };
    let behind = body.registrations.iter().filter(|node| node.behind).count();
    let behind = match (body.generation, behind) {
        (None, _) | (_, 0) => String::new(),
        (_, behind) => format!(", {behind} behind"),
    };
    let mut text = Text::from(format!("{}: ", escape_line(&body.cluster)));
    text.push_styled(style, state(body.state));
    text.push_str(&format!(", {nodes}, {generation}{behind}\n"));
    text
}

fn failed(state: ClusterState, failure: &Failure) -> String {
    let at = format!("{:.0}", failure.at);
    match state {
        ClusterState::Failed => {
            format!("failed at {at}: {}\n", indented(&failure.reason))
        }
        _ => format!(
            "the newest render failed at {at}: {}\n",
            indented(&failure.reason)
        ),
    }
}

/// Returns one line about a refused node.
fn refusal(refused: &RefusedEntry) -> String {
    let RefusedEntry {
        identifier,
        ip,
        at,
        message,
        ..
    } = refused;
    format!("{identifier} from {ip} at {at:.0}: {}", indented(message))
}

fn lacking(progress: &Progress) -> String {
    let mut text = String::new();
    if !progress.missing.is_empty() {
        let names: Vec<&str> = progress.missing.iter().map(Identifier::as_str).collect();
        let more = more_than(names.len(), progress.missing_count);
        text.push_str(&format!("missing: {}{more}\n", names.join(", ")));
    }
    for clause in &progress.unmet {
        text.push_str(&format!("unmet: {}\n", indented(clause)));
    }
    text
}

fn more_than(shown: usize, all: usize) -> String {
    match all.saturating_sub(shown) {
        0 => String::new(),
        more => format!(" and {more} more"),
    }
}

fn row(node: &NodeEntry) -> Vec<String> {
    let mut got = node
        .delivered
        .map_or_else(|| "-".to_owned(), |number| number.to_string());
    if node.behind {
        got.push_str(" (behind)");
    }
    if node.overridden {
        got.push_str(" (override)");
    }
    vec![
        node.identifier.to_string(),
        node.ip.to_string(),
        since(node),
        if node.waits { "yes" } else { "no" }.to_owned(),
        node.seat
            .map_or_else(|| "-".to_owned(), |seat| seat.to_string()),
        got,
        short(&node.metadata),
    ]
}

/// Returns the time of the node's registration.
fn since(node: &NodeEntry) -> String {
    node.since
        .map_or_else(|| "-".to_owned(), |since| format!("{since:.0}"))
}

/// Returns metadata in the form `port=9000 role=validator`, shortened if it is long.
fn short(metadata: &Metadata) -> String {
    let one = |value: &Value| match value {
        Value::String(text) if !text.is_empty() && !text.contains(char::is_whitespace) => {
            text.clone()
        }
        value => value.to_string(),
    };
    let text = match metadata {
        Value::Object(fields) if fields.is_empty() => return String::new(),
        Value::Object(fields) => {
            let fields = fields
                .iter()
                .map(|(name, value)| format!("{name}={}", one(value)));
            fields.collect::<Vec<_>>().join(" ")
        }
        other => other.to_string(),
    };
    match text.char_indices().nth(METADATA_MAX_CHARS) {
        None => text,
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

/// Returns the state of a node and the table of its files.
pub(super) fn node(identifier: &Identifier, body: &NodeBody) -> String {
    let word = match body.state {
        NodeState::Ready => "ready",
        NodeState::Waiting => "waiting",
        NodeState::Unregistered => "not registered",
        NodeState::Missing => "gets no files",
        NodeState::Failed => "failed",
    };
    let mut text = format!("{identifier}: {word}");
    if let Some(generation) = body.generation {
        let _ = write!(text, ", generation {generation}");
    }
    text.push('\n');
    if let Some(reason) = &body.reason {
        let _ = writeln!(text, "reason: {}", indented(reason));
    }
    if let Some(refused) = &body.refused {
        let _ = writeln!(text, "refused: {}", refusal(refused));
    }
    if let Some(node) = &body.node {
        let _ = writeln!(text, "ip: {}", node.ip);
        let waits = if node.waits {
            "waits now"
        } else {
            "does not wait now"
        };
        let _ = writeln!(text, "registered: {} ({waits})", since(node));
        if let Some(seat) = node.seat {
            let _ = writeln!(text, "seat: {seat}");
        }
        let _ = writeln!(text, "metadata: {}", node.metadata);
        let delivered = match (node.delivered, node.behind) {
            (None, _) => "nothing yet".to_owned(),
            (Some(number), false) => format!("generation {number}"),
            (Some(number), true) => format!("generation {number}, behind"),
        };
        let _ = writeln!(text, "delivered: {delivered}");
    }
    if body.overridden {
        text.push_str("override: an operator has replaced the files of this node\n");
    }
    if !body.artifacts.is_empty() {
        text.push('\n');
        text.push_str(&artifacts(body.artifacts.iter().map(|file| (None, file))));
    }
    text
}

/// Returns the table of all generations.
pub(super) fn generations(all: &[GenerationEntry]) -> String {
    if all.is_empty() {
        return "no generation yet\n".to_owned();
    }
    let row = |entry: &GenerationEntry| {
        vec![
            entry.number.to_string(),
            format!("{:.0}", entry.sealed_at),
            entry.nodes.to_string(),
            entry.revision.to_string(),
            entry
                .digest
                .to_string()
                .chars()
                .take(DIGEST_CHARS)
                .collect(),
        ]
    };
    columns(
        &["GENERATION", "SEALED", "NODES", "REVISION", "DIGEST"],
        &all.iter().map(row).collect::<Vec<_>>(),
    )
}

/// Returns the description of a generation and the table of its files.
pub(super) fn generation(body: &GenerationBody) -> String {
    let entry = &body.entry;
    let mut text = format!(
        "generation {}, sealed {:.0} from revision {}\ndigest: {}\nspec: {}\n\n",
        entry.number, entry.sealed_at, entry.revision, entry.digest, entry.spec
    );
    let own = body.artifacts.iter().flat_map(|(identifier, files)| {
        files
            .iter()
            .map(move |file| (Some(identifier.as_str()), file))
    });
    let shared = body.shared.iter().map(|file| (Some(SHARED), file));
    text.push_str(&artifacts(own.chain(shared)));
    text
}

fn artifacts<'a>(files: impl Iterator<Item = (Option<&'a str>, &'a ArtifactEntry)>) -> String {
    let mut header = vec!["PATH", "MODE", "BYTES", "SHA256"];
    let mut rows = Vec::new();
    for (owner, file) in files {
        let mut row = vec![
            file.path.to_string(),
            if file.secret {
                format!("{} secret", file.mode)
            } else {
                file.mode.to_string()
            },
            file.bytes.to_string(),
            file.sha256.to_string().chars().take(DIGEST_CHARS).collect(),
        ];
        match owner {
            Some(owner) => {
                if header.len() == 4 {
                    header.insert(0, "NODE");
                }
                row.insert(0, owner.to_owned());
            }
            None if file.shared => row.push("shared".to_owned()),
            None => {}
        }
        rows.push(row);
    }
    if header.len() == 4 && rows.iter().any(|row| row.len() == 5) {
        header.push("");
    }
    columns(&header, &rows)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn body() -> ClusterBody {
        serde_json::from_value(json!({
            "cluster": "devnet", "instance": "00000000000000000000000000000001", "revision": 4,
            "state": "waiting",
            "progress": {"registered": 2, "needed": 3, "missing": ["node-3"], "missing_count": 1,
                "unmet": ["nodes: 1 of 3 are missing"]},
            "generation": null,
            "registrations": [
                {"identifier": "node-1", "ip": "10.0.0.1", "metadata": {"port": 9000, "zone": "a b"},
                    "seat": null, "revision": 1, "since": "2026-01-31T12:00:00.5Z", "waits": true},
                {"identifier": "node-2", "ip": "fd00::2", "metadata": {"key": "x".repeat(100)},
                    "seat": null, "revision": 2, "overridden": true},
            ],
            "overridden_absent": ["node-9"],
            "refused": [{"identifier": "node-3", "ip": "10.0.0.3", "at": "2026-01-31T12:00:00Z",
                "reason": "wrong_metadata", "message": "metadata.port: missing"}],
        }))
        .unwrap()
    }

    #[test]
    fn waiting_cluster() {
        insta::assert_snapshot!(cluster(&body()).as_str(), @r#"
        devnet: waiting, 2/3 nodes, no generation yet
        missing: node-3
        unmet: nodes: 1 of 3 are missing
        overridden, but not registered: node-9
        refused: node-3 from 10.0.0.3 at 2026-01-31T12:00:00Z: metadata.port: missing

        NODE    IP        SINCE                 WAITS  SEAT  GENERATION    METADATA
        node-1  10.0.0.1  2026-01-31T12:00:00Z  yes    -     -             port=9000 zone="a b"
        node-2  fd00::2   -                     no     -     - (override)  key=xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…
        "#);
    }

    #[test]
    fn cluster_with_failed_render() {
        let mut body = body();
        body.state = ClusterState::Ready;
        body.generation = Some(cfgsync_model::GenerationNumber(2));
        body.registrations[0].delivered = body.generation;
        body.registrations[1].behind = true;
        body.failure = Some(
            serde_json::from_value(json!({
                "kind": "render", "reason": "cluster.yaml:7: `port` is undefined", "at": "2026-01-31T12:00:00Z",
            }))
            .unwrap(),
        );
        insta::assert_snapshot!(cluster(&body).as_str(), @r#"
        devnet: ready, 2/3 nodes, generation 2, 1 behind
        the newest render failed at 2026-01-31T12:00:00Z: cluster.yaml:7: `port` is undefined
        missing: node-3
        unmet: nodes: 1 of 3 are missing
        overridden, but not registered: node-9
        refused: node-3 from 10.0.0.3 at 2026-01-31T12:00:00Z: metadata.port: missing

        NODE    IP        SINCE                 WAITS  SEAT  GENERATION             METADATA
        node-1  10.0.0.1  2026-01-31T12:00:00Z  yes    -     2                      port=9000 zone="a b"
        node-2  fd00::2   -                     no     -     - (behind) (override)  key=xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…
        "#);
    }
}
