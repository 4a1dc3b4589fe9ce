//! The rows of the image. A few nodes have a row each. Of many nodes, the failed and the slowest have one, and the others
//! are merged.

use cfgsync_support::clock::Timestamp;
use cfgsync_wire::{RecordBody, RecordNode, RecordNodeState};

use super::{super::timeline::offset, duration};

/// The number of nodes up to which each has a row.
const NODES_MAX: usize = 60;
/// Of more nodes, the failed and the slowest that have a row each, and the number of rows for the others.
const BAD_MAX: usize = 20;
const SLOWEST_MAX: usize = 10;
const MERGED_MAX: usize = 30;
/// The nodes that the tooltip of a merged row lists.
const TIP_NAMES_MAX: usize = 20;

/// One row: a node, or several.
pub(super) struct Row {
    pub(super) label: String,
    pub(super) result: String,
    pub(super) tip: String,
    pub(super) is_bad: bool,
    pub(super) spans: Vec<Span>,
    pub(super) marks: Vec<Mark>,
}

/// A part of a bar, in seconds since the beginning of the record.
pub(super) struct Span {
    pub(super) class: &'static str,
    pub(super) from: f64,
    pub(super) to: f64,
    /// Whether only some of the nodes are in this part.
    pub(super) is_light: bool,
}

/// A phase.
pub(super) struct Mark {
    pub(super) at: Timestamp,
    pub(super) is_bad: bool,
}

/// Returns the rows, the failed nodes first, then the slowest.
pub(super) fn rows(record: &RecordBody) -> Vec<Row> {
    let nodes: Vec<&RecordNode> = record.nodes.iter().collect();
    if nodes.len() <= NODES_MAX {
        return nodes.iter().map(|node| row_of(record, node)).collect();
    }
    let (bad, good): (Vec<&RecordNode>, Vec<&RecordNode>) =
        nodes.into_iter().partition(|node| node.state.is_bad());
    let mut rows = Vec::new();
    let (first, more) = bad.split_at(bad.len().min(BAD_MAX));
    rows.extend(first.iter().map(|node| row_of(record, node)));
    rows.extend(merged(record, more, MERGED_MAX / 3));
    // A few good nodes beside many bad ones are no slowest ones.
    let slowest = if good.len() > SLOWEST_MAX + 1 {
        SLOWEST_MAX
    } else {
        good.len()
    };
    let (slowest, rest) = good.split_at(slowest);
    rows.extend(slowest.iter().map(|node| row_of(record, node)));
    rows.extend(merged(record, rest, MERGED_MAX));
    rows
}

/// Merges nodes that registered one after the other. Each row has about the same number of them.
fn merged(record: &RecordBody, nodes: &[&RecordNode], rows_max: usize) -> Vec<Row> {
    let mut nodes = nodes.to_vec();
    nodes.sort_by_key(|node| (node.state.is_bad(), node.registered_at, &node.identifier));
    let size = nodes.len().div_ceil(rows_max).max(1);
    nodes
        .chunks(size)
        .map(|group| merged_row(record, group))
        .collect()
}

fn row_of(record: &RecordBody, node: &RecordNode) -> Row {
    let result = match (node.state, node.seconds) {
        (RecordNodeState::Delivered, Some(took)) => duration(took),
        (state, Some(took)) if state.is_bad() => format!("{} ({})", state.name(), duration(took)),
        (state, _) => state.name().to_owned(),
    };
    let mut tip = format!("{}: {}", node.identifier, node.state.name());
    if let Some(failure) = &node.failure {
        tip.push_str(&format!("\n{failure}"));
    }
    let mut moment = |what: &str, at: Option<Timestamp>| {
        if let Some(at) = at {
            tip.push_str(&format!("\n{what} {:+.3} s", offset(record, at)));
        }
    };
    moment("registered", node.registered_at);
    moment("delivered", node.delivered_at);
    for report in &node.phases {
        moment(report.phase.as_str(), report.at);
    }
    let marks = node.phases.iter().filter_map(|report| {
        Some(Mark {
            at: report.at?,
            is_bad: report.phase.is_failed(),
        })
    });
    Row {
        label: node.identifier.to_string(),
        result,
        tip,
        is_bad: node.state.is_bad(),
        spans: spans(record, &[node]),
        marks: marks.collect(),
    }
}

fn merged_row(record: &RecordBody, nodes: &[&RecordNode]) -> Row {
    if let [node] = nodes {
        return row_of(record, node);
    }
    let names: Vec<&str> = nodes.iter().map(|node| node.identifier.as_str()).collect();
    let (first, last) = (names[0], names[names.len() - 1]);
    let times = nodes.iter().filter_map(|node| node.seconds);
    let (low, high) = times.fold((f64::MAX, 0.0_f64), |(low, high), took| {
        (low.min(took), high.max(took))
    });
    let took = if low <= high {
        format!("{} – {}", duration(low), duration(high))
    } else {
        nodes[0].state.name().to_owned()
    };
    let more = names.len().saturating_sub(TIP_NAMES_MAX);
    let listed = names[..names.len() - more].join(", ");
    let more = if more == 0 {
        String::new()
    } else {
        format!(" and {more} more")
    };
    Row {
        label: format!("{} nodes", nodes.len()),
        result: took,
        tip: format!(
            "{} nodes, from {first} to {last}\n{listed}{more}",
            nodes.len()
        ),
        is_bad: nodes.iter().any(|node| node.state.is_bad()),
        spans: spans(record, nodes),
        marks: Vec::new(),
    }
}

/// Returns the parts of the bar of these nodes. Between the first and the last of them, a part is light.
fn spans(record: &RecordBody, nodes: &[&RecordNode]) -> Vec<Span> {
    let at = |time: Timestamp| offset(record, time).max(0.0);
    let range = |times: &mut dyn Iterator<Item = Timestamp>| {
        let mut range: Option<(f64, f64)> = None;
        for time in times.map(at) {
            let (low, high) = range.unwrap_or((time, time));
            range = Some((low.min(time), high.max(time)));
        }
        range
    };
    let registered = range(&mut nodes.iter().filter_map(|node| node.registered_at));
    let delivered = range(&mut nodes.iter().filter_map(|node| node.delivered_at));
    let phases = range(
        &mut nodes
            .iter()
            .flat_map(|node| &node.phases)
            .filter_map(|report| report.at),
    );
    let sealed = record.sealed_at.map(at);
    let end = at(record.ended_at);
    let mut spans = Vec::new();
    let mut push = |class, from: f64, to: f64, is_light| {
        if to > from {
            spans.push(Span {
                class,
                from,
                to,
                is_light,
            });
        }
    };
    let Some((first, last)) = registered else {
        // Nodes that have not registered have an empty bar.
        if nodes.iter().any(|node| node.state.is_bad()) {
            push("none", 0.0, end, true);
        }
        return spans;
    };
    let is_served = delivered.is_some();
    if !is_served && !nodes.iter().any(|node| node.state.is_bad()) {
        // They left, or kept what they had.
        return spans;
    }
    let class = if is_served || sealed.is_none_or(|sealed| sealed > last) {
        "wait"
    } else {
        "none"
    };
    let waited = sealed.filter(|sealed| *sealed > last).unwrap_or(last);
    push(class, first, last, true);
    match (sealed, delivered) {
        (_, Some((low, high))) => {
            let seal = waited.min(low).max(last.min(low));
            push("wait", last.min(low), seal, false);
            push("deliver", seal, low, false);
            push("deliver", low, high, true);
            if let Some((_, reported)) = phases {
                push("run", high, reported, false);
            }
        }
        (Some(_), None) => {
            push("wait", last, waited, false);
            push("none", waited, end, false);
        }
        (None, None) => push("wait", last, end, false),
    }
    spans
}
