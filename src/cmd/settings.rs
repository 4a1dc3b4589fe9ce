//! Resolves the value of every flag, once: flags override variables, variables override settings files, and settings
//! files override defaults.
//!
//! Variables and entries of files become the defaults of clap's arguments before the command line is parsed. Clap's own
//! handling of variables is switched off, because it splits the values of repeatable flags on the command line as well.
//! Its messages also blame the flag for a wrong variable.

mod file;
pub(crate) mod variables;

use std::{collections::BTreeMap, env, ffi::OsString, path::PathBuf};

use clap::{
    Arg, ArgAction, Command, CommandFactory, FromArgMatches,
    error::{ContextKind, ContextValue, ErrorKind},
};

use super::{Cli, error::CommandError, parsers::without_secrets};
use cfgsync_spec::SpecError;
use file::Entry;
pub(crate) use variables::{SEAT_VARIABLE, warn_of_unknown_variables};

/// A mistake in a variable or a settings file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    /// A value that the flag does not accept.
    #[error("{origin}: {problem}")]
    Value {
        /// The variable, or the file and line.
        origin: String,
        /// Clap's message.
        problem: String,
    },
    /// A mistake in a settings file.
    #[error(transparent)]
    File(#[from] SpecError),
    /// A variable whose value is not UTF-8.
    #[error("{0} is not valid UTF-8")]
    NotText(String),
}

/// The values that a variable or an entry of a file gives to a flag.
#[derive(Debug, Clone)]
struct Setting {
    values: Vec<String>,
    /// The variable, or the file and line: for messages.
    origin: String,
}

/// A setting that became the default of a flag.
struct Applied {
    flag: String,
    setting: Setting,
}

/// Parses the command line of this process, with its environment and settings files.
pub(crate) fn parse() -> Result<Cli, CommandError> {
    let variables = variables::read(env::vars_os())?;
    let files: Vec<PathBuf> = file::paths().filter(|path| path.exists()).collect();
    resolve(&env::args_os().collect::<Vec<_>>(), &variables, &files)
}

/// Returns the command for documentation: the help of each flag names its variable.
pub(crate) fn documented() -> Command {
    let none = BTreeMap::new();
    decorate(Cli::command(), None, &none, &[], &mut Vec::new())
}

fn resolve(
    arguments: &[OsString],
    variables: &BTreeMap<String, String>,
    files: &[PathBuf],
) -> Result<Cli, CommandError> {
    let mut entries = Vec::new();
    for path in files {
        entries.extend(file::read(path)?);
    }
    let mut applied = Vec::new();
    let mut command = decorate(Cli::command(), None, variables, &entries, &mut applied);
    let matches = command
        .try_get_matches_from_mut(arguments)
        .map_err(|error| name_origin(error, &applied, arguments))?;
    let mut matches = matches;
    Ok(Cli::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut command))?)
}

/// Makes variables and entries the defaults of the flags of `command` and its subcommands, and names the variable of
/// each flag in its help.
fn decorate(
    command: Command,
    section: Option<&str>,
    variables: &BTreeMap<String, String>,
    entries: &[Entry],
    applied: &mut Vec<Applied>,
) -> Command {
    let command = command.mut_args(|arg| decorate_arg(arg, section, variables, entries, applied));
    let names: Vec<String> = command
        .get_subcommands()
        .map(|subcommand| subcommand.get_name().to_owned())
        .collect();
    names.into_iter().fold(command, |command, name| {
        command.mut_subcommand(&name, |subcommand| {
            let section = section.unwrap_or(&name);
            decorate(subcommand, Some(section), variables, entries, applied)
        })
    })
}

fn decorate_arg(
    arg: Arg,
    section: Option<&str>,
    variables: &BTreeMap<String, String>,
    entries: &[Entry],
    applied: &mut Vec<Applied>,
) -> Arg {
    let (Some(flag), Some(variable)) = (arg.get_long(), arg.get_env()) else {
        return arg;
    };
    let (flag, variable) = (flag.to_owned(), variable.to_string_lossy().into_owned());
    let repeats = matches!(arg.get_action(), ArgAction::Append);
    let arg = document_variable(arg, &variable, repeats).env(clap::builder::Resettable::Reset);
    let of_variable = variables
        .get(&variable)
        .filter(|value| !is_for_another_command(&arg, &variable, value))
        .map(|value| variables::setting(&variable, value, repeats));
    let setting = match of_variable {
        Some(setting) => setting,
        None => file::setting(entries, section, &flag),
    };
    let Some(setting) = setting else {
        return arg;
    };
    let values = match arg.get_action() {
        ArgAction::SetTrue => setting.values.iter().map(|value| boolean(value)).collect(),
        _ => setting.values.clone(),
    };
    applied.push(Applied { flag, setting });
    arg.required(false).default_values(values)
}

/// Whether the flag of this variable does not know the word `value`, and the flag of another command does. The variable
/// then belongs to that command: `CFGSYNC_OUTPUT=yaml` is for `inspect`, and `join` must still run.
fn is_for_another_command(arg: &Arg, variable: &str, value: &str) -> bool {
    fn knows(command: &Command, variable: &str, value: &str) -> bool {
        let mut of_variable = (command.get_arguments())
            .filter(|arg| arg.get_env().is_some_and(|env| env == variable));
        of_variable.any(|arg| has_word(arg, value))
            || command
                .get_subcommands()
                .any(|command| knows(command, variable, value))
    }
    !arg.get_possible_values().is_empty()
        && !has_word(arg, value)
        && knows(&Cli::command(), variable, value)
}

fn has_word(arg: &Arg, value: &str) -> bool {
    let words = arg.get_possible_values();
    words.iter().any(|word| word.matches(value, false))
}

/// Returns the words for yes and no as clap wants them for a flag without a value. Clap refuses anything else.
fn boolean(value: &str) -> String {
    match value.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => "true".to_owned(),
        "false" | "no" | "off" | "0" => "false".to_owned(),
        _ => value.to_owned(),
    }
}

fn document_variable(arg: Arg, variable: &str, repeats: bool) -> Arg {
    let note = if repeats {
        format!("[env: {variable}, one per line]")
    } else {
        format!("[env: {variable}]")
    };
    let long = arg.get_long_help().map(|help| format!("{help}\n\n{note}"));
    let short = arg.get_help().map(|help| format!("{help} {note}"));
    let arg = match short {
        Some(help) => arg.help(help),
        None => arg.help(note),
    };
    match long {
        Some(help) => arg.long_help(help),
        None => arg,
    }
}

/// Clap's message names the flag. If the invalid value comes from a variable or a file, this function names that
/// instead.
fn name_origin(error: clap::Error, applied: &[Applied], arguments: &[OsString]) -> CommandError {
    if !matches!(
        error.kind(),
        ErrorKind::InvalidValue | ErrorKind::ValueValidation
    ) {
        return error.into();
    }
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.as_str(),
        _ => "",
    };
    // The context has the form `--timeout <DURATION>`.
    let arg = context(ContextKind::InvalidArg).trim_start_matches("--");
    let flag = arg.split(' ').next().unwrap_or_default();
    let value = context(ContextKind::InvalidValue);
    let is_of = |setting: &Setting| {
        let mut values = setting.values.iter();
        values.any(|given| given == value || without_secrets(given) == value)
    };
    let culprit = applied.iter().find(|applied| {
        applied.flag == flag && is_of(&applied.setting) && !is_on_command_line(flag, arguments)
    });
    let Some(culprit) = culprit else {
        return error.into();
    };
    let text = error.to_string();
    // The first paragraph says what is wrong and which values are possible. The usage below it is left out.
    let lines = text.lines().take_while(|line| !line.is_empty());
    let problem = lines.map(str::trim).collect::<Vec<_>>().join(" ");
    SettingsError::Value {
        origin: culprit.setting.origin.clone(),
        problem: problem.trim_start_matches("error: ").to_owned(),
    }
    .into()
}

fn is_on_command_line(flag: &str, arguments: &[OsString]) -> bool {
    let flag = format!("--{flag}");
    arguments
        .iter()
        .filter_map(|argument| argument.to_str())
        .any(|argument| {
            argument
                .strip_prefix(&flag)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
        })
}

/// Returns all flags with a variable of a command and its subcommands, by name.
fn flags(command: &Command) -> BTreeMap<&str, &Arg> {
    let own = command
        .get_arguments()
        .filter(|arg| arg.get_env().is_some());
    let mut flags: BTreeMap<&str, &Arg> = own
        .filter_map(|arg| arg.get_long().map(|long| (long, arg)))
        .collect();
    for subcommand in command.get_subcommands() {
        for (name, arg) in self::flags(subcommand) {
            flags.entry(name).or_insert(arg);
        }
    }
    flags
}
