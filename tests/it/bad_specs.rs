//! Each kind of mistake in a spec, and its error message.
//!
//! Each case is `tests/bad-specs/NAME.yaml` with its message in `NAME.stderr`, so that the wording is reviewed.
//! `CFGSYNC_BLESS=1` rewrites the messages.

use std::{
    fs,
    path::{Path, PathBuf},
};

use cfgsync_spec::Spec;

#[test]
fn spec_errors_name_the_location_and_the_fix() {
    // Messages repeat the path as the operator gave it: here relative to the package, where cargo runs the tests.
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
        let message = format!("{error}\n");
        let expected = spec.with_extension("stderr");
        if std::env::var_os("CFGSYNC_BLESS").is_some() {
            fs::write(&expected, message).unwrap();
        } else if fs::read_to_string(&expected).unwrap_or_default() != message {
            wrong.push(format!(
                "{}: the message is now:\n{message}",
                spec.display()
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{}\nCFGSYNC_BLESS=1 accepts this",
        wrong.join("\n")
    );
}
