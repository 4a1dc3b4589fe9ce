//! The errors of calls to etcd, by what a caller can do about them.

use tonic::{Code, Status};

/// An error of etcd, or of the connection to it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct EtcdError {
    /// The kind, by which a caller decides.
    pub kind: EtcdErrorKind,
    /// A sentence with the address of the member and its answer.
    pub reason: String,
}

/// The kind of an [`EtcdError`], by which a caller decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EtcdErrorKind {
    /// etcd was not reached, so it has done nothing. Another member, or the same one later, may answer.
    Unreachable,
    /// etcd may or may not have done what was asked.
    Ambiguous,
    /// The database has reached its quota. etcd has changed nothing.
    NoSpace,
    /// The revision that was asked for has been compacted.
    Compacted,
    /// The token of a user is no longer valid. A new connection gets a new one.
    TokenExpired,
    /// etcd does not accept the user, the password, the certificate, or the access to the prefix.
    NotPermitted,
    /// A TLS setting of this program cannot be used, or etcd's certificate is not trusted.
    NotTrusted,
    /// The peer is not an etcd of a supported version.
    NotEtcd,
    /// The data under the prefix are not what this program has written, or belong to another cluster.
    Malformed,
    /// The request does not fit in etcd's limits.
    TooLarge,
}

impl EtcdError {
    pub(crate) fn new(kind: EtcdErrorKind, reason: impl Into<String>) -> Self {
        Self {
            kind,
            reason: reason.into(),
        }
    }

    /// Returns the error of a call to `member` that ended with `status`.
    pub(crate) fn of_status(member: &impl std::fmt::Display, status: &Status) -> Self {
        let message = status.message();
        let kind = match status.code() {
            Code::ResourceExhausted if message.contains("database space exceeded") => {
                EtcdErrorKind::NoSpace
            }
            Code::OutOfRange if message.contains("compacted") => EtcdErrorKind::Compacted,
            Code::InvalidArgument if message.contains("too large") => EtcdErrorKind::TooLarge,
            Code::InvalidArgument
                if message.contains("authentication failed") || message.contains("user name") =>
            {
                EtcdErrorKind::NotPermitted
            }
            Code::Unauthenticated => EtcdErrorKind::TokenExpired,
            Code::PermissionDenied | Code::FailedPrecondition => EtcdErrorKind::NotPermitted,
            Code::Unimplemented => EtcdErrorKind::NotEtcd,
            _ => EtcdErrorKind::Ambiguous,
        };
        let text = if message.is_empty() {
            status.code().description()
        } else {
            message
        };
        Self::new(kind, format!("{member}: {text}"))
    }

    /// Whether etcd may answer otherwise once its members have started and have elected a leader.
    pub(crate) fn may_be_starting(&self) -> bool {
        matches!(
            self.kind,
            EtcdErrorKind::Unreachable | EtcdErrorKind::Ambiguous
        )
    }

    /// Whether the same call may succeed later, with this member or another one.
    pub fn is_transient(&self) -> bool {
        matches!(
            self.kind,
            EtcdErrorKind::Unreachable
                | EtcdErrorKind::Ambiguous
                | EtcdErrorKind::NoSpace
                | EtcdErrorKind::TokenExpired
        )
    }
}
