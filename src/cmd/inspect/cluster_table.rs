//! The table that `inspect` prints of a cluster: its state, and a row for each node.

use cfgsync_model::{Failure, FailureKind, Identifier, Metadata, Progress};
use cfgsync_support::{escape::escape_line, natural_order};
use cfgsync_wire::{ClusterBody, ClusterState, LeaseState, NodeEntry, PhaseEntry};
use serde_json::Value;

use super::{
    filter::Filter,
    layout::{Column, Layout},
    table::{refusal, since},
};
use crate::cmd::{
    output::{Text, indented},
    progress::counted,
};

/// The largest number of names on a line.
const NAMES_MAX: usize = 20;

/// Returns the state of a cluster in one word.
pub(super) fn state(state: ClusterState) -> &'static str {
    match state {
        ClusterState::Waiting => "waiting",
        ClusterState::Ready => "ready",
        ClusterState::Failed => "failed",
    }
}

/// Returns the state of the cluster, and the table of the nodes that `filter` selects.
pub(super) fn cluster(body: &ClusterBody, filter: &Filter, layout: Layout) -> Text {
    let mut text = headline(body);
    if let Some(failure) = &body.failure {
        text.push_str(&failed(body.state, failure));
    }
    text.push_str(&lacking(&body.progress));
    text.push_str(&listed(
        "overridden, but not registered",
        body.overridden_absent.iter().map(Identifier::as_str),
    ));
    text.push_str(&listed(
        "banned",
        body.banned.iter().map(Identifier::as_str),
    ));
    text.push_str(&listed(
        "values of once that the next generation evaluates again",
        body.redraws.iter().map(String::as_str),
    ));
    text.push_str(&listed(
        "lease expired",
        (body.registrations.iter())
            .filter(|node| node.lease == Some(LeaseState::Expired))
            .map(|node| node.identifier.as_str()),
    ));
    text.push_str(&failed_nodes(body));
    let mut refused = body
        .refused
        .iter()
        .filter(|node| filter.selects_refused(node));
    for node in refused.by_ref().take(NAMES_MAX) {
        text.push_str(&format!("refused: {}\n", refusal(node)));
    }
    let more = refused.count();
    if more > 0 {
        text.push_str(&format!("refused: {more} more\n"));
    }
    let mut shown: Vec<&NodeEntry> = (body.registrations.iter())
        .filter(|node| filter.selects(node))
        .collect();
    shown.sort_by(|one, other| {
        natural_order::compare(one.identifier.as_str(), other.identifier.as_str())
    });
    if !filter.is_empty() {
        let all = counted(body.registrations.len(), "registered node");
        text.push_str(&format!("shown: {} of {all}\n", shown.len()));
    }
    if body.registrations.is_empty() {
        text.push_str("\nno node has registered yet\n");
    } else if !shown.is_empty() {
        text.push_str("\n");
        text.push_str(&layout.table(columns_of(&shown)));
    }
    text
}

/// Returns the newest report of a node.
fn newest_report(node: &NodeEntry) -> Option<&PhaseEntry> {
    node.phases.iter().max_by_key(|entry| entry.at)
}

/// Returns a line for each node whose newest report says that it failed with the served generation.
fn failed_nodes(body: &ClusterBody) -> String {
    let mut failed: Vec<(&Identifier, &PhaseEntry)> = (body.registrations.iter())
        .filter_map(|node| {
            let newest = newest_report(node)?;
            let is_of_served = body.generation <= Some(newest.generation);
            (newest.phase.is_failed() && is_of_served).then_some((&node.identifier, newest))
        })
        .collect();
    failed.sort_by(|one, other| natural_order::compare(one.0.as_str(), other.0.as_str()));
    let mut text = String::new();
    for (node, entry) in failed.iter().take(NAMES_MAX) {
        let reason = entry.reason.as_deref().unwrap_or("no reason given");
        text.push_str(&format!(
            "failed with generation {}: {node}: {}\n",
            entry.generation,
            indented(reason)
        ));
    }
    let more = failed.len().saturating_sub(NAMES_MAX);
    if more > 0 {
        text.push_str(&format!("failed: {more} more\n"));
    }
    text
}

/// Returns a line with a title and names in natural order. Empty if there are no names.
fn listed<'a>(title: &str, names: impl Iterator<Item = &'a str>) -> String {
    let mut names: Vec<&str> = names.collect();
    if names.is_empty() {
        return String::new();
    }
    let all = names.len();
    names.sort_by(|one, other| natural_order::compare(one, other));
    names.truncate(NAMES_MAX);
    let more = more_than(names.len(), all);
    format!("{title}: {}{more}\n", names.join(", "))
}

fn headline(body: &ClusterBody) -> Text {
    use anstyle::AnsiColor::{Green, Red, Yellow};
    let colour = match body.state {
        ClusterState::Waiting => Yellow,
        ClusterState::Ready => Green,
        ClusterState::Failed => Red,
    };
    let style = anstyle::Style::new().bold().fg_color(Some(colour.into()));
    let nodes = match &body.progress {
        Progress {
            registered,
            needed: 0,
            ..
        } => counted(*registered, "node"),
        Progress {
            registered, needed, ..
        } if registered > needed => format!("{registered} nodes ({needed} needed)"),
        Progress {
            registered, needed, ..
        } => format!("{registered}/{needed} nodes"),
    };
    let generation = match body.generation {
        Some(number) => format!("generation {number}"),
        None => "no generation yet".to_owned(),
    };
    let behind = body.registrations.iter().filter(|node| node.behind).count();
    let behind = match (body.generation, behind) {
        (None, _) | (_, 0) => String::new(),
        (_, behind) => format!(", {behind} behind"),
    };
    let mut text = Text::from(format!("{}: ", escape_line(&body.cluster)));
    text.push_styled(style, state(body.state));
    text.push_str(&format!(", {nodes}, {generation}{behind}\n"));
    text
}

fn failed(state: ClusterState, failure: &Failure) -> String {
    let at = format!("{:.0}", failure.at);
    match state {
        ClusterState::Failed => {
            format!("failed at {at}: {}\n", indented(&failure.reason))
        }
        _ if failure.kind == FailureKind::Deadline => {
            format!("deadline missed at {at}: {}\n", indented(&failure.reason))
        }
        _ => format!(
            "the newest render failed at {at}: {}\n",
            indented(&failure.reason)
        ),
    }
}

fn lacking(progress: &Progress) -> String {
    let mut text = String::new();
    if !progress.missing.is_empty() {
        let names: Vec<&str> = progress.missing.iter().map(Identifier::as_str).collect();
        let more = more_than(names.len(), progress.missing_count);
        text.push_str(&format!("missing: {}{more}\n", names.join(", ")));
    }
    for unmet in &progress.unmet {
        text.push_str(&format!("unmet: {}\n", indented(&unmet.to_string())));
    }
    text
}

fn more_than(shown: usize, all: usize) -> String {
    match all.saturating_sub(shown) {
        0 => String::new(),
        more => format!(" and {more} more"),
    }
}

fn columns_of(nodes: &[&NodeEntry]) -> Vec<(Column, Vec<String>)> {
    let cells = |cell: fn(&NodeEntry) -> String| nodes.iter().map(|node| cell(node)).collect();
    vec![
        (Column::Node, cells(|node| node.identifier.to_string())),
        (Column::Ip, cells(|node| node.ip.to_string())),
        (Column::Since, cells(since)),
        (
            Column::Waits,
            cells(|node| if node.waits { "yes" } else { "no" }.to_owned()),
        ),
        (
            Column::Seat,
            cells(|node| {
                let seat = node.seat.map(|seat| seat.to_string());
                seat.unwrap_or_else(|| "-".to_owned())
            }),
        ),
        (Column::Revision, cells(|node| node.revision.to_string())),
        (Column::Generation, cells(generation)),
        (Column::Metadata, cells(|node| text_of(&node.metadata))),
    ]
}

/// Returns the generation that the node has received, and what is special about its files.
fn generation(node: &NodeEntry) -> String {
    let number = node.delivered.map(|number| number.to_string());
    let mut text = number.unwrap_or_else(|| "-".to_owned());
    if node.behind {
        text.push_str(" (behind)");
    } else if newest_report(node)
        .is_some_and(|newest| newest.phase.is_failed() && node.delivered <= Some(newest.generation))
    {
        text.push_str(" (failed)");
    }
    if node.overridden {
        text.push_str(" (override)");
    }
    text
}

/// Returns metadata in the form `port=9000 role=validator`.
fn text_of(metadata: &Metadata) -> String {
    let one = |value: &Value| match value {
        Value::String(text) if !text.is_empty() && !text.contains(char::is_whitespace) => {
            text.clone()
        }
        value => value.to_string(),
    };
    match metadata {
        Value::Object(fields) if fields.is_empty() => String::new(),
        Value::Object(fields) => {
            let fields = fields
                .iter()
                .map(|(name, value)| format!("{name}={}", one(value)));
            fields.collect::<Vec<_>>().join(" ")
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The layout where stdout is not a terminal.
    const PIPE: Layout = Layout {
        is_wide: false,
        terminal_columns: None,
    };

    fn body() -> ClusterBody {
        serde_json::from_value(json!({
            "cluster": "devnet", "instance": "00000000000000000000000000000001", "revision": 4,
            "state": "waiting",
            "progress": {"registered": 2, "needed": 3, "missing": ["node-3"], "missing_count": 1,
                "unmet": ["nodes: 1 of 3 are missing"]},
            "generation": null,
            "registrations": [
                {"identifier": "node-1", "ip": "10.0.0.1", "metadata": {"port": 9000, "zone": "a b"},
                    "seat": null, "revision": 1, "since": "2026-01-31T12:00:00.5Z", "waits": true},
                {"identifier": "node-2", "ip": "fd00::2", "metadata": {"key": "x".repeat(100)},
                    "seat": null, "revision": 2, "overridden": true},
            ],
            "overridden_absent": ["node-9"],
            "banned": ["node-7"],
            "redraws": ["cookie", "id"],
            "refused": [{"identifier": "node-3", "ip": "10.0.0.3", "at": "2026-01-31T12:00:00Z",
                "reason": "wrong_metadata", "message": "metadata.port: missing"}],
        }))
        .unwrap()
    }

    #[test]
    fn waiting_cluster() {
        insta::assert_snapshot!(cluster(&body(), &Filter::default(), PIPE).as_str(), @r#"
        devnet: waiting, 2/3 nodes, no generation yet
        missing: node-3
        unmet: nodes: 1 of 3 are missing
        overridden, but not registered: node-9
        banned: node-7
        values of once that the next generation evaluates again: cookie, id
        refused: node-3 from 10.0.0.3 at 2026-01-31T12:00:00Z: metadata.port: missing

        NODE    IP        SINCE                 WAITS  SEAT  GENERATION    METADATA
        node-1  10.0.0.1  2026-01-31T12:00:00Z  yes    -     -             port=9000 zone="a b"
        node-2  fd00::2   -                     no     -     - (override)  key=xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…
        "#);
    }

    #[test]
    fn cluster_with_failed_render() {
        let mut body = body();
        body.state = ClusterState::Ready;
        body.generation = Some(cfgsync_model::GenerationNumber(2));
        body.registrations[0].delivered = body.generation;
        body.registrations[1].behind = true;
        body.failure = Some(
            serde_json::from_value(json!({
                "kind": "render", "reason": "cluster.yaml:7: `port` is undefined", "at": "2026-01-31T12:00:00Z",
            }))
            .unwrap(),
        );
        insta::assert_snapshot!(cluster(&body, &Filter::default(), PIPE).as_str(), @r#"
        devnet: ready, 2/3 nodes, generation 2, 1 behind
        the newest render failed at 2026-01-31T12:00:00Z: cluster.yaml:7: `port` is undefined
        missing: node-3
        unmet: nodes: 1 of 3 are missing
        overridden, but not registered: node-9
        banned: node-7
        values of once that the next generation evaluates again: cookie, id
        refused: node-3 from 10.0.0.3 at 2026-01-31T12:00:00Z: metadata.port: missing

        NODE    IP        SINCE                 WAITS  SEAT  GENERATION             METADATA
        node-1  10.0.0.1  2026-01-31T12:00:00Z  yes    -     2                      port=9000 zone="a b"
        node-2  fd00::2   -                     no     -     - (behind) (override)  key=xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…
        "#);
    }

    #[test]
    fn nodes_that_failed_with_the_served_generation_are_named() {
        let report = |phase: &str, generation: u64, second: u64| {
            let at = format!("2026-01-31T12:00:0{second}Z");
            serde_json::from_value::<PhaseEntry>(json!({
                "phase": phase, "generation": generation, "reason": "the check refused\nport 80", "at": at,
            }))
            .unwrap()
        };
        let mut body = body();
        body.generation = Some(cfgsync_model::GenerationNumber(2));
        for (at, phases) in [
            vec![report("failed", 2, 2), report("healthy", 1, 1)],
            vec![report("failed", 1, 2)],
            vec![report("failed", 2, 1), report("healthy", 2, 2)],
        ]
        .into_iter()
        .enumerate()
        {
            let mut node = body.registrations[0].clone();
            node.identifier = format!("n-{at}").parse().unwrap();
            node.phases = phases;
            body.registrations.push(node);
        }
        let text = cluster(&body, &Filter::default(), PIPE);
        let failed: Vec<&str> = (text.as_str().lines())
            .skip_while(|line| !line.starts_with("failed"))
            .take(3)
            .collect();
        assert_eq!(
            failed[..2],
            [
                "failed with generation 2: n-0: the check refused",
                "    port 80"
            ]
        );
        assert!(!failed[2].starts_with("failed"), "{failed:?}");
        let marked = text.as_str().matches(" (failed)").count();
        assert_eq!(
            marked,
            2,
            "n-0 and n-1 have failed with what they have\n{}",
            text.as_str()
        );
    }

    #[test]
    fn names_are_in_natural_order_and_surplus_nodes_are_counted() {
        let mut body = body();
        for (at, name) in ["n-10", "n-2", "n-1", "n-3"].into_iter().enumerate() {
            let mut node = body.registrations[0].clone();
            node.identifier = name.parse().unwrap();
            node.waits = at < 2;
            body.registrations.push(node);
        }
        body.progress = Progress {
            registered: 6,
            needed: 5,
            ..Progress::default()
        };
        let names = |filter: &Filter| -> Vec<String> {
            let table = cluster(&body, filter, PIPE);
            let rows = table
                .as_str()
                .lines()
                .skip_while(|line| !line.starts_with("NODE"));
            let names = rows.skip(1).filter_map(|row| row.split(' ').next());
            names.map(str::to_owned).collect()
        };
        assert_eq!(
            names(&Filter::default()),
            ["n-1", "n-2", "n-3", "n-10", "node-1", "node-2"]
        );
        let headline = cluster(&body, &Filter::default(), PIPE);
        let headline = headline.as_str().lines().next().unwrap();
        assert_eq!(
            headline,
            "devnet: waiting, 6 nodes (5 needed), no generation yet"
        );
    }

    #[test]
    fn control_characters_of_metadata_are_escaped() {
        let mut body = body();
        body.registrations[0].metadata = json!({"a": "\u{1b}[2J"});
        let table = cluster(&body, &Filter::default(), PIPE);
        assert!(
            table.as_str().contains("a=\\u{1b}[2J"),
            "{}",
            table.as_str()
        );
    }
}
