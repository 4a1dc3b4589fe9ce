//! `--*-max` and `--*-timeout`: the limits that protect a server, and the file descriptors that it has.

use std::time::Duration;

use cfgsync_access::AccessControl;
use cfgsync_server::HttpConfig;
use cfgsync_store::Bounds;
use clap::Args;

use super::{ServeArgs, descriptors::Descriptors};
use crate::cmd::parsers::{bytes, duration};

/// The limits that protect a server.
#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
pub(super) struct LimitArgs {
    /// Longest wait that a client may request; the server shortens longer ones
    #[arg(long, env = "CFGSYNC_WAIT_MAX", value_name = "DURATION", default_value = "1h", value_parser = duration)]
    wait_max: Duration,
    /// Largest request body, except for /node/replace
    #[arg(long, env = "CFGSYNC_REGISTER_BODY_MAX", value_name = "BYTES", default_value = "64KiB", value_parser = bytes)]
    register_body_max: usize,
    /// Largest request body for /node/replace
    #[arg(long, env = "CFGSYNC_REPLACE_BODY_MAX", value_name = "BYTES", default_value = "32MiB", value_parser = bytes)]
    replace_body_max: usize,
    /// Most registered nodes. Beyond it, the server refuses registrations, and `join` retries. Nodes that the spec
    /// lists are always accepted
    #[arg(
        long,
        env = "CFGSYNC_NODES_MAX",
        value_name = "COUNT",
        default_value = "100000",
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    nodes_max: u32,
    /// Memory for the metadata of all nodes. Beyond it, the server refuses registrations, and `join` retries
    ///
    /// A text counts as its length. Each value, name and list adds 64 bytes, and each object 512 bytes. The server
    /// keeps two copies of the metadata.
    #[arg(long, env = "CFGSYNC_METADATA_TOTAL_MAX", value_name = "BYTES", default_value = "256MiB", value_parser = bytes)]
    metadata_total_max: usize,
    /// Most open connections; more wait in the listen backlog
    #[arg(
        long,
        env = "CFGSYNC_CONNECTIONS_MAX",
        value_name = "COUNT",
        default_value = "16384",
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    connections_max: u32,
    /// Most open connections of one address; more are closed, and `join` retries [default: 75 % of --connections-max]
    ///
    /// An IPv6 /64 counts as one address. Raise the limit if more nodes connect from one address, as behind NAT.
    #[arg(
        long,
        env = "CFGSYNC_CONNECTIONS_PER_ADDRESS_MAX",
        value_name = "COUNT",
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    connections_per_address_max: Option<u32>,
    /// How long a connection may be idle, and how long the head of a request may take
    #[arg(long, env = "CFGSYNC_HEADER_TIMEOUT", value_name = "DURATION", default_value = "30s", value_parser = duration)]
    header_timeout: Duration,
    /// How long the body of a request may take
    #[arg(long, env = "CFGSYNC_BODY_TIMEOUT", value_name = "DURATION", default_value = "1m", value_parser = duration)]
    body_timeout: Duration,
    /// Close the connection of a client that reads no byte of a response for this time
    #[arg(
        long,
        env = "CFGSYNC_WRITE_STALL_TIMEOUT",
        value_name = "DURATION",
        default_value = "30s",
        value_parser = duration
    )]
    write_stall_timeout: Duration,
}

impl LimitArgs {
    /// The limits of the store.
    pub(super) fn bounds(&self) -> Bounds {
        Bounds {
            nodes_max: self.nodes_max as usize,
            metadata_total_max_bytes: self.metadata_total_max,
        }
    }
}

/// The configuration of the HTTP server. Warns if the process may not open enough files for the connections.
pub(super) fn http_config(
    args: &ServeArgs,
    descriptors: &Descriptors,
    guard: AccessControl,
) -> HttpConfig {
    let limits = &args.limits;
    let wanted = limits.connections_max as usize;
    let connections_max = wanted.min(descriptors.connections_max());
    if connections_max < wanted {
        tracing::warn!(
            "limiting connections to {connections_max} instead of {wanted}, because this process may not open more \
             files; raise the limit with `ulimit -Hn` or LimitNOFILE="
        );
    }
    let mut config = HttpConfig {
        hosts: args.host.clone(),
        hold: args.hold,
        hold_render: args.hold_render,
        stale_max: args.stale_max,
        wait_max: limits.wait_max,
        register_body_max_bytes: limits.register_body_max,
        replace_body_max_bytes: limits.replace_body_max,
        connections_max,
        connections_per_address_max: limits.connections_per_address_max.map(|max| max as usize),
        header_timeout: limits.header_timeout,
        body_timeout: limits.body_timeout,
        write_stall_timeout: limits.write_stall_timeout,
        drain_timeout: args.drain_timeout,
        waiters_per_node_max: args.access.waiters_per_node_max.into(),
        page_default_entries: args.values.page_default_entries(),
        access: guard,
        ..HttpConfig::default()
    };
    args.events.apply_to(&mut config);
    config
}
