//! `--values-*`, `--value-history-max` and `--page-default`: the limits on operators' values.

use cfgsync_cluster::PAGE_MAX_ENTRIES;
use cfgsync_store::ValueBounds;
use clap::Args;

use crate::cmd::parsers::bytes;

/// The limits on operators' values.
#[derive(Debug, Args)]
#[command(next_help_heading = "Values")]
pub(super) struct ValueLimitArgs {
    /// Most keys in all namespaces, with the deleted ones whose history is kept. Also the most aliases
    ///
    /// Beyond it, the server forgets the histories of deleted values, the longest deleted first. If that is not enough, it
    /// refuses new keys.
    #[arg(
        long,
        env = "CFGSYNC_VALUES_MAX",
        value_name = "COUNT",
        default_value = "100000",
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    values_max: u32,
    /// Memory for all versions of all values. A version counts as its length and 256 bytes
    ///
    /// Beyond it, the server forgets the histories of deleted values, the longest deleted first. If that is not enough, it
    /// refuses values.
    #[arg(long, env = "CFGSYNC_VALUES_TOTAL_MAX", value_name = "BYTES", default_value = "256MiB", value_parser = bytes)]
    values_total_max: usize,
    /// Most versions of each value that the server keeps; the oldest are dropped
    #[arg(
        long,
        env = "CFGSYNC_VALUE_HISTORY_MAX",
        value_name = "COUNT",
        default_value = "100",
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    value_history_max: u32,
    /// Entries of a page of values or versions if the client gives no limit, at most 1000
    #[arg(
        long,
        env = "CFGSYNC_PAGE_DEFAULT",
        value_name = "COUNT",
        default_value = "100",
        value_parser = clap::value_parser!(u32).range(1..=PAGE_MAX_ENTRIES as i64)
    )]
    page_default: u32,
}

impl ValueLimitArgs {
    /// The limits of the store.
    pub(super) fn bounds(&self) -> ValueBounds {
        ValueBounds {
            keys_max: self.values_max as usize,
            total_max_bytes: self.values_total_max,
            history_max: self.value_history_max as usize,
        }
    }

    /// The number of entries of a page for which no limit is given.
    pub(super) fn page_default_entries(&self) -> usize {
        self.page_default as usize
    }
}
