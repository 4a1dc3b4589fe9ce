//! `cfgsync inspect diff`: compares two generations, file by file.

use std::collections::{BTreeMap, BTreeSet};

use cfgsync_model::{ArtifactPath, ArtifactSet, GenerationChanges, GenerationNumber, Identifier};
use cfgsync_support::escape::escape_line;
use cfgsync_wire::{ArtifactEntry, GenerationBody};
use serde::Serialize;

use super::source::Source;
use crate::cmd::{
    diff::{Described, SHARED, described_diff, unified},
    error::CommandError,
};

/// The differences: first those of shared files, then those of each node, by path.
#[derive(Debug, Serialize)]
pub(super) struct Differences {
    from: GenerationNumber,
    to: GenerationNumber,
    /// The causes of each generation after the older one, oldest first.
    why: Vec<Why>,
    files: Vec<Difference>,
}

/// The causes of a generation.
#[derive(Debug, Serialize)]
struct Why {
    generation: GenerationNumber,
    /// `None` if it was not recorded.
    changes: Option<GenerationChanges>,
}

#[derive(Debug, Serialize)]
struct Difference {
    /// The node; `None` for a shared file.
    node: Option<Identifier>,
    path: ArtifactPath,
    /// The unified diff.
    diff: String,
}

impl Differences {
    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    pub(super) fn to_text(&self) -> String {
        let why = self.why.iter().map(Why::to_text).collect::<String>();
        let diffs = self.files.iter().map(|file| file.diff.as_str());
        why + &diffs.collect::<String>()
    }
}

impl Why {
    /// Returns a line for each change. Each begins with the generation, so that no line looks like one of a diff.
    fn to_text(&self) -> String {
        let number = self.generation;
        // The names of fields in metadata come from nodes.
        let line = |text: &str| format!("generation {number}: {}\n", escape_line(text));
        let Some(changes) = &self.changes else {
            return line("what has changed was not recorded");
        };
        let mut text: String = (changes.changes.iter())
            .map(|change| line(&change.to_string()))
            .collect();
        match (changes.more, changes.is_partial) {
            (0, false) if changes.changes.is_empty() => {
                text.push_str(&line(
                    "no input has changed, so a program of the spec made other files",
                ));
            }
            (0, false) => {}
            (0, true) => text.push_str(&line("the history was too short to know more")),
            (more, _) => text.push_str(&line(&format!("{more} more changes"))),
        }
        text
    }
}

/// Compares two generations. Fetches only payloads in which something differs.
pub(super) async fn between(
    source: &Source,
    from: GenerationNumber,
    to: GenerationNumber,
    reveal: bool,
) -> Result<Differences, CommandError> {
    let old = Side::new(source, from, reveal).await?;
    let new = Side::new(source, to, reveal).await?;
    let mut found = Differences {
        from,
        to,
        why: why(source, &old, &new).await?,
        files: vec![],
    };
    let nodes: BTreeSet<&Identifier> = old
        .body
        .artifacts
        .keys()
        .chain(new.body.artifacts.keys())
        .collect();
    // The payload of every node has the shared files.
    let differing = differing(&old.body.shared, &new.body.shared);
    if !differing.is_empty() {
        let before = old.any_payload(source).await?;
        let after = new.any_payload(source).await?;
        for path in differing {
            found.push(None, path, (&old, &before), (&new, &after));
        }
    }
    for node in nodes {
        let differing = self::differing(old.own(node), new.own(node));
        if differing.is_empty() {
            continue;
        }
        let before = old.payload(source, node).await?;
        let after = new.payload(source, node).await?;
        for path in differing {
            found.push(Some(node), path, (&old, &before), (&new, &after));
        }
    }
    Ok(found)
}

/// Returns what led to each generation after the older of the two. One that is no longer kept is left out.
async fn why(source: &Source, old: &Side, new: &Side) -> Result<Vec<Why>, CommandError> {
    let (old, new) = if old.number <= new.number {
        (old, new)
    } else {
        (new, old)
    };
    let mut why = Vec::new();
    let mut number = old.number.next();
    while number < new.number {
        let changes = source.generation(number).await?.changes;
        why.push(Why {
            generation: number,
            changes,
        });
        number = number.next();
    }
    if old.number < new.number {
        why.push(Why {
            generation: new.number,
            changes: new.body.changes.clone(),
        });
    }
    Ok(why)
}

impl Differences {
    fn push(
        &mut self,
        node: Option<&Identifier>,
        path: &ArtifactPath,
        (old, before): (&Side, &ArtifactSet),
        (new, after): (&Side, &ArtifactSet),
    ) {
        let owner = node.map_or(SHARED, Identifier::as_str);
        let name = |generation| format!("{generation}/{owner}/{}", path.name());
        let (from, to) = (name(self.from), name(self.to));
        let (was, is) = (old.entry(node, path), new.entry(node, path));
        let is_secret = [was, is].into_iter().flatten().any(|file| file.secret);
        let diff = if is_secret && !new.reveal {
            described_diff(&from, was.map(described), &to, is.map(described))
        } else {
            unified(&from, before.get(path), &to, after.get(path))
        };
        self.files.push(Difference {
            node: node.cloned(),
            path: path.clone(),
            diff,
        });
    }
}

/// One of the two compared generations.
struct Side {
    number: GenerationNumber,
    body: GenerationBody,
    /// Whether the content of secret files is shown.
    reveal: bool,
}

impl Side {
    async fn new(
        source: &Source,
        number: GenerationNumber,
        reveal: bool,
    ) -> Result<Self, CommandError> {
        let body = source.generation(number).await?;
        Ok(Self {
            number,
            body,
            reveal,
        })
    }

    fn own(&self, node: &Identifier) -> &[ArtifactEntry] {
        self.body.artifacts.get(node).map_or(&[], Vec::as_slice)
    }

    /// Returns the entry of a file of `node`, or of a shared file for `None`.
    fn entry(&self, node: Option<&Identifier>, path: &ArtifactPath) -> Option<&ArtifactEntry> {
        let files = node.map_or(self.body.shared.as_slice(), |node| self.own(node));
        files.iter().find(|file| file.path == *path)
    }

    async fn payload(
        &self,
        source: &Source,
        node: &Identifier,
    ) -> Result<ArtifactSet, CommandError> {
        if !self.body.artifacts.contains_key(node) {
            return Ok(ArtifactSet::default());
        }
        let payload = source.payload_of(self.number, node, self.reveal).await?;
        Ok(payload.files)
    }

    async fn any_payload(&self, source: &Source) -> Result<ArtifactSet, CommandError> {
        match self.body.artifacts.keys().next() {
            Some(node) => self.payload(source, node).await,
            None => Ok(ArtifactSet::default()),
        }
    }
}

fn described(file: &ArtifactEntry) -> Described {
    Described {
        bytes: file.bytes,
        sha256: file.sha256,
        mode: Some(file.mode),
    }
}

/// Returns the paths that only one list has, or whose content or mode differs.
fn differing<'a>(old: &'a [ArtifactEntry], new: &'a [ArtifactEntry]) -> Vec<&'a ArtifactPath> {
    let index = |list: &'a [ArtifactEntry]| -> BTreeMap<&'a ArtifactPath, &'a ArtifactEntry> {
        list.iter().map(|file| (&file.path, file)).collect()
    };
    let (old, new) = (index(old), index(new));
    let paths: BTreeSet<&ArtifactPath> = old.keys().chain(new.keys()).copied().collect();
    let same = |path: &ArtifactPath| match (old.get(path), new.get(path)) {
        (Some(old), Some(new)) => old.sha256 == new.sha256 && old.mode == new.mode,
        _ => false,
    };
    paths.into_iter().filter(|path| !same(path)).collect()
}
