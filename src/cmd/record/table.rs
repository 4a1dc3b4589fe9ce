//! A flight record as a table.

use cfgsync_model::GenerationChanges;
use cfgsync_support::{clock::Timestamp, escape::escape_line};
use cfgsync_wire::{RecordBody, RecordNode, RecordNodeState};

use super::timeline;
use crate::cmd::output::{columns, indented};

/// The nodes that a bounded table shows.
const NODES_MAX: usize = 20;
/// The lines of the timeline that a bounded table shows: half of them from the beginning, and half from the end.
const LINES_MAX: usize = 40;
/// The reasons that a bounded table shows.
const REASONS_MAX: usize = 10;
/// The longest phases in the table of nodes, in characters.
const PHASES_MAX_CHARS: usize = 60;

pub(super) fn table(record: &RecordBody, all: bool) -> String {
    let mut text = format!("{}: {}\n", record.cluster, indented(&record.message));
    let beginning = timeline::beginning(record);
    text.push_str(&format!("times are seconds since {beginning:.3}\n"));
    if !record.complete {
        text.push_str(
            "the history does not reach back to the beginning: times and waits may be missing\n",
        );
    }
    if let Some(failure) = &record.failure
        && record.generation.is_some()
    {
        text.push_str(&format!(
            "the newest render: {}\n",
            indented(&failure.reason)
        ));
    }
    if let Some(changes) = record.changes.as_ref().filter(|changes| is_shown(changes)) {
        let bound = if all { usize::MAX } else { REASONS_MAX };
        text.push_str("\nwhat has changed since the generation before:\n");
        for change in changes.changes.iter().take(bound) {
            text.push_str(&format!("  {}\n", escape_line(&change.to_string())));
        }
        let more = changes.changes.len().saturating_sub(bound) + changes.more;
        if more > 0 {
            text.push_str(&format!("  and {more} more\n"));
        }
    }
    reasons(record, all, &mut text);
    nodes(record, all, &mut text);
    text.push_str("\ntimeline:\n");
    let lines = timeline::lines(record, all);
    let hidden = if all {
        0
    } else {
        lines.len().saturating_sub(LINES_MAX)
    };
    for (at, line) in lines.iter().enumerate() {
        if hidden > 1 && at == LINES_MAX / 2 {
            text.push_str(&format!(
                "{:>12}  {hidden} lines more; --all shows them\n",
                "..."
            ));
        }
        let is_hidden = hidden > 1 && (LINES_MAX / 2..LINES_MAX / 2 + hidden).contains(&at);
        if !is_hidden {
            let offset = line
                .offset
                .map_or_else(|| "-".to_owned(), |at| format!("{at:+.3}"));
            text.push_str(&format!("{offset:>12}  {}\n", indented(&line.text)));
        }
    }
    if lines.is_empty() {
        text.push_str("  nothing has happened\n");
    }
    text
}

fn is_shown(changes: &GenerationChanges) -> bool {
    !changes.changes.is_empty() || changes.more > 0
}

/// Appends why nodes have failed or are not served.
fn reasons(record: &RecordBody, all: bool, text: &mut String) {
    let bad: Vec<&RecordNode> = record
        .nodes
        .iter()
        .filter(|node| node.state.is_bad())
        .collect();
    let total = bad.len() + record.missing_more;
    if total == 0 {
        return;
    }
    text.push_str("\nnot served, or failed:\n");
    let bound = if all { usize::MAX } else { REASONS_MAX };
    for node in bad.iter().take(bound) {
        let reason = node.failure.as_deref().unwrap_or_default();
        let name = &node.identifier;
        text.push_str(&format!(
            "  {name} ({}): {}\n",
            node.state.name(),
            indented(reason)
        ));
    }
    let more = total - bad.len().min(bound);
    if more > 0 {
        text.push_str(&format!("  and {more} more\n"));
    }
}

/// Appends the table of nodes.
fn nodes(record: &RecordBody, all: bool, text: &mut String) {
    if record.nodes.is_empty() {
        return;
    }
    let bound = if all { usize::MAX } else { NODES_MAX };
    let at = |at: Option<Timestamp>| {
        let offset = at.map(|at| timeline::offset(record, at));
        offset.map_or_else(|| "-".to_owned(), |offset| format!("{offset:+.3}"))
    };
    let row = |node: &RecordNode| {
        let took = node
            .seconds
            .map_or_else(|| "-".to_owned(), |took| format!("{took:.3} s"));
        let phases = node.phases.iter();
        let phases = phases.map(|report| format!("{} {}", report.phase, at(report.at)));
        let mut phases = phases.collect::<Vec<_>>().join(", ");
        if let Some((end, _)) = phases.char_indices().nth(PHASES_MAX_CHARS) {
            phases.truncate(end);
            phases.push('…');
        }
        vec![
            node.identifier.to_string(),
            node.state.name().to_owned(),
            at(node.registered_at),
            at(node.delivered_at),
            took,
            phases,
        ]
    };
    let rows: Vec<_> = record.nodes.iter().take(bound).map(row).collect();
    let header = ["NODE", "STATE", "REGISTERED", "DELIVERED", "TOOK", "PHASES"];
    text.push('\n');
    text.push_str(&columns(&header, &rows));
    let rest = record.nodes.get(rows.len()..).unwrap_or_default();
    if rest.is_empty() {
        return;
    }
    let times = rest
        .iter()
        .filter(|node| node.state == RecordNodeState::Delivered);
    let times = times.filter_map(|node| node.seconds);
    let (fastest, slowest) = times.fold((f64::MAX, 0.0_f64), |(low, high), took| {
        (low.min(took), high.max(took))
    });
    let took = if fastest > slowest {
        String::new()
    } else {
        format!(", of which deliveries took {fastest:.3} s to {slowest:.3} s")
    };
    text.push_str(&format!(
        "and {} more nodes{took}; --all shows them\n",
        rest.len()
    ));
}
