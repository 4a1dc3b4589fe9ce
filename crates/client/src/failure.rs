//! The kinds of failures. Callers choose an exit code, a retry or a hint by them.

/// The reason why no server could be reached. It decides what to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum UnreachableCause {
    /// The name of the server cannot be looked up.
    Name,
    /// No connection could be made.
    Connection,
    /// There was no response in time.
    Response,
    /// A connection ended before the response was complete.
    Broken,
    /// The server, or a proxy in front of it, reported an error of its own.
    Fault,
}

/// The kind of a failed call or join.
///
/// This enum is exhaustive on purpose: errors may get more variants, but each of them is one of these kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// No server could be reached in time, or the server has no capacity for the request now. A retry may help.
    Unreachable,
    /// A server's response violates the protocol, or it does not match the node's routes.
    UnusableResponse,
    /// The cluster failed: the server reports why.
    ClusterFailed,
    /// The server rejected the node or its credentials, or the node does not trust the server.
    NotAllowed,
    /// Files could not be written.
    NotWritten,
    /// The cluster was not ready in time.
    NotReady,
    /// The server reported an error of its own.
    ServerError,
}
