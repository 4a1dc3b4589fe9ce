//! Where artifacts go: the node's own rules, which alone decide what is written. Pure.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use cfgsync_model::{ArtifactFile, ArtifactPath, ArtifactSet, InvalidArtifactPath};

/// Two names are alike when at most this share of their letters differs.
const ALIKE_MIN: f64 = 0.6;

/// The routes of one node. Exact routes win over prefixes, longer prefixes over shorter ones, and all of
/// them over the output directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OutputMap {
    routes: Vec<Route>,
    out_dir: Option<PathBuf>,
    /// Artifacts that are used in another way than as files, and so need no route.
    consumed: Vec<ArtifactPath>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Route {
    from: Source,
    to: To,
    optional: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    Exactly(ArtifactPath),
    /// Every artifact below; without the slash at the end.
    Below(ArtifactPath),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum To {
    Stdout,
    Path(PathBuf),
}

/// A text that is not a route.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRoute {
    /// No `=`.
    #[error("{0:?} is not ARTIFACT=PATH: it has no '='")]
    NoEquals(String),
    /// Nothing after the `=`.
    #[error("{0:?} names no path after '='; write ARTIFACT=PATH, or ARTIFACT=- for stdout")]
    NoPath(String),
    /// A name that no artifact can have.
    #[error(transparent)]
    Artifact(#[from] InvalidArtifactPath),
    /// A single file needs a file's path, a prefix a directory's.
    #[error("{0:?} mixes a file and a directory: end both sides with '/', or neither")]
    Mixed(String),
    /// `..` after the operator's own path makes no sense, and a path must end in a name.
    #[error("{0:?} does not end in the name of a file")]
    NoName(String),
}

/// Routes that do not fit what came.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// Nothing of that name came.
    #[error("the route {route} matches no artifact{}; received: {received}", DidYouMean(.nearest))]
    MatchesNothing {
        /// The route as given.
        route: String,
        /// The received name that is most alike.
        nearest: Option<ArtifactPath>,
        /// What came.
        received: String,
    },
    /// An artifact that no route places. Nothing is written.
    #[error(
        "no route for the artifact {artifact}, so nothing was written; add --out {artifact}=PATH or --out-dir DIR"
    )]
    Unrouted {
        /// Its name.
        artifact: ArtifactPath,
    },
    /// Two artifacts would be one file.
    #[error("{first} and {second} both go to {}", target.display())]
    SameTarget {
        /// The one.
        first: ArtifactPath,
        /// The other.
        second: ArtifactPath,
        /// The file.
        target: PathBuf,
    },
    /// One artifact would have to be a directory for another.
    #[error("{} would have to be both the file {file} and a directory for {below}", target.display())]
    FileAndDirectory {
        /// The file.
        file: ArtifactPath,
        /// The one below it.
        below: ArtifactPath,
        /// The path.
        target: PathBuf,
    },
}

/// Where one artifact goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed<'a> {
    /// The artifact.
    pub file: &'a ArtifactFile,
    /// Its place.
    pub placement: Placement,
}

/// A place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placement {
    /// Printed, byte for byte.
    Stdout,
    /// Written.
    File(Target),
    /// Used otherwise, such as for CMD's environment.
    Consumed,
}

/// A file's place: a directory that the operator named, and a name below it that may be the server's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The operator's own path; its symbolic links are followed.
    pub root: PathBuf,
    /// Below it, at least one part, none of them empty, `.` or `..`; symbolic links are not followed here.
    pub below: Vec<String>,
}

impl Target {
    /// The file at an operator's own path; `None` when the path does not end in a name that is text.
    pub fn of_file(path: &Path) -> Option<Self> {
        path.file_name()?.to_str()?;
        Some(target(path, None))
    }

    /// The whole path.
    pub fn path(&self) -> PathBuf {
        // As people write it: `a`, not `./a`.
        let root = match self.root.as_path() {
            here if here == Path::new(".") => PathBuf::new(),
            root => root.to_owned(),
        };
        self.below.iter().fold(root, |path, part| path.join(part))
    }
}

impl OutputMap {
    /// A map without routes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `ARTIFACT=PATH`, split at the first `=`. `DIR/=PATH/` routes all artifacts below `DIR`;
    /// `ARTIFACT=-` prints.
    pub fn route(&mut self, text: &str) -> Result<(), InvalidRoute> {
        self.add(text, false)
    }

    /// Adds a route that may match nothing.
    pub fn optional_route(&mut self, artifact: &str, path: &Path) -> Result<(), InvalidRoute> {
        let path = path
            .to_str()
            .ok_or_else(|| InvalidRoute::NoName(path.display().to_string()))?;
        self.add(&format!("{artifact}={path}"), true)
    }

    /// Everything without a route of its own goes below `directory`, under its own name.
    pub fn out_dir(&mut self, directory: impl Into<PathBuf>) {
        self.out_dir = Some(directory.into());
    }

    /// `artifact` must come, but needs no route: it is used otherwise.
    pub fn consume(&mut self, artifact: ArtifactPath) {
        self.consumed.push(artifact);
    }

    /// Whether nothing at all is routed.
    pub fn is_empty(&self) -> bool {
        self.routes.is_empty() && self.out_dir.is_none() && self.consumed.is_empty()
    }

    /// Whether a route names this very artifact.
    pub fn routes_exactly(&self, artifact: &str) -> bool {
        let is_it = |route: &Route| match &route.from {
            Source::Exactly(path) => path.name() == artifact,
            Source::Below(_) => false,
        };
        self.routes.iter().any(is_it)
    }

    /// Whether something is printed to stdout.
    pub fn prints(&self) -> bool {
        self.routes.iter().any(|route| route.to == To::Stdout)
    }

    /// Where each of `files` goes. Refuses the whole set when one has no place, or a route no artifact.
    pub fn plan<'a>(&self, files: &'a ArtifactSet) -> Result<Vec<Placed<'a>>, RouteError> {
        let mut used = vec![false; self.routes.len()];
        let mut plan = Vec::with_capacity(files.files().len());
        let mut unrouted = None;
        for file in files.files() {
            match self.place(&file.path, &mut used) {
                Some(placement) => plan.push(Placed { file, placement }),
                None => unrouted = unrouted.or(Some(file.path.clone())),
            }
        }
        // A route with a slip of the pen usually leaves its artifact unrouted: name the slip.
        let mut routes = self.routes.iter().zip(&used);
        if let Some((route, _)) = routes.find(|(route, used)| !**used && !route.optional) {
            return Err(matches_nothing(&route.from, &route.to_string(), files));
        }
        for artifact in &self.consumed {
            if files.get(artifact).is_none() {
                let from = Source::Exactly(artifact.clone());
                return Err(matches_nothing(&from, &format!("of {artifact}"), files));
            }
        }
        if let Some(artifact) = unrouted {
            return Err(RouteError::Unrouted { artifact });
        }
        check_targets(&plan)?;
        Ok(plan)
    }

    fn add(&mut self, text: &str, optional: bool) -> Result<(), InvalidRoute> {
        let given = || text.to_owned();
        let (from, to) = text
            .split_once('=')
            .ok_or_else(|| InvalidRoute::NoEquals(given()))?;
        if to.is_empty() {
            return Err(InvalidRoute::NoPath(given()));
        }
        let below = from.strip_suffix('/').filter(|name| !name.is_empty());
        let is_below = below.is_some();
        let name: ArtifactPath = below.unwrap_or(from).parse()?;
        let to = match to {
            "-" => To::Stdout,
            path => To::Path(path.into()),
        };
        if let To::Path(path) = &to {
            let slash_at_end = path.as_os_str().as_encoded_bytes().ends_with(b"/");
            if slash_at_end && !is_below {
                return Err(InvalidRoute::Mixed(given()));
            }
            if is_below && !slash_at_end {
                return Err(InvalidRoute::Mixed(given()));
            }
            let is_named = path.file_name().is_some() && path.to_str().is_some();
            let has_nul = path.as_os_str().as_encoded_bytes().contains(&0);
            if has_nul || (!is_below && !is_named) {
                return Err(InvalidRoute::NoName(given()));
            }
        }
        let from = if is_below {
            Source::Below(name)
        } else {
            Source::Exactly(name)
        };
        self.routes.push(Route { from, to, optional });
        Ok(())
    }

    fn place(&self, artifact: &ArtifactPath, used: &mut [bool]) -> Option<Placement> {
        if self.consumed.contains(artifact) && self.best(artifact).is_none() {
            return Some(Placement::Consumed);
        }
        if let Some((at, rest)) = self.best(artifact) {
            used[at] = true;
            return Some(match &self.routes[at].to {
                To::Stdout => Placement::Stdout,
                To::Path(path) => Placement::File(target(path, rest)),
            });
        }
        let directory = self.out_dir.as_deref()?;
        Some(Placement::File(target(directory, Some(artifact.name()))))
    }

    /// The route that fits best, and what it leaves of the name (nothing for an exact route).
    fn best<'a>(&self, artifact: &'a ArtifactPath) -> Option<(usize, Option<&'a str>)> {
        let fits = self.routes.iter().enumerate().filter_map(|(at, route)| {
            let (length, rest) = route.from.fits(artifact)?;
            Some((length, at, rest))
        });
        let (_, at, rest) = fits.max_by_key(|(length, _, _)| *length)?;
        Some((at, rest))
    }
}

impl Source {
    /// How well it fits, and the rest of the name.
    fn fits<'a>(&self, artifact: &'a ArtifactPath) -> Option<(usize, Option<&'a str>)> {
        match self {
            Self::Exactly(name) => (name == artifact).then_some((usize::MAX, None)),
            Self::Below(prefix) => {
                let rest = artifact.name().strip_prefix(prefix.name())?;
                let rest = rest.strip_prefix('/')?;
                Some((prefix.name().len(), Some(rest)))
            }
        }
    }

    fn path(&self) -> &ArtifactPath {
        match self {
            Self::Exactly(path) | Self::Below(path) => path,
        }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.from {
            Source::Exactly(path) => write!(f, "{path}=")?,
            Source::Below(path) => write!(f, "{path}/=")?,
        }
        match &self.to {
            To::Stdout => f.write_str("-"),
            To::Path(path) => write!(f, "{}", path.display()),
        }
    }
}

/// `rest` is `None` for an exact route: then the last part of the operator's path is the file's name.
fn target(path: &Path, rest: Option<&str>) -> Target {
    if let Some(rest) = rest {
        return Target {
            root: path.to_owned(),
            below: rest.split('/').map(str::to_owned).collect(),
        };
    }
    let name = path.file_name().and_then(|name| name.to_str());
    let root = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    Target {
        root,
        below: vec![name.expect("checked when the route was added").to_owned()],
    }
}

/// Two artifacts must not be one file, and no file another's directory. By the text of the paths; the writer
/// compares the directories themselves.
fn check_targets(plan: &[Placed<'_>]) -> Result<(), RouteError> {
    let mut taken: BTreeMap<PathBuf, &ArtifactPath> = BTreeMap::new();
    for placed in plan {
        let Placement::File(target) = &placed.placement else {
            continue;
        };
        // `components` takes out double slashes and dots.
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
    let wanted = from.path().name();
    let alike = |file: &&ArtifactFile| strsim::jaro_winkler(wanted, file.path.name());
    let nearest = files
        .files()
        .iter()
        .max_by(|a, b| alike(a).total_cmp(&alike(b)))
        .filter(|file| alike(file) >= ALIKE_MIN)
        .map(|file| file.path.clone());
    let names: Vec<_> = files
        .files()
        .iter()
        .take(20)
        .map(|file| file.path.to_string())
        .collect();
    let more = files.files().len() - names.len();
    let received = match (names.is_empty(), more) {
        (true, _) => "no artifact at all".to_owned(),
        (_, 0) => names.join(", "),
        _ => format!("{} and {more} more", names.join(", ")),
    };
    RouteError::MatchesNothing {
        route: route.to_owned(),
        nearest,
        received,
    }
}

struct DidYouMean<'a>(&'a Option<ArtifactPath>);

impl fmt::Display for DidYouMean<'_> {
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
            map.route(route).unwrap();
        }
        if let Some(directory) = out_dir {
            map.out_dir(directory);
        }
        map
    }

    fn places(map: &OutputMap, names: &[&str]) -> Result<Vec<String>, String> {
        let files = files(names);
        let plan = map.plan(&files).map_err(|e| e.to_string())?;
        let place = |placed: Placed<'_>| match placed.placement {
            Placement::Stdout => "-".to_owned(),
            Placement::File(target) => target.path().display().to_string(),
            Placement::Consumed => "consumed".to_owned(),
        };
        Ok(plan.into_iter().map(place).collect())
    }

    #[test]
    fn the_closest_route_wins() {
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
    fn only_the_first_equals_sign_splits() {
        let map = map(&["a=/x=y"], None);
        assert_eq!(places(&map, &["a"]).unwrap(), ["/x=y"]);
    }

    #[test]
    fn what_is_consumed_needs_no_route_but_must_come() {
        let mut map = map(&[], Some("out"));
        map.consume("env".parse().unwrap());
        assert_eq!(places(&map, &["/env", "a"]).unwrap(), ["consumed", "out/a"]);
        assert_eq!(
            places(&map, &["env.d", "a"]).unwrap_err(),
            "the route of env matches no artifact; did you mean env.d?; received: env.d, a"
        );
    }

    #[test]
    fn optional_routes_may_match_nothing() {
        let mut map = map(&["a=a"], None);
        map.optional_route("deployment.yaml", Path::new("/d.yaml"))
            .unwrap();
        assert_eq!(places(&map, &["a"]).unwrap(), ["a"]);
    }

    #[test]
    fn mistakes_are_named() {
        for (routes, names, message) in [
            (
                vec!["confg.yaml=a"],
                vec!["/config.yaml"],
                "the route confg.yaml=a matches no artifact; did you mean /config.yaml?; received: /config.yaml",
            ),
            (
                vec!["a=a"],
                vec![],
                "the route a=a matches no artifact; received: no artifact at all",
            ),
            (
                vec!["a=a"],
                vec!["a", "/b"],
                "no route for the artifact /b, so nothing was written; add --out /b=PATH or --out-dir DIR",
            ),
            (vec!["a=x", "b=./x"], vec!["a", "b"], "a and b both go to x"),
            (
                vec!["a=x", "b=x/y"],
                vec!["a", "b"],
                "x would have to be both the file a and a directory for b",
            ),
        ] {
            assert_eq!(places(&map(&routes, None), &names).unwrap_err(), message);
        }
    }

    #[test]
    fn texts_that_are_no_routes_are_refused() {
        for text in [
            "", "a", "=x", "a=", "../a=x", "a=x/", "a/=x", "a=..", "a=/", "a//b=x",
        ] {
            assert!(OutputMap::new().route(text).is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_escapes_the_output_directory(name in "[a/.\\-= \\x00é\\\\]{0,12}") {
            let Ok(path) = name.parse::<ArtifactPath>() else { return Ok(()) };
            let files = ArtifactSet::new(vec![ArtifactFile::new(path, "x")]).unwrap();
            let map = map(&[], Some("/out"));
            let plan = map.plan(&files).unwrap();
            let Placement::File(target) = &plan[0].placement else { panic!("not a file") };
            prop_assert_eq!(&target.root, Path::new("/out"));
            prop_assert!(!target.below.is_empty());
            for part in &target.below {
                prop_assert!(!part.is_empty() && part != "." && part != ".." && !part.contains(['/', '\0']));
            }
        }
    }
}
