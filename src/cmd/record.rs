//! The flight record in its formats. Each format is a pure function of the record.

mod xml;
mod timeline;
mod table;
mod junit;
mod svg;

use std::path::Path;

use cfgsync_wire::RecordBody;
use clap::ValueEnum;

use super::output::Text;

/// The formats of a flight record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RecordFormat {
    /// A table, for people
    #[value(alias = "text")]
    Table,
    /// JSON, for scripts
    Json,
    /// JUnit XML with one test case for each node, for CI systems
    Junit,
    /// An SVG image with one row for each node
    Svg,
}

impl RecordFormat {
    /// Returns the format that the extension of a file stands for.
    pub(crate) fn of_file(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()? {
            "txt" => Some(Self::Table),
            "json" => Some(Self::Json),
            "xml" => Some(Self::Junit),
            "svg" => Some(Self::Svg),
            _ => None,
        }
    }
}

/// Returns the record as a document for a file.
pub(crate) fn document(record: &RecordBody, format: RecordFormat) -> String {
    match format {
        RecordFormat::Table => table(record, false).into_string(),
        RecordFormat::Json => super::output::json(record).into_string(),
        RecordFormat::Junit => junit(record),
        RecordFormat::Svg => svg(record),
    }
}

/// Returns the record as a table. It is bounded unless `all` is set.
pub(crate) fn table(record: &RecordBody, all: bool) -> Text {
    Text::from(table::table(record, all))
}

/// Returns the record as JUnit XML.
pub(crate) fn junit(record: &RecordBody) -> String {
    junit::junit(record)
}

/// Returns the record as an SVG image.
pub(crate) fn svg(record: &RecordBody) -> String {
    svg::svg(record)
}

#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;
