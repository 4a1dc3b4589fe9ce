//! Tests of the formats: of a few nodes, of many, and of text that a machine could send to break out of its place.

use super::{document, junit, samples, svg, table};
use crate::cmd::record::RecordFormat;

/// Returns the names of the elements of `xml`. Panics unless it is well-formed, as far as its tags show.
fn elements(xml: &str) -> Vec<String> {
    let (mut open, mut all) = (Vec::<&str>::new(), Vec::new());
    for tag in xml.split('<').skip(1) {
        let (tag, text) = tag.split_once('>').expect("a tag ends");
        assert!(!text.contains('>'), "{text:?}");
        let stray = text.split('&').skip(1).find(|rest| {
            let end = rest.find(';').unwrap_or(usize::MAX);
            !(1..=5).contains(&end)
        });
        assert_eq!(stray, None, "in {text:?}");
        if tag.starts_with('?') {
            continue;
        }
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name));
            continue;
        }
        let name = tag.split([' ', '/']).next().unwrap();
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag:?}");
        all.push(name.to_owned());
        if !tag.ends_with('/') {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "{open:?} stays open");
    all
}

#[test]
fn table_names_what_failed_first() {
    insta::assert_snapshot!(
        "table_of_a_few_nodes",
        table(&samples::small(), false).as_str()
    );
    insta::assert_snapshot!(
        "table_of_a_failure",
        table(&samples::failed(), false).as_str()
    );
    insta::assert_snapshot!(
        "table_of_many_nodes",
        table(&samples::large(500), false).as_str()
    );
}

#[test]
fn table_of_many_nodes_is_bounded_unless_all_are_asked_for() {
    let record = samples::large(5000);
    let bounded = table(&record, false);
    assert!(
        bounded.as_str().lines().count() < 80,
        "{}",
        bounded.as_str()
    );
    let all = table(&record, true);
    // Each node has a row, a registration, a delivery and a phase.
    assert!(all.as_str().lines().count() > 4 * 5000);
}

#[test]
fn junit_has_one_test_case_for_each_node() {
    insta::assert_snapshot!("junit_of_a_few_nodes", junit(&samples::small()));
    insta::assert_snapshot!("junit_of_a_failure", junit(&samples::failed()));
    let large = junit(&samples::large(500));
    let cases = elements(&large);
    assert_eq!(cases.iter().filter(|name| *name == "testcase").count(), 500);
    assert_eq!(cases.iter().filter(|name| *name == "failure").count(), 3);
}

#[test]
fn failure_without_a_node_is_a_test_case_too() {
    let mut record = samples::failed();
    record.nodes.clear();
    let xml = junit(&record);
    assert!(xml.contains("tests=\"1\" failures=\"1\""), "{xml}");
    assert!(xml.contains("name=\"(cluster)\""), "{xml}");
}

#[test]
fn image_of_a_few_nodes_has_a_row_for_each() {
    insta::assert_snapshot!("svg_of_a_few_nodes", svg(&samples::small()));
    for record in [samples::small(), samples::failed()] {
        let image = svg(&record);
        for node in &record.nodes {
            assert!(
                image.contains(&format!(">{}</text>", node.identifier)),
                "{image}"
            );
        }
    }
}

#[test]
fn image_of_many_nodes_merges_rows() {
    for count in [61, 500, 5000] {
        let image = svg(&samples::large(count));
        let rows = image.matches("fill=\"transparent\"").count();
        assert!((20..=60).contains(&rows), "{rows} rows for {count} nodes");
        assert!(
            image.contains(">worker-1</text>"),
            "a failed node has its own row"
        );
        assert!(
            image.len() < 80 << 10,
            "{} bytes for {count} nodes",
            image.len()
        );
    }
}

#[test]
fn foreign_text_stays_in_its_place() {
    let mut record = samples::small();
    record.message = samples::FOREIGN.to_owned();
    record.waits[0].message = samples::FOREIGN.to_owned();
    record.moments[0].message = samples::FOREIGN.to_owned();
    for format in [RecordFormat::Junit, RecordFormat::Svg] {
        let text = document(&record, format);
        let names = elements(&text);
        assert!(!names.iter().any(|name| name == "script"), "{text}");
        assert!(!text.contains(['\u{1b}', '\u{202e}']), "{text}");
    }
    assert!(
        !elements(&svg(&record))
            .iter()
            .any(|name| name == "image" || name == "use")
    );
    let text = document(&record, RecordFormat::Table);
    assert!(!text.contains(['\u{1b}', '\u{202e}']), "{text}");
}

#[test]
fn record_without_any_time_is_shown() {
    let mut record = samples::failed();
    record.began_at = None;
    record.waits.clear();
    record.moments.clear();
    record.nodes.clear();
    for format in [RecordFormat::Table, RecordFormat::Junit, RecordFormat::Svg] {
        assert!(
            document(&record, format).contains("missing node-3"),
            "{format:?}"
        );
    }
}
