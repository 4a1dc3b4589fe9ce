//! The event that caused a reload, and how the log words its problem.

/// The event that caused a reload.
#[derive(Debug, Clone, Copy)]
pub(super) enum Cause {
    /// SIGHUP.
    Hangup,
    /// A request of an operator.
    Request,
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Hangup => "SIGHUP",
            Self::Request => "reload",
        })
    }
}

/// Returns a problem as it stands after a colon: text of several lines begins on a line of its own.
pub(super) fn after_colon(problem: &str) -> String {
    let separator = if problem.contains('\n') { '\n' } else { ' ' };
    format!("{separator}{problem}")
}
