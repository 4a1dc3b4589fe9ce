//! The messages of servers about the nodes that reach them, as records of etcd.

use serde::{Deserialize, Serialize};

use crate::{
    EtcdError,
    api::{PutRequest, TxnRequest},
    keys::Key,
    records,
    session::Session,
    shared::Shared,
    transaction::put_op,
};
use cfgsync_model::{Fence, Identifier, RunName};
use cfgsync_store::Presence;

/// The number of nodes in one record. With the longest names, a record has less than 1 MiB.
const NODES_MAX: usize = 2_000;

/// A part of what a server tells. Unknown fields are ignored: nothing durable is decided by it.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct PresenceRecord {
    seen: Vec<Identifier>,
    /// Those that follow changes, or have renewed their lease.
    taking_part: Vec<Identifier>,
    following: Vec<Identifier>,
    runs: Vec<(String, u64)>,
}

/// Writes what this server tells, under its lease.
pub(crate) async fn write(
    shared: &Shared,
    session: &Session,
    presence: &Presence,
) -> Result<(), EtcdError> {
    for (part, record) in divide(presence).into_iter().enumerate() {
        let put = PutRequest {
            key: shared.keys.full(&Key::Presence(shared.id, part)),
            value: records::encode(&record),
            lease: shared.lease(),
        };
        let request = TxnRequest {
            success: vec![put_op(put)],
            ..TxnRequest::default()
        };
        session.txn(request).await?;
    }
    Ok(())
}

fn divide(presence: &Presence) -> Vec<PresenceRecord> {
    let seen = presence.seen.chunks(NODES_MAX).map(|nodes| {
        let (taking_part, seen): (Vec<_>, Vec<_>) = nodes.iter().partition(|(_, takes)| *takes);
        let names = |nodes: Vec<&(Identifier, bool)>| {
            nodes.into_iter().map(|(name, _)| name.clone()).collect()
        };
        PresenceRecord {
            seen: names(seen),
            taking_part: names(taking_part),
            ..PresenceRecord::default()
        }
    });
    let following = presence.following.chunks(NODES_MAX);
    let following = following.map(|nodes| PresenceRecord {
        following: nodes.to_vec(),
        ..PresenceRecord::default()
    });
    let runs = presence.runs.chunks(NODES_MAX).map(|runs| PresenceRecord {
        runs: runs
            .iter()
            .map(|(name, fence)| (name.to_string(), fence.0))
            .collect(),
        ..PresenceRecord::default()
    });
    seen.chain(following).chain(runs).collect()
}

/// Reads a part. `None` if it is not valid.
pub(crate) fn read(value: &[u8]) -> Option<Presence> {
    let record: PresenceRecord = serde_json::from_slice(value).ok()?;
    let seen = record.seen.into_iter().map(|name| (name, false));
    let taking_part = record.taking_part.into_iter().map(|name| (name, true));
    let runs = record.runs.iter();
    let runs = runs.map(|(name, fence)| Some((RunName::new(name).ok()?, Fence(*fence))));
    Some(Presence {
        seen: seen.chain(taking_part).collect(),
        following: record.following,
        runs: runs.collect::<Option<_>>()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_together_are_the_whole() {
        let name = |at: usize| -> Identifier { format!("n{at}").parse().unwrap() };
        let presence = Presence {
            seen: (0..NODES_MAX + 5)
                .map(|at| (name(at), at % 2 == 0))
                .collect(),
            following: vec![name(1)],
            runs: vec![("init".parse().unwrap(), Fence(7))],
        };
        let records = divide(&presence);
        assert_eq!(records.len(), 4);
        let mut read_back = Presence::default();
        for record in records {
            let part = read(&records::encode(&record)).unwrap();
            read_back.seen.extend(part.seen);
            read_back.following.extend(part.following);
            read_back.runs.extend(part.runs);
        }
        let sorted = |mut seen: Vec<(Identifier, bool)>| {
            seen.sort();
            seen
        };
        assert_eq!(sorted(read_back.seen), sorted(presence.seen));
        assert_eq!(read_back.following, presence.following);
        assert_eq!(read_back.runs, presence.runs);
    }

    #[test]
    fn other_values_are_refused() {
        assert_eq!(read(b"garbage"), None);
        assert_eq!(read(br#"{"runs":[["no name",1]]}"#), None);
    }
}
