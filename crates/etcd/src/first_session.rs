//! Connects to the first member of etcd that can be used.

use std::sync::Arc;

use crate::{EtcdConfig, EtcdError, EtcdErrorKind, session::Session};

/// Returns a connection to the first endpoint that works, and the number of that endpoint. If none works, an error that
/// does not end by itself is returned before one that may.
pub(crate) async fn first_session(
    config: &EtcdConfig,
    tls: &Arc<rustls::ClientConfig>,
) -> Result<(Session, usize), EtcdError> {
    let mut first_error: Option<EtcdError> = None;
    for (number, endpoint) in config.endpoints.iter().enumerate() {
        match Session::open(endpoint, config, tls.clone()).await {
            Ok(session) => return Ok((session, number)),
            Err(error) => {
                let is_better = first_error
                    .as_ref()
                    .is_none_or(|first| first.may_be_starting() && !error.may_be_starting());
                if is_better {
                    first_error = Some(error);
                }
            }
        }
    }
    Err(first_error.unwrap_or_else(|| {
        EtcdError::new(EtcdErrorKind::Unreachable, "no endpoint of etcd is given")
    }))
}
