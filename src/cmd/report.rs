//! Error → message, hint, exit code: the only place.

use std::{io::Write, process::ExitCode};

use cfgsync_access::IdentityUnsupported;
use cfgsync_client::{
    CallError, JoinError, KeyError as NodeKeyError, RouteError, TrustError, disk::DiskError,
};
use cfgsync_server::TlsError;
use cfgsync_spec::SpecError;
use cfgsync_store::JournalError;
use cfgsync_wire::Code;

use super::{
    Command,
    credentials::CredentialError,
    exit::{Exit, UsageError},
    generate::GenerateError,
    inspect::InspectError,
    join::{EndedBy, JoinFailure},
    key::KeyExists,
    keys::KeyError,
    output::OutputError,
    plan::PlanError,
    serve::{AccessError, ServeError, SpawnError, TlsSetupError},
    settings::SettingsError,
    tls::TrustFailure,
    token::TokenError,
};

/// What is said of an error.
#[derive(Debug, PartialEq, Eq)]
struct Verdict {
    exit: Exit,
    hint: Option<String>,
}

/// Whether a command's last line is for whoever finds the container's end, not for a person at a shell.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reporter {
    last_words: bool,
}

impl Reporter {
    /// How `command` speaks.
    pub(crate) fn of(command: &Command) -> Self {
        Self {
            last_words: matches!(command, Command::Join(_)),
        }
    }

    /// How a command speaks that could not be understood: as what it seems to be.
    pub(crate) fn guessed() -> Self {
        let typed = std::env::args_os().skip(1);
        let mut words = typed.filter(|word| !word.to_string_lossy().starts_with('-'));
        Self {
            last_words: words.next().is_some_and(|word| word == "join"),
        }
    }

    /// Says what went wrong, and gives the process its exit code.
    pub(crate) fn end(self, result: anyhow::Result<Exit>) -> ExitCode {
        let error = match result {
            Ok(exit) => return ExitCode::from(exit.code()),
            Err(error) => error,
        };
        if let Some(error) = error.downcast_ref::<clap::Error>() {
            // Help and versions are answers, on stdout; a closed pipe is nobody's fault.
            let _ = error.print();
            if error.use_stderr() {
                let message = error.to_string();
                let reason = message.split("\n\n").next().unwrap_or_default();
                self.say_last_words(Exit::Usage, reason);
            }
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(Exit::Usage.code()));
        }
        if matches!(error.downcast_ref(), Some(OutputError::Closed)) {
            return ExitCode::from(Exit::Done.code());
        }
        let Verdict { exit, hint } = judge(&error);
        let message = format!("{error:#}");
        let mut stderr = anstream::AutoStream::auto(std::io::stderr());
        let text = said(&message, is_rendered(&error), hint.as_deref());
        let _ = write!(stderr, "{text}");
        self.say_last_words(exit, &message);
        ExitCode::from(exit.code())
    }

    fn say_last_words(self, exit: Exit, message: &str) {
        if self.last_words {
            let words = last_words(exit, message);
            let _ = writeln!(std::io::stderr(), "{words}");
            note_termination(&words);
        }
    }
}

/// Whether the message was rendered like a compiler's. Judged by its type: a server's words can begin like one.
fn is_rendered(error: &anyhow::Error) -> bool {
    error.is::<SpecError>()
        || matches!(error.downcast_ref(), Some(SettingsError::File(_)))
        || matches!(error.downcast_ref(), Some(PlanError::Nodes(_)))
}

/// A message for people; one that was rendered stands as it is. Of others all lines but the first are indented, so
/// that nobody's words look like a hint or an error of their own.
fn said(message: &str, is_rendered: bool, hint: Option<&str>) -> String {
    let bold = anstyle::Style::new().bold();
    let red = bold.fg_color(Some(anstyle::AnsiColor::Red.into()));
    let mut text = if is_rendered {
        format!("{message}\n")
    } else {
        let indented = message.trim_end().replace('\n', "\n    ");
        format!("{red}error{red:#}: {indented}\n")
    };
    if let Some(hint) = hint {
        text.push_str(&format!("{bold}hint{bold:#}: {hint}\n"));
    }
    text
}

/// One line, whatever the message.
fn last_words(exit: Exit, message: &str) -> String {
    let mut lines = message.lines().map(str::trim);
    let (place, help) = (
        lines.clone().find_map(|line| line.strip_prefix("--> ")),
        lines.clone().find_map(|line| line.strip_prefix("= help: ")),
    );
    let reason = match place {
        // Of what is rendered like a compiler's, the picture is left out.
        Some(place) => {
            let what = lines.next().unwrap_or_default();
            let help = help.map(|help| format!("; {help}")).unwrap_or_default();
            format!("{what} ({place}){help}")
        }
        None => lines.collect::<Vec<_>>().join(" "),
    };
    let reason = reason.trim_start_matches("error: ");
    format!("cfgsync: exit {}: {reason}", exit.code())
}

/// Kubernetes shows what a container leaves here.
fn note_termination(words: &str) {
    let log = std::path::Path::new("/dev/termination-log");
    if log.exists() {
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
    if let Some(error) = error.downcast_ref::<JoinFailure>() {
        return match error {
            JoinFailure::Join(error) => judge_join(error),
            JoinFailure::Usage(_) => plain(Exit::Usage),
            JoinFailure::Trust(error) => judge_trust(error),
            JoinFailure::Setting(_) | JoinFailure::Credential(_) => plain(Exit::WrongSetting),
            JoinFailure::Environment(_) => plain(Exit::Unusable),
            JoinFailure::Ended(EndedBy::Interrupt) => plain(Exit::Interrupted),
            JoinFailure::Ended(EndedBy::Terminate) => plain(Exit::Terminated),
            JoinFailure::CommandNotFound(_) => hinted(Exit::NotFound, "is it in the PATH?"),
            JoinFailure::CommandNotExecutable(..) => plain(Exit::NotExecutable),
        };
    }
    if let Some(error) = error.downcast_ref::<CallError>() {
        return judge_call(error);
    }
    if let Some(error) = error.downcast_ref::<TrustFailure>() {
        return judge_trust(error);
    }
    if let Some(error) = error.downcast_ref::<ServeError>() {
        return judge_serve(error);
    }
    if let Some(error) = error.downcast_ref::<JournalError>() {
        return judge_state(error);
    }
    if let Some(error) = error.downcast_ref::<InspectError>() {
        return plain(match error {
            InspectError::Failed(_) => Exit::ClusterFailed,
            InspectError::NotReady { .. } => Exit::NotReady,
            InspectError::NoNode(_)
            | InspectError::NoPayload { .. }
            | InspectError::NoArtifact { .. }
            | InspectError::NoGeneration(_)
            | InspectError::Secret { .. } => Exit::No,
            InspectError::Unhealthy(_) => Exit::Unexpected,
        });
    }
    if let Some(error) = error.downcast_ref::<DiskError>() {
        return Verdict {
            exit: Exit::NotWritten,
            hint: error.hint().map(str::to_owned),
        };
    }
    if let Some(error) = error.downcast_ref::<PlanError>() {
        return plain(match error {
            PlanError::Nodes(_) | PlanError::Render(_) | PlanError::Read { .. } => {
                Exit::WrongSetting
            }
            PlanError::Write { .. } => Exit::NotWritten,
        });
    }
    if let Some(error) = error.downcast_ref::<SpawnError>() {
        return match error.error.kind() {
            std::io::ErrorKind::NotFound => hinted(Exit::NotFound, "is it in the PATH?"),
            _ => plain(Exit::NotExecutable),
        };
    }
    if error.is::<RouteError>() {
        return plain(Exit::Unusable);
    }
    if error.is::<UsageError>() {
        return plain(Exit::Usage);
    }
    if error.is::<SpecError>() || error.is::<SettingsError>() || error.is::<KeyError>() {
        return plain(Exit::WrongSetting);
    }
    if error.is::<CredentialError>() {
        return plain(Exit::WrongSetting);
    }
    if let Some(error) = error.downcast_ref::<TokenError>() {
        return plain(match error {
            // What would stand in the file is wrong, not how it is written.
            TokenError::Append { error, .. } if error.kind() == std::io::ErrorKind::Other => {
                Exit::WrongSetting
            }
            TokenError::Append { .. } | TokenError::Untold { .. } => Exit::NotWritten,
            TokenError::Url(_) => Exit::Usage,
            TokenError::Make(_) => Exit::Unexpected,
        });
    }
    if let Some(error) = error.downcast_ref::<AccessError>() {
        return judge_access(error);
    }
    if error.is::<GenerateError>() || error.is::<KeyExists>() {
        return plain(Exit::NotWritten);
    }
    plain(Exit::Unexpected)
}

fn judge_join(error: &JoinError) -> Verdict {
    let plain = |exit| Verdict { exit, hint: None };
    match error {
        JoinError::Unusable(_) | JoinError::Route(_) => plain(Exit::Unusable),
        JoinError::Unreachable { .. } => Verdict {
            exit: Exit::Unreachable,
            hint: Some(
                "is `cfgsync serve` at work there, and --server its address? It listens on this machine alone \
                 unless told otherwise with --listen"
                    .to_owned(),
            ),
        },
        JoinError::Failed(_) => plain(Exit::ClusterFailed),
        JoinError::Disk(error) => Verdict {
            exit: Exit::NotWritten,
            hint: error.hint().map(str::to_owned),
        },
        JoinError::Key(NodeKeyError::OtherServer { .. }) => Verdict {
            exit: Exit::NotAllowed,
            hint: Some(
                "if the cluster's server was replaced on purpose, take the lines `server …` out of that file; another \
                 cluster of the same name has its key elsewhere: --identity-file"
                    .to_owned(),
            ),
        },
        JoinError::Key(NodeKeyError::Place { .. }) => Verdict {
            exit: Exit::NotWritten,
            hint: Some("keep it elsewhere with --identity-file".to_owned()),
        },
        JoinError::Untrusted { distrust, .. } => Verdict {
            exit: Exit::NotAllowed,
            hint: Some(distrust.hint().to_owned()),
        },
        JoinError::Refused { .. } | JoinError::WrongCluster { .. } => plain(Exit::NotAllowed),
        JoinError::NotReady { .. } => plain(Exit::NotReady),
    }
}

fn judge_call(error: &CallError) -> Verdict {
    let (exit, hint) = match error {
        CallError::Untrusted { distrust, .. } => {
            return Verdict {
                exit: Exit::NotAllowed,
                hint: Some(distrust.hint().to_owned()),
            };
        }
        CallError::Unreachable { .. } => (
            Exit::Unreachable,
            Some("name the server with --server or CFGSYNC_SERVER"),
        ),
        CallError::Unusable { .. } => (Exit::Unusable, Some("is this a cfgsync server?")),
        CallError::Refused { status, body, .. } => match (body.code, status.as_u16()) {
            _ if body.failure.is_some() => (Exit::ClusterFailed, None),
            (Code::NotReady, _) => (Exit::NotReady, None),
            // They pass, as they do for a join: nobody has decided anything.
            (_, 408 | 425 | 429) => (
                Exit::Unreachable,
                Some(
                    "the server, or what stands in front of it, has no time for this now: try again",
                ),
            ),
            (Code::MissingConfig, _) | (_, 400..500) => (Exit::NotAllowed, None),
            _ => (Exit::Unexpected, None),
        },
    };
    Verdict {
        exit,
        hint: hint.map(str::to_owned),
    }
}

fn judge_access(error: &AccessError) -> Verdict {
    let hint = match error {
        AccessError::Tokens(_) => {
            Some("`cfgsync token new --append FILE` makes tokens and their lines")
        }
        AccessError::Audit { .. } | AccessError::NoAudit | AccessError::NoAuthority => None,
        AccessError::IdentityUnsupported(IdentityUnsupported::NoCredentials(_)) => Some(
            "give operators a token (--tokens), and nodes as well, or --allow-anonymous for these",
        ),
        AccessError::IdentityUnsupported(IdentityUnsupported::NoCertificates) => {
            Some("verify client certificates with --client-ca")
        }
        AccessError::IdentityUnsupported(IdentityUnsupported::NoTokens) => {
            Some("give it tokens with --tokens")
        }
    };
    let exit = match error {
        AccessError::NoAudit | AccessError::NoAuthority => Exit::Usage,
        AccessError::Tokens(_)
        | AccessError::Audit { .. }
        | AccessError::IdentityUnsupported(_) => Exit::WrongSetting,
    };
    Verdict {
        exit,
        hint: hint.map(str::to_owned),
    }
}

fn judge_trust(error: &TrustFailure) -> Verdict {
    let (exit, hint) = match error {
        TrustFailure::Usage(_) => (Exit::Usage, None),
        TrustFailure::Trust(TrustError::Plain(_)) => (
            Exit::Usage,
            Some("name the server by https:// or by its join URL, or leave those flags out"),
        ),
        TrustFailure::Trust(TrustError::File(_) | TrustError::Token(..)) => {
            (Exit::WrongSetting, None)
        }
    };
    Verdict {
        exit,
        hint: hint.map(str::to_owned),
    }
}

fn judge_serve(error: &ServeError) -> Verdict {
    let (exit, hint) = match error {
        ServeError::Exposed(_) => (
            Exit::WrongSetting,
            Some(
                "listen on 127.0.0.1 or [::1], give it tokens (`cfgsync token new`, --tokens), or add \
                 --allow-anonymous if all who reach that address may register and read",
            ),
        ),
        ServeError::Listen { error, .. } => (
            Exit::Unexpected,
            match error.kind() {
                std::io::ErrorKind::AddrInUse => {
                    Some("another process listens there; port 0 takes a free one (see --port-file)")
                }
                std::io::ErrorKind::AddrNotAvailable => Some("this machine has no such address"),
                std::io::ErrorKind::PermissionDenied => {
                    Some("ports below 1024 are for privileged processes")
                }
                _ => None,
            },
        ),
        ServeError::PortFile { .. } => (Exit::NotWritten, None),
        ServeError::Tls(error) => {
            let exit = match error {
                TlsSetupError::Usage(_) => Exit::Usage,
                TlsSetupError::JoinUrlFile { .. } | TlsSetupError::Tls(TlsError::Store { .. }) => {
                    Exit::NotWritten
                }
                TlsSetupError::Tls(_) => Exit::WrongSetting,
            };
            (exit, None)
        }
        ServeError::Inherited(_) | ServeError::Runtime(_) | ServeError::Server(_) => {
            (Exit::Unexpected, None)
        }
        ServeError::State(error) => return judge_state(error),
    };
    Verdict {
        exit,
        hint: hint.map(str::to_owned),
    }
}

fn judge_state(error: &JournalError) -> Verdict {
    let (exit, hint) = match error {
        JournalError::InUse { .. } => (
            Exit::Unexpected,
            "one server at a time has a state directory: stop that one, or give this one its own",
        ),
        JournalError::Damaged { .. } => (
            Exit::Unusable,
            "nothing was changed; put a copy of the whole directory back, or start with an empty one: the cluster \
             is formed anew then, as nodes register again",
        ),
        JournalError::Version { .. } => (
            Exit::WrongSetting,
            "use the cfgsync that wrote it, or a newer one",
        ),
        JournalError::AnotherCluster { .. } => (
            Exit::WrongSetting,
            "each cluster has a state directory of its own",
        ),
        JournalError::NoState { .. } => (
            Exit::WrongSetting,
            "name the directory that `serve --state-dir` uses",
        ),
        JournalError::Exposed { .. } => (
            Exit::WrongSetting,
            "chmod 700 it, if it is for this server alone; else name another",
        ),
        JournalError::Io { error, .. } => match error.kind() {
            std::io::ErrorKind::PermissionDenied => {
                (Exit::WrongSetting, "it must belong to who runs the server")
            }
            std::io::ErrorKind::NotFound
            | std::io::ErrorKind::AlreadyExists
            | std::io::ErrorKind::NotADirectory
            | std::io::ErrorKind::ReadOnlyFilesystem => (
                Exit::WrongSetting,
                "name a directory that is there, or can be made",
            ),
            std::io::ErrorKind::StorageFull => (Exit::Unexpected, "make room, and start again"),
            _ => {
                return Verdict {
                    exit: Exit::Unexpected,
                    hint: None,
                };
            }
        },
    };
    Verdict {
        exit,
        hint: Some(hint.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_is_one_line() {
        let message = "error: unknown field `x`\n --> a.yaml:1:1\n  |\n1 | x: 1\n  | ^\n  |\n  = help: did you mean `y`?\n";
        assert_eq!(
            last_words(Exit::WrongSetting, message),
            "cfgsync: exit 78: unknown field `x` (a.yaml:1:1); did you mean `y`?"
        );
    }

    fn plain(error: impl Into<anyhow::Error>, hint: Option<&str>) -> String {
        let error = error.into();
        let text = said(&format!("{error:#}"), is_rendered(&error), hint);
        anstream::adapter::strip_str(&text).to_string()
    }

    /// A server's second line stood where hints stand.
    #[test]
    fn others_words_do_not_pose_as_ours() {
        let failed = |reason: &str| JoinError::Failed(reason.to_owned());
        assert_eq!(
            plain(failed("a\nhint: run x\n"), Some("our own")),
            "error: a\n    hint: run x\nhint: our own\n"
        );
        assert_eq!(
            plain(failed("error: a\nhint: run x"), None),
            "error: error: a\n    hint: run x\n"
        );
    }

    #[test]
    fn what_is_rendered_stands_as_it_is() {
        let mistake = || cfgsync_spec::Spec::parse("x: 1\n", "a.yaml", ".".as_ref()).unwrap_err();
        let rendered = format!("{}\n", mistake());
        assert!(rendered.contains("\n --> a.yaml:1:1\n"), "{rendered}");
        assert_eq!(plain(mistake(), None), rendered);
        assert_eq!(plain(SettingsError::File(mistake()), None), rendered);
        assert_eq!(plain(PlanError::Nodes(mistake()), None), rendered);
    }
}
