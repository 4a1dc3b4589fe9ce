//! What was typed and set becomes what it means, once: flags > environment > file > defaults.
//!
//! There is one mechanism: variables and the file's entries become the defaults of clap's arguments before the
//! command line is parsed. Clap's own reading of variables is switched off, because it would split repeated
//! flags on the command line as well, and would blame the flag for a wrong variable.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    ffi::OsString,
    path::{Path, PathBuf},
};

use clap::{
    Arg, ArgAction, Command, CommandFactory, FromArgMatches,
    error::{ContextKind, ContextValue, ErrorKind},
};
use serde_json::{Map, Value};

use super::{Cli, credentials::TOKEN_VARIABLE, values::without_secrets};
use cfgsync_spec::{SpecError, Step, YamlFile};

/// The file's name below a configuration directory.
const FILE: &str = "cfgsync/config.yaml";

/// A setting that is wrong: not what was typed, but what stands in a variable or file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    /// A value that its flag does not take.
    #[error("{origin}: {problem}")]
    Value {
        /// Where it comes from.
        origin: String,
        /// What clap says of it.
        problem: String,
    },
    /// A file with a mistake in it.
    #[error(transparent)]
    File(#[from] SpecError),
    /// A variable that is not text.
    #[error("{0} is not valid UTF-8")]
    NotText(String),
}

/// A value for a flag, and where it was said.
#[derive(Debug, Clone)]
struct Said {
    values: Vec<String>,
    origin: String,
}

/// A default that was put in place.
struct Applied {
    long: String,
    said: Said,
}

/// One entry of a settings file.
#[derive(Debug)]
struct Entry {
    /// The subcommand it is for; `None` for all that have the flag.
    section: Option<String>,
    flag: String,
    said: Said,
}

/// Reads the command line, the environment and the files of this process.
pub(crate) fn parse() -> anyhow::Result<Cli> {
    let variables = variables(env::vars_os())?;
    let files: Vec<PathBuf> = places().into_iter().filter(|file| file.exists()).collect();
    resolve(&env::args_os().collect::<Vec<_>>(), &variables, &files)
}

/// The command as it is documented: what every flag's variable is called stands in its help.
pub(crate) fn documented() -> Command {
    let none = BTreeMap::new();
    decorate(Cli::command(), None, &none, &[], &mut Vec::new())
}

fn resolve(
    arguments: &[OsString],
    variables: &BTreeMap<String, String>,
    files: &[PathBuf],
) -> anyhow::Result<Cli> {
    let mut entries = Vec::new();
    for file in files {
        entries.extend(read_file(file)?);
    }
    let mut applied = Vec::new();
    let mut command = decorate(Cli::command(), None, variables, &entries, &mut applied);
    let matches = command
        .try_get_matches_from_mut(arguments)
        .map_err(|error| blame(error, &applied, arguments))?;
    let mut matches = matches;
    Ok(Cli::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut command))?)
}

/// Where settings may stand; what a later file says wins.
fn places() -> Vec<PathBuf> {
    let mut places = vec![Path::new("/etc").join(FILE)];
    if let Some(directories) = directories::BaseDirs::new() {
        places.push(directories.config_dir().join(FILE));
    }
    places
}

/// Our variables that are set; an empty one is as good as none.
fn variables(
    all: impl Iterator<Item = (OsString, OsString)>,
) -> Result<BTreeMap<String, String>, SettingsError> {
    let mut ours = BTreeMap::new();
    for (name, value) in all {
        let Some(name) = name.to_str().filter(|name| name.starts_with("CFGSYNC_")) else {
            continue;
        };
        let value = value
            .into_string()
            .map_err(|_| SettingsError::NotText(name.to_owned()))?;
        if !value.is_empty() {
            ours.insert(name.to_owned(), value);
        }
    }
    Ok(ours)
}

/// Gives the flags of `command` and its subcommands what variables and files say as defaults, and names each
/// flag's variable in its help.
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
    let (Some(long), Some(variable)) = (arg.get_long(), arg.get_env()) else {
        return arg;
    };
    let (long, variable) = (long.to_owned(), variable.to_string_lossy().into_owned());
    let repeats = matches!(arg.get_action(), ArgAction::Append);
    let arg = mention(arg, &variable, repeats).env(clap::builder::Resettable::Reset);
    let Some(said) = said(&long, &variable, repeats, section, variables, entries) else {
        return arg;
    };
    let values = match arg.get_action() {
        ArgAction::SetTrue => said.values.iter().map(|value| truth(value)).collect(),
        _ => said.values.clone(),
    };
    applied.push(Applied { long, said });
    arg.required(false).default_values(values)
}

/// What a variable says, or else the last file: its section before what it says for all.
fn said(
    long: &str,
    variable: &str,
    repeats: bool,
    section: Option<&str>,
    variables: &BTreeMap<String, String>,
    entries: &[Entry],
) -> Option<Said> {
    if let Some(value) = variables.get(variable) {
        let values = match repeats {
            true => lines(value),
            false => vec![value.clone()],
        };
        return (!values.is_empty()).then(|| Said {
            values,
            origin: variable.to_owned(),
        });
    }
    let of = |wanted: Option<&str>| {
        let mut entries = entries.iter().rev();
        entries.find(|entry| entry.flag == long && entry.section.as_deref() == wanted)
    };
    let own = section.and_then(|section| of(Some(section)));
    own.or_else(|| of(None)).map(|entry| entry.said.clone())
}

/// One item per line; empty lines are none.
fn lines(value: &str) -> Vec<String> {
    let lines = value.lines().filter(|line| !line.trim().is_empty());
    lines.map(str::to_owned).collect()
}

/// The words for yes and no, as clap wants them of a flag; anything else is left for clap to refuse.
fn truth(value: &str) -> String {
    match value.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => "true".to_owned(),
        "false" | "no" | "off" | "0" => "false".to_owned(),
        _ => value.to_owned(),
    }
}

fn mention(arg: Arg, variable: &str, repeats: bool) -> Arg {
    let note = match repeats {
        true => format!("[env: {variable}, one per line]"),
        false => format!("[env: {variable}]"),
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

/// Clap blames the flag; where the value comes from a variable or file, that is to blame.
fn blame(error: clap::Error, applied: &[Applied], arguments: &[OsString]) -> anyhow::Error {
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
    // `--timeout <DURATION>`
    let arg = context(ContextKind::InvalidArg).trim_start_matches("--");
    let long = arg.split(' ').next().unwrap_or_default();
    let value = context(ContextKind::InvalidValue);
    let guilty = applied.iter().find(|applied| {
        applied.long == long
            && applied
                .said
                .values
                .iter()
                .any(|said| said == value || without_secrets(said) == value)
            && !was_typed(&applied.long, arguments)
    });
    match guilty {
        None => error.into(),
        Some(applied) => {
            let text = error.to_string();
            // What was wrong, and the values that would be right; not how to type it.
            let lines = text.lines().take_while(|line| !line.is_empty());
            let problem = lines.map(str::trim).collect::<Vec<_>>().join(" ");
            SettingsError::Value {
                origin: applied.said.origin.clone(),
                problem: problem.trim_start_matches("error: ").to_owned(),
            }
            .into()
        }
    }
}

fn was_typed(long: &str, arguments: &[OsString]) -> bool {
    let flag = format!("--{long}");
    arguments
        .iter()
        .filter_map(|argument| argument.to_str())
        .any(|argument| {
            argument
                .strip_prefix(&flag)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
        })
}

/// Reads a settings file: keys are flags, for all subcommands or below a subcommand's name.
fn read_file(path: &Path) -> Result<Vec<Entry>, SettingsError> {
    let file = YamlFile::load(path)?;
    let root = match file.value() {
        Value::Null => return Ok(vec![]),
        Value::Object(root) => root,
        _ => {
            return Err(file
                .wrong_value(&[], "settings are a mapping", EXAMPLE)
                .into());
        }
    };
    let command = Cli::command();
    let reader = Reader { path, file: &file };
    let mut entries = Vec::new();
    for (key, value) in root {
        if let (Some(subcommand), Value::Object(section)) = (command.find_subcommand(key), value) {
            entries.extend(reader.section(subcommand, section)?);
            continue;
        }
        let at = [Step::Key(key.clone())];
        if command.find_subcommand(key).is_some() {
            let what = format!("`{key}` is a subcommand: its flags stand below it");
            return Err(file.wrong_value(&at, &what, "").into());
        }
        let Some(arg) = flags(&command).remove(key.as_str()) else {
            return Err(reader.unknown(&at, key, &command, true));
        };
        entries.push(reader.entry(None, key, arg, value, &at)?);
    }
    Ok(entries)
}

const EXAMPLE: &str =
    "such as `server: http://boot:4400`, or the flags of one subcommand below its name";

struct Reader<'a> {
    path: &'a Path,
    file: &'a YamlFile,
}

impl Reader<'_> {
    fn section(
        &self,
        subcommand: &Command,
        section: &Map<String, Value>,
    ) -> Result<Vec<Entry>, SettingsError> {
        let name = subcommand.get_name();
        let mut entries = Vec::new();
        for (key, value) in section {
            let at = [Step::Key(name.to_owned()), Step::Key(key.clone())];
            let Some(arg) = flags(subcommand).remove(key.as_str()) else {
                return Err(self.unknown(&at, key, subcommand, false));
            };
            entries.push(self.entry(Some(name), key, arg, value, &at)?);
        }
        Ok(entries)
    }

    fn entry(
        &self,
        section: Option<&str>,
        flag: &str,
        arg: &Arg,
        value: &Value,
        at: &[Step],
    ) -> Result<Entry, SettingsError> {
        let repeats = matches!(arg.get_action(), ArgAction::Append);
        let values = match value {
            Value::Array(items) if repeats => items.iter().map(scalar).collect(),
            value => scalar(value).map(|value| vec![value]),
        };
        let Some(values) = values else {
            let what = match repeats {
                true => format!("`{flag}` takes a value or a list of values"),
                false => format!("`{flag}` takes one value"),
            };
            return Err(self.file.wrong_value(at, &what, "").into());
        };
        Ok(Entry {
            section: section.map(str::to_owned),
            flag: flag.to_owned(),
            said: Said {
                values,
                origin: format!("{}:{}", self.path.display(), self.file.line(at)),
            },
        })
    }

    fn unknown(&self, at: &[Step], key: &str, command: &Command, root: bool) -> SettingsError {
        let mut names: Vec<&str> = flags(command).into_keys().collect();
        let what = if root {
            names.extend(command.get_subcommands().map(Command::get_name));
            format!("unknown setting `{key}`")
        } else {
            format!("`{}` has no flag `--{key}`", command.get_name())
        };
        let help = match nearest(key, names.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "a setting is called like its flag, without the dashes".to_owned(),
        };
        self.file.wrong_key(at, &what, &help).into()
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// All flags with a variable of a command and what is below it, by name.
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

/// Warns of variables that look like ours and mean nothing: most often a slip.
pub(crate) fn warn_of_unknown_variables() {
    let set = env::vars_os().filter_map(|(name, value)| {
        let text = value.to_string_lossy().into_owned();
        Some((name.into_string().ok()?, text))
    });
    let ours: Vec<_> = set
        .filter(|(name, _)| name.starts_with("CFGSYNC_"))
        .collect();
    if ours.is_empty() {
        return;
    }
    for warning in unknown(&ours) {
        tracing::warn!("{warning}");
    }
}

fn unknown(set: &[(String, String)]) -> Vec<String> {
    let command = Cli::command();
    let known: BTreeSet<String> = flags(&command)
        .values()
        .filter_map(|arg| Some(arg.get_env()?.to_string_lossy().into_owned()))
        .chain([TOKEN_VARIABLE.to_owned()])
        .collect();
    let unknown = set
        .iter()
        .filter(|(name, value)| !known.contains(name) && !is_injected(name, value));
    unknown
        .map(
            |(name, _)| match nearest(name, known.iter().map(String::as_str)) {
                Some(near) => format!("unknown variable {name}; did you mean {near}?"),
                None => format!("unknown variable {name} is ignored"),
            },
        )
        .collect()
}

/// Whether Kubernetes put this there, for a service whose name begins with `cfgsync`.
fn is_injected(name: &str, value: &str) -> bool {
    let of_a_port = ["tcp://", "udp://", "sctp://"]
        .iter()
        .any(|scheme| value.starts_with(scheme))
        || ["_TCP", "_UDP", "_SCTP"].iter().any(|protocol| {
            name.split("_PORT_")
                .nth(1)
                .is_some_and(|end| end.contains(protocol))
        });
    name == "CFGSYNC_PORT"
        || name.starts_with("CFGSYNC_PORT_")
        || name.contains("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || of_a_port
}

/// The nearest of `names`, where it is near enough for a slip.
pub(crate) fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let edits_max = (name.chars().count() / 4).clamp(1, 3);
    names
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .filter(|(edits, _)| *edits <= edits_max)
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}
