//! Settings files: keys are names of flags, at the top level for all subcommands, or below the name of one.

use std::path::{Path, PathBuf};

use cfgsync_spec::{Step, YamlFile};
use cfgsync_support::nearest::did_you_mean;
use clap::{Arg, ArgAction, Command, CommandFactory};
use serde_json::{Map, Value};

use super::{Setting, SettingsError, flags};
use crate::cmd::Cli;

/// The name of the file below a configuration directory.
const FILE: &str = "cfgsync/config.yaml";

const EXAMPLE: &str =
    "for example `server: http://boot:4400`, or the flags of a subcommand below its name";

/// An entry of a settings file.
#[derive(Debug)]
pub(super) struct Entry {
    /// The subcommand that it is for; `None` for all subcommands with the flag.
    section: Option<String>,
    flag: String,
    setting: Setting,
}

/// Returns the paths of settings files. A later file overrides an earlier one.
pub(super) fn paths() -> impl Iterator<Item = PathBuf> {
    let of_user = directories::BaseDirs::new();
    let of_user = of_user.map(|directories| directories.config_dir().join(FILE));
    [Path::new("/etc").join(FILE)].into_iter().chain(of_user)
}

/// Returns the setting that the last file gives to a flag. The subcommand's own section comes before the top level.
pub(super) fn setting(entries: &[Entry], section: Option<&str>, flag: &str) -> Option<Setting> {
    let find = |wanted: Option<&str>| {
        let mut entries = entries.iter().rev();
        entries.find(|entry| entry.flag == flag && entry.section.as_deref() == wanted)
    };
    let own = section.and_then(|section| find(Some(section)));
    own.or_else(|| find(None))
        .map(|entry| entry.setting.clone())
}

/// Reads a settings file.
pub(super) fn read(path: &Path) -> Result<Vec<Entry>, SettingsError> {
    let file = YamlFile::load(path)?;
    let root = match file.value() {
        Value::Null => return Ok(vec![]),
        Value::Object(root) => root,
        _ => {
            let what = "a settings file must be a mapping";
            return Err(file.wrong_value(&[], what, EXAMPLE).into());
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
            let what = format!("`{key}` is a subcommand: write its flags below it");
            return Err(file.wrong_value(&at, &what, "").into());
        }
        let Some(arg) = flags(&command).remove(key.as_str()) else {
            return Err(reader.unknown_setting(&at, key, &command));
        };
        entries.push(reader.entry(None, key, arg, value, &at)?);
    }
    Ok(entries)
}

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
            let mut flags = flags(subcommand);
            let Some(arg) = flags.remove(key.as_str()) else {
                let what = format!("`{name}` has no flag `--{key}`");
                return Err(self.unknown(&at, &what, key, flags.into_keys()));
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
            let what = if repeats {
                format!("`{flag}` takes a value or a list of values")
            } else {
                format!("`{flag}` takes a single value")
            };
            return Err(self.file.wrong_value(at, &what, "").into());
        };
        Ok(Entry {
            section: section.map(str::to_owned),
            flag: flag.to_owned(),
            setting: Setting {
                values,
                origin: format!("{}:{}", self.path.display(), self.file.line(at)),
            },
        })
    }

    fn unknown_setting(&self, at: &[Step], key: &str, command: &Command) -> SettingsError {
        let subcommands = command.get_subcommands().map(Command::get_name);
        let names = flags(command).into_keys().chain(subcommands);
        self.unknown(at, &format!("unknown setting `{key}`"), key, names)
    }

    fn unknown<'n>(
        &self,
        at: &[Step],
        what: &str,
        key: &str,
        names: impl Iterator<Item = &'n str>,
    ) -> SettingsError {
        let help = did_you_mean(key, names)
            .unwrap_or_else(|| "a setting is named like its flag, without the dashes".to_owned());
        self.file.wrong_key(at, what, &help).into()
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
