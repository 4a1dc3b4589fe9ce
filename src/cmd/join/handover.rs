//! Starts CMD, which replaces this process or becomes its child.

use std::{
    ffi::{OsStr, OsString},
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::Command,
};

use super::{
    deliver::{AddedVariables, Delivered},
    facts::inherited_variables,
};
use crate::cmd::program::{self, ProgramError};

/// Executes `program` with the environment of the delivery, and without the variables that hold this program's token.
/// Returns only if that fails. The locks of the directories end when the program has started, because it does not inherit
/// them.
pub(super) fn execute(command: &[OsString], delivered: Delivered) -> ProgramError {
    let Delivered {
        variables,
        locks: _locks,
        ..
    } = delivered;
    match prepare(command, &variables) {
        Ok((path, mut command)) => program::explain(&path, command.exec()),
        Err(error) => error,
    }
}

/// Returns the path of the program, and the command that starts it with these variables.
pub(super) fn prepare(
    command: &[OsString],
    variables: &AddedVariables,
) -> Result<(PathBuf, Command), ProgramError> {
    let (program, arguments) = command.split_first().expect("there is a CMD");
    let mut environment = inherited_variables();
    let sent = variables.sent.iter();
    environment.extend(sent.map(|(name, value)| (name.into(), value.into())));
    let facts = variables.facts.iter();
    environment.extend(facts.map(|(name, value)| (name.into(), value.clone())));
    let search_path = environment.get(OsStr::new("PATH")).map(OsString::as_os_str);
    let path = program::find(program, search_path)?;
    match program::command(&path, program, arguments, &environment) {
        Ok(command) => Ok((path, command)),
        Err(error) => Err(program::explain(&path, error)),
    }
}
