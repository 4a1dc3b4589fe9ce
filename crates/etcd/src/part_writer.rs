//! Writes parts to etcd.

use bytes::Bytes;

use crate::{
    EtcdError, EtcdErrorKind,
    api::{PutRequest, TxnRequest},
    keys::{Key, Keys},
    parts,
    session::Session,
    transaction::{is_absent, put_op},
};
use cfgsync_model::Digest;

/// Writes parts that are not there yet.
pub(crate) async fn write(
    session: &Session,
    keys: &Keys,
    parts: &[(Digest, Bytes)],
) -> Result<(), EtcdError> {
    if parts.len() > parts::PARTS_MAX {
        let (count, max) = (parts.len(), parts::PARTS_MAX);
        let reason =
            format!("{count} MiB of files are too large for etcd; at most {max} MiB are stored");
        return Err(EtcdError::new(EtcdErrorKind::TooLarge, reason));
    }
    for (digest, part) in parts {
        let key = keys.full(&Key::Part(*digest));
        let request = TxnRequest {
            compare: vec![is_absent(key.clone())],
            success: vec![put_op(PutRequest {
                key,
                value: part.to_vec(),
                lease: 0,
            })],
            failure: vec![],
        };
        session.txn(request).await?;
    }
    Ok(())
}
