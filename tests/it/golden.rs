//! Golden cases.
use cfgsync::spec::Spec;
#[test]
fn loads() {
    let text = std::fs::read_to_string("tests/golden/design/cluster.yaml").unwrap();
    let _ = text;
    match Spec::load("tests/golden/design/cluster.yaml".as_ref()) {
        Ok(s) => println!("{s:#?}"),
        Err(e) => panic!("{e}"),
    }
}
