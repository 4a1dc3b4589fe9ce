//! A flight record as JUnit XML: one test case for each node. It is valid by the schemas of Ant and of Jenkins.

use cfgsync_wire::{RecordBody, RecordNode, RecordNodeState, RecordOutcome};

use super::{table::table, xml::escape};

/// The name of the test case of the cluster as a whole. No identifier begins like this.
const CLUSTER: &str = "(cluster)";

pub(super) fn junit(record: &RecordBody) -> String {
    let cluster = escape(&record.cluster);
    let nodes = &record.nodes;
    let bad = nodes.iter().filter(|node| node.state.is_bad()).count();
    // Without a failed node, the failure of the cluster would not be seen.
    let names_cluster = record.outcome != RecordOutcome::Sealed && bad == 0;
    let failures = bad + usize::from(names_cluster);
    let skipped = nodes.iter().filter(|node| is_skipped(node.state)).count();
    let tests = nodes.len() + usize::from(names_cluster);
    let began = record.began_at.unwrap_or(record.ended_at);
    let took = seconds_between(record);
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    xml.push_str(&format!(
        "  <testsuite id=\"0\" package=\"cfgsync\" name=\"{cluster}\" timestamp=\"{}\" hostname=\"{cluster}\" \
         tests=\"{tests}\" failures=\"{failures}\" errors=\"0\" skipped=\"{skipped}\" time=\"{took:.6}\">\n",
        began.strftime("%Y-%m-%dT%H:%M:%S")
    ));
    xml.push_str("    <properties>\n");
    for (name, value) in properties(record) {
        let value = escape(&value);
        xml.push_str(&format!(
            "      <property name=\"{name}\" value=\"{value}\"/>\n"
        ));
    }
    xml.push_str("    </properties>\n");
    if names_cluster {
        let message = record.message.as_str();
        test_case(
            &mut xml,
            &cluster,
            CLUSTER,
            took,
            Verdict::Failed("cluster", message),
        );
    }
    for node in nodes {
        let name = node.identifier.as_str();
        let took = node.seconds.unwrap_or_default();
        test_case(&mut xml, &cluster, name, took, Verdict::of(node));
    }
    let output = escape(&table(record, false)).replace("&#10;", "\n");
    xml.push_str(&format!("    <system-out>{output}</system-out>\n"));
    xml.push_str("    <system-err/>\n  </testsuite>\n</testsuites>\n");
    xml
}

/// The result of a test case.
#[derive(Clone, Copy)]
enum Verdict<'a> {
    Passed,
    Skipped,
    /// The kind and the reason.
    Failed(&'a str, &'a str),
}

impl<'a> Verdict<'a> {
    fn of(node: &'a RecordNode) -> Self {
        match node.state {
            state if is_skipped(state) => Self::Skipped,
            state if state.is_bad() => {
                Self::Failed(state.name(), node.failure.as_deref().unwrap_or_default())
            }
            _ => Self::Passed,
        }
    }
}

/// Returns whether a node could not receive the generation, which is no failure.
fn is_skipped(state: RecordNodeState) -> bool {
    matches!(state, RecordNodeState::Left | RecordNodeState::Behind)
}

fn test_case(xml: &mut String, cluster: &str, name: &str, took: f64, verdict: Verdict) {
    let name = escape(name);
    let head = format!("    <testcase classname=\"{cluster}\" name=\"{name}\" time=\"{took:.6}\"");
    xml.push_str(&head);
    match verdict {
        Verdict::Passed => xml.push_str("/>\n"),
        Verdict::Skipped => xml.push_str(">\n      <skipped/>\n    </testcase>\n"),
        Verdict::Failed(kind, reason) => {
            let reason = escape(reason);
            xml.push_str(&format!(
                ">\n      <failure type=\"{kind}\" message=\"{reason}\">{reason}</failure>\n    </testcase>\n"
            ));
        }
    }
}

fn properties(record: &RecordBody) -> Vec<(&'static str, String)> {
    let outcome = match record.outcome {
        RecordOutcome::Sealed => "sealed",
        RecordOutcome::Failed => "failed",
        RecordOutcome::Waiting => "waiting",
    };
    let mut properties = vec![
        ("instance", record.instance.to_string()),
        ("outcome", outcome.to_owned()),
        ("message", record.message.clone()),
        ("complete", record.complete.to_string()),
    ];
    if let Some(number) = record.generation {
        properties.push(("generation", number.to_string()));
    }
    if let Some(at) = record.sealed_at {
        properties.push(("sealed_at", at.to_string()));
    }
    if let Some(took) = record.render.as_ref().and_then(|render| render.seconds) {
        properties.push(("render_seconds", format!("{took:.6}")));
    }
    if let Some(render) = &record.render {
        properties.push(("files", render.files.to_string()));
        properties.push(("bytes", render.bytes.to_string()));
    }
    if record.missing_more > 0 {
        properties.push(("missing_without_name", record.missing_more.to_string()));
    }
    properties
}

/// Returns the length of the record, in seconds.
fn seconds_between(record: &RecordBody) -> f64 {
    let began = super::timeline::beginning(record);
    let micros = record.ended_at.as_microsecond() - began.as_microsecond();
    (micros as f64 / 1e6).max(0.0)
}
