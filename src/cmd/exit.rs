//! The exit codes. Scripts rely on them.

/// A command line that clap accepts and that still makes no sense: [`Exit::Usage`].
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct UsageError(pub(crate) String);

/// How a process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done.
    Done,
    /// Something that should not happen; `inspect health`: not healthy.
    Unexpected,
    /// The command line is wrong.
    Usage,
    /// The answer is no: it differs, would not be ready, or is not there.
    No,
    /// What was read could not be used: a server's answer, a damaged state directory.
    Unusable,
    /// No server within the time.
    Unreachable,
    /// The cluster failed.
    ClusterFailed,
    /// Files could not be written.
    NotWritten,
    /// Refused.
    NotAllowed,
    /// The spec or a setting is wrong.
    WrongSetting,
    /// Not ready within the time.
    NotReady,
    /// CMD cannot be executed.
    NotExecutable,
    /// CMD was not found.
    NotFound,
    /// SIGINT.
    Interrupted,
    /// SIGTERM.
    Terminated,
    /// What the command that a server ran ended with.
    Child(u8),
}

impl Exit {
    /// What a shell says of a process that a signal ended.
    pub(crate) fn of_signal(signal: i32) -> Self {
        Self::Child(u8::try_from(128 + signal).unwrap_or(255))
    }

    /// The number that the process gives.
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
            Self::Interrupted => 130,
            Self::Terminated => 143,
            Self::Child(code) => code,
        }
    }
}
