//! The layout of the table of nodes: which columns it has, and how it fits the terminal.

use console::measure_text_width;

use cfgsync_support::escape::escape_line;

use crate::cmd::output::{columns, terminal_columns};

/// Longest metadata where stdout is not a terminal, in characters.
const METADATA_MAX_CHARS: usize = 48;
/// Shortest metadata on a terminal, in characters. If there is less room, the column is left out.
const METADATA_MIN_CHARS: usize = 12;
/// The columns that a narrow terminal does not show, in the order in which they are left out.
const LEFT_OUT: [Column; 5] = [
    Column::Metadata,
    Column::Seat,
    Column::Since,
    Column::Ip,
    Column::Waits,
];
/// The blanks between two columns.
const GAP_CHARS: usize = 2;

/// A column of the table of nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Column {
    Node,
    Ip,
    Since,
    Waits,
    Seat,
    Revision,
    Generation,
    Metadata,
}

/// The room for a table, and whether it is shown in full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    /// Whether all columns are shown in full.
    pub(super) is_wide: bool,
    /// The number of columns of the terminal; `None` if stdout is not a terminal.
    pub(super) terminal_columns: Option<usize>,
}

impl Layout {
    /// Returns the layout for stdout.
    pub(super) fn of_stdout(is_wide: bool) -> Self {
        Self {
            is_wide,
            terminal_columns: terminal_columns(),
        }
    }

    /// Returns the table of these columns.
    pub(super) fn table(self, mut all: Vec<(Column, Vec<String>)>) -> String {
        // A cell is escaped before it is measured.
        for cell in all.iter_mut().flat_map(|(_, cells)| cells) {
            *cell = escape_line(cell);
        }
        if !self.is_wide {
            all.retain(|(column, _)| *column != Column::Revision);
            match self.terminal_columns {
                None => shorten(&mut all, METADATA_MAX_CHARS),
                Some(room) => fit(&mut all, room),
            }
        }
        let header: Vec<&str> = all.iter().map(|(column, _)| column.title()).collect();
        let rows = all.first().map_or(0, |(_, cells)| cells.len());
        let row = |at: usize| all.iter().map(|(_, cells)| cells[at].clone()).collect();
        columns(&header, &(0..rows).map(row).collect::<Vec<_>>())
    }
}

impl Column {
    fn title(self) -> &'static str {
        match self {
            Self::Node => "NODE",
            Self::Ip => "IP",
            Self::Since => "SINCE",
            Self::Waits => "WAITS",
            Self::Seat => "SEAT",
            Self::Revision => "REVISION",
            Self::Generation => "GENERATION",
            Self::Metadata => "METADATA",
        }
    }
}

/// Shortens the metadata and leaves out columns until the table is at most `room` characters wide.
fn fit(all: &mut Vec<(Column, Vec<String>)>, room: usize) {
    let is_metadata = |(column, _): &&(Column, Vec<String>)| *column == Column::Metadata;
    let metadata: usize = all.iter().filter(is_metadata).map(width).sum();
    let others = total(all) - metadata;
    shorten(all, room.saturating_sub(others).max(METADATA_MIN_CHARS));
    for column in LEFT_OUT {
        if total(all) <= room {
            return;
        }
        all.retain(|(other, _)| *other != column);
    }
}

/// The width of the table.
fn total(all: &[(Column, Vec<String>)]) -> usize {
    let widths: usize = all.iter().map(width).sum();
    widths + GAP_CHARS * all.len().saturating_sub(1)
}

fn width((column, cells): &(Column, Vec<String>)) -> usize {
    let cells = cells.iter().map(|cell| measure_text_width(cell));
    cells.chain([column.title().len()]).max().unwrap_or(0)
}

/// Shortens the metadata to `max` characters.
fn shorten(all: &mut [(Column, Vec<String>)], max: usize) {
    let metadata = all
        .iter_mut()
        .filter(|(column, _)| *column == Column::Metadata);
    for cell in metadata.flat_map(|(_, cells)| cells) {
        if cell.chars().count() > max {
            *cell = cell.chars().take(max - 1).chain(['…']).collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes() -> Vec<(Column, Vec<String>)> {
        let cells = |one: &str, other: &str| vec![one.to_owned(), other.to_owned()];
        vec![
            (Column::Node, cells("node-1", "node-10")),
            (Column::Ip, cells("10.0.0.1", "fd00::2")),
            (Column::Since, cells("2026-01-31T12:00:00Z", "-")),
            (Column::Waits, cells("yes", "no")),
            (Column::Seat, cells("-", "0")),
            (Column::Revision, cells("1", "2")),
            (Column::Generation, cells("1 (behind)", "2")),
            (
                Column::Metadata,
                cells("port=9000 role=validator zone=europe-west-4", ""),
            ),
        ]
    }

    fn table(is_wide: bool, terminal_columns: Option<usize>) -> String {
        let layout = Layout {
            is_wide,
            terminal_columns,
        };
        layout.table(nodes())
    }

    #[test]
    fn table_fits_each_terminal() {
        for room in 19..140 {
            let table = table(false, Some(room));
            let widest = table.lines().map(|line| line.chars().count()).max();
            assert!(widest.unwrap() <= room, "{room}\n{table}");
        }
        insta::assert_snapshot!(table(false, Some(80)), @r"
        NODE     IP        SINCE                 WAITS  SEAT  GENERATION  METADATA
        node-1   10.0.0.1  2026-01-31T12:00:00Z  yes    -     1 (behind)  port=9000 rol…
        node-10  fd00::2   -                     no     0     2
        ");
        insta::assert_snapshot!(table(false, Some(60)), @r"
        NODE     IP        SINCE                 WAITS  GENERATION
        node-1   10.0.0.1  2026-01-31T12:00:00Z  yes    1 (behind)
        node-10  fd00::2   -                     no     2
        ");
    }

    #[test]
    fn wide_table_shows_everything_on_each_terminal() {
        let wide = table(true, Some(10));
        assert_eq!(wide, table(true, None));
        assert!(wide.contains("REVISION"), "{wide}");
        assert!(wide.contains("zone=europe-west-4"), "{wide}");
    }
}
