//! Warns when the database of etcd has nearly reached its quota. At the quota, etcd takes no more changes, and cfgsync does
//! not compact an etcd that it may share.

use std::{sync::Arc, time::Duration};

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::{database, shared::Shared};
use cfgsync_store::Database;

/// The interval at which etcd is asked for its size.
const INTERVAL: Duration = Duration::from_mins(1);

/// Asks until `stop`. Only the server that has the turn to render asks, so that the warning is there once.
pub(crate) async fn run(shared: Arc<Shared>, stop: CancellationToken) {
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut was_near = false;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let session = shared.session.borrow().clone();
        let Some(session) = session.filter(|_| *shared.turn.borrow()) else {
            continue;
        };
        // Without an answer, the state of the connection is reported elsewhere.
        let Ok(database) = database::describe(&session).await else {
            continue;
        };
        let is_near = database.is_near_quota();
        if is_near && !was_near {
            tracing::warn!(event = "etcd_near_quota", "{}", warning(&database));
        }
        was_near = is_near;
    }
}

fn warning(database: &Database) -> String {
    let mib = |bytes: u64| bytes >> 20;
    let quota = match database.quota_bytes {
        Some(quota) => format!("its quota is {} MiB", mib(quota)),
        None => format!(
            "its default quota is {} MiB",
            mib(Database::QUOTA_DEFAULT_BYTES)
        ),
    };
    format!(
        "the database of etcd has {} MiB, and {quota}; at the quota it takes no more changes: compact and defragment it, \
         or raise --quota-backend-bytes of etcd",
        mib(database.size_bytes)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warning_names_the_quota_that_counts() {
        let mut database = Database {
            size_bytes: 1900 << 20,
            ..Database::default()
        };
        assert!(database.is_near_quota());
        let text = warning(&database);
        assert!(
            text.starts_with(
                "the database of etcd has 1900 MiB, and its default quota is 2048 MiB;"
            ),
            "{text}"
        );
        database.quota_bytes = Some(8 << 30);
        assert!(!database.is_near_quota());
        assert!(warning(&database).contains("and its quota is 8192 MiB;"));
    }
}
