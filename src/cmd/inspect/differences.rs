//! What changed from one generation to another, file by file.

use std::collections::{BTreeMap, BTreeSet};

use cfgsync::{
    model::{ArtifactPath, ArtifactSet, GenerationNumber, Identifier},
    wire::{ArtifactEntry, GenerationBody},
};
use serde::Serialize;

use super::source::Source;
use crate::cmd::diff::{SHARED, unified};

/// All differences, in the order of nodes and paths; shared files first.
#[derive(Debug, Serialize)]
pub(super) struct Differences {
    from: GenerationNumber,
    to: GenerationNumber,
    files: Vec<Difference>,
}

#[derive(Debug, Serialize)]
struct Difference {
    /// Whose file; `None` for one that all share.
    node: Option<Identifier>,
    path: ArtifactPath,
    /// Unified.
    diff: String,
}

impl Differences {
    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    pub(super) fn to_text(&self) -> String {
        self.files.iter().map(|file| file.diff.as_str()).collect()
    }
}

/// Compares two generations; only payloads with a difference in them are fetched.
pub(super) async fn between(
    source: &Source,
    from: GenerationNumber,
    to: GenerationNumber,
) -> anyhow::Result<Differences> {
    let old = Side::new(source, from).await?;
    let new = Side::new(source, to).await?;
    let mut found = Differences {
        from,
        to,
        files: vec![],
    };
    let nodes: BTreeSet<&Identifier> = old
        .body
        .artifacts
        .keys()
        .chain(new.body.artifacts.keys())
        .collect();
    // Anybody's payload has the shared files.
    let differing = differing(&old.body.shared, &new.body.shared);
    if !differing.is_empty() {
        let before = old.anybody(source).await?;
        let after = new.anybody(source).await?;
        for path in differing {
            found.push(None, path, &before, &after);
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
            found.push(Some(node), path, &before, &after);
        }
    }
    Ok(found)
}

impl Differences {
    fn push(
        &mut self,
        node: Option<&Identifier>,
        path: &ArtifactPath,
        before: &ArtifactSet,
        after: &ArtifactSet,
    ) {
        let whose = node.map_or(SHARED, Identifier::as_str);
        let name = |generation| format!("{generation}/{whose}/{}", path.name());
        let diff = unified(
            &name(self.from),
            before.get(path),
            &name(self.to),
            after.get(path),
        );
        self.files.push(Difference {
            node: node.cloned(),
            path: path.clone(),
            diff,
        });
    }
}

/// One of the two generations.
struct Side {
    number: GenerationNumber,
    body: GenerationBody,
}

impl Side {
    async fn new(source: &Source, number: GenerationNumber) -> anyhow::Result<Self> {
        let body = source.generation(number).await?;
        Ok(Self { number, body })
    }

    fn own(&self, node: &Identifier) -> &[ArtifactEntry] {
        self.body.artifacts.get(node).map_or(&[], Vec::as_slice)
    }

    async fn payload(&self, source: &Source, node: &Identifier) -> anyhow::Result<ArtifactSet> {
        if !self.body.artifacts.contains_key(node) {
            return Ok(ArtifactSet::default());
        }
        source.payload_of(self.number, node).await
    }

    async fn anybody(&self, source: &Source) -> anyhow::Result<ArtifactSet> {
        match self.body.artifacts.keys().next() {
            Some(node) => self.payload(source, node).await,
            None => Ok(ArtifactSet::default()),
        }
    }
}

/// The paths that are in one list only, or differ in content or mode.
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
