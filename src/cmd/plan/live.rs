//! `plan --server`: the difference between the files that a spec gives, and those of a running cluster.

use std::collections::{BTreeMap, BTreeSet};

use cfgsync_client::Client;
use cfgsync_cluster::render::Pipeline;
use cfgsync_model::{
    ArtifactFile, ArtifactSet, GenerationNumber, Identifier, MaterializedArtifacts,
    NodeRegistration,
};
use cfgsync_wire::{ArtifactEntry, ClusterBody};
use similar::{DiffOp, TextDiff};

use super::{nodes::Nodes, tree::Difference, values::PlannedValues};
use crate::cmd::{
    diff::{Described, SHARED, described_diff, unified},
    error::CommandError,
};

/// A running cluster.
pub(super) struct Live {
    client: Client,
    cluster: ClusterBody,
}

/// Two renders of one spec with different values of `once`. Lines that differ depend on these values.
pub(super) struct Renders {
    pub(super) first: MaterializedArtifacts,
    pub(super) second: MaterializedArtifacts,
}

/// The differences, and the files that cannot be compared.
pub(super) struct Compared {
    pub(super) differences: Vec<Difference>,
    /// Secret files that depend on values of `once`, as `NODE/PATH`.
    pub(super) not_compared: Vec<String>,
}

/// The files of one node, or the shared files, in the running cluster and in the renders.
struct Owner<'a> {
    /// `None` for shared files.
    node: Option<&'a Identifier>,
    old: &'a [ArtifactEntry],
    first: &'a ArtifactSet,
    second: &'a ArtifactSet,
}

impl Live {
    pub(super) async fn read(client: Client) -> Result<Self, CommandError> {
        let cluster = client.snapshot().await?.value;
        Ok(Self { client, cluster })
    }

    pub(super) fn cluster(&self) -> &str {
        &self.cluster.cluster
    }

    /// Returns the operators' values, if `pipeline` can read any. The server notes that secrets are shown.
    pub(super) async fn values(&self, pipeline: &Pipeline) -> Result<PlannedValues, CommandError> {
        if pipeline.reads_values() {
            PlannedValues::fetch(&self.client).await
        } else {
            Ok(PlannedValues::default())
        }
    }

    /// Returns the registered nodes.
    pub(super) fn nodes(&self) -> Nodes {
        let mut nodes = Nodes::default();
        for node in &self.cluster.registrations {
            if let Some(seat) = node.seat {
                nodes.seats.insert(node.identifier.clone(), seat);
            }
            let registration = NodeRegistration::without_metadata(node.identifier.clone(), node.ip)
                .with_metadata_value(node.metadata.clone());
            nodes.registrations.push(registration);
        }
        nodes
    }

    /// Compares the served generation with `renders`. The own files of a node with an override do not change.
    pub(super) async fn compare(&self, renders: &Renders) -> Result<Compared, CommandError> {
        let mut compared = Compared {
            differences: vec![],
            not_compared: vec![],
        };
        let (mut old_nodes, mut old_shared) = (BTreeMap::new(), vec![]);
        if let Some(number) = self.cluster.generation {
            let body = self.client.generation(number).await?.value;
            (old_nodes, old_shared) = (body.artifacts, body.shared);
        }
        let overridden = self.cluster.registrations.iter();
        let overridden = overridden.filter(|node| node.overridden);
        let overridden: BTreeSet<&Identifier> = overridden.map(|node| &node.identifier).collect();
        let shared = Owner {
            node: None,
            old: &old_shared,
            first: &renders.first.shared,
            second: &renders.second.shared,
        };
        // Each payload has the shared files.
        let any = old_nodes.keys().next();
        self.compare_owner(&shared, any, &mut compared).await?;
        let nodes = old_nodes.keys().chain(renders.first.nodes.keys());
        let none = ArtifactSet::default();
        for node in nodes.collect::<BTreeSet<_>>() {
            if overridden.contains(node) {
                continue;
            }
            let owner = Owner {
                node: Some(node),
                old: old_nodes.get(node).map_or(&[], Vec::as_slice),
                first: renders.first.nodes.get(node).unwrap_or(&none),
                second: renders.second.nodes.get(node).unwrap_or(&none),
            };
            self.compare_owner(&owner, Some(node), &mut compared)
                .await?;
        }
        Ok(compared)
    }

    /// Compares the files of `owner`. The payload of `holder` has its served files; it is fetched only if the content of
    /// a file is needed.
    async fn compare_owner(
        &self,
        owner: &Owner<'_>,
        holder: Option<&Identifier>,
        compared: &mut Compared,
    ) -> Result<(), CommandError> {
        let paths = owner.old.iter().map(|file| &file.path);
        let paths = paths.chain(owner.first.files().iter().map(|file| &file.path));
        let mut contents: Option<ArtifactSet> = None;
        for path in paths.collect::<BTreeSet<_>>() {
            let old = owner.old.iter().find(|file| file.path == *path);
            let (new, again) = (owner.first.get(path), owner.second.get(path));
            let sha256 = |file: Option<&ArtifactFile>| file.map(|file| file.content.sha256());
            let depends_on_once = sha256(new) != sha256(again);
            let has_same_mode = old.map(|old| old.mode) == new.map(|new| new.mode);
            if old.map(|old| old.sha256) == sha256(new) && has_same_mode {
                continue;
            }
            let name = format!(
                "{}/{}",
                owner.node.map_or(SHARED, Identifier::as_str),
                path.name()
            );
            let is_secret = old.is_some_and(|old| old.secret) || new.is_some_and(|new| new.secret);
            let diff = match (is_secret, old) {
                (true, Some(_)) if depends_on_once && has_same_mode => {
                    compared.not_compared.push(name);
                    continue;
                }
                (true, _) => secret_diff(&name, old, new),
                (false, old) => {
                    if contents.is_none() {
                        contents = Some(self.contents(old.and(holder)).await?);
                    }
                    let old = contents.as_ref().and_then(|contents| contents.get(path));
                    let new = new.map(|new| keep_once(new, again, old));
                    unified(
                        &format!("served/{name}"),
                        old,
                        &format!("planned/{name}"),
                        new.as_ref(),
                    )
                }
            };
            if !diff.is_empty() {
                compared.differences.push(Difference { file: name, diff });
            }
        }
        Ok(())
    }

    /// Returns the served files of a node that are not secret.
    async fn contents(&self, node: Option<&Identifier>) -> Result<ArtifactSet, CommandError> {
        let (Some(number), Some(node)) = (self.cluster.generation, node) else {
            return Ok(ArtifactSet::default());
        };
        let payload = self.client.payload_of(number, node, false).await?;
        Ok(payload.value.files)
    }

    /// Returns the number of the served generation.
    pub(super) fn generation(&self) -> Option<GenerationNumber> {
        self.cluster.generation
    }
}

fn secret_diff(name: &str, old: Option<&ArtifactEntry>, new: Option<&ArtifactFile>) -> String {
    let old = old.map(|old| Described {
        bytes: old.bytes,
        sha256: old.sha256,
        mode: Some(old.mode),
    });
    let new = new.map(|new| Described {
        bytes: new.content.len(),
        sha256: new.content.sha256(),
        mode: Some(new.mode),
    });
    described_diff(
        &format!("served/{name}"),
        old,
        &format!("planned/{name}"),
        new,
    )
}

/// Returns `new` with the served values of `once`: a changed line of `new` that differs from the same line of `again`
/// becomes the line of `old` that it replaces.
fn keep_once(
    new: &ArtifactFile,
    again: Option<&ArtifactFile>,
    old: Option<&ArtifactFile>,
) -> ArtifactFile {
    let text = |file: Option<&ArtifactFile>| {
        let bytes = file.map(|file| file.content.to_bytes().to_vec());
        bytes.and_then(|bytes| String::from_utf8(bytes).ok())
    };
    let (Some(first), Some(again), Some(old)) = (text(Some(new)), text(again), text(old)) else {
        return new.clone();
    };
    if first == again {
        return new.clone();
    }
    let lines =
        |text: &'_ str| -> Vec<String> { text.split_inclusive('\n').map(str::to_owned).collect() };
    let (mut first_lines, again_lines, old_lines) = (lines(&first), lines(&again), lines(&old));
    let is_fixed = |at: usize, line: &String| {
        first_lines.len() == again_lines.len() && again_lines.get(at) == Some(line)
    };
    let fixed: Vec<bool> = (first_lines.iter().enumerate())
        .map(|(at, line)| is_fixed(at, line))
        .collect();
    for operation in TextDiff::from_lines(old.as_str(), first.as_str()).ops() {
        if let DiffOp::Replace {
            old_index,
            old_len,
            new_index,
            new_len,
        } = *operation
            && old_len == new_len
        {
            for at in 0..new_len {
                if !fixed[new_index + at] {
                    first_lines[new_index + at].clone_from(&old_lines[old_index + at]);
                }
            }
        }
    }
    let mut kept = ArtifactFile::new(new.path.clone(), first_lines.concat());
    kept.mode = new.mode;
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn served_values_of_once_are_kept() {
        let file = |text: &str| ArtifactFile::new("a".parse().unwrap(), text.to_owned());
        let keep = |new: &str, again: &str, old: &str| {
            let kept = keep_once(&file(new), Some(&file(again)), Some(&file(old)));
            String::from_utf8(kept.content.to_bytes().to_vec()).unwrap()
        };
        let old = "port: 1\ncookie: real\nend\n";
        let [new, again] = ["x", "y"].map(|cookie| format!("port: 2\ncookie: {cookie}\nend\n"));
        assert_eq!(keep(&new, &again, old), "port: 2\ncookie: real\nend\n");
        assert_eq!(keep("port: 2\n", "port: 2\n", old), "port: 2\n");
    }
}
