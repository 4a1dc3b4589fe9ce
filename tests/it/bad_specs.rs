//! Every kind of mistake in a spec, with the message that it gets: `tests/bad-specs/NAME.yaml` and
//! `NAME.stderr` beside it, so that the wording is reviewed. `CFGSYNC_BLESS=1` writes the messages anew.

use std::{
    fs,
    path::{Path, PathBuf},
};

use cfgsync_spec::Spec;

#[test]
fn each_mistake_is_told_with_its_place_and_the_way_out() {
    // Messages name files as the operator did: here relative to the package, where cargo runs tests.
    let directory = Path::new("tests/bad-specs");
    let mut specs: Vec<PathBuf> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "yaml"))
        .collect();
    specs.sort();
    assert!(!specs.is_empty());
    let mut wrong = Vec::new();
    for spec in specs {
        let Err(error) = Spec::load(&spec) else {
            wrong.push(format!("{} was accepted", spec.display()));
            continue;
        };
        let told = format!("{error}\n");
        let expected = spec.with_extension("stderr");
        if std::env::var_os("CFGSYNC_BLESS").is_some() {
            fs::write(&expected, told).unwrap();
        } else if fs::read_to_string(&expected).unwrap_or_default() != told {
            wrong.push(format!("{} is told now:\n{told}", spec.display()));
        }
    }
    assert!(
        wrong.is_empty(),
        "{}\nCFGSYNC_BLESS=1 accepts this",
        wrong.join("\n")
    );
}
