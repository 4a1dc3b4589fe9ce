//! Copies of a cluster's data in etcd to another store, and from another store into etcd. `cfgsync_store` has the steps
//! (`DirectorySource`).
//!
//! A server that is not known yet may write while the data are copied. The transaction that marks the source therefore
//! compares everything that a server changes, and replaces the snapshot, so that the writes of such a server fail.

use bytes::Bytes;

use crate::{
    EtcdConfig, EtcdError, EtcdErrorKind,
    api::{Compare, PutRequest, TxnRequest},
    connect,
    first_session::first_session,
    keys::{Key, Keys},
    load::{self, Listed},
    part_writer,
    records::{self, FORMAT, MetaRecord, SnapshotRecord, TransferRecord},
    session::Session,
    state_parts::StateParts,
    transaction::{is_absent_range, is_at_revision, is_not_after, put_op},
    view::View,
};
use cfgsync_model::{Digest, Instance};
use cfgsync_store::StateCopy;

/// The data of a cluster in etcd, to be copied to another store.
pub struct EtcdSource {
    place: Place,
    listed: Listed,
    view: View,
    moved_to: Option<String>,
    copy: StateCopy,
}

/// A prefix in etcd to copy a state into.
pub struct EtcdTarget {
    place: Place,
    incoming: Option<Instance>,
    etcd_cluster: u64,
    /// The revision of etcd at which `meta` was written. Zero if there is none.
    meta_at: i64,
}

/// Where the data of a cluster are.
struct Place {
    session: Session,
    keys: Keys,
    config: EtcdConfig,
}

impl Place {
    async fn open(config: EtcdConfig) -> Result<Self, EtcdError> {
        let tls = connect::tls(&config)?;
        let (session, _) = first_session(&config, &tls).await?;
        let keys = Keys::new(config.cluster_prefix());
        Ok(Self {
            session,
            keys,
            config,
        })
    }

    fn name(&self, etcd_cluster: u64) -> String {
        let prefix = self.config.cluster_prefix();
        format!("etcd (cluster {etcd_cluster:x}), below {prefix}")
    }

    fn put(&self, key: &Key, value: Vec<u8>) -> crate::api::RequestOp {
        put_op(PutRequest {
            key: self.keys.full(key),
            value,
            lease: 0,
        })
    }

    /// Writes `success` if all of `compare` is true.
    async fn write(
        &self,
        compare: Vec<Compare>,
        success: Vec<crate::api::RequestOp>,
    ) -> Result<(), EtcdError> {
        let request = TxnRequest {
            compare,
            success,
            failure: vec![],
        };
        if self.session.txn(request).await?.succeeded {
            return Ok(());
        }
        let reason = format!(
            "the data below {} have changed meanwhile: a server uses them; stop all servers, and start the copy again",
            self.config.cluster_prefix()
        );
        Err(EtcdError::new(EtcdErrorKind::InUse, reason))
    }

    async fn write_parts(&self, parts: &[(Digest, Bytes)]) -> Result<(), EtcdError> {
        part_writer::write(&self.session, &self.keys, parts).await
    }
}

impl EtcdSource {
    /// Reads the data of the cluster.
    ///
    /// # Errors
    /// Fails if there are none, if a server uses them, or if a server would not open them.
    pub async fn open(config: EtcdConfig) -> Result<Self, EtcdError> {
        let place = Place::open(config).await?;
        let listed = load::list(&place.session, &place.keys).await?;
        let prefix = place.config.cluster_prefix();
        let Some(meta) = listed.meta()? else {
            let reason = format!("there are no data of a cluster below {prefix} in etcd");
            return Err(EtcdError::new(EtcdErrorKind::NotFound, reason));
        };
        load::refuse_servers(&listed, &place.config)?;
        let moved_to = match &meta.transfer {
            Some(TransferRecord::Moved { to }) => Some(to.clone()),
            _ => None,
        };
        load::check(
            &meta,
            &place.config,
            listed.etcd_cluster,
            moved_to.is_some(),
        )?;
        let view = load::read_listed(&place.session, &place.keys, &place.config, &listed).await?;
        let copy = StateCopy {
            cluster: meta.cluster.clone(),
            instance: meta.instance,
            state: view.state.clone(),
        };
        Ok(Self {
            place,
            listed,
            view,
            moved_to,
            copy,
        })
    }

    /// Returns the content.
    pub fn copy(&self) -> &StateCopy {
        &self.copy
    }

    /// Returns the name of the place, for marks and messages.
    pub fn name(&self) -> String {
        self.place.name(self.listed.etcd_cluster)
    }

    /// Returns the place that an earlier copy has moved the data to.
    pub fn moved_to(&self) -> Option<&str> {
        self.moved_to.as_deref()
    }

    /// Marks the data as moved. From then on, no server uses them.
    ///
    /// # Errors
    /// Fails if a server has used the data since they were read. After a failed connection the mark may exist.
    pub async fn mark_moved(&self, to: &str) -> Result<(), EtcdError> {
        let history = self.copy.history();
        let parts = StateParts::of(self.copy.instance, &self.copy.state, history);
        self.place.write_parts(&parts.state).await?;
        self.place.write_parts(&parts.events).await?;
        let snapshot = SnapshotRecord {
            generations: (self.view.generation_parts.iter())
                .map(|(number, parts)| (number.0, parts.clone()))
                .collect(),
            ..parts.record(self.listed.etcd_revision)
        };
        let meta = MetaRecord {
            transfer: Some(TransferRecord::Moved { to: to.to_owned() }),
            ..self.view.meta.clone()
        };
        let unused = unused_since(&self.listed, &self.place.keys);
        let puts = vec![
            self.place.put(&Key::Snapshot, records::encode(&snapshot)),
            self.place.put(&Key::Meta, records::encode(&meta)),
        ];
        self.place.write(unused, puts).await
    }
}

/// Returns the comparisons that succeed if no server has used the data since they were listed, and none runs.
pub(crate) fn unused_since(listed: &Listed, keys: &Keys) -> Vec<Compare> {
    let mut compare = vec![is_absent_range(keys.below("servers/"))];
    compare.extend(unwritten_since(listed, keys));
    compare
}

/// Returns the comparisons that succeed if no server has written since the data were listed.
pub(crate) fn unwritten_since(listed: &Listed, keys: &Keys) -> Vec<Compare> {
    let snapshot = listed.snapshot.as_ref().map_or(0, |(_, at)| *at);
    vec![
        is_at_revision(keys.full(&Key::Meta), listed.meta_at),
        is_at_revision(keys.full(&Key::Snapshot), snapshot),
        is_not_after(keys.below("log/"), listed.etcd_revision),
    ]
}

impl EtcdTarget {
    /// Looks at the place in etcd.
    ///
    /// # Errors
    /// Fails if it has data, unless they are those of a copy that was interrupted.
    pub async fn open(config: EtcdConfig) -> Result<Self, EtcdError> {
        let place = Place::open(config).await?;
        let listed = load::list(&place.session, &place.keys).await?;
        let incoming = match listed.meta()? {
            None => None,
            Some(meta) if matches!(meta.transfer, Some(TransferRecord::Incoming { .. })) => {
                Some(meta.instance)
            }
            Some(_) => {
                let prefix = place.config.cluster_prefix();
                let reason = format!("etcd already has data of a cluster below {prefix}");
                return Err(EtcdError::new(EtcdErrorKind::NotEmpty, reason));
            }
        };
        Ok(Self {
            place,
            incoming,
            etcd_cluster: listed.etcd_cluster,
            meta_at: listed.meta_at,
        })
    }

    /// Returns the name of the place, for marks and messages.
    pub fn name(&self) -> String {
        self.place.name(self.etcd_cluster)
    }

    /// Returns the instance that an interrupted copy has begun to write.
    pub fn incoming(&self) -> Option<Instance> {
        self.incoming
    }

    fn meta(&self, copy: &StateCopy, transfer: Option<TransferRecord>) -> MetaRecord {
        MetaRecord {
            format: FORMAT,
            created_by: format!("cfgsync {}", env!("CARGO_PKG_VERSION")),
            cluster: copy.cluster.clone(),
            instance: copy.instance,
            revision_base: copy.state.revision.0,
            etcd_cluster: self.etcd_cluster,
            transfer,
        }
    }

    /// Writes `copy`, which comes from the place `from`. The data stay marked as incomplete.
    ///
    /// # Errors
    /// Fails if etcd does not take it. The copy can be started again.
    pub async fn write(&mut self, copy: &StateCopy, from: &str) -> Result<(), EtcdError> {
        let transfer = TransferRecord::Incoming {
            from: from.to_owned(),
        };
        let meta = self.meta(copy, Some(transfer));
        let begin = vec![self.place.put(&Key::Meta, records::encode(&meta))];
        let key = self.place.keys.full(&Key::Meta);
        let unchanged = vec![is_at_revision(key, self.meta_at)];
        self.place.write(unchanged, begin).await?;
        let listed = load::list(&self.place.session, &self.place.keys).await?;
        self.meta_at = listed.meta_at;
        let parts = StateParts::of(copy.instance, &copy.state, copy.history());
        for parts in parts.all() {
            self.place.write_parts(parts).await?;
        }
        let snapshot = parts.record(listed.etcd_revision);
        let puts = vec![self.place.put(&Key::Snapshot, records::encode(&snapshot))];
        self.place.write(self.is_ours(), puts).await
    }

    /// Returns the comparison that succeeds if no other copy has begun meanwhile.
    fn is_ours(&self) -> Vec<Compare> {
        vec![is_at_revision(
            self.place.keys.full(&Key::Meta),
            self.meta_at,
        )]
    }

    /// Reads all data.
    ///
    /// # Errors
    /// Fails if a server would not open them.
    pub async fn read_back(&self) -> Result<StateCopy, EtcdError> {
        let Place {
            session,
            keys,
            config,
        } = &self.place;
        let listed = load::list(session, keys).await?;
        let view = load::read_listed(session, keys, config, &listed).await?;
        Ok(StateCopy {
            cluster: view.meta.cluster,
            instance: view.meta.instance,
            state: view.state,
        })
    }

    /// Removes the mark, so that servers can use the data.
    ///
    /// # Errors
    /// Fails if etcd does not confirm it. The copy can be started again, unless the mark was removed.
    pub async fn complete(self, copy: &StateCopy) -> Result<(), EtcdError> {
        let meta = self.meta(copy, None);
        let puts = vec![self.place.put(&Key::Meta, records::encode(&meta))];
        self.place.write(self.is_ours(), puts).await
    }
}
