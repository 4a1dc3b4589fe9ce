//! Specs that read well and fail at the render, with the message that operator and nodes get:
//! `tests/bad-renders/NAME.yaml` and `NAME.stderr` beside it. `CFGSYNC_BLESS=1` writes the messages anew.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use cfgsync::NodeRegistration;
use cfgsync_cluster::render::Pipeline;
use cfgsync_materialize as materialize;
use cfgsync_spec::Spec;
use cfgsync_template::Draw;
use serde_json::json;

use crate::golden::snapshot;

#[test]
fn each_failure_is_told_with_its_place_and_the_way_out() {
    let mut specs: Vec<PathBuf> = fs::read_dir("tests/bad-renders")
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "yaml"))
        .collect();
    specs.sort();
    assert!(!specs.is_empty());
    let mut wrong = Vec::new();
    for path in specs {
        let told = failure(&path) + "\n";
        let expected = path.with_extension("stderr");
        if std::env::var_os("CFGSYNC_BLESS").is_some() {
            fs::write(&expected, told).unwrap();
        } else if fs::read_to_string(&expected).unwrap_or_default() != told {
            wrong.push(format!("{} is told now:\n{told}", path.display()));
        }
    }
    assert!(
        wrong.is_empty(),
        "{}\nCFGSYNC_BLESS=1 accepts this",
        wrong.join("\n")
    );
}

/// What is told when two nodes, of which one brings a zone, are rendered.
fn failure(path: &Path) -> String {
    let spec = Spec::load(path).unwrap_or_else(|error| panic!("{error}"));
    let pipeline = Pipeline::new(Arc::new(spec.clone()), materialize::build(&spec));
    let node = |name: &str, metadata| {
        let ip = [10, 0, 0, 1].into();
        NodeRegistration::new(name.parse().unwrap(), ip).with_metadata(metadata)
    };
    let nodes = vec![node("n1", json!({ "zone": "a" })), node("n2", json!({}))];
    let mut snapshot = snapshot(&spec, nodes);
    let rendered = pipeline
        .draw_once(&snapshot, &Draw::Placeholder)
        .and_then(|once| {
            snapshot.once = once;
            pipeline.render(&snapshot, &BTreeMap::new())
        });
    match rendered {
        Ok(_) => panic!("{} renders", path.display()),
        Err(error) => error.to_string(),
    }
}
