//! The lines of a timeline: what happened to the cluster and to its nodes, merged by time.

use cfgsync_support::clock::Timestamp;
use cfgsync_wire::RecordBody;

/// The names that a merged line lists. Further ones are counted.
const NAMES_MAX: usize = 4;

/// One line of a timeline.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Line {
    /// The seconds since the beginning of the record.
    pub(super) offset: Option<f64>,
    pub(super) text: String,
}

/// An event of one node or of the cluster, with its time.
enum Entry<'a> {
    Node { name: &'a str, what: String },
    Cluster(String),
}

/// Returns the seconds since the beginning of the record.
pub(super) fn offset(record: &RecordBody, at: Timestamp) -> f64 {
    let from = beginning(record);
    (at.as_microsecond() - from.as_microsecond()) as f64 / 1e6
}

/// Returns the time at which the timeline begins.
pub(super) fn beginning(record: &RecordBody) -> Timestamp {
    let waits = record.waits.iter().map(|wait| wait.at);
    let first = record.began_at.or_else(|| waits.min());
    first.unwrap_or(record.ended_at)
}

/// Returns the lines in order. If `all` is set, each node has lines of its own.
pub(super) fn lines(record: &RecordBody, all: bool) -> Vec<Line> {
    let mut entries: Vec<(Option<Timestamp>, u8, Entry)> = Vec::new();
    let (mut last, beginning) = (None, beginning(record));
    for moment in &record.moments {
        // A moment without a time follows the one before it.
        last = moment.at.or(last);
        entries.push((last, 3, Entry::Cluster(moment.message.clone())));
    }
    for wait in &record.waits {
        let text = format!("waiting: {}", wait.message);
        entries.push((Some(wait.at), 1, Entry::Cluster(text)));
    }
    if let Some(render) = &record.render
        && let (Some(at), Some(took)) = (render.started_at, render.seconds)
    {
        let text = format!("rendering {} files took {took:.3} s", render.files);
        entries.push((Some(at), 2, Entry::Cluster(text)));
    }
    for node in &record.nodes {
        let name = node.identifier.as_str();
        let mut push = |at: Option<Timestamp>, rank: u8, what: String| {
            if at.is_some() {
                entries.push((at, rank, Entry::Node { name, what }));
            }
        };
        // Earlier ones led to earlier generations.
        let registered_at = node.registered_at.filter(|at| *at >= beginning);
        push(registered_at, 0, "registered".to_owned());
        push(node.delivered_at, 4, "received the files".to_owned());
        for report in &node.phases {
            let what = match &report.reason {
                Some(reason) => format!("reported {}: {reason}", report.phase),
                None => format!("reported {}", report.phase),
            };
            push(report.at, 5, what);
        }
    }
    entries.sort_by_key(|(at, rank, _)| (*at, *rank));
    merged(record, entries, all)
}

/// Returns the lines of these entries. Between two entries of the cluster, nodes to which the same happened share a line.
fn merged(
    record: &RecordBody,
    entries: Vec<(Option<Timestamp>, u8, Entry)>,
    all: bool,
) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut groups: Vec<Group> = Vec::new();
    for (at, _, entry) in entries {
        let offset = at.map(|at| offset(record, at));
        match entry {
            Entry::Cluster(text) => {
                lines.extend(groups.drain(..).map(Group::into_line));
                lines.push(Line { offset, text });
            }
            Entry::Node { name, what } => {
                let known = groups.iter_mut().find(|group| !all && group.what == what);
                match known {
                    Some(group) => {
                        group.names.push(name);
                        group.last = offset;
                    }
                    None => groups.push(Group {
                        first: offset,
                        last: offset,
                        names: vec![name],
                        what,
                    }),
                }
            }
        }
    }
    lines.extend(groups.into_iter().map(Group::into_line));
    lines
}

/// Nodes to which the same happened.
struct Group<'a> {
    first: Option<f64>,
    last: Option<f64>,
    names: Vec<&'a str>,
    what: String,
}

impl Group<'_> {
    fn into_line(self) -> Line {
        let mut text = format!("{} {}", listed(&self.names), self.what);
        if let (Some(first), Some(last)) = (self.first, self.last)
            && last - first >= 0.0005
        {
            text.push_str(&format!(", the last at {last:+.3}"));
        }
        Line {
            offset: self.first,
            text,
        }
    }
}

/// Returns the names in one line, of which only some are listed.
fn listed(names: &[&str]) -> String {
    let more = names.len().saturating_sub(NAMES_MAX);
    // One more name is not longer than the count.
    let shown = if more == 1 {
        names
    } else {
        &names[..names.len() - more]
    };
    match (shown, more) {
        ([name], 0) => (*name).to_owned(),
        (_, 0 | 1) => {
            let (last, others) = shown.split_last().expect("there is a name");
            format!("{} and {last}", others.join(", "))
        }
        _ => format!("{} and {more} others", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::listed;

    #[test]
    fn names_beyond_the_bound_are_counted() {
        assert_eq!(listed(&["a"]), "a");
        assert_eq!(listed(&["a", "b"]), "a and b");
        assert_eq!(listed(&["a", "b", "c", "d", "e"]), "a, b, c, d and e");
        let six = ["a", "b", "c", "d", "e", "f"];
        assert_eq!(listed(&six), "a, b, c, d and 2 others");
    }
}
