//! Writes the mark of the render of this server. It has no lease, because the lease ends with the server, and the mark must
//! not.
//!
//! Each server has a key for its own mark. The mark of a server that no longer runs shows a render that has ended it. A
//! new mark replaces all of those, so their number is bounded by that of the servers that end between two renders.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::{
    EtcdError,
    api::{PutRequest, TxnRequest},
    keys::{Key, ServerId},
    records::{self, MarkRecord},
    session::Session,
    shared::Shared,
    transaction::{delete_op, put_op},
};
use cfgsync_store::RenderMark;

/// The pause after a failed write.
const RETRY_WAIT: Duration = Duration::from_millis(500);

/// The number of old marks that are removed in one transaction.
const REPLACED_MAX: usize = 100;

/// Writes the wanted marks to etcd until `stop`.
pub(crate) async fn keep(shared: Arc<Shared>, stop: CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = write_each(&shared) => {}
    }
}

async fn write_each(shared: &Shared) {
    let own = &shared.own_mark;
    let mut wanted = own.wanted.subscribe();
    let mut session = shared.session.subscribe();
    loop {
        let number = wanted.borrow_and_update().number;
        if number == *own.written.borrow() {
            if wanted.changed().await.is_err() {
                return;
            }
            continue;
        }
        let open = session.wait_for(Option::is_some).await;
        let Some(open) = open.ok().and_then(|open| open.clone()) else {
            return;
        };
        let newest = wanted.borrow_and_update().clone();
        match write(shared, &open, newest.mark).await {
            Ok(()) => {
                own.written.send_replace(newest.number);
            }
            Err(error) => {
                tracing::debug!(event = "etcd_mark_failed", "{error}");
                sleep(RETRY_WAIT).await;
            }
        }
    }
}

/// Writes the mark of this server in place of those that servers have left, or removes its own.
async fn write(
    shared: &Shared,
    session: &Session,
    mark: Option<RenderMark>,
) -> Result<(), EtcdError> {
    let key = |id: ServerId| shared.keys.full(&Key::Rendering(id));
    let success = match mark {
        None => vec![delete_op(key(shared.id))],
        Some(RenderMark { render, starts }) => {
            let put = PutRequest {
                key: key(shared.id),
                value: records::encode(&MarkRecord { render, starts }),
                lease: 0,
            };
            let left = shared.view().left_marks(shared.id);
            let replaced = left.into_iter().take(REPLACED_MAX);
            let replaced = replaced.map(|(id, _)| delete_op(key(id)));
            std::iter::once(put_op(put)).chain(replaced).collect()
        }
    };
    let request = TxnRequest {
        success,
        ..TxnRequest::default()
    };
    session.txn(request).await.map(drop)
}
