//! Tests of the files that are rendered for each node, and of the errors.

use std::{fs, sync::Arc};

use serde_json::{Map, json};

use super::*;
use cfgsync_model::{Mode, Revision, Seat, ValueReader};
use cfgsync_spec::FragmentSpec;
use cfgsync_template::{Declarations, Expression, Iteration, Scope, Template, Whitespace};

fn snapshot(count: usize) -> RegistrationSnapshot {
    let mut nodes: Vec<SnapshotNode> = (0..count)
        .map(|at| SnapshotNode {
            identifier: format!("n-{at}").parse().unwrap(),
            ip: std::net::Ipv4Addr::from_bits(0x0a00_0000 + u32::try_from(at).unwrap()).into(),
            metadata: json!({"port": 9000 + at, "dir": if at == 1 { ".." } else { "keys" }}).into(),
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
        operator_values: ValueReader::default(),
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
        path: FilePath::Fixed(path.parse().unwrap()),
        iteration: None,
        mode: Mode::default(),
        ownership: None,
        secret: false,
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

/// Returns a file of which there is one for each item.
fn for_each(iteration: &str, path: &str, source: &str) -> FileSpec {
    let declared = Declarations::default();
    let iteration = Iteration::compile(iteration, Scope::Node, &declared).unwrap();
    let declared = declared.with_item(iteration.variable());
    let compile = |source: &str| {
        let whitespace = Whitespace::default();
        let template =
            Template::compile_with(path, source, Scope::Node, &[], &declared, whitespace);
        template.unwrap().with_origin(origin(70))
    };
    FileSpec {
        path: FilePath::Template(compile(path)),
        content: FileContent::Template(compile(source)),
        iteration: Some(iteration.with_origin(origin(60))),
        ..file("x", 1, "")
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
fn renders_node_files_and_shared_files() {
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
fn renders_many_nodes_on_many_threads() {
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
fn files_share_the_chunk_of_a_fragment() {
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
fn size_of_all_files_is_limited_and_shared_text_counts_once() {
    let render = |source: &str, count: usize| {
        let fragments = vec![peers("{% for p in nodes %}{{ 'x' * 4096 }}{% endfor %}")];
        let files = vec![file("/config", 10, source)];
        let materializer = TemplateMaterializer {
            generation_max_bytes: 1 << 20,
            ..TemplateMaterializer::new(&TemplateSpec { fragments, files })
        };
        materializer.materialize(&snapshot(count)).map(drop)
    };
    render("{{ fragment('peers') }}{{ node.identifier }}", 200).unwrap();
    render("{{ 'x' * 4096 }}", 200).unwrap();
    let error = render("{% for p in nodes %}{{ 'x' * 4096 }}{% endfor %}", 60).unwrap_err();
    assert_eq!(
        error.to_string(),
        "/config for n-12: with this file, the generation exceeds 1 MiB; put what all nodes share into a fragment \
         or a shared file, or limit the nodes' metadata in the spec"
    );
}

#[test]
fn errors_name_file_position_node_and_remedy() {
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
    `where` of a for n-0: cluster.yaml:99:11: the result must be true or false, but its type is number; write a comparison: `… == …`, `… > 0`, `… is defined`
    /a for n-0: two files have this name (cluster.yaml:1, cluster.yaml:7); rename one, or give them `where`s that exclude each other
    /a for n-0: two files have this name (cluster.yaml:1, cluster.yaml:7); rename one, or give them `where`s that exclude each other
    a (shared): two files have this name (cluster.yaml:1, cluster.yaml:7); rename one, or give them `where`s that exclude each other
    a for n-1: two files have this name (cluster.yaml:1, cluster.yaml:7); rename one, or give them `where`s that exclude each other
    "
    );
}

#[test]
fn renders_a_file_for_each_item() {
    let own = FileSpec {
        iteration: None,
        ..for_each(
            "p in nodes",
            "{{ node.identifier }}.conf",
            "{{ node.seat }}",
        )
    };
    let declared = Declarations::default().with_item("peer");
    let others =
        Expression::compile_with("peer.identifier != node.identifier", Scope::Node, &declared);
    let peers = FileSpec {
        matching: Some(others.unwrap()),
        ..for_each(
            "peer in nodes",
            "/peers/{{ peer.identifier }}.conf",
            "{{ peer.ip }} of {{ node.identifier }}",
        )
    };
    let all = FileSpec {
        shared: true,
        ..for_each("n in nodes", "all/{{ n.seat }}", "{{ n.identifier }}")
    };
    let artifacts = run(vec![], vec![own, peers, all], 3).unwrap();
    let paths = |set: &ArtifactSet| -> Vec<String> {
        set.files()
            .iter()
            .map(|file| file.path.to_string())
            .collect()
    };
    let first = &artifacts.nodes["n-0"];
    assert_eq!(
        paths(first),
        ["n-0.conf", "/peers/n-1.conf", "/peers/n-2.conf"]
    );
    assert_eq!(text(first, "peers/n-1.conf").unwrap(), "10.0.0.1 of n-0");
    assert_eq!(paths(&artifacts.shared), ["all/0", "all/1", "all/2"]);
    assert_eq!(text(&artifacts.shared, "all/2").unwrap(), "n-2");
}

#[test]
fn errors_of_a_file_for_each_item_name_the_item() {
    let with = |iteration: &str, path: &str, source: &str| {
        run(vec![], vec![for_each(iteration, path, source)], 3).unwrap_err()
    };
    let cases = [
        with("p in nodes", "{{ p.metadata.dir }}", ""),
        with("p in nodes", "{{ p.metadata.prot }}", ""),
        with("p in ['a', '=']", "{{ p }}", ""),
        with("p in ['a', 'b', 'a']", "{{ p }}.conf", ""),
        with("p in cluster", "{{ p }}", ""),
        with("p in nodes", "{{ p.identifier }}", "{{ p.metadata.nope }}"),
        run(
            vec![],
            vec![
                for_each("p in nodes", "{{ p.identifier }}", ""),
                file("n-1", 7, ""),
            ],
            3,
        )
        .unwrap_err(),
    ];
    insta::assert_snapshot!(
        cases.join("\n"),
        @r#"
    `path` of {{ p.metadata.dir }} for n-0 (p n-1): cluster.yaml:70:15: a value that is printed into a path must not be `.` or `..` (last node read: n-1)
    `path` of {{ p.metadata.prot }} for n-0 (p n-0): cluster.yaml:70:14: `p.metadata.prot` is undefined; did you mean `port`?
    `path` of {{ p }} for n-0 (p number 2): cluster.yaml:70:11: artifact path "=" contains '=', which separates the two sides of a route (ARTIFACT=PATH)
    a.conf for n-0: two files have this name (cluster.yaml:70): that of p number 1 and that of p number 3; use a value in `path` that differs, such as the identifier
    `for` of {{ p }} for n-0: cluster.yaml:60:11: the value after `in` must be a list, but its type is string
    n-0 for n-0 (p n-0): cluster.yaml:70:14: `p.metadata.nope` is undefined
    n-1 for n-0: two files have this name (cluster.yaml:70, cluster.yaml:7); rename one, or give them `where`s that exclude each other
    "#
    );
    let files = vec![for_each("p in nodes", "{{ p.identifier }}", "")];
    let materializer = TemplateMaterializer {
        generation_files_max: 8,
        ..TemplateMaterializer::new(&TemplateSpec {
            fragments: vec![],
            files,
        })
    };
    let error = materializer.materialize(&snapshot(3)).unwrap_err();
    assert!(
        error.to_string().contains("the generation exceeds 8 files"),
        "{error}"
    );
}

#[test]
fn files_with_disjoint_conditions_may_share_a_name() {
    let files = vec![
        matching(file("a", 1, "first"), "node.seat == 0"),
        matching(file("a", 7, "other"), "node.seat != 0"),
    ];
    let artifacts = run(vec![], files, 2).unwrap();
    assert_eq!(text(&artifacts.nodes["n-0"], "a").unwrap(), "first");
    assert_eq!(text(&artifacts.nodes["n-1"], "a").unwrap(), "other");
}

#[test]
fn reads_sources_at_the_render() {
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

    // A file for many nodes is read once.
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
    `source` of key for n-1: cluster.yaml:50:11: cannot read DIR/keys/n-1.key: no such file
    `source` of key for n-1: cluster.yaml:50:18: a value that is printed into a path must not be `.` or `..`
    `source` of key for n-0: cluster.yaml:50:14: a value that is printed into a path must not contain `/` or control characters
    `source` of key for n-0: cluster.yaml:50:11: cannot read DIR/keys: it is a directory
    `source` of key for n-0: cluster.yaml:50:14: `node.metadata.nope` is undefined
    "
    );
}
