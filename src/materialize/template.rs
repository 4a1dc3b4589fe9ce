//! `kind: template`: renders what all share once, then every node's files on all cores.
//!
//! The result does not depend on how the work was split: nodes are taken in the snapshot's order, and of
//! several errors the one of the first node is told.

use std::{
    collections::BTreeMap,
    fs,
    io::Read,
    num::NonZero,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use super::{MaterializationResult, MaterializeError, Materializer};
use crate::{
    jinja::{JinjaError, NodeValue, Origin, Scene},
    model::{
        ArtifactFile, ArtifactSet, Content, Identifier, MaterializedArtifacts,
        RegistrationSnapshot, SnapshotNode,
    },
    spec::{FileContent, FileSpec, TemplateSpec},
};

/// Largest file that `source` reads, in bytes.
const SOURCE_MAX_BYTES: u64 = 64 << 20;

/// Fewer nodes than this are not worth a thread of their own.
const NODES_PER_THREAD_MIN: usize = 64;

/// Files from templates.
#[derive(Debug, Clone)]
pub struct TemplateMaterializer {
    spec: TemplateSpec,
}

impl TemplateMaterializer {
    /// A materializer for what `spec` says.
    pub fn new(spec: &TemplateSpec) -> Self {
        Self { spec: spec.clone() }
    }
}

impl Materializer for TemplateMaterializer {
    fn name(&self) -> String {
        "template".to_owned()
    }

    fn materialize(
        &self,
        snapshot: &RegistrationSnapshot,
    ) -> Result<MaterializationResult, MaterializeError> {
        let sources = Sources::default();
        let scene = self.render_fragments(Scene::new(snapshot))?;
        let shared = self.render_shared(&scene, &sources)?;
        let nodes = self.render_nodes(snapshot, &scene, &shared, &sources)?;
        Ok(MaterializationResult::Ready(MaterializedArtifacts {
            nodes,
            shared,
        }))
    }
}

impl TemplateMaterializer {
    fn render_fragments(&self, scene: Scene) -> Result<Scene, MaterializeError> {
        let mut fragments = BTreeMap::new();
        for fragment in &self.spec.fragments {
            let content = fragment.template.render(&scene, None).map_err(|error| {
                failure(
                    &format!("fragment {}", fragment.name),
                    fragment.template.origin(),
                    &error,
                )
            })?;
            // A fragment includes no other, so it is one chunk; an empty one has none.
            let chunk = content.chunks().first().cloned();
            let chunk = chunk.unwrap_or_else(|| crate::model::Chunk::new(content.to_bytes()));
            fragments.insert(fragment.name.clone(), chunk);
        }
        Ok(scene.with_fragments(fragments))
    }

    fn render_shared(
        &self,
        scene: &Scene,
        sources: &Sources,
    ) -> Result<ArtifactSet, MaterializeError> {
        let mut shared = ArtifactSet::default();
        for file in self.spec.files.iter().filter(|file| file.shared) {
            let what = format!("{} (shared)", file.path);
            let artifact = render_file(file, &what, scene, None, sources)?;
            shared
                .push(artifact)
                .map_err(|_| self.collision(file, &what))?;
        }
        Ok(shared)
    }

    fn render_nodes(
        &self,
        snapshot: &RegistrationSnapshot,
        scene: &Scene,
        shared: &ArtifactSet,
        sources: &Sources,
    ) -> Result<BTreeMap<Identifier, ArtifactSet>, MaterializeError> {
        // Work on nodes behind the first one that failed is pointless.
        let first_failed = AtomicUsize::new(usize::MAX);
        let render = |first: usize, nodes: &[SnapshotNode]| {
            let mut rendered = Vec::with_capacity(nodes.len());
            for (at, node) in (first..).zip(nodes) {
                if at > first_failed.load(Ordering::Relaxed) {
                    break;
                }
                let files = self.render_node(node, scene, &scene.nodes()[at], shared, sources);
                let failed = files.is_err();
                rendered.push(files.map(|files| (node.identifier.clone(), files)));
                if failed {
                    first_failed.fetch_min(at, Ordering::Relaxed);
                    break;
                }
            }
            rendered
        };
        let threads = thread::available_parallelism()
            .map_or(1, NonZero::get)
            .min(snapshot.nodes.len() / NODES_PER_THREAD_MIN)
            .max(1);
        let share = snapshot.nodes.len().div_ceil(threads).max(1);
        let parts: Vec<(usize, &[SnapshotNode])> = (0..)
            .step_by(share)
            .zip(snapshot.nodes.chunks(share))
            .collect();
        let [mine, others @ ..] = parts.as_slice() else {
            return Ok(BTreeMap::new());
        };
        thread::scope(|scope| {
            let others: Vec<_> = others
                .iter()
                .map(|&(first, nodes)| scope.spawn(move || render(first, nodes)))
                .collect();
            let mine = render(mine.0, mine.1);
            // Parts come in the order of their nodes, so the first error is that of the first node.
            mine.into_iter()
                .chain(others.into_iter().flat_map(|part| {
                    part.join()
                        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
                }))
                .collect()
        })
    }

    fn render_node(
        &self,
        node: &SnapshotNode,
        scene: &Scene,
        value: &NodeValue,
        shared: &ArtifactSet,
        sources: &Sources,
    ) -> Result<ArtifactSet, MaterializeError> {
        let mut files = ArtifactSet::default();
        for file in self.spec.files.iter().filter(|file| !file.shared) {
            if let Some(matching) = &file.matching {
                let matches = matching.matches(scene, value).map_err(|error| {
                    let what = format!("`where` of {} for {}", file.path, node.identifier);
                    failure(&what, matching.origin(), &error)
                })?;
                if !matches {
                    continue;
                }
            }
            let what = format!("{} for {}", file.path, node.identifier);
            if shared.get(&file.path).is_some() || files.get(&file.path).is_some() {
                return Err(self.collision(file, &what));
            }
            let artifact = render_file(file, &what, scene, Some(value), sources)?;
            files
                .push(artifact)
                .map_err(|_| self.collision(file, &what))?;
        }
        Ok(files)
    }

    /// Two files of one name meet in one payload: `file` and another one.
    fn collision(&self, file: &FileSpec, what: &str) -> MaterializeError {
        let places: Vec<String> = self
            .spec
            .files
            .iter()
            .filter(|other| other.path == file.path)
            .filter_map(|other| other.content.origin())
            .map(|origin| format!("{}:{}", origin.file, origin.line))
            .collect();
        let places = if places.len() > 1 {
            format!(" ({})", places.join(", "))
        } else {
            String::new()
        };
        MaterializeError(format!(
            "{what}: two files have this name{places}; give them other names, or `where`s that exclude each \
             other"
        ))
    }
}

impl FileContent {
    fn origin(&self) -> Option<&Origin> {
        match self {
            Self::Template(template) | Self::Source { path: template, .. } => template.origin(),
        }
    }
}

fn render_file(
    file: &FileSpec,
    what: &str,
    scene: &Scene,
    node: Option<&NodeValue>,
    sources: &Sources,
) -> Result<ArtifactFile, MaterializeError> {
    let content = match &file.content {
        FileContent::Template(template) => template
            .render(scene, node)
            .map_err(|error| failure(what, template.origin(), &error))?,
        FileContent::Source { path, directory } => {
            let relative = path
                .render_path(scene, node)
                .map_err(|error| failure(&format!("`source` of {what}"), path.origin(), &error))?;
            sources
                .read(&directory.join(&relative))
                .map_err(|problem| {
                    let place = path.origin().map_or_else(String::new, |origin| {
                        format!("{}:{}:{}: ", origin.file, origin.line, origin.column)
                    });
                    MaterializeError(format!("`source` of {what}: {place}{problem}"))
                })?
        }
    };
    Ok(ArtifactFile {
        path: file.path.clone(),
        mode: file.mode,
        content,
    })
}

fn failure(what: &str, origin: Option<&Origin>, error: &JinjaError) -> MaterializeError {
    MaterializeError(format!("{what}: {}", error.describe(origin)))
}

/// The files that were read in this render: each is read once and shared by all that name it, so that all
/// see the same bytes.
#[derive(Default)]
struct Sources(Mutex<BTreeMap<PathBuf, Content>>);

impl Sources {
    fn read(&self, path: &Path) -> Result<Content, String> {
        let known = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(content) = known().get(path) {
            return Ok(content.clone());
        }
        let content = Content::whole(read_bounded(path)?);
        Ok(known().entry(path.to_owned()).or_insert(content).clone())
    }
}

fn read_bounded(path: &Path) -> Result<Vec<u8>, String> {
    let said = |error: std::io::Error| format!("cannot read {}: {error}", path.display());
    // Asked before it is opened: opening a pipe would wait for a writer.
    if !fs::metadata(path).map_err(said)?.is_file() {
        return Err(format!("{} is not a regular file", path.display()));
    }
    let mut bytes = Vec::new();
    fs::File::open(path)
        .and_then(|file| file.take(SOURCE_MAX_BYTES + 1).read_to_end(&mut bytes))
        .map_err(said)?;
    if bytes.len() as u64 > SOURCE_MAX_BYTES {
        return Err(format!(
            "{} is larger than {} MiB",
            path.display(),
            SOURCE_MAX_BYTES >> 20
        ));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Map, json};

    use super::*;
    use crate::{
        jinja::{Expression, Scope, Template},
        model::{Mode, Revision, Seat},
        spec::FragmentSpec,
    };

    fn snapshot(count: usize) -> RegistrationSnapshot {
        let mut nodes: Vec<SnapshotNode> = (0..count)
            .map(|at| SnapshotNode {
                identifier: format!("n-{at}").parse().unwrap(),
                ip: std::net::Ipv4Addr::from_bits(0x0a00_0000 + u32::try_from(at).unwrap()).into(),
                metadata: json!({"port": 9000 + at, "dir": if at == 1 { ".." } else { "keys" }}),
                seat: Seat(u32::try_from(at).unwrap()),
            })
            .collect();
        nodes.sort_by(|a, b| a.identifier.cmp(&b.identifier));
        RegistrationSnapshot {
            cluster: "devnet".into(),
            revision: Revision(1),
            nodes,
            values: Map::new(),
            once: json!({"cookie": "c"}).as_object().unwrap().clone(),
        }
    }

    fn origin(line: usize) -> Origin {
        Origin {
            file: "cluster.yaml".into(),
            line,
            column: 11,
            exact: true,
        }
    }

    fn file(path: &str, line: usize, source: &str) -> FileSpec {
        let template = Template::compile(path, source, Scope::Node, &["peers".to_owned()]).unwrap();
        FileSpec {
            path: path.parse().unwrap(),
            mode: Mode::default(),
            shared: false,
            matching: None,
            content: FileContent::Template(template.with_origin(origin(line))),
        }
    }

    fn shared(path: &str, line: usize, source: &str) -> FileSpec {
        FileSpec {
            shared: true,
            ..file(path, line, source)
        }
    }

    fn matching(file: FileSpec, expression: &str) -> FileSpec {
        let expression = Expression::compile(expression, Scope::Node).unwrap();
        FileSpec {
            matching: Some(expression.with_origin(origin(99))),
            ..file
        }
    }

    fn source(path: &str, source: &str, directory: &Path) -> FileSpec {
        let template = Template::compile(path, source, Scope::Node, &[]).unwrap();
        FileSpec {
            content: FileContent::Source {
                path: template.with_origin(origin(50)),
                directory: directory.to_owned(),
            },
            ..file(path, 1, "")
        }
    }

    fn peers(source: &str) -> FragmentSpec {
        let template = Template::compile("peers", source, Scope::Fragment, &[]).unwrap();
        FragmentSpec {
            name: "peers".into(),
            template: template.with_origin(origin(5)),
        }
    }

    fn run(
        fragments: Vec<FragmentSpec>,
        files: Vec<FileSpec>,
        count: usize,
    ) -> Result<MaterializedArtifacts, String> {
        let materializer = TemplateMaterializer::new(&TemplateSpec { fragments, files });
        match materializer.materialize(&snapshot(count)) {
            Ok(MaterializationResult::Ready(artifacts)) => Ok(artifacts),
            Ok(MaterializationResult::NotReady { message }) => panic!("{message}"),
            Err(error) => Err(error.to_string()),
        }
    }

    fn text(set: &ArtifactSet, path: &str) -> Option<String> {
        let file = set.get(&path.parse().unwrap())?;
        Some(String::from_utf8(file.content.to_bytes().to_vec()).unwrap())
    }

    #[test]
    fn files_are_rendered_for_each_node_and_once_for_all() {
        let artifacts = run(
            vec![peers("{% for p in nodes %}{{ p.identifier }},{% endfor %}")],
            vec![
                file(
                    "/config.yaml",
                    10,
                    "id: {{ node.identifier }}\nseat: {{ node.seat }}\n{{ fragment('peers') }}\n",
                ),
                shared(
                    "all",
                    20,
                    "{{ cluster }} {{ nodes | length }} {{ once.cookie }}\n",
                ),
                matching(
                    file("first", 30, "{{ node.metadata.port }}"),
                    "node.seat == 0",
                ),
            ],
            3,
        )
        .unwrap();
        assert_eq!(artifacts.nodes.len(), 3);
        assert_eq!(text(&artifacts.shared, "all").unwrap(), "devnet 3 c\n");
        let (first, second) = (&artifacts.nodes["n-0"], &artifacts.nodes["n-1"]);
        assert_eq!(
            text(first, "config.yaml").unwrap(),
            "id: n-0\nseat: 0\nn-0,n-1,n-2,\n"
        );
        assert_eq!(text(first, "first").unwrap(), "9000");
        assert_eq!(text(second, "first"), None);
    }

    #[test]
    fn many_nodes_on_many_threads_give_the_same_files() {
        let files = || {
            vec![file(
                "a",
                1,
                "{{ node.identifier }} {{ node.ip }} {{ nodes | length }}",
            )]
        };
        let artifacts = run(vec![], files(), 1000).unwrap();
        assert_eq!(artifacts.nodes.len(), 1000);
        for (identifier, set) in &artifacts.nodes {
            let at: u32 = identifier.as_str()[2..].parse().unwrap();
            let ip = std::net::Ipv4Addr::from_bits(0x0a00_0000 + at);
            assert_eq!(text(set, "a").unwrap(), format!("{identifier} {ip} 1000"));
        }
        assert!(run(vec![], files(), 0).unwrap().nodes.is_empty());
    }

    #[test]
    fn a_fragment_is_one_chunk_in_all_files() {
        let artifacts = run(
            vec![peers(
                "{% for p in nodes %}{{ p.identifier }}={{ p.ip }}\n{% endfor %}",
            )],
            vec![file(
                "a",
                1,
                "id: {{ node.identifier }}\n{{ fragment('peers') }}",
            )],
            200,
        )
        .unwrap();
        let chunk = |id: &str| {
            let file = &artifacts.nodes[id].files()[0];
            Arc::clone(&file.content.chunks()[1])
        };
        assert!(Arc::ptr_eq(&chunk("n-0"), &chunk("n-199")));
    }

    #[test]
    fn failures_say_what_where_for_whom_and_the_way_out() {
        let missing = "x\n  {{ node.metadata.prot }}\n";
        let cases = [
            run(vec![], vec![file("/config.yaml", 10, missing)], 300),
            run(vec![peers("{{ values.nope }}")], vec![], 2),
            run(vec![], vec![shared("all", 20, "{{ values.nope }}")], 2),
            run(
                vec![],
                vec![matching(file("a", 1, ""), "node.metadata.port")],
                2,
            ),
            run(vec![], vec![file("a", 1, ""), file("/a", 7, "")], 2),
            run(vec![], vec![shared("a", 1, ""), file("/a", 7, "")], 2),
            run(vec![], vec![shared("a", 1, ""), shared("a", 7, "")], 2),
            run(
                vec![],
                vec![
                    matching(file("a", 1, ""), "node.seat < 2"),
                    matching(file("a", 7, ""), "node.seat > 0"),
                ],
                3,
            ),
        ];
        insta::assert_snapshot!(
            cases.map(|case| case.unwrap_err()).join("\n"),
            @"
        /config.yaml for n-0: cluster.yaml:11:16: `node.metadata.prot` is undefined; did you mean `port`?
        fragment peers: cluster.yaml:5:14: `values.nope` is undefined
        all (shared): cluster.yaml:20:14: `values.nope` is undefined
        `where` of a for n-0: cluster.yaml:99:11: it must give true or false, but it gives a value of type number; compare it: `… == …`, `… > 0`, `… is defined`
        /a for n-0: two files have this name (cluster.yaml:1, cluster.yaml:7); give them other names, or `where`s that exclude each other
        /a for n-0: two files have this name (cluster.yaml:1, cluster.yaml:7); give them other names, or `where`s that exclude each other
        a (shared): two files have this name (cluster.yaml:1, cluster.yaml:7); give them other names, or `where`s that exclude each other
        a for n-1: two files have this name (cluster.yaml:1, cluster.yaml:7); give them other names, or `where`s that exclude each other
        "
        );
    }

    #[test]
    fn disjoint_conditions_may_share_a_name() {
        let files = vec![
            matching(file("a", 1, "first"), "node.seat == 0"),
            matching(file("a", 7, "other"), "node.seat != 0"),
        ];
        let artifacts = run(vec![], files, 2).unwrap();
        assert_eq!(text(&artifacts.nodes["n-0"], "a").unwrap(), "first");
        assert_eq!(text(&artifacts.nodes["n-1"], "a").unwrap(), "other");
    }

    #[test]
    fn sources_are_read_at_the_render() {
        let directory = tempfile::tempdir().unwrap();
        let keys = directory.path().join("keys");
        fs::create_dir(&keys).unwrap();
        fs::write(keys.join("n-0.key"), b"\xff\x00").unwrap();
        fs::write(keys.join("all"), "all").unwrap();
        fs::write(directory.path().join("all"), "all").unwrap();
        let here = directory.path();
        let artifacts = run(
            vec![],
            vec![
                source("key", "keys/{{ node.identifier }}.key", here),
                source(
                    "absolute",
                    &format!("{}/all", here.display()),
                    Path::new("/nowhere"),
                ),
            ],
            1,
        )
        .unwrap();
        let set = &artifacts.nodes["n-0"];
        assert_eq!(
            set.get(&"key".parse().unwrap()).unwrap().content.to_bytes(),
            b"\xff\x00"[..]
        );
        assert_eq!(text(set, "absolute").unwrap(), "all");

        // One file for many nodes is read and held once.
        let artifacts = run(vec![], vec![source("all", "all", here)], 200).unwrap();
        let chunk = |id: &str| Arc::clone(&artifacts.nodes[id].files()[0].content.chunks()[0]);
        assert!(Arc::ptr_eq(&chunk("n-0"), &chunk("n-1")));

        let refused = |path: &str, count: usize| {
            run(vec![], vec![source("key", path, here)], count)
                .unwrap_err()
                .replace(&here.display().to_string(), "DIR")
        };
        insta::assert_snapshot!(
            [
                refused("keys/{{ node.identifier }}.key", 2),
                refused("{{ node.metadata.dir }}/all", 2),
                refused("{{ 'keys/n-0.key' }}", 1),
                refused("keys", 1),
                refused("{{ node.metadata.nope }}", 1),
            ]
            .join("\n"),
            @"
        `source` of key for n-1: cluster.yaml:50:11: cannot read DIR/keys/n-1.key: No such file or directory (os error 2)
        `source` of key for n-1: cluster.yaml:50:18: what is printed into a path must not be `.` or `..`
        `source` of key for n-0: cluster.yaml:50:14: what is printed into a path must not hold `/` or control characters
        `source` of key for n-0: cluster.yaml:50:11: DIR/keys is not a regular file
        `source` of key for n-0: cluster.yaml:50:14: `node.metadata.nope` is undefined
        "
        );
    }
}
