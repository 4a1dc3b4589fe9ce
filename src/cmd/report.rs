//! Error → message, hint, exit code: the only place. Scripts rely on the codes.

use std::{
    io::{IsTerminal, Write},
    process::ExitCode,
};

use cfgsync::{
    client::{CallError, JoinError, RouteError, disk::DiskError},
    spec::SpecError,
    wire::Code,
};

use super::{
    Command, generate::GenerateError, inspect::InspectError, output::OutputError, plan::PlanError,
    serve::ServeError, settings::SettingsError,
};

/// How a process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exit(u8);

impl Exit {
    /// Done.
    pub(crate) const DONE: Self = Self(0);
    /// Something that should not happen; `inspect health`: not healthy.
    pub(crate) const UNEXPECTED: Self = Self(1);
    /// The command line is wrong.
    pub(crate) const USAGE: Self = Self(2);
    /// The answer is no: it differs, or would not be ready.
    pub(crate) const NO: Self = Self(3);
    /// The server's answer could not be used.
    pub(crate) const UNUSABLE: Self = Self(65);
    /// No server within the time.
    pub(crate) const UNREACHABLE: Self = Self(69);
    /// The cluster failed.
    pub(crate) const CLUSTER_FAILED: Self = Self(70);
    /// Files could not be written.
    pub(crate) const NOT_WRITTEN: Self = Self(73);
    /// Refused.
    pub(crate) const NOT_ALLOWED: Self = Self(77);
    /// The spec or a setting is wrong.
    pub(crate) const WRONG_SETTING: Self = Self(78);
    /// Not ready within the time.
    pub(crate) const NOT_READY: Self = Self(124);
    /// CMD cannot be executed.
    pub(crate) const NOT_EXECUTABLE: Self = Self(126);
    /// CMD was not found.
    pub(crate) const NOT_FOUND: Self = Self(127);

    /// The code of a child process.
    pub(crate) fn of_child(code: u8) -> Self {
        Self(code)
    }

    /// What a shell says of a process that a signal ended.
    pub(crate) fn of_signal(signal: i32) -> Self {
        Self(u8::try_from(128 + signal).unwrap_or(255))
    }
}

/// A command line that clap accepts and that still makes no sense.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct UsageError(pub(crate) String);

/// A program that was to be run and could not.
#[derive(Debug, thiserror::Error)]
#[error("cannot run {program}: {error}")]
pub(crate) struct SpawnError {
    /// As it was named.
    pub(crate) program: String,
    /// What the operating system said.
    pub(crate) error: std::io::Error,
}

/// What is said of an error.
#[derive(Debug, PartialEq, Eq)]
struct Verdict {
    exit: Exit,
    hint: Option<String>,
}

/// Whether a command's last line is for whoever finds the container's end, not for a person at a shell.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Voice {
    last_words: bool,
}

impl Voice {
    /// How `command` speaks.
    pub(crate) fn of(command: &Command) -> Self {
        Self {
            last_words: matches!(command, Command::Join(_)),
        }
    }

    /// Says what went wrong, and gives the process its exit code.
    pub(crate) fn end(self, result: anyhow::Result<Exit>) -> ExitCode {
        let error = match result {
            Ok(exit) => return ExitCode::from(exit.0),
            Err(error) => error,
        };
        if let Some(error) = error.downcast_ref::<clap::Error>() {
            // Help and versions are answers, on stdout; a closed pipe is nobody's fault.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(Exit::USAGE.0));
        }
        if matches!(error.downcast_ref(), Some(OutputError::Closed)) {
            return ExitCode::from(Exit::DONE.0);
        }
        let Verdict { exit, hint } = judge(&error);
        let message = format!("{error:#}");
        let mut stderr = anstream::AutoStream::auto(std::io::stderr());
        let _ = write!(stderr, "{}", said(&message, hint.as_deref()));
        if self.last_words {
            let words = last_words(exit, &message);
            let _ = writeln!(stderr, "{words}");
            note_termination(&words);
        }
        ExitCode::from(exit.0)
    }
}

/// A message for people; one that was rendered like a compiler's stands as it is.
fn said(message: &str, hint: Option<&str>) -> String {
    let bold = anstyle::Style::new().bold();
    let red = bold.fg_color(Some(anstyle::AnsiColor::Red.into()));
    let mut text = match message.starts_with("error: ") {
        true => format!("{message}\n"),
        false => format!("{red}error{red:#}: {message}\n"),
    };
    if let Some(hint) = hint {
        text.push_str(&format!("{bold}hint{bold:#}: {hint}\n"));
    }
    text
}

/// One line, whatever the message.
fn last_words(Exit(code): Exit, message: &str) -> String {
    let lines: Vec<&str> = message.lines().map(str::trim).collect();
    let reason = lines.join(" ");
    let reason = reason.trim_start_matches("error: ");
    format!("cfgsync: exit {code}: {reason}")
}

/// Kubernetes shows what a container leaves here.
fn note_termination(words: &str) {
    let log = std::path::Path::new("/dev/termination-log");
    if log.exists() && !std::io::stderr().is_terminal() {
        let _ = std::fs::write(log, format!("{words}\n"));
    }
}

/// Which error has which exit code, and what helps.
fn judge(error: &anyhow::Error) -> Verdict {
    let plain = |exit| Verdict { exit, hint: None };
    let hinted = |exit, hint: &str| Verdict {
        exit,
        hint: Some(hint.to_owned()),
    };
    if let Some(error) = error.downcast_ref::<JoinError>() {
        return judge_join(error);
    }
    if let Some(error) = error.downcast_ref::<CallError>() {
        return judge_call(error);
    }
    if let Some(error) = error.downcast_ref::<ServeError>() {
        return judge_serve(error);
    }
    if let Some(error) = error.downcast_ref::<InspectError>() {
        return plain(match error {
            InspectError::Failed(_) => Exit::CLUSTER_FAILED,
            InspectError::NotReady { .. } => Exit::NOT_READY,
            InspectError::NoPayload { .. } | InspectError::NoArtifact { .. } => Exit::NO,
        });
    }
    if let Some(error) = error.downcast_ref::<DiskError>() {
        return Verdict {
            exit: Exit::NOT_WRITTEN,
            hint: error.hint().map(str::to_owned),
        };
    }
    if let Some(error) = error.downcast_ref::<PlanError>() {
        return plain(match error {
            PlanError::Nodes(_) | PlanError::Facts { .. } | PlanError::Render(_) => {
                Exit::WRONG_SETTING
            }
            PlanError::Write { .. } => Exit::NOT_WRITTEN,
            PlanError::Read { .. } => Exit::UNEXPECTED,
        });
    }
    if let Some(error) = error.downcast_ref::<SpawnError>() {
        return match error.error.kind() {
            std::io::ErrorKind::NotFound => hinted(Exit::NOT_FOUND, "is it in the PATH?"),
            _ => plain(Exit::NOT_EXECUTABLE),
        };
    }
    if error.is::<RouteError>() {
        return plain(Exit::UNUSABLE);
    }
    if error.is::<UsageError>() {
        return plain(Exit::USAGE);
    }
    if error.is::<SpecError>() || error.is::<SettingsError>() {
        return plain(Exit::WRONG_SETTING);
    }
    if error.is::<GenerateError>() {
        return plain(Exit::NOT_WRITTEN);
    }
    plain(Exit::UNEXPECTED)
}

fn judge_join(error: &JoinError) -> Verdict {
    let plain = |exit| Verdict { exit, hint: None };
    match error {
        JoinError::Unusable(_) | JoinError::Route(_) => plain(Exit::UNUSABLE),
        JoinError::Unreachable { .. } => plain(Exit::UNREACHABLE),
        JoinError::Failed(_) => plain(Exit::CLUSTER_FAILED),
        JoinError::Disk(error) => Verdict {
            exit: Exit::NOT_WRITTEN,
            hint: error.hint().map(str::to_owned),
        },
        JoinError::Refused { .. } | JoinError::WrongCluster { .. } => plain(Exit::NOT_ALLOWED),
        JoinError::NotReady { .. } => plain(Exit::NOT_READY),
    }
}

fn judge_call(error: &CallError) -> Verdict {
    let (exit, hint) = match error {
        CallError::Unreachable { .. } => (
            Exit::UNREACHABLE,
            Some("name the server with --server or CFGSYNC_SERVER"),
        ),
        CallError::Unusable { .. } => (Exit::UNUSABLE, Some("is this a cfgsync server?")),
        CallError::Refused { status, body, .. } => (
            match (body.code, status.as_u16()) {
                _ if body.failure.is_some() => Exit::CLUSTER_FAILED,
                (Code::NotReady, _) => Exit::NOT_READY,
                (Code::MissingConfig, _) | (_, 400..500) => Exit::NOT_ALLOWED,
                _ => Exit::UNEXPECTED,
            },
            None,
        ),
    };
    Verdict {
        exit,
        hint: hint.map(str::to_owned),
    }
}

fn judge_serve(error: &ServeError) -> Verdict {
    let (exit, hint) = match error {
        ServeError::Exposed(_) => (
            Exit::WRONG_SETTING,
            Some(
                "listen on 127.0.0.1 or [::1], or add --allow-anonymous if all who reach that address may \
                 register and read",
            ),
        ),
        ServeError::Listen { error, .. } => (
            Exit::UNEXPECTED,
            match error.kind() {
                std::io::ErrorKind::AddrInUse => {
                    Some("another process listens there; port 0 takes a free one (see --port-file)")
                }
                std::io::ErrorKind::AddrNotAvailable => {
                    Some("this machine has no such address")
                }
                std::io::ErrorKind::PermissionDenied => {
                    Some("ports below 1024 are for privileged processes")
                }
                _ => None,
            },
        ),
        ServeError::PortFile { .. } => (Exit::NOT_WRITTEN, None),
        ServeError::Runtime(_) => (Exit::UNEXPECTED, None),
    };
    Verdict {
        exit,
        hint: hint.map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_is_one_line() {
        let message = "error: unknown field `x`\n --> a.yaml:1:1\n  |\n";
        assert_eq!(
            last_words(Exit::WRONG_SETTING, message),
            "cfgsync: exit 78: unknown field `x` --> a.yaml:1:1 |"
        );
    }
}
