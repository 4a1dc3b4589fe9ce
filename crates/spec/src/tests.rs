//! Tests of whole specs.

use std::{fmt::Write, fs, path::Path};

use super::*;
use cfgsync_template::RenderContext;

const SPEC: &str = "cfgsync: 1\ncluster: c\nready: { nodes: 1 }\nmaterializers:\n  - kind: template\n    \
                    files:\n      - path: a\n        template_file: a.j2\n";

fn error_text(text: &str) -> String {
    let parsed = Spec::parse(text, "cluster.yaml", Path::new(""));
    parsed.expect_err("a mistake").to_string()
}

/// Artifacts files of the existing protocol's server.
#[test]
fn unknown_fields_of_artifacts_are_warnings() {
    let bundle = "version: 3\nnodes:\n  - identifier: a\n    checksum: 1\n    files: [{path: p, content: x, \
                  etag: me}]\n  - identifier: b\nshared_files: []\n";
    let by_node = "nodes:\n  a: {files: [{path: p, content: x, etag: me}], checksum: 1}\n  b: {}\nversion: 3\n";
    for (text, expected) in [
        (
            bundle,
            [
                "a.yaml:1: the unknown field `version` is ignored",
                "a.yaml:4: the unknown field `checksum` is ignored",
                "a.yaml:5: the unknown field `etag` is ignored",
                "a.yaml:6: there is no `files`, which means no files",
            ],
        ),
        (
            by_node,
            [
                "a.yaml:4: the unknown field `version` is ignored",
                "a.yaml:2: the unknown field `checksum` is ignored",
                "a.yaml:2: the unknown field `etag` is ignored",
                "a.yaml:3: there is no `files`, which means no files",
            ],
        ),
    ] {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("a.yaml"), text).unwrap();
        let spec =
            "cfgsync: 1\ncluster: c\nmaterializers: [{kind: precomputed, artifacts: a.yaml}]\n";
        let spec = Spec::parse(spec, "cluster.yaml", directory.path()).unwrap();
        let warnings = spec.warnings.iter();
        let shown: Vec<&str> = warnings
            .map(|line| line.rsplit('/').next().unwrap())
            .collect();
        assert_eq!(shown, expected);
        let MaterializerSpec::Precomputed(precomputed) = &spec.materializers[0] else {
            panic!("{spec:?}");
        };
        let nodes = &precomputed.artifacts.nodes;
        assert_eq!((nodes["a"].files().len(), nodes["b"].files().len()), (1, 0));
    }
}

#[test]
fn equal_specs_in_different_directories_have_equal_digests() {
    let [here, there] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let load = |directory: &Path, text: &str, template: &str| {
        fs::write(directory.join("cluster.yaml"), text).unwrap();
        fs::write(directory.join("a.j2"), template).unwrap();
        Spec::load(&directory.join("cluster.yaml")).unwrap().digest
    };
    let digest = load(here.path(), SPEC, "x");
    assert_eq!(digest, load(there.path(), SPEC, "x"));
    assert_ne!(digest, load(here.path(), SPEC, "y"), "a template file");
    let other = SPEC.replace("nodes: 1", "nodes: 2");
    assert_ne!(digest, load(here.path(), &other, "x"), "the spec itself");
}

#[test]
fn each_field_has_a_digest() {
    let fields = |text: &str| {
        Spec::parse(text, "cluster.yaml", Path::new(""))
            .unwrap()
            .fields
    };
    let text = "cfgsync: 1\ncluster: c\nready: { nodes: 1 }\nvalues: { a: 1 }\nmaterializers:\n  - kind: template\n    \
                files: [{ path: x, template: y }]\n";
    let before = fields(text);
    let names: Vec<&str> = before.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        ["cfgsync", "cluster", "materializers", "ready", "values"]
    );
    let commented = text.replace("{ nodes: 1 }", "# how many\n  nodes: 1");
    assert_eq!(fields(&commented), before);
    let after = fields(&text.replace("nodes: 1", "nodes: 2"));
    let changed = before
        .iter()
        .filter(|(name, digest)| after[*name] != **digest);
    let changed: Vec<&str> = changed.map(|(name, _)| name.as_str()).collect();
    assert_eq!(changed, ["ready"]);
}

#[test]
fn white_space_around_statements_is_set_for_a_materializer_or_a_file() {
    let text = "cfgsync: 1\ncluster: c\nready: { nodes: 1 }\nmaterializers:\n  - kind: template\n    \
                trim_blocks: true\n    lstrip_blocks: true\n    files:\n      - path: inherited\n        \
                template: &t \"a\\n  {% set x = 'y' %}\\n{{ x }}\\n\"\n      - path: own\n        \
                trim_blocks: false\n        template: *t\n      - path: none\n        trim_blocks: false\n        \
                lstrip_blocks: false\n        template: *t\n";
    let spec = Spec::parse(text, "cluster.yaml", Path::new("")).unwrap();
    let MaterializerSpec::Template(template) = &spec.materializers[0] else {
        panic!("a template");
    };
    let context = RenderContext::without_nodes("c", &serde_json::Map::new());
    let rendered: Vec<_> = template
        .files
        .iter()
        .map(|file| match &file.content {
            FileContent::Template(template) => template.render(&context, None).unwrap().to_bytes(),
            FileContent::Source { .. } => panic!("a template"),
        })
        .collect();
    assert_eq!(rendered, ["a\ny\n", "a\n\ny\n", "a\n  \ny\n"]);
}

#[test]
fn byte_order_mark_is_not_a_part_of_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cluster.yaml");
    fs::write(&path, format!("\u{feff}{SPEC}")).unwrap();
    fs::write(directory.path().join("a.j2"), "\u{feff}x").unwrap();
    let digest = Spec::load(&path).unwrap().digest;
    fs::write(&path, SPEC).unwrap();
    fs::write(directory.path().join("a.j2"), "x").unwrap();
    assert_eq!(digest, Spec::load(&path).unwrap().digest);
}

/// Files that `inspect -o json` printed could not be read back: the YAML parser rejects some JSON texts.
#[test]
fn json_is_read_as_json() {
    let long_key = "k".repeat(2000);
    let json = serde_json::json!({
        "astral": "\u{1f600}", "delete": "\u{7f}", "last": "\u{ffff}", "line": "a\u{2028}b", (&*long_key): [1, -1, 1.5],
    });
    let ascii = r#"{"astral": "\ud83d\ude00", "key": {"a": null}}"#;
    let read = |text: &str| YamlFile::parse(text.to_owned(), Path::new("nodes.json")).unwrap();
    assert_eq!(*read(&json.to_string()).value(), json);
    assert_eq!(*read(&format!("\n  {json:#}\n")).value(), json);
    assert_eq!(read(ascii).value()["astral"], "\u{1f600}");
    let flow = read("{a: [b, c], d: 'e'} # YAML, not JSON");
    assert_eq!(
        *flow.value(),
        serde_json::json!({"a": ["b", "c"], "d": "e"})
    );
    let error = |text: &str| {
        let parsed = YamlFile::parse(text.to_owned(), Path::new("nodes.json"));
        parsed.err().unwrap().to_string()
    };
    assert!(error(r#"{"a": 18446744073709551616}"#).contains("needs more than 64 bits"));
    assert!(error(r#"{"a": 1, "a": 2}"#).contains("duplicate key `a`"));
}

#[test]
fn changed_program_changes_the_digest() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("make");
    let text = "cfgsync: 1\ncluster: c\nready: { nodes: 1 }\nmaterializers:\n  - kind: exec\n    \
                command: [./make]\n";
    let load = |script: &str| {
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        Spec::parse(text, "cluster.yaml", directory.path())
            .unwrap()
            .digest
    };
    assert_ne!(load("#!/bin/sh\nexit 1\n"), load("#!/bin/sh\nexit 0\n"));
}

#[test]
fn names_a_spec_that_cannot_be_read() {
    let directory = tempfile::tempdir().unwrap();
    let load = |name: &str| {
        let error = Spec::load(&directory.path().join(name))
            .unwrap_err()
            .to_string();
        error.replace(&directory.path().display().to_string(), "DIR")
    };
    fs::write(directory.path().join("bytes"), b"\xff").unwrap();
    let huge = fs::File::create(directory.path().join("huge")).unwrap();
    huge.set_len(17 << 20).unwrap();
    let cases = ["absent.yaml", ".", "bytes", "huge"];
    insta::assert_snapshot!(cases.map(load).join("\n"), @r#"
    error: cannot read DIR/absent.yaml: no such file
    error: cannot read DIR/.: it is a directory
    error: cannot read DIR/bytes: it is not UTF-8 text (byte 0)
    error: cannot read DIR/huge: it is larger than 16 MiB
    "#);
}

#[test]
fn rejects_texts_that_expand_without_bound() {
    // Each line repeats the one before nine times.
    let mut laughs = "cfgsync: 1\ncluster: c\nvalues:\n  a0: &a0 [lol]\n".to_owned();
    for level in 1..12 {
        let of = vec![format!("*a{}", level - 1); 9].join(", ");
        writeln!(laughs, "  a{level}: &a{level} [{of}]").unwrap();
    }
    let nested = format!("cfgsync: 1\nvalues: {}\n", "[".repeat(5_000));
    let flow = format!(
        "cfgsync: 1\nvalues: {}{}\n",
        "{a: ".repeat(5_000),
        "}".repeat(5_000)
    );
    assert!(
        error_text(&laughs).contains("--> cluster.yaml:5:12\n"),
        "{}",
        error_text(&laughs)
    );
    let first_line = |text: &str| {
        error_text(text)
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    let cases = [laughs.as_str(), &nested, &flow];
    insta::assert_snapshot!(cases.map(first_line).join("\n"), @r#"
    error: the aliases (`*name`) expand to too much text
    error: lists and mappings are nested deeper than 100 levels
    error: lists and mappings are nested deeper than 100 levels
    "#);
}

#[test]
fn shows_at_most_20_mistakes() {
    let mut text = SPEC.replace("template_file: a.j2", "template: x");
    for number in 0..100 {
        writeln!(text, "      - {{ path: \"{number}=\", template: x }}").unwrap();
    }
    assert!(error_text(&text).ends_with("and 80 more mistakes"));
}

#[test]
fn anchors_and_merges_are_read() {
    let text = SPEC.replace("template_file: a.j2", "<<: *text")
        + "values:\n  all: &text { template: hello }\n";
    // An anchor must be defined before its use.
    assert!(error_text(&text).contains("unknown anchor"));
    let text = text.replace(
        "cluster: c\n",
        "cluster: c\nvalues:\n  all: &text { template: hello }\n",
    );
    let text = text.trim_end_matches("values:\n  all: &text { template: hello }\n");
    assert!(Spec::parse(text, "cluster.yaml", Path::new("")).is_ok());
}

#[test]
fn locates_a_mistake_in_a_merged_text_at_its_use() {
    let text = "cfgsync: 1\ncluster: c\nvalues:\n  all: &text { template: '{{ nood }}' }\n\
                ready: { nodes: 1 }\nmaterializers:\n  - kind: template\n    files:\n      - path: a\n        \
                <<: *text\n";
    insta::assert_snapshot!(error_text(text), @r#"
    error: unknown variable `nood`
     --> cluster.yaml:9:9
      |
    9 |       - path: a
      |         ^^^^^^^ in this text
      |
      = help: the variables here are `cluster`, `node`, `nodes`, `once`, `values`
    "#);
}

#[test]
fn ignores_a_byte_order_mark() {
    let text = format!("\u{feff}{SPEC}");
    let parse =
        |text: &str| Spec::parse(text, "cluster.yaml", Path::new("")).map_err(|e| e.to_string());
    assert_eq!(parse(&text).err(), parse(SPEC).err());
}

/// The parser took a minute to refuse a hundred thousand brackets.
#[test]
fn rejects_deep_nesting_before_parsing() {
    for deep in ["[", "{a: ", "- ", "? "] {
        let error = error_text(&format!("cfgsync: 1\nvalues:\n  {}", deep.repeat(100_000)));
        let title = "error: lists and mappings are nested deeper than 100 levels\n";
        assert!(error.starts_with(title), "{deep}: {error:.200}");
    }
    let deep = format!("{}1{}", "[".repeat(90), "]".repeat(90));
    let error = error_text(&format!("cfgsync: 1\nvalues: {{ a: {deep} }}\n"));
    assert!(!error.contains("nested deeper"), "{error}");
}
