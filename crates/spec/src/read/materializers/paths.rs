//! Checks that no path occurs twice for one node, as far as this is known before there are nodes.

use std::collections::HashMap;

use super::Reader;
use crate::source::YamlPath;
use cfgsync_model::ArtifactPath;

/// The paths that the files read so far have.
#[derive(Default)]
pub(super) struct PathClaims(HashMap<ArtifactPath, Claim>);

struct Claim {
    /// The part of the spec that claims the path.
    claimed_at: YamlPath,
    /// Whether every node gets the file, not only those that match or are listed.
    every_node: bool,
}

impl PathClaims {
    /// Claims `path` for the file at `claimed_at` in the spec, which every node or some nodes get. Two files for some nodes
    /// are accepted, because these may be different nodes. The render checks that.
    pub(super) fn claim(
        &mut self,
        reader: &mut Reader,
        path: &ArtifactPath,
        claimed_at: &YamlPath,
        every_node: bool,
    ) {
        let Some(first) = self.0.get(path) else {
            let claim = Claim {
                claimed_at: claimed_at.clone(),
                every_node,
            };
            self.0.insert(path.clone(), claim);
            return;
        };
        if !every_node && !first.every_node {
            return;
        }
        let title = format!("two files are called `{path}`");
        let mut mistake = reader.document.value(claimed_at, title);
        if first.claimed_at != *claimed_at {
            let first = reader.document.locations().value(&first.claimed_at);
            mistake = mistake.label("second file").context(first, "first file");
        }
        let help = if every_node && first.every_node {
            "rename one (`/a` and `a` are the same name), or give them `where`s that exclude each other"
        } else {
            "one of them is for every node, so some nodes would get both: rename one"
        };
        reader.mistakes.push(mistake.help(help));
    }
}
