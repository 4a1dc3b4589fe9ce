//! The node's output routes: the rules that alone decide which artifacts are written, and where. No I/O.

mod placement;

use std::{
    fmt,
    path::{Component, Path, PathBuf},
};

use cfgsync_model::{ArtifactPath, InvalidArtifactPath};
pub use placement::{PlacedArtifact, Placement, RouteError, Target};

/// The output routes of one node.
///
/// A route for one artifact wins over a route for a prefix, and a longer prefix over a shorter one. Every route wins
/// over the output directory. An artifact without a route makes [`OutputMap::place`] refuse the whole payload.
///
/// ```
/// use cfgsync_client::OutputMap;
///
/// let outputs = OutputMap::new()
///     .route("config.yaml", "/etc/app/config.yaml")?
///     .route("conf.d/", "/etc/app/conf.d/")?
///     .under("/var/lib/app")?;
/// # Ok::<(), cfgsync_client::InvalidRoute>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OutputMap {
    routes: Vec<Route>,
    directory: Option<PathBuf>,
    /// Artifacts that must be in the payload but need no route.
    consumed: Vec<ArtifactPath>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Route {
    from: Source,
    to: Destination,
    optional: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    /// This artifact.
    Artifact(ArtifactPath),
    /// Every artifact below this prefix, which is stored without the final slash.
    Prefix(ArtifactPath),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Destination {
    Discard,
    Stdout,
    Path(PathBuf),
}

/// The error for a route that cannot be used. The messages do not repeat the route.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidRoute {
    /// The text of a route has no `=`.
    #[error("expected ARTIFACT=PATH, but there is no '='")]
    NoEquals,
    /// The path is empty.
    #[error("the path is missing; write ARTIFACT=PATH, or ARTIFACT=- for standard output")]
    NoPath,
    /// The artifact's name is invalid.
    #[error(transparent)]
    Artifact(#[from] InvalidArtifactPath),
    /// One side ends with `/` and the other does not.
    #[error("one side is a file and the other a directory; end both sides with '/', or neither")]
    FileAndDirectory,
    /// The path ends in `..` or `/`, contains a NUL byte, or is not UTF-8.
    #[error("the path does not end in a file name")]
    NoFileName,
    /// There is a route for the artifact or prefix already.
    #[error("there is another route for it; give it one route")]
    SecondRoute,
    /// There is a route for another artifact or prefix to this path.
    #[error("{0} is routed to the same path; route one of them to another path")]
    SamePath(ArtifactPath),
    /// The output directory is empty or contains a NUL byte.
    #[error("expected a directory; for the current one, use '.'")]
    NoDirectory,
}

impl OutputMap {
    /// Creates a map without routes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Routes `artifact` to `path`. If both end with `/`, routes every artifact below the prefix to the directory.
    /// The path `-` stands for standard output.
    ///
    /// Placing a payload fails if the payload has no such artifact.
    pub fn route(self, artifact: &str, path: impl AsRef<Path>) -> Result<Self, InvalidRoute> {
        self.add(artifact, path.as_ref(), false)
    }

    /// Adds a route as [`OutputMap::route`] does, for an artifact that may be absent from the payload.
    pub fn optional_route(
        self,
        artifact: &str,
        path: impl AsRef<Path>,
    ) -> Result<Self, InvalidRoute> {
        self.add(artifact, path.as_ref(), true)
    }

    /// Accepts `artifact` without writing it. If it ends with `/`, accepts every artifact below the prefix.
    ///
    /// Placing a payload fails if the payload has no such artifact, or no other artifact.
    pub fn discard(mut self, artifact: &str) -> Result<Self, InvalidRoute> {
        let from = Source::parse(artifact)?;
        self.check_conflicts(&from, &Destination::Discard, false)?;
        self.routes.push(Route {
            from,
            to: Destination::Discard,
            optional: false,
        });
        Ok(self)
    }

    /// Adds a route from its text `ARTIFACT=PATH`, split at the first `=`. See [`OutputMap::route`].
    pub fn parse_route(self, text: &str) -> Result<Self, InvalidRoute> {
        let (artifact, path) = text.split_once('=').ok_or(InvalidRoute::NoEquals)?;
        self.route(artifact, path)
    }

    /// Writes every artifact without a route of its own below `directory`, under its own name.
    pub fn under(mut self, directory: impl Into<PathBuf>) -> Result<Self, InvalidRoute> {
        let directory = directory.into();
        let bytes = directory.as_os_str().as_encoded_bytes();
        if bytes.is_empty() || bytes.contains(&0) {
            return Err(InvalidRoute::NoDirectory);
        }
        self.directory = Some(directory);
        Ok(self)
    }

    /// Requires `artifact` in the payload, without a route: the caller uses its content in another way.
    #[must_use]
    pub fn consume(mut self, artifact: ArtifactPath) -> Self {
        self.consumed.push(artifact);
        self
    }

    /// Returns whether there is no route, no output directory and no consumed artifact.
    pub fn is_empty(&self) -> bool {
        self.routes.is_empty() && self.directory.is_none() && self.consumed.is_empty()
    }

    /// Returns whether there are routes, and all of them discard.
    pub fn only_discards(&self) -> bool {
        let discards = |route: &Route| route.to == Destination::Discard;
        let others = self.directory.is_some() || !self.consumed.is_empty();
        !self.routes.is_empty() && !others && self.routes.iter().all(discards)
    }

    /// Returns whether there is a route for `artifact` alone, which is given without a leading slash.
    pub fn has_route_for(&self, artifact: &str) -> bool {
        self.routes.iter().any(|route| match &route.from {
            Source::Artifact(path) => path.name() == artifact,
            Source::Prefix(_) => false,
        })
    }

    /// Returns whether some payload would write to `path`. Compares the paths only, without a look at the disk.
    pub fn may_write(&self, path: &Path) -> bool {
        let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let path = absolute(path);
        self.destinations().any(|to| path.starts_with(absolute(to)))
    }

    /// Returns the directories of the files that a payload is written to.
    pub(crate) fn directories(&self) -> impl Iterator<Item = &Path> {
        self.destinations().filter_map(|to| {
            let is_directory = to.as_os_str().as_encoded_bytes().ends_with(b"/")
                || self.directory.as_deref() == Some(to);
            if is_directory { Some(to) } else { to.parent() }
        })
    }

    /// The paths of the routes, and the output directory.
    fn destinations(&self) -> impl Iterator<Item = &Path> {
        let routes = self.routes.iter().filter_map(|route| match &route.to {
            Destination::Discard | Destination::Stdout => None,
            Destination::Path(to) => Some(to.as_path()),
        });
        routes.chain(self.directory.as_deref())
    }

    /// Returns whether a route leads to standard output.
    pub fn uses_stdout(&self) -> bool {
        self.routes
            .iter()
            .any(|route| route.to == Destination::Stdout)
    }

    fn add(mut self, artifact: &str, path: &Path, optional: bool) -> Result<Self, InvalidRoute> {
        let bytes = path.as_os_str().as_encoded_bytes();
        if bytes.is_empty() {
            return Err(InvalidRoute::NoPath);
        }
        let from = Source::parse(artifact)?;
        let is_prefix = matches!(from, Source::Prefix(_));
        let to = if bytes == b"-" {
            Destination::Stdout
        } else {
            if bytes.ends_with(b"/") != is_prefix {
                return Err(InvalidRoute::FileAndDirectory);
            }
            let has_name = path.file_name().is_some() && path.to_str().is_some();
            if bytes.contains(&0) || (!is_prefix && !has_name) {
                return Err(InvalidRoute::NoFileName);
            }
            Destination::Path(path.to_owned())
        };
        self.check_conflicts(&from, &to, optional)?;
        self.routes.push(Route { from, to, optional });
        Ok(self)
    }

    /// Finds conflicts that every payload would have. Of the artifacts with an optional route, a payload may have only
    /// one.
    fn check_conflicts(
        &self,
        from: &Source,
        to: &Destination,
        optional: bool,
    ) -> Result<(), InvalidRoute> {
        if self.routes.iter().any(|route| route.from == *from) {
            return Err(InvalidRoute::SecondRoute);
        }
        if let (Source::Artifact(_), Destination::Path(path), false) = (from, to, optional) {
            let mut files = self.routes.iter().filter_map(|route| match &route.from {
                Source::Artifact(artifact) if !route.optional => Some((artifact, &route.to)),
                _ => None,
            });
            let same = files.find(|(_, to)| match to {
                Destination::Path(to) => parts(to).eq(parts(path)),
                Destination::Discard | Destination::Stdout => false,
            });
            if let Some((artifact, _)) = same {
                return Err(InvalidRoute::SamePath(artifact.clone()));
            }
        }
        Ok(())
    }
}

/// Returns the components of a path without repeated slashes and `.`.
fn parts(path: &Path) -> impl Iterator<Item = Component<'_>> {
    let parts = path.components();
    parts.filter(|part| *part != Component::CurDir)
}

impl Source {
    fn parse(artifact: &str) -> Result<Self, InvalidRoute> {
        let prefix = artifact.strip_suffix('/').filter(|name| !name.is_empty());
        let name: ArtifactPath = prefix.unwrap_or(artifact).parse()?;
        Ok(if prefix.is_some() {
            Self::Prefix(name)
        } else {
            Self::Artifact(name)
        })
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Artifact(path) => write!(f, "{path}"),
            Self::Prefix(path) => write!(f, "{path}/"),
        }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let from = &self.from;
        match &self.to {
            Destination::Discard => write!(f, "of {from}, which is discarded,"),
            Destination::Stdout => write!(f, "{from}=-"),
            Destination::Path(path) => write!(f, "{from}={}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_equals_sign_splits() {
        let parsed = OutputMap::new().parse_route("a=/x=y").unwrap();
        assert_eq!(parsed, OutputMap::new().route("a", "/x=y").unwrap());
    }

    #[test]
    fn invalid_routes_are_rejected() {
        for text in [
            "", "a", "=x", "a=", "../a=x", "a=x/", "a/=x", "a=..", "a=/", "a//b=x",
        ] {
            assert!(OutputMap::new().parse_route(text).is_err(), "{text:?}");
        }
        assert!(OutputMap::new().under("").is_err());
    }

    /// Regression test: two routes for one artifact were found after the registration, with the message that one of
    /// them matches nothing.
    #[test]
    fn conflicting_routes_are_rejected_when_they_are_added() {
        let second = |first: &str, second: &str| {
            let map = OutputMap::new().parse_route(first).unwrap();
            map.parse_route(second)
                .map(|_| ())
                .map_err(|e| e.to_string())
        };
        for (one, other) in [("a=x", "/a=y"), ("a=x", "a=-"), ("d/=x/", "d/=y/")] {
            let message = second(one, other).unwrap_err();
            assert_eq!(message, "there is another route for it; give it one route");
        }
        assert_eq!(
            second("a=d/x", "b=./d//x").unwrap_err(),
            "a is routed to the same path; route one of them to another path"
        );
        let discarded = OutputMap::new().discard("a").unwrap();
        assert!(discarded.clone().parse_route("a=x").is_err() && discarded.discard("/a").is_err());
        for (one, other) in [("a=-", "b=-"), ("a=x", "a/=x/"), ("a/=x/", "b/=x/")] {
            assert_eq!(second(one, other), Ok(()));
        }
        let older = OutputMap::new().optional_route("a", "x").unwrap();
        assert!(older.optional_route("b", "x").is_ok());
    }
}
