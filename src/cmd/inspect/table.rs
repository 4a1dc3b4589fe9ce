//! The tables of `inspect` about one node, and about generations.

use std::fmt::Write;

use cfgsync_model::{Digest, Identifier};
use cfgsync_support::natural_order;
use cfgsync_wire::{
    ArtifactEntry, GenerationBody, GenerationEntry, LeaseState, NodeBody, NodeEntry, NodeState,
    RefusedEntry,
};

use super::layout::Layout;
use crate::cmd::{
    diff::SHARED,
    output::{columns, indented},
};

/// How many characters of a digest are shown: enough to tell generations apart.
const DIGEST_CHARS: usize = 12;

/// Returns the state of a node and the table of its files.
pub(super) fn node(identifier: &Identifier, body: &NodeBody, layout: Layout) -> String {
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
        let expired = match node.lease {
            Some(LeaseState::Expired) => ", its lease has expired",
            Some(LeaseState::Valid) | None => "",
        };
        let _ = writeln!(text, "registered: {} ({waits}{expired})", since(node));
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
        for entry in &node.phases {
            let reason = entry.reason.as_deref();
            let reason =
                reason.map_or_else(String::new, |reason| format!(": {}", indented(reason)));
            let _ = writeln!(
                text,
                "{}: generation {}, {:.0}{reason}",
                entry.phase, entry.generation, entry.at
            );
        }
    }
    if body.overridden {
        text.push_str("override: an operator has replaced the files of this node\n");
    }
    if !body.artifacts.is_empty() {
        text.push('\n');
        text.push_str(&artifacts(
            body.artifacts.iter().map(|file| (None, file)),
            layout,
        ));
    }
    text
}

/// Returns the table of all generations.
pub(super) fn generations(all: &[GenerationEntry], layout: Layout) -> String {
    if all.is_empty() {
        return "no generation yet\n".to_owned();
    }
    let row = |entry: &GenerationEntry| {
        vec![
            entry.number.to_string(),
            format!("{:.0}", entry.sealed_at),
            entry.nodes.to_string(),
            entry.revision.to_string(),
            digest(entry.digest, layout),
        ]
    };
    columns(
        &["GENERATION", "SEALED", "NODES", "REVISION", "DIGEST"],
        &all.iter().map(row).collect::<Vec<_>>(),
    )
}

/// Returns the description of a generation and the table of its files.
pub(super) fn generation(body: &GenerationBody, layout: Layout) -> String {
    let entry = &body.entry;
    let mut text = format!(
        "generation {}, sealed {:.0} from revision {}\ndigest: {}\nspec: {}\n\n",
        entry.number, entry.sealed_at, entry.revision, entry.digest, entry.spec
    );
    let mut nodes: Vec<_> = body.artifacts.iter().collect();
    nodes.sort_by(|(one, _), (other, _)| natural_order::compare(one.as_str(), other.as_str()));
    let own = nodes.into_iter().flat_map(|(identifier, files)| {
        files
            .iter()
            .map(move |file| (Some(identifier.as_str()), file))
    });
    let shared = body.shared.iter().map(|file| (Some(SHARED), file));
    text.push_str(&artifacts(own.chain(shared), layout));
    text
}

fn artifacts<'a>(
    files: impl Iterator<Item = (Option<&'a str>, &'a ArtifactEntry)>,
    layout: Layout,
) -> String {
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
            digest(file.sha256, layout),
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

/// Returns one line about a refused node.
pub(super) fn refusal(refused: &RefusedEntry) -> String {
    let RefusedEntry {
        identifier,
        ip,
        at,
        message,
        ..
    } = refused;
    format!("{identifier} from {ip} at {at:.0}: {}", indented(message))
}

/// Returns the time of the node's registration.
pub(super) fn since(node: &NodeEntry) -> String {
    node.since
        .map_or_else(|| "-".to_owned(), |since| format!("{since:.0}"))
}

fn digest(digest: Digest, layout: Layout) -> String {
    let text = digest.to_string();
    if layout.is_wide {
        return text;
    }
    text.chars().take(DIGEST_CHARS).collect()
}
