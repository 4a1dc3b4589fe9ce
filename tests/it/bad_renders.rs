//! Valid specs whose rendering fails, and the message that the operator and the nodes get.
//!
//! Each case is `tests/bad-renders/NAME.yaml` with its message in `NAME.stderr`. `CFGSYNC_BLESS=1` rewrites the
//! messages.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use cfgsync::NodeRegistration;
use cfgsync_cluster::{RecordedValues, render::Pipeline};
use cfgsync_materialize as materialize;
use cfgsync_spec::Spec;
use cfgsync_template::OnceSource;
use serde_json::json;

use crate::golden::snapshot;

#[test]
fn render_errors_name_the_location_and_the_fix() {
    let mut specs: Vec<PathBuf> = fs::read_dir("tests/bad-renders")
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "yaml"))
        .collect();
    specs.sort();
    assert!(!specs.is_empty());
    let mut wrong = Vec::new();
    for path in specs {
        let message = failure(&path) + "\n";
        let expected = path.with_extension("stderr");
        if std::env::var_os("CFGSYNC_BLESS").is_some() {
            fs::write(&expected, message).unwrap();
        } else if fs::read_to_string(&expected).unwrap_or_default() != message {
            wrong.push(format!(
                "{}: the message is now:\n{message}",
                path.display()
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{}\nCFGSYNC_BLESS=1 accepts this",
        wrong.join("\n")
    );
}

/// Returns the error of rendering two nodes, of which only the first has the metadata field `zone`.
fn failure(path: &Path) -> String {
    let spec = Spec::load(path).unwrap_or_else(|error| panic!("{error}"));
    let pipeline = Pipeline::new(Arc::new(spec.clone()), materialize::build(&spec));
    let node = |name: &str, metadata| {
        let ip = [10, 0, 0, 1].into();
        NodeRegistration::without_metadata(name.parse().unwrap(), ip).with_metadata_value(metadata)
    };
    let nodes = vec![node("n1", json!({ "zone": "a" })), node("n2", json!({}))];
    let mut snapshot = snapshot(&spec, nodes);
    let rendered = pipeline
        .draw_once(&snapshot, &OnceSource::Placeholder)
        .and_then(|once| {
            snapshot.once = once;
            pipeline.render(
                &mut snapshot,
                &mut RecordedValues::default(),
                &BTreeMap::new(),
            )
        });
    match rendered {
        Ok(_) => panic!("{} renders", path.display()),
        Err(error) => error.to_string(),
    }
}
