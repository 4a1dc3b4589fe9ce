//! Tells the other servers which nodes reach this one, and takes what they tell. A lease, a roll-out and a run therefore
//! do not depend on the server that a node asks.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    time::{Instant, MissedTickBehavior, interval},
};

use crate::Shared;
use cfgsync_store::Presence;

/// The shortest time between two messages.
const INTERVAL_MIN: Duration = Duration::from_millis(300);

/// The longest time between two messages. A follower counts as silent after much more.
const INTERVAL_MAX: Duration = Duration::from_secs(10);

/// The number of messages in the time of one lease.
const PER_LEASE: u32 = 3;

/// Shares the presence of nodes until it is dropped. Never completes.
pub(crate) async fn share(shared: Arc<Shared>) {
    let Some(others) = shared.store.presences() else {
        return std::future::pending().await;
    };
    tokio::join!(take(&shared, others), tell(&shared));
}

/// Takes what the other servers tell.
async fn take(shared: &Shared, mut others: Receiver<Arc<Presence>>) {
    loop {
        match others.recv().await {
            Ok(presence) => apply(shared, &presence),
            // The next message of the same server has the same nodes.
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return std::future::pending().await,
        }
    }
}

fn apply(shared: &Shared, presence: &Presence) {
    for (identifier, takes_part) in &presence.seen {
        shared
            .leases
            .on_seen_elsewhere(identifier.as_str(), *takes_part);
    }
    for identifier in &presence.following {
        shared.followers.note_elsewhere(identifier);
    }
    for (name, fence) in &presence.runs {
        shared.runs.renew_elsewhere(name, *fence);
    }
}

/// Tells the other servers about the nodes that reach this one.
async fn tell(shared: &Shared) {
    // Only what has reached this server is told. Otherwise, servers would tell each other of a dead node for ever.
    let mut told = Instant::now();
    loop {
        let mut ticks = interval(interval_of(shared));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first tick completes at once.
        ticks.tick().await;
        ticks.tick().await;
        let now = Instant::now();
        let presence = seen_since(shared, told);
        told = now;
        if !presence.is_empty() {
            shared.store.share_presence(presence).await;
        }
    }
}

fn interval_of(shared: &Shared) -> Duration {
    let lease = shared.view.load().pipeline.spec.lease;
    let shortest = lease.map_or(shared.runs.lease(), |lease| lease.min(shared.runs.lease()));
    (shortest / PER_LEASE).clamp(INTERVAL_MIN, INTERVAL_MAX)
}

fn seen_since(shared: &Shared, since: Instant) -> Presence {
    let has_lease = shared.view.load().pipeline.spec.lease.is_some();
    let has_rollout = shared.view.load().pipeline.spec.rollout.is_some();
    let mut presence = Presence {
        runs: shared.runs.renewed_since(since),
        ..Presence::default()
    };
    if has_lease {
        presence.seen = shared.leases.seen_since(since);
        let waiting = shared.held_requests.waiting().into_iter();
        presence
            .seen
            .extend(waiting.map(|identifier| (identifier, false)));
    }
    if has_rollout {
        presence.following = shared.followers.noted_since(since);
    }
    presence
}
