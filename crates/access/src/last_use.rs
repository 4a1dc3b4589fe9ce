//! When and from where a token was last used. It is kept in memory only, and takes a few bytes for each token.

use std::{
    net::IpAddr,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
};

use cfgsync_support::clock::Timestamp;

/// One use of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenUse {
    /// The time of the request, to the second.
    pub at: Timestamp,
    /// The address of the client.
    pub from: IpAddr,
}

/// The last use of one token.
#[derive(Debug)]
pub(super) struct LastUse {
    /// The second of the last noted use. Further uses within it are not noted, so that requests with the same token do
    /// not wait for each other.
    second: AtomicI64,
    noted: Mutex<Option<TokenUse>>,
}

impl LastUse {
    pub(super) fn new(last: Option<TokenUse>) -> Self {
        Self {
            second: AtomicI64::new(last.map_or(i64::MIN, |last| last.at.as_second())),
            noted: Mutex::new(last),
        }
    }

    /// Notes a use at `now`.
    pub(super) fn note(&self, now: Timestamp, from: IpAddr) {
        let second = now.as_second();
        if self.second.load(Ordering::Relaxed) == second
            || self.second.swap(second, Ordering::Relaxed) == second
        {
            return;
        }
        let at = Timestamp::from_second(second).unwrap_or(now);
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        *noted = Some(TokenUse { at, from });
    }

    pub(super) fn get(&self) -> Option<TokenUse> {
        *self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
