//! Data that continue as a new instance, because etcd was restored from a backup or the data were moved away.

use crate::{
    EtcdConfig, EtcdError,
    api::{PutRequest, TxnRequest},
    copy::{unused_since, unwritten_since},
    instance,
    keys::{Key, Keys},
    load, part_writer,
    records::{self, MetaRecord, TransferRecord},
    session::Session,
    state_parts::StateParts,
    transaction::put_op,
};

/// Continues the data as a new instance, unless another server does so at the same time: then this one joins it.
///
/// # Errors
/// Fails if servers use the data, because they would lose their instance.
pub(crate) async fn begin(
    session: &Session,
    keys: &Keys,
    config: &EtcdConfig,
) -> Result<(), EtcdError> {
    let listed = load::list(session, keys).await?;
    let Some(meta) = listed.meta()? else {
        return Ok(());
    };
    // No server can use such data, so records of servers are remains of the backup.
    let is_refused = meta.etcd_cluster != listed.etcd_cluster
        || matches!(meta.transfer, Some(TransferRecord::Moved { .. }));
    if !is_refused {
        load::refuse_servers(&listed, config)?;
    }
    load::check(&meta, config, meta.etcd_cluster, true)?;
    let view = load::read_listed(session, keys, config, &listed).await?;
    let new = instance::random()?;
    let state = view.state.continued(new);
    let parts = StateParts::of(new, &state, config.history);
    for parts in parts.all() {
        part_writer::write(session, keys, parts).await?;
    }
    // A backup may have a lower revision than its content.
    let etcd_revision = listed.etcd_revision.unsigned_abs();
    let least = state.revision.0.saturating_sub(etcd_revision);
    let record = MetaRecord {
        instance: new,
        etcd_cluster: listed.etcd_cluster,
        revision_base: meta.revision_base.max(least),
        transfer: None,
        ..meta
    };
    let compare = if is_refused {
        unwritten_since(&listed, keys)
    } else {
        unused_since(&listed, keys)
    };
    let put = |key: Key, value: Vec<u8>| {
        put_op(PutRequest {
            key: keys.full(&key),
            value,
            lease: 0,
        })
    };
    let request = TxnRequest {
        compare,
        success: vec![
            put(
                Key::Snapshot,
                records::encode(&parts.record(listed.etcd_revision)),
            ),
            put(Key::Meta, records::encode(&record)),
        ],
        failure: vec![],
    };
    if session.txn(request).await?.succeeded {
        tracing::warn!(
            event = "instance_begun",
            "the data in etcd continue as the new instance {new}, because --restored was given"
        );
    } else {
        tracing::info!("another server has changed the data in etcd meanwhile; this one joins it");
    }
    Ok(())
}
