//! The exit codes of the program, which scripts rely on.

use std::{os::unix::process::ExitStatusExt as _, process::ExitStatus};

/// How the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// The command did what was asked.
    Done,
    /// An unexpected failure; for `inspect health`, an unhealthy server.
    Unexpected,
    /// The command line is wrong.
    Usage,
    /// The answer is no: something differs, is not ready or does not exist.
    No,
    /// A server's answer or a damaged state directory could not be used.
    Unusable,
    /// No server was reachable within the timeout.
    Unreachable,
    /// The cluster failed.
    ClusterFailed,
    /// Files could not be written.
    NotWritten,
    /// The server refused the request, or the client does not trust the server.
    NotAllowed,
    /// The spec or a setting is wrong.
    WrongSetting,
    /// The cluster was not ready within the timeout.
    NotReady,
    /// CMD cannot be executed.
    NotExecutable,
    /// CMD was not found.
    NotFound,
    /// The exit code of the CMD that `serve` or `join` ran, or 128 and the number of the signal that ended the command.
    Child(u8),
}

impl Exit {
    /// The code that a shell gives to a process that a signal ended: 128 and the signal's number.
    pub(crate) fn of_signal(signal: i32) -> Self {
        Self::Child(u8::try_from(128 + signal).unwrap_or(255))
    }

    /// The exit code of a CMD that has ended.
    pub(crate) fn of_status(status: ExitStatus) -> Self {
        let code = status.code().and_then(|code| u8::try_from(code).ok());
        match (code, status.signal()) {
            (Some(code), _) => Self::Child(code),
            (None, Some(signal)) => Self::of_signal(signal),
            (None, None) => Self::Unexpected,
        }
    }

    /// The number that the process exits with.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Unexpected => 1,
            Self::Usage => 2,
            Self::No => 3,
            Self::Unusable => 65,
            Self::Unreachable => 69,
            Self::ClusterFailed => 70,
            Self::NotWritten => 73,
            Self::NotAllowed => 77,
            Self::WrongSetting => 78,
            Self::NotReady => 124,
            Self::NotExecutable => 126,
            Self::NotFound => 127,
            Self::Child(code) => code,
        }
    }
}
