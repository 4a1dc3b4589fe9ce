//! Replaces this process with CMD.

use std::{ffi::OsString, io::ErrorKind, os::unix::process::CommandExt as _, process::Command};

use super::JoinFailure;
use crate::cmd::credentials;

/// Executes `program` with these additional variables, and without those that hold this program's token. Returns only
/// if that fails.
pub(super) fn execute(
    program: &OsString,
    arguments: &[OsString],
    variables: Vec<(String, String)>,
) -> JoinFailure {
    let mut command = Command::new(program);
    command.args(arguments);
    for variable in credentials::variables_with_token() {
        command.env_remove(variable);
    }
    let error = command.envs(variables).exec();
    let program = program.to_string_lossy().into_owned();
    match error.kind() {
        ErrorKind::NotFound => JoinFailure::CommandNotFound(program),
        _ => JoinFailure::CommandNotExecutable(program, error),
    }
}
