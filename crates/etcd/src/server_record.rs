//! The record of this server, and its turn to render. Both are kept under one lease of etcd, so they end with the server.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    EtcdError,
    api::{PutRequest, TxnRequest},
    keys::Key,
    records::{self, ServerRecord},
    session::Session,
    shared::Shared,
    transaction::{is_absent, put_op},
};
use cfgsync_store::ServerDescription;

/// The time after which the record of a dead server ends, and another server may take its turn, in seconds.
const LEASE_SECONDS: i64 = 5;

/// The interval at which the lease is renewed, and the record written if it has changed.
const RENEWAL_INTERVAL: Duration = Duration::from_millis(1500);

/// The wait before a lost lease is replaced.
const RETRY_WAIT: Duration = Duration::from_millis(500);

/// The time to give the turn up when the server stops.
const STOP_PATIENCE: Duration = Duration::from_secs(2);

/// Keeps the record of this server until `stop`. Then it removes the record and gives the turn up.
pub(crate) struct RecordKeeper {
    shared: Arc<Shared>,
    /// The lease, which may outlive a connection.
    lease: Option<i64>,
    written: Option<ServerRecord>,
    /// The connection that was used last, to end the lease.
    session: Option<Arc<Session>>,
}

impl RecordKeeper {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            lease: None,
            written: None,
            session: None,
        }
    }

    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut session = self.shared.session.subscribe();
        let mut description = self.shared.description.subscribe();
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.keep(&mut session, &mut description) => {}
        }
        if let (Some(session), Some(lease)) = (self.session, self.lease) {
            // Otherwise the lease ends by itself.
            let _ = timeout(STOP_PATIENCE, session.revoke_lease(lease)).await;
        }
    }

    async fn keep(
        &mut self,
        session: &mut watch::Receiver<Option<Arc<Session>>>,
        description: &mut watch::Receiver<ServerDescription>,
    ) {
        loop {
            let open = session.wait_for(Option::is_some).await;
            let Some(open) = open.ok().and_then(|open| open.clone()) else {
                return;
            };
            self.session = Some(open.clone());
            if let Err(error) = self.keep_over(&open, description).await {
                tracing::debug!(event = "etcd_lease_lost", "{error}");
            }
            sleep(RETRY_WAIT).await;
        }
    }

    /// Keeps the record over one connection. Returns when the lease or the connection is lost.
    async fn keep_over(
        &mut self,
        session: &Session,
        description: &mut watch::Receiver<ServerDescription>,
    ) -> Result<(), EtcdError> {
        let mut lease = self.lease(session).await?;
        let renewals = session.keep_lease(lease).await;
        let mut renewals = if let Ok(renewals) = renewals {
            renewals
        } else {
            // The lease of an earlier connection may have ended.
            self.lease = None;
            lease = self.lease(session).await?;
            session.keep_lease(lease).await?
        };
        let mut ticks = interval(RENEWAL_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let shared = self.shared.clone();
        loop {
            self.write_record(session, lease).await?;
            self.take_turn(session, lease).await?;
            tokio::select! {
                _ = ticks.tick() => {
                    if let Err(error) = renewals.renew().await {
                        self.lease = None;
                        return Err(error);
                    }
                }
                _ = description.changed() => {}
                () = shared.turn_changed.notified() => {}
            }
        }
    }

    /// Returns the lease. Begins one if there is none.
    async fn lease(&mut self, session: &Session) -> Result<i64, EtcdError> {
        if let Some(lease) = self.lease {
            return Ok(lease);
        }
        let lease = session.grant_lease(LEASE_SECONDS).await?;
        self.lease = Some(lease);
        self.shared.set_lease(lease);
        self.written = None;
        Ok(lease)
    }

    async fn write_record(&mut self, session: &Session, lease: i64) -> Result<(), EtcdError> {
        let record = self.record();
        if self.written.as_ref() == Some(&record) {
            return Ok(());
        }
        let put = PutRequest {
            key: self.shared.keys.full(&Key::Server(self.shared.id)),
            value: records::encode(&record),
            lease,
        };
        let request = TxnRequest {
            success: vec![put_op(put)],
            ..TxnRequest::default()
        };
        session.txn(request).await?;
        self.written = Some(record);
        Ok(())
    }

    fn record(&self) -> ServerRecord {
        let description = self.shared.description.borrow();
        ServerRecord {
            name: description.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            urls: description.urls.clone(),
            digests: description.digests.clone(),
            since: description.since.clone(),
            applied: self.shared.published.state().revision.0,
        }
    }

    /// Takes the turn if no server has it.
    async fn take_turn(&self, session: &Session, lease: i64) -> Result<(), EtcdError> {
        if self.shared.view().turn.is_some() {
            return Ok(());
        }
        let key = self.shared.keys.full(&Key::Turn);
        let put = PutRequest {
            key: key.clone(),
            value: self.shared.id.to_string().into_bytes(),
            lease,
        };
        let request = TxnRequest {
            compare: vec![is_absent(key)],
            success: vec![put_op(put)],
            failure: vec![],
        };
        session.txn(request).await.map(drop)
    }
}
