//! Replaces this process with CMD.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    os::unix::process::CommandExt as _,
};

use super::deliver::Delivered;
use crate::cmd::{
    credentials,
    program::{self, ProgramError},
};

/// Executes `program` with the delivered variables and the facts about the node, and without those that hold this
/// program's token. Returns only if that fails. The locks of the directories end when the program has started, because it does not inherit them.
pub(super) fn execute(
    program: &OsStr,
    arguments: &[OsString],
    delivered: Delivered,
) -> ProgramError {
    let Delivered {
        variables,
        facts,
        locks: _locks,
    } = delivered;
    let mut environment: BTreeMap<OsString, OsString> = std::env::vars_os().collect();
    for variable in credentials::variables_with_token() {
        environment.remove(OsStr::new(variable));
    }
    let variables = variables.into_iter();
    environment.extend(variables.map(|(name, value)| (name.into(), value.into())));
    let facts = facts.into_iter();
    environment.extend(facts.map(|(name, value)| (name.into(), value)));
    let search_path = environment.get(OsStr::new("PATH")).map(OsString::as_os_str);
    let path = match program::find(program, search_path) {
        Ok(path) => path,
        Err(error) => return error,
    };
    let error = match program::command(&path, program, arguments, &environment) {
        Ok(mut command) => command.exec(),
        Err(error) => error,
    };
    program::explain(&path, error)
}
