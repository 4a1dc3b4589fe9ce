//! Specs with mistakes.

use rustix::process::Signal;

use super::stage::{ONE_NODE, Stage};

fn serve(spec: &str) -> Stage {
    let mut stage = Stage::new(spec);
    stage.run(&["serve", "cluster.yaml"]);
    stage
}

#[test]
fn spec_does_not_exist() {
    let mut stage = Stage::new(ONE_NODE);
    stage.run(&["serve", "clusters.yaml"]);
    stage.expect("spec_does_not_exist");
}

#[test]
fn spec_has_an_indentation_mistake() {
    let spec = ONE_NODE.replace("    files:", "   files:");
    serve(&spec).expect("spec_has_an_indentation_mistake");
}

#[test]
fn spec_has_an_unknown_key() {
    let spec = ONE_NODE.replace("materializers:", "materialisers:");
    serve(&spec).expect("spec_has_an_unknown_key");
}

#[test]
fn spec_has_a_wrong_type() {
    let spec = ONE_NODE.replace("{ nodes: 1 }", "{ nodes: one }");
    serve(&spec).expect("spec_has_a_wrong_type");
}

#[test]
fn nodes_stand_beside_ready() {
    let spec = ONE_NODE.replace("ready: { nodes: 1 }", "ready:\nnodes: 1");
    serve(&spec).expect("nodes_stand_beside_ready");
}

#[test]
fn secret_file_is_readable_by_all() {
    let spec = ONE_NODE.replace(
        "- path: app.conf\n",
        "- path: app.key\n        secret: true\n        mode: \"0644\"\n",
    );
    serve(&spec).expect("secret_file_is_readable_by_all");
}

#[test]
fn reloaded_spec_has_a_mistake() {
    let mut stage = Stage::new(ONE_NODE);
    let mut server = stage.serve(&[]);
    let spec = ONE_NODE.replace("nodes: 1", "node: 1");
    stage.sandbox.put("cluster.yaml", &spec);
    server.signal(Signal::HUP);
    server.log_until("not reloaded");
    stage.stop(server, &[]);
    stage.expect("reloaded_spec_has_a_mistake");
}

#[test]
fn reloaded_spec_is_of_another_cluster() {
    let mut stage = Stage::new(ONE_NODE);
    let mut server = stage.serve(&[]);
    stage
        .sandbox
        .put("cluster.yaml", &ONE_NODE.replace("devnet", "testnet"));
    server.signal(Signal::HUP);
    server.log_until("not reloaded");
    stage.stop(server, &[]);
    stage.expect("reloaded_spec_is_of_another_cluster");
}
