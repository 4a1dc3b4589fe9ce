//! Gives each error type its exit code and its hint.
//!
//! An error type without a `From` impl here does not compile behind `?` in a command, so no failure gets an exit code by
//! accident. For the same reason there is no impl for [`std::io::Error`]: the caller says what could not be read or
//! written.

use std::io::ErrorKind;

use cfgsync_access::IdentityUnsupported;
use cfgsync_client::{
    CallError, FailureKind, JoinError, KeyError as NodeKeyError, RouteError, TrustError,
    UnreachableCause, disk::DiskError,
};
use cfgsync_model::FailureKind as ClusterFailureKind;
use cfgsync_server::TlsError;
use cfgsync_spec::SpecError;
use cfgsync_store::{StoreError, StoreErrorKind};

use super::{
    credentials::CredentialError,
    error::CommandError,
    exit::Exit,
    generate::GenerateError,
    inspect::InspectError,
    join::JoinFailure,
    key::KeyPairError,
    keys::KeyError,
    output::OutputError,
    plan::PlanError,
    program::ProgramError,
    reload::NotReloaded,
    replace::ReplaceError,
    serve::{AccessError, ServeError, TlsSetupError},
    server::DEFAULT_SERVER,
    settings::SettingsError,
    threads::ThreadsError,
    tls::TrustFailure,
    token::{RevokeError, TokenError},
    values::ValuesError,
};

impl From<clap::Error> for CommandError {
    fn from(error: clap::Error) -> Self {
        Self::command_line(error)
    }
}

impl From<OutputError> for CommandError {
    fn from(error: OutputError) -> Self {
        match error {
            OutputError::Closed => Self::reader_gone(),
            OutputError::Broken(_) => Self::new(Exit::Unexpected, error),
        }
    }
}

/// A panic in a task is a bug of this program.
impl From<tokio::task::JoinError> for CommandError {
    fn from(error: tokio::task::JoinError) -> Self {
        Self::new(Exit::Unexpected, error)
    }
}

impl From<ThreadsError> for CommandError {
    fn from(error: ThreadsError) -> Self {
        let hint = threads(&error);
        Self::new(Exit::Unexpected, format!("cannot start: {error}")).maybe_hint(hint)
    }
}

fn threads(error: &ThreadsError) -> Option<&'static str> {
    matches!(error, ThreadsError::TooFew { .. }).then_some(
        "raise the limit: pids.max of the cgroup, TasksMax= of the systemd unit, --pids-limit of the container, or \
         ulimit -u",
    )
}

impl From<SpecError> for CommandError {
    fn from(error: SpecError) -> Self {
        Self::diagnostic(&error)
    }
}

impl From<SettingsError> for CommandError {
    fn from(error: SettingsError) -> Self {
        match &error {
            SettingsError::File(mistakes) => Self::diagnostic(mistakes),
            SettingsError::Value { .. } | SettingsError::NotText(_) => {
                Self::new(Exit::WrongSetting, error)
            }
        }
    }
}

impl From<CredentialError> for CommandError {
    fn from(error: CredentialError) -> Self {
        Self::new(Exit::WrongSetting, error)
    }
}

impl From<KeyError> for CommandError {
    fn from(error: KeyError) -> Self {
        Self::new(Exit::WrongSetting, error)
    }
}

impl From<KeyPairError> for CommandError {
    fn from(error: KeyPairError) -> Self {
        match &error {
            KeyPairError::Exists(_) => Self::new(Exit::NotWritten, &error)
                .hint("remove the file if no node uses that key, or choose another --out-dir"),
            KeyPairError::Generate(_) => Self::new(Exit::Unexpected, error),
        }
    }
}

impl From<GenerateError> for CommandError {
    fn from(error: GenerateError) -> Self {
        Self::new(Exit::NotWritten, error)
    }
}

impl From<NodeKeyError> for CommandError {
    fn from(error: NodeKeyError) -> Self {
        let exit = match &error {
            NodeKeyError::OtherServer { .. } => Exit::NotAllowed,
            _ => Exit::WrongSetting,
        };
        Self::new(exit, error)
    }
}

impl From<RouteError> for CommandError {
    fn from(error: RouteError) -> Self {
        Self::new(Exit::Unusable, error)
    }
}

impl From<DiskError> for CommandError {
    fn from(error: DiskError) -> Self {
        Self::new(Exit::NotWritten, &error).maybe_hint(error.hint())
    }
}

impl From<ReplaceError> for CommandError {
    fn from(error: ReplaceError) -> Self {
        match error {
            ReplaceError::Read { .. } | ReplaceError::TooLarge { .. } => {
                Self::new(Exit::WrongSetting, error)
            }
            ReplaceError::Artifacts(_) => Self::usage(error),
        }
    }
}

impl From<PlanError> for CommandError {
    fn from(error: PlanError) -> Self {
        match &error {
            PlanError::Nodes(mistakes) => Self::diagnostic(mistakes),
            PlanError::Render(_) | PlanError::Read { .. } | PlanError::AnotherCluster { .. } => {
                Self::new(Exit::WrongSetting, error)
            }
            PlanError::Write { .. } => Self::new(Exit::NotWritten, error),
        }
    }
}

impl From<ProgramError> for CommandError {
    fn from(error: ProgramError) -> Self {
        let exit = match &error {
            ProgramError::NotInPath(_) | ProgramError::Missing(_) => Exit::NotFound,
            ProgramError::NotExecutable { .. } => Exit::NotExecutable,
        };
        let hint = error.hint();
        let error = Self::new(exit, error);
        match hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }
}

/// Returns what to do if a server that the user has named cannot be reached.
fn unreachable(cause: UnreachableCause) -> Option<&'static str> {
    Some(match cause {
        UnreachableCause::Name => {
            "check the host name in the URL, and the name servers of this machine"
        }
        UnreachableCause::Response => {
            "check that `cfgsync serve`, and no other program, listens at this address, and that no firewall drops the \
             connection; if the server is only slow, raise --timeout"
        }
        UnreachableCause::Broken => {
            "check that `cfgsync serve`, and no other program, listens at this address; otherwise the log of the server, or \
             of a proxy in front of it, has the reason"
        }
        UnreachableCause::Fault => return None,
        // `Connection`, and causes that are added later.
        _ => {
            "check that `cfgsync serve` runs at this address; without --listen, it accepts connections from its own \
             machine only"
        }
    })
}

impl From<TokenError> for CommandError {
    fn from(error: TokenError) -> Self {
        let exit = match &error {
            // The new line would be invalid in the file. The file itself can be written.
            TokenError::Append { error, .. } if error.kind() == ErrorKind::Other => {
                Exit::WrongSetting
            }
            TokenError::Append { .. } | TokenError::NotPrinted { .. } => Exit::NotWritten,
            TokenError::Url(_) => Exit::Usage,
            TokenError::Make(_) => Exit::Unexpected,
        };
        Self::new(exit, error)
    }
}

impl From<RevokeError> for CommandError {
    fn from(error: RevokeError) -> Self {
        let exit = match &error {
            RevokeError::File { problem, .. } if problem.kind() == ErrorKind::Other => {
                Exit::WrongSetting
            }
            RevokeError::File { .. } => Exit::NotWritten,
            RevokeError::Unknown { .. } => Exit::No,
        };
        Self::new(exit, error)
    }
}

impl From<NotReloaded> for CommandError {
    fn from(error: NotReloaded) -> Self {
        let hint = "correct the files on the server, and reload them again";
        Self::new(Exit::WrongSetting, error).hint(hint)
    }
}

impl From<InspectError> for CommandError {
    fn from(error: InspectError) -> Self {
        let exit = match &error {
            InspectError::Failed(_) => Exit::ClusterFailed,
            InspectError::NotReady { .. } => Exit::NotReady,
            InspectError::NoNode(_)
            | InspectError::NoPayload { .. }
            | InspectError::NoArtifact { .. }
            | InspectError::NoGeneration(_)
            | InspectError::Secret { .. } => Exit::No,
            InspectError::Unhealthy(_) => Exit::Unexpected,
        };
        Self::new(exit, error)
    }
}

impl From<ValuesError> for CommandError {
    fn from(error: ValuesError) -> Self {
        let exit = match &error {
            ValuesError::Secret { .. } | ValuesError::OneVersion { .. } => Exit::No,
            ValuesError::NotBase64 { .. } => Exit::Unusable,
            ValuesError::Read { .. } | ValuesError::File { .. } => Exit::WrongSetting,
            ValuesError::Write { .. } => Exit::NotWritten,
        };
        Self::new(exit, error)
    }
}

impl From<JoinFailure> for CommandError {
    fn from(error: JoinFailure) -> Self {
        match error {
            JoinFailure::Join(error) => error.into(),
            JoinFailure::Trust(error) => error.into(),
            JoinFailure::Credential(error) => error.into(),
            JoinFailure::Usage(_) => Self::usage(error),
            JoinFailure::Setting(_) => Self::new(Exit::WrongSetting, error),
            JoinFailure::Environment(_) => Self::new(Exit::Unusable, error),
            JoinFailure::Check { .. } => Self::new(Exit::Unusable, error).hint(
                "correct the spec or its values, or the command of --check; no file was changed",
            ),
            JoinFailure::Wait(_) => Self::new(Exit::Unexpected, error),
            JoinFailure::Ended(signal) => Self::new(Exit::of_signal(signal.number), error),
            JoinFailure::Program(error) => error.into(),
        }
    }
}

impl From<FailureKind> for Exit {
    fn from(kind: FailureKind) -> Self {
        match kind {
            FailureKind::UnusableResponse => Self::Unusable,
            FailureKind::Unreachable => Self::Unreachable,
            FailureKind::ClusterFailed => Self::ClusterFailed,
            FailureKind::NotWritten => Self::NotWritten,
            FailureKind::NotAllowed => Self::NotAllowed,
            FailureKind::NotReady => Self::NotReady,
            FailureKind::ServerError => Self::Unexpected,
        }
    }
}

impl From<JoinError> for CommandError {
    fn from(error: JoinError) -> Self {
        let hint = match &error {
            JoinError::Unreachable { cause, .. } => unreachable(*cause),
            JoinError::NotReady { .. } => Some(
                "start the nodes that are missing, or wait longer with --timeout; `cfgsync inspect` shows the cluster",
            ),
            JoinError::Failed { kind, .. } => kind.map(|kind| match kind {
                ClusterFailureKind::Deadline => {
                    "start all nodes within the `deadline` of the spec, or raise it; the next `join` begins a new \
                     attempt"
                }
                ClusterFailureKind::Render => {
                    "the server could not make the files; correct the cause on the server, in the spec or in a program \
                     that it runs, and reload the spec with SIGHUP, or correct the --meta of the node; then join again"
                }
                ClusterFailureKind::Operator => {
                    "an operator declared this failure with `cfgsync fail`; once its reason is solved, the operator runs \
                     `cfgsync reset`, and then this node joins again"
                }
                ClusterFailureKind::Node => {
                    "the spec says `fail_fast`; solve the cause on the node that failed; then the operator runs \
                     `cfgsync reset`, and this node joins again"
                }
            }),
            JoinError::WrongCluster { .. } => {
                Some("name the server of the cluster that you want, or correct --cluster")
            }
            JoinError::Disk(error) => error.hint(),
            JoinError::Route(RouteError::MatchesNothing { .. }) => Some(
                "in `--out ARTIFACT=PATH`, ARTIFACT is the name of a file of the server; correct it, or add the file to the \
                 spec",
            ),
            JoinError::Key(NodeKeyError::OtherServer { .. }) => Some(
                "if you replaced the server, delete the `server …` lines from that file; for another cluster of the \
                 same name, choose another file with --identity-file",
            ),
            JoinError::Key(NodeKeyError::File { .. }) => {
                Some("choose another file with --identity-file")
            }
            JoinError::Untrusted { reason, .. } => Some(reason.hint()),
            JoinError::Refused { reason, .. } => match reason.as_deref() {
                Some("not_listed") => {
                    Some(
                        "correct --id; or add the node to the spec, reload the server with SIGHUP, and join again",
                    )
                }
                Some("replaced" | "name_in_use") => Some(
                    "two machines use this identifier: join on one of them with another --id (the default is the host \
                     name, which a cloned machine shares with the original)",
                ),
                Some("too_late") => {
                    Some(
                        "if this machine is one of the sealed nodes, correct --id; to admit new nodes, set `late: follow` in \
                         the spec, reload the server with SIGHUP, and join again",
                    )
                }
                Some("no_credentials") => Some(
                    "an operator makes a token with `cfgsync token new`; pass its file with --token-file, or the token \
                     itself in CFGSYNC_TOKEN",
                ),
                Some("too_large") => Some(
                    "send less metadata, or raise --register-body-max on the server",
                ),
                _ => None,
            },
            _ => None,
        };
        Self::new(error.kind().into(), &error).maybe_hint(hint)
    }
}

impl From<CallError> for CommandError {
    fn from(error: CallError) -> Self {
        let hint = match &error {
            CallError::Untrusted { reason, .. } => Some(reason.hint()),
            CallError::Unreachable { server, .. } if server.to_string() == DEFAULT_SERVER => Some(
                "start `cfgsync serve` on this machine, or name another server with --server or CFGSYNC_SERVER",
            ),
            CallError::Unreachable { cause, .. } => unreachable(*cause),
            CallError::Broken { .. } => unreachable(UnreachableCause::Broken),
            CallError::Refused { .. } if error.kind() == FailureKind::Unreachable => {
                Some("the server, or a proxy in front of it, is busy: try again later")
            }
            CallError::Refused { status, .. } if status.as_u16() == 413 => {
                Some("send less, or start the server with a larger --replace-body-max")
            }
            _ => None,
        };
        Self::new(error.kind().into(), &error).maybe_hint(hint)
    }
}

impl From<TrustFailure> for CommandError {
    fn from(error: TrustFailure) -> Self {
        match &error {
            TrustFailure::Usage(_) => Self::usage(error),
            TrustFailure::Trust(TrustError::Plain(_)) => Self::usage(error)
                .hint("name the server with https:// or its join URL, or leave these flags out"),
            TrustFailure::Trust(_) => Self::new(Exit::WrongSetting, error),
        }
    }
}

impl From<AccessError> for CommandError {
    fn from(error: AccessError) -> Self {
        const NEW_TOKEN: &str = "make a token and its line with `cfgsync token new --append FILE`";
        let (exit, hint) = match &error {
            AccessError::Tokens(mistakes) => {
                let is_said = mistakes.to_string().contains("cfgsync token new");
                (Exit::WrongSetting, (!is_said).then_some(NEW_TOKEN))
            }
            AccessError::Audit { .. } => (Exit::WrongSetting, None),
            AccessError::NoAudit | AccessError::NoAuthority(_) => (Exit::Usage, None),
            AccessError::IdentityUnsupported(IdentityUnsupported::NoCredentials(_)) => (
                Exit::WrongSetting,
                Some(
                    "give operators a token with --tokens, and nodes either a token or --allow-anonymous",
                ),
            ),
            AccessError::IdentityUnsupported(IdentityUnsupported::NoCertificates) => (
                Exit::WrongSetting,
                Some("verify client certificates with --client-ca FILE"),
            ),
            AccessError::IdentityUnsupported(IdentityUnsupported::NoTokens) => (
                Exit::WrongSetting,
                Some("name a file of tokens with --tokens FILE"),
            ),
        };
        Self::new(exit, &error).maybe_hint(hint)
    }
}

impl From<ServeError> for CommandError {
    fn from(error: ServeError) -> Self {
        let (exit, hint) = match &error {
            ServeError::Exposed(_) => (
                Exit::WrongSetting,
                Some(
                    "listen on 127.0.0.1 or [::1], require tokens with --tokens (see `cfgsync token new`), or add \
                     --allow-anonymous if every client that can reach this address may register and read",
                ),
            ),
            ServeError::Listen { error, .. } => (
                Exit::Unexpected,
                match error.kind() {
                    ErrorKind::AddrInUse => Some(
                        "stop the process that uses this address, or choose another port; port 0 selects a \
                         free one (see --port-file)",
                    ),
                    ErrorKind::AddrNotAvailable => {
                        Some("choose an address of this machine; `ip address` lists them")
                    }
                    ErrorKind::PermissionDenied => {
                        Some("choose a port from 1024; lower ports need privileges")
                    }
                    _ => None,
                },
            ),
            ServeError::Record { .. } => (
                Exit::NotWritten,
                Some("create its directory, or choose another file with --record"),
            ),
            ServeError::Tls(TlsSetupError::Usage(_)) => (Exit::Usage, None),
            ServeError::PortFile { .. }
            | ServeError::Tls(
                TlsSetupError::JoinUrlFile { .. } | TlsSetupError::Tls(TlsError::Store { .. }),
            ) => (Exit::NotWritten, None),
            ServeError::Tls(TlsSetupError::Tls(TlsError::File(_) | TlsError::Create(_))) => {
                (Exit::WrongSetting, None)
            }
            ServeError::Inherited(_)
            | ServeError::Runtime(_)
            | ServeError::Child(_)
            | ServeError::Server(_) => (Exit::Unexpected, None),
            ServeError::Threads(error) => (Exit::Unexpected, threads(error)),
        };
        Self::new(exit, &error).maybe_hint(hint)
    }
}

impl From<StoreError> for CommandError {
    fn from(error: StoreError) -> Self {
        let (exit, hint) = store(&error);
        Self::new(exit, &error).maybe_hint(hint)
    }
}

fn store(error: &StoreError) -> (Exit, Option<&'static str>) {
    let (exit, hint) = match error.kind() {
        StoreErrorKind::InUse => (
            Exit::Unexpected,
            "stop the other server, or choose another directory with --state-dir",
        ),
        StoreErrorKind::Damaged => (
            Exit::Unusable,
            "nothing was changed; restore a copy of the whole directory, or start with an empty one: the nodes \
             then register again and form a new cluster",
        ),
        StoreErrorKind::NewerFormat => (
            Exit::WrongSetting,
            "use the version of cfgsync that wrote it, or a newer one",
        ),
        StoreErrorKind::AnotherCluster => (
            Exit::WrongSetting,
            "choose another directory with --state-dir, or correct `cluster` in the spec",
        ),
        StoreErrorKind::NotFound => (
            Exit::WrongSetting,
            "name the directory that `serve --state-dir` uses",
        ),
        StoreErrorKind::Exposed => (
            Exit::WrongSetting,
            "run `chmod 700` on it if only this server uses it; otherwise choose another directory",
        ),
        StoreErrorKind::Copied => (
            Exit::WrongSetting,
            "start it once with --moved if no server has used the original since, and with --restored otherwise: the \
             nodes then register again with a new instance",
        ),
        StoreErrorKind::Incomplete => (
            Exit::WrongSetting,
            "run the same `cfgsync store copy` again",
        ),
        StoreErrorKind::Moved => (
            Exit::WrongSetting,
            "use the store that the message names; if it is lost, `serve --restored` continues with this directory as a \
             new instance",
        ),
        StoreErrorKind::NotEmpty => (Exit::WrongSetting, "name a new directory"),
        StoreErrorKind::LostTail => (
            Exit::Unusable,
            "restore a copy of the whole directory; a server that starts here continues with what is left, as a new \
             instance",
        ),
        StoreErrorKind::Io(kind) => match kind {
            ErrorKind::PermissionDenied => (
                Exit::WrongSetting,
                "make the user that runs the server the owner of this directory, or choose another one with --state-dir; \
                 create it if it is missing",
            ),
            ErrorKind::NotFound
            | ErrorKind::AlreadyExists
            | ErrorKind::NotADirectory
            | ErrorKind::ReadOnlyFilesystem => (
                Exit::WrongSetting,
                "name an existing directory, or one that can be created",
            ),
            ErrorKind::StorageFull => (Exit::Unexpected, "free some space, then start again"),
            _ => return (Exit::Unexpected, None),
        },
    };
    (exit, Some(hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hint_names_the_server_flag_only_if_no_server_was_given() {
        for (server, expected) in [(DEFAULT_SERVER, true), ("http://boot.example:4400", false)] {
            let error = CallError::Unreachable {
                server: server.parse().expect("a valid URL"),
                problem: "connection refused".to_owned(),
                cause: UnreachableCause::Connection,
            };
            let error = CommandError::from(error);
            let hint = error.hint_text().expect("a hint");
            assert_eq!(hint.contains("--server"), expected, "{hint}");
        }
    }
}
