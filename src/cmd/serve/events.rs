//! `--event-history-*` and `--watch*`: the events that a server keeps, and the clients that watch them.

use std::time::Duration;

use cfgsync_server::{HttpConfig, WatchLimits};
use cfgsync_store::EventBounds;
use clap::Args;

use crate::cmd::parsers::{bytes, duration};

/// The history of events and its watchers.
#[derive(Debug, Args)]
#[command(next_help_heading = "Events")]
pub(super) struct EventArgs {
    /// Most events that the server keeps for watchers that reconnect
    #[arg(
        long,
        env = "CFGSYNC_EVENT_HISTORY_MAX",
        value_name = "COUNT",
        default_value = "16384",
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    event_history_max: u32,
    /// Memory for the contents of values and the metadata of nodes in these events
    #[arg(long, env = "CFGSYNC_EVENT_HISTORY_BYTES_MAX", value_name = "BYTES", default_value = "16MiB", value_parser = bytes)]
    event_history_bytes_max: usize,
    /// Time between two heartbeats of an event stream
    #[arg(
        long,
        env = "CFGSYNC_WATCH_HEARTBEAT",
        value_name = "DURATION",
        default_value = "30s",
        value_parser = heartbeat
    )]
    watch_heartbeat: Duration,
    /// Most open event streams; the server refuses more with status 429
    #[arg(
        long,
        env = "CFGSYNC_WATCHERS_MAX",
        value_name = "COUNT",
        default_value = "10000"
    )]
    watchers_max: u32,
    /// Most open event streams of one token or client certificate
    #[arg(
        long,
        env = "CFGSYNC_WATCHERS_PER_IDENTITY_MAX",
        value_name = "COUNT",
        default_value = "1000"
    )]
    watchers_per_identity_max: u32,
    /// Most open event streams of one address. An IPv6 /64 counts as one address
    #[arg(
        long,
        env = "CFGSYNC_WATCHERS_PER_ADDRESS_MAX",
        value_name = "COUNT",
        default_value = "1000"
    )]
    watchers_per_address_max: u32,
}

impl EventArgs {
    /// The bounds on the history of events.
    pub(super) fn bounds(&self) -> EventBounds {
        EventBounds {
            events_max: self.event_history_max as usize,
            contents_max_bytes: self.event_history_bytes_max,
        }
    }

    /// Adds the limits of watchers to `config`.
    pub(super) fn apply_to(&self, config: &mut HttpConfig) {
        config.watch_heartbeat = self.watch_heartbeat;
        config.watch_limits = WatchLimits {
            all_max: self.watchers_max as usize,
            per_identity_max: self.watchers_per_identity_max as usize,
            per_address_max: self.watchers_per_address_max as usize,
        };
    }
}

/// Parses a time between heartbeats, which each cost a write.
fn heartbeat(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        time if time < Duration::from_secs(1) => Err("at least 1s".to_owned()),
        time => Ok(time),
    }
}
