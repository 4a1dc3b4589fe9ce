//! How `inspect` prints its answers: the format, and the nodes of the cluster that it shows.

use cfgsync_wire::ClusterBody;
use clap::ValueEnum;

use super::{cluster_table, filter::Filter, layout::Layout};
use crate::cmd::output::{self, Format, Text};

/// The formats of `inspect`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum InspectFormat {
    /// A table that fits the terminal, for people
    #[value(alias = "text")]
    Table,
    /// A table with all columns in full
    Wide,
    /// JSON, for scripts
    Json,
    /// YAML, for scripts and people
    Yaml,
    /// JUnit XML, for CI systems; only for `inspect record`
    Junit,
    /// An SVG image; only for `inspect record`
    Svg,
}

/// The format and the filter that were asked for.
pub(super) struct Presentation {
    pub(super) format: InspectFormat,
    pub(super) filter: Filter,
}

impl InspectFormat {
    /// Returns whether only a flight record has this format.
    pub(super) fn is_of_records(self) -> bool {
        matches!(self, Self::Junit | Self::Svg)
    }

    /// Returns the format of the data.
    pub(super) fn data(self) -> Format {
        match self {
            Self::Table | Self::Wide | Self::Junit | Self::Svg => Format::Table,
            Self::Json => Format::Json,
            Self::Yaml => Format::Yaml,
        }
    }
}

impl Presentation {
    /// Returns the layout of tables.
    pub(super) fn layout(&self) -> Layout {
        Layout::of_stdout(self.format == InspectFormat::Wide)
    }

    /// Returns the description of the cluster, with the nodes that the filter selects.
    pub(super) fn cluster(&self, body: &ClusterBody) -> Text {
        let table = |body: &ClusterBody| cluster_table::cluster(body, &self.filter, self.layout());
        match self.format.data() {
            Format::Table => table(body),
            format => output::render(format, &self.selected(body), table),
        }
    }

    /// Returns the description as one JSON line.
    pub(super) fn cluster_in_one_line(&self, body: &ClusterBody) -> Text {
        output::json_line(&self.selected(body))
    }

    fn selected(&self, body: &ClusterBody) -> ClusterBody {
        let mut selected = body.clone();
        self.filter.apply(&mut selected);
        selected
    }
}
