//! Renders that fail, and payloads that a node does not accept.

use super::stage::{ONE_NODE, Stage};

fn with_file(rest: &str) -> String {
    let (head, _) = ONE_NODE.split_once("      - path").unwrap();
    format!("{head}      - {rest}\n")
}

fn with_exec(script: &str) -> String {
    let (head, _) = ONE_NODE.split_once("materializers").unwrap();
    format!("{head}materializers:\n  - kind: exec\n    command: [sh, -c, {script:?}]\n")
}

#[test]
fn template_has_an_undefined_name() {
    let mut stage = Stage::new(&with_file(
        "{ path: app.conf, template: \"zone = {{ node.metadata.zone }}\" }",
    ));
    let server = stage.serve(&[]);
    stage.join(&server.url, &[]);
    stage.stop(server, &[]);
    stage.expect("template_has_an_undefined_name");
}

#[test]
fn program_fails() {
    let script = "cat >/dev/null; echo 'genesis: no key for \"node-1\"' >&2; exit 3";
    let mut stage = Stage::new(&with_exec(script));
    let server = stage.serve(&[]);
    stage.join(&server.url, &[]);
    stage.stop(server, &[]);
    stage.expect("program_fails");
}

#[test]
fn program_prints_no_json() {
    let mut stage = Stage::new(&with_exec("cat >/dev/null; echo done"));
    let server = stage.serve(&[]);
    stage.join(&server.url, &[]);
    stage.expect("program_prints_no_json");
}

#[test]
fn payload_is_too_large() {
    let file = "{ path: app.conf, template: \"{{ 'x' * 5000 }}\" }";
    let mut stage = Stage::new(&with_file(file));
    let server = stage.serve(&[]);
    stage.join(&server.url, &["--payload-max", "4KiB"]);
    stage.expect("payload_is_too_large");
}

#[test]
fn file_has_no_route() {
    let mut stage = Stage::new(ONE_NODE);
    let server = stage.serve(&[]);
    let join = [
        "join",
        "--server",
        &server.url,
        "--id",
        "node-1",
        "--ip",
        "10.0.0.1",
    ];
    stage.run(&[&join[..], &["--out", "app.cfg=app.cfg"]].concat());
    stage.expect("file_has_no_route");
}

#[test]
fn variable_chooses_code() {
    let file = "{ path: app.env, template: \"PORT=9000\\nLD_PRELOAD=/tmp/x.so\\n\" }";
    let mut stage = Stage::new(&with_file(file));
    let server = stage.serve(&[]);
    stage.join(&server.url, &["--env", "app.env", "--", "true"]);
    stage.expect("variable_chooses_code");
}

#[test]
fn variables_have_a_mistake() {
    let file = "{ path: app.env, template: \"PORT=9000\\nNAME=\\\"node 1\\n\" }";
    let mut stage = Stage::new(&with_file(file));
    let server = stage.serve(&[]);
    stage.join(&server.url, &["--env", "app.env", "--", "true"]);
    stage.expect("variables_have_a_mistake");
}
