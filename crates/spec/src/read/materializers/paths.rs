//! No path may occur twice for one node: what can be told of that before there are nodes.

use std::collections::HashMap;

use super::Reader;
use crate::source::YamlPath;
use cfgsync_model::ArtifactPath;

/// The paths claimed up to now.
#[derive(Default)]
pub(super) struct Paths(HashMap<ArtifactPath, Claim>);

struct Claim {
    place: YamlPath,
    /// Every node gets the file, not only those that match or are listed.
    every_node: bool,
}

impl Paths {
    /// Notes that the file called `path`, at `place` of the spec, goes to every node or to some. Files that
    /// both go to some may go to different ones; that shows at the render.
    pub(super) fn claim(
        &mut self,
        reader: &mut Reader,
        path: &ArtifactPath,
        place: &YamlPath,
        every_node: bool,
    ) {
        let Some(first) = self.0.get(path) else {
            let place = place.clone();
            self.0.insert(path.clone(), Claim { place, every_node });
            return;
        };
        if !every_node && !first.every_node {
            return;
        }
        let title = format!("two files are called `{path}`");
        let places = reader.document.places();
        let first_place = places.value(&first.place);
        let mistake = reader.document.value(place, title);
        let mistake = if first.place == *place {
            mistake
        } else {
            mistake.label("again here").first(first_place, "first here")
        };
        let help = if every_node && first.every_node {
            "a leading `/` does not make another name; with disjoint `where`s they may share one"
        } else {
            "one of them goes to every node: those that get the other would have both"
        };
        reader.mistakes.push(mistake.help(help));
    }
}
