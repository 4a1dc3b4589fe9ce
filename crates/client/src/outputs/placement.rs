//! Assigns a place to each artifact of a payload, or refuses the payload.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use super::{Destination, OutputMap, Source};
use cfgsync_model::{ArtifactFile, ArtifactPath, ArtifactSet};
use cfgsync_support::nearest::nearest;

/// Most received names in a message.
const NAMES_MAX: usize = 20;

/// An artifact and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacedArtifact<'a> {
    /// The artifact of the payload.
    pub file: &'a ArtifactFile,
    /// The destination of its content.
    pub placement: Placement,
}

/// The destination of an artifact's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placement {
    /// To standard output, byte for byte.
    Stdout,
    /// To this file, with the artifact's mode.
    File(Target),
    /// To the caller, who asked for it with [`OutputMap::consume`].
    Consumed,
    /// Nowhere, because of [`OutputMap::discard`].
    Discarded,
}

/// The place of a file: a path that the operator chose, and a path below it that may come from the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The operator's path. Symbolic links in it are followed.
    pub root: PathBuf,
    /// The components below `root`: at least one, and none is empty, `.` or `..`. Symbolic links are not followed.
    pub below: Vec<String>,
}

/// The reason why a payload does not match the routes. Nothing is written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RouteError {
    /// The payload has no artifact for a route.
    #[error("the route {route} matches no artifact{}; received: {received}", Suggestion(.nearest))]
    MatchesNothing {
        /// The text of the route, `ARTIFACT=PATH`.
        route: String,
        /// The received name that is most similar.
        nearest: Option<ArtifactPath>,
        /// The received names, at most 20.
        received: String,
    },
    /// No route matches an artifact.
    #[error(
        "no route for the artifact {artifact}, so nothing was written; add --out {artifact}=PATH, --out-dir DIR or --discard {artifact}"
    )]
    Unrouted {
        /// The first artifact without a route.
        artifact: ArtifactPath,
    },
    /// The payload has no artifact.
    #[error(
        "the server has no files for this node, so nothing was written; correct the files of the spec"
    )]
    Empty,
    /// Every artifact of the payload is discarded.
    #[error("every received artifact is discarded, so nothing was written; received: {received}")]
    AllDiscarded {
        /// The received names, at most 20.
        received: String,
    },
    /// Two artifacts have the same target.
    #[error("{first} and {second} are both routed to {}; route one of them to another path", target.display())]
    SameTarget {
        /// The artifact that comes first in the payload.
        first: ArtifactPath,
        /// The later artifact.
        second: ArtifactPath,
        /// The path that both routes give.
        target: PathBuf,
    },
    /// The target of one artifact is a parent directory of another's.
    #[error(
        "{file} is routed to {}, where {below} needs a directory; route one of them to another path", target.display()
    )]
    FileAndDirectory {
        /// The artifact whose target is the path.
        file: ArtifactPath,
        /// The artifact whose target is below the path.
        below: ArtifactPath,
        /// The path that both routes contain.
        target: PathBuf,
    },
}

impl Target {
    /// Returns the target for a path that the operator chose. `None` if the path does not end in a UTF-8 file name.
    pub fn from_path(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?.to_owned();
        let root = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        Some(Self {
            root,
            below: vec![name],
        })
    }

    /// Returns the whole path, without a leading `./`.
    pub fn path(&self) -> PathBuf {
        let root = if self.root == Path::new(".") {
            PathBuf::new()
        } else {
            self.root.clone()
        };
        self.below.iter().fold(root, |path, part| path.join(part))
    }

    /// Returns the target of the artifact `name` below `directory`.
    fn below(directory: &Path, name: &str) -> Self {
        Self {
            root: directory.to_owned(),
            below: name.split('/').map(str::to_owned).collect(),
        }
    }
}

impl OutputMap {
    /// Returns the place of each of `files`, in their order.
    ///
    /// # Errors
    /// There is no artifact, an artifact has no route, a route that is not optional matches no artifact, or two targets
    /// collide.
    pub fn place<'a>(&self, files: &'a ArtifactSet) -> Result<Vec<PlacedArtifact<'a>>, RouteError> {
        let mut used = vec![false; self.routes.len()];
        let mut placed = Vec::with_capacity(files.files().len());
        let mut unrouted = None;
        for file in files.files() {
            match self.place_one(&file.path, &mut used) {
                Some(placement) => placed.push(PlacedArtifact { file, placement }),
                None => unrouted = unrouted.or(Some(file.path.clone())),
            }
        }
        // A typing error in a route usually leaves its artifact without a route. Report the route, not the artifact.
        let mut routes = self.routes.iter().zip(&used);
        if let Some((route, _)) = routes.find(|(route, used)| !**used && !route.optional) {
            return Err(matches_nothing(&route.from, &route.to_string(), files));
        }
        for artifact in &self.consumed {
            if files.get(artifact).is_none() {
                let from = Source::Artifact(artifact.clone());
                return Err(matches_nothing(&from, &format!("of {artifact}"), files));
            }
        }
        if let Some(artifact) = unrouted {
            return Err(RouteError::Unrouted { artifact });
        }
        if placed.is_empty() {
            return Err(RouteError::Empty);
        }
        let is_discarded = |placed: &PlacedArtifact<'_>| placed.placement == Placement::Discarded;
        if placed.iter().all(is_discarded) {
            let received = names_of(files);
            return Err(RouteError::AllDiscarded { received });
        }
        check_collisions(&placed)?;
        Ok(placed)
    }

    /// Returns the place that the routes give to `artifact`, if any.
    pub(crate) fn placement_of(&self, artifact: &ArtifactPath) -> Option<Placement> {
        self.place_one(artifact, &mut vec![false; self.routes.len()])
    }

    fn place_one(&self, artifact: &ArtifactPath, used: &mut [bool]) -> Option<Placement> {
        if let Some((at, rest)) = self.best_route(artifact) {
            used[at] = true;
            return Some(match (&self.routes[at].to, rest) {
                (Destination::Discard, _) => Placement::Discarded,
                (Destination::Stdout, _) => Placement::Stdout,
                (Destination::Path(directory), Some(rest)) => {
                    Placement::File(Target::below(directory, rest))
                }
                (Destination::Path(path), None) => {
                    let target = Target::from_path(path);
                    Placement::File(target.expect("checked when the route was added"))
                }
            });
        }
        if self.consumed.contains(artifact) {
            return Some(Placement::Consumed);
        }
        let directory = self.directory.as_deref()?;
        Some(Placement::File(Target::below(directory, artifact.name())))
    }

    /// Returns the index of the most specific route, and the part of the name below its prefix (`None` if the route
    /// is for this artifact alone).
    fn best_route<'a>(&self, artifact: &'a ArtifactPath) -> Option<(usize, Option<&'a str>)> {
        let matching = self.routes.iter().enumerate().filter_map(|(at, route)| {
            let (specificity, rest) = route.from.matches(artifact)?;
            Some((specificity, at, rest))
        });
        let (_, at, rest) = matching.max_by_key(|(specificity, _, _)| *specificity)?;
        Some((at, rest))
    }
}

impl Source {
    /// Returns how specific the match is, and the part of the name below the prefix.
    fn matches<'a>(&self, artifact: &'a ArtifactPath) -> Option<(usize, Option<&'a str>)> {
        match self {
            Self::Artifact(name) => (name == artifact).then_some((usize::MAX, None)),
            Self::Prefix(prefix) => {
                let rest = artifact.name().strip_prefix(prefix.name())?;
                let rest = rest.strip_prefix('/')?;
                Some((prefix.name().len(), Some(rest)))
            }
        }
    }

    fn path(&self) -> &ArtifactPath {
        match self {
            Self::Artifact(path) | Self::Prefix(path) => path,
        }
    }
}

/// Refuses two artifacts in one file, and a file where another artifact needs a directory. Compares the text of the
/// paths; the disk transaction compares the opened directories.
fn check_collisions(placed: &[PlacedArtifact<'_>]) -> Result<(), RouteError> {
    let mut taken: BTreeMap<PathBuf, &ArtifactPath> = BTreeMap::new();
    for placed in placed {
        let Placement::File(target) = &placed.placement else {
            continue;
        };
        // `components` removes repeated slashes and `.`.
        let path: PathBuf = target.path().components().collect();
        if let Some(first) = taken.insert(path.clone(), &placed.file.path) {
            return Err(RouteError::SameTarget {
                first: first.clone(),
                second: placed.file.path.clone(),
                target: path,
            });
        }
    }
    for (path, artifact) in &taken {
        for parent in path.ancestors().skip(1) {
            if let Some(file) = taken.get(parent) {
                return Err(RouteError::FileAndDirectory {
                    file: (*file).clone(),
                    below: (*artifact).clone(),
                    target: parent.to_owned(),
                });
            }
        }
    }
    Ok(())
}

fn matches_nothing(from: &Source, route: &str, files: &ArtifactSet) -> RouteError {
    let known = files.files().iter().map(|file| file.path.name());
    let nearest = nearest(from.path().name(), known);
    let nearest = nearest.and_then(|name| {
        let mut files = files.files().iter();
        let found = files.find(|file| file.path.name() == name);
        found.map(|file| file.path.clone())
    });
    RouteError::MatchesNothing {
        route: route.to_owned(),
        nearest,
        received: names_of(files),
    }
}

/// Returns the names of the received artifacts, at most [`NAMES_MAX`].
fn names_of(files: &ArtifactSet) -> String {
    let names: Vec<_> = files
        .files()
        .iter()
        .take(NAMES_MAX)
        .map(|file| file.path.to_string())
        .collect();
    let more = files.files().len() - names.len();
    if names.is_empty() {
        "no artifacts".to_owned()
    } else if more == 0 {
        names.join(", ")
    } else {
        format!("{} and {more} more", names.join(", "))
    }
}

struct Suggestion<'a>(&'a Option<ArtifactPath>);

impl fmt::Display for Suggestion<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(name) => write!(f, "; did you mean {name}?"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn files(names: &[&str]) -> ArtifactSet {
        let file = |name: &&str| ArtifactFile::new(name.parse().unwrap(), "x");
        ArtifactSet::new(names.iter().map(file).collect()).unwrap()
    }

    fn map(routes: &[&str], out_dir: Option<&str>) -> OutputMap {
        let mut map = OutputMap::new();
        for route in routes {
            map = map.parse_route(route).unwrap();
        }
        match out_dir {
            Some(directory) => map.under(directory).unwrap(),
            None => map,
        }
    }

    fn places(map: &OutputMap, names: &[&str]) -> Result<Vec<String>, String> {
        let files = files(names);
        let placed = map.place(&files).map_err(|e| e.to_string())?;
        let place = |placed: PlacedArtifact<'_>| match placed.placement {
            Placement::Stdout => "-".to_owned(),
            Placement::File(target) => target.path().display().to_string(),
            Placement::Consumed => "consumed".to_owned(),
            Placement::Discarded => "discarded".to_owned(),
        };
        Ok(placed.into_iter().map(place).collect())
    }

    #[test]
    fn most_specific_route_wins() {
        let map = map(
            &[
                "/config.yaml=/etc/app.yaml",
                "conf.d/=/etc/app/conf.d/",
                "conf.d/x/=x/",
                "key=-",
            ],
            Some("/out"),
        );
        let names = [
            "config.yaml",
            "/conf.d/a/b",
            "conf.d/x/y",
            "key",
            "/other/z",
        ];
        let expected = [
            "/etc/app.yaml",
            "/etc/app/conf.d/a/b",
            "x/y",
            "-",
            "/out/other/z",
        ];
        assert_eq!(places(&map, &names).unwrap(), expected);
    }

    #[test]
    fn consumed_artifact_is_required_but_needs_no_route() {
        let map = map(&[], Some("out")).consume("env".parse().unwrap());
        assert_eq!(places(&map, &["/env", "a"]).unwrap(), ["consumed", "out/a"]);
        assert_eq!(
            places(&map, &["env.d", "a"]).unwrap_err(),
            "the route of env matches no artifact; did you mean env.d?; received: env.d, a"
        );
    }

    /// Regression test: CMD was started without any file.
    #[test]
    fn empty_payload_is_refused() {
        let optional = OutputMap::new().optional_route("a", "a").unwrap();
        for map in [map(&[], Some("out")), optional] {
            assert_eq!(
                places(&map, &[]).unwrap_err(),
                "the server has no files for this node, so nothing was written; correct the files of the spec"
            );
        }
    }

    #[test]
    fn discarded_artifact_is_a_route_that_writes_nothing() {
        let map = map(&["a=a"], None).discard("b").unwrap();
        let map = map.discard("d/").unwrap();
        let placed = places(&map, &["a", "/b", "d/x", "d/y"]).unwrap();
        assert_eq!(placed, ["a", "discarded", "discarded", "discarded"]);
        assert_eq!(
            places(&map, &["a", "b"]).unwrap_err(),
            "the route of d/, which is discarded, matches no artifact; received: a, b"
        );
        let nothing_else = OutputMap::new().discard("a").unwrap().discard("b").unwrap();
        assert_eq!(
            places(&nothing_else, &["a", "b"]).unwrap_err(),
            "every received artifact is discarded, so nothing was written; received: a, b"
        );
        // A route for an artifact wins over a discarded prefix, and the output directory over none.
        let one = OutputMap::new().discard("d/").unwrap().under("o").unwrap();
        let one = one.route("d/x", "x").unwrap();
        assert_eq!(
            places(&one, &["d/x", "d/y", "z"]).unwrap(),
            ["x", "discarded", "o/z"]
        );
    }

    #[test]
    fn optional_route_may_match_nothing() {
        let map = map(&["a=a"], None)
            .optional_route("deployment.yaml", "/d.yaml")
            .unwrap();
        assert_eq!(places(&map, &["a"]).unwrap(), ["a"]);
    }

    #[test]
    fn errors_name_the_route_or_the_artifact() {
        for (routes, names, message) in [
            (
                vec!["confg.yaml=a"],
                vec!["/config.yaml"],
                "the route confg.yaml=a matches no artifact; did you mean /config.yaml?; received: /config.yaml",
            ),
            (
                vec!["a=a"],
                vec![],
                "the route a=a matches no artifact; received: no artifacts",
            ),
            (
                vec!["a=a"],
                vec!["a", "/b"],
                "no route for the artifact /b, so nothing was written; add --out /b=PATH, --out-dir DIR or --discard /b",
            ),
            (
                vec!["a=d/x", "b/=d//"],
                vec!["a", "b/x"],
                "a and b/x are both routed to d/x; route one of them to another path",
            ),
            (
                vec!["a=x", "b=x/y"],
                vec!["a", "b"],
                "a is routed to x, where b needs a directory; route one of them to another path",
            ),
        ] {
            assert_eq!(places(&map(&routes, None), &names).unwrap_err(), message);
        }
    }

    proptest! {
        #[test]
        fn nothing_escapes_the_output_directory(name in "[a/.\\-= \\x00é\\\\]{0,12}") {
            let Ok(path) = name.parse::<ArtifactPath>() else { return Ok(()) };
            let files = ArtifactSet::new(vec![ArtifactFile::new(path, "x")]).unwrap();
            let map = map(&[], Some("/out"));
            let placed = map.place(&files).unwrap();
            let Placement::File(target) = &placed[0].placement else { panic!("not a file") };
            prop_assert_eq!(&target.root, Path::new("/out"));
            prop_assert!(!target.below.is_empty());
            for part in &target.below {
                prop_assert!(!part.is_empty() && part != "." && part != ".." && !part.contains(['/', '\0']));
            }
        }
    }
}
