//! Reads a materializer of `kind: exec`.

use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_yaml::Value;

use super::Reader;
use crate::{ExecSpec, raw::RawExec, source::YamlPath, typed};
use cfgsync_support::bounded_file::ReadError;

/// The default of `timeout`.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The default of the variable `PATH`.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

pub(super) fn read_exec(reader: &mut Reader, value: &Value, path: &YamlPath) -> Option<ExecSpec> {
    let raw: RawExec = reader.section(value, path)?;
    let env_path = path.key("env");
    let texts = typed::texts(
        &reader.document,
        raw.env.as_ref(),
        &env_path,
        &mut reader.mistakes,
    );
    let mut env: Vec<(String, String)> = Vec::new();
    for (name, text) in texts {
        if name.is_empty() || name.contains(['=', '\0']) {
            let title = format!("{name:?} is not a valid name of an environment variable");
            reader.report(&env_path.key(name), title);
        } else if text.contains('\0') {
            let title = format!("the environment variable `{name}` contains a NUL byte");
            reader.report(&env_path.key(name), title);
        }
        env.push((name.to_owned(), text.to_owned()));
    }
    if !env.iter().any(|(name, _)| name == "PATH") {
        env.push(("PATH".to_owned(), PATH.to_owned()));
    }
    let timeout = raw.timeout.map_or(TIMEOUT, |timeout| timeout.0);
    if timeout.is_zero() {
        let title = "the timeout must be longer than 0s";
        reader.report(&path.key("timeout"), title);
    }
    let reads = reader.value_names(raw.reads.as_deref(), &path.key("reads"));
    let command_path = path.key("command");
    let Some(name) = raw.command.first() else {
        let mistake = reader.document.value(&command_path, "the command is empty");
        let help = "give the program and its arguments, such as `[./make-genesis, --fast]`";
        reader.mistakes.push(mistake.help(help));
        return None;
    };
    if raw.command.iter().any(|word| word.contains('\0')) {
        reader.report(&command_path, "the command contains a NUL byte");
    }
    let directory = match std::path::absolute(reader.files.directory()) {
        Ok(directory) => directory,
        Err(error) => {
            let title = format!("cannot determine the spec's directory: {error}");
            reader.report(&command_path, title);
            return None;
        }
    };
    let program = match find_program(reader, name, &directory, &env) {
        Ok(program) => program,
        Err(problem) => {
            let mistake = reader.document.value(&command_path.index(0), problem.title);
            reader.mistakes.push(mistake.help(problem.help));
            return None;
        }
    };
    reader.files.add_program(name, &program);
    Some(ExecSpec {
        command: raw.command,
        program,
        directory,
        env,
        timeout,
        secret: raw.secret.unwrap_or(false),
        reads,
    })
}

/// The reason why a program was not found.
struct ProgramNotFound {
    title: String,
    help: String,
}

fn find_program(
    reader: &Reader,
    name: &str,
    directory: &Path,
    env: &[(String, String)],
) -> Result<PathBuf, ProgramNotFound> {
    if name.contains('/') {
        let path = directory.join(name);
        let shown = reader.files.resolve(name).display().to_string();
        return match path.metadata() {
            Ok(facts) if facts.is_dir() => Err(ProgramNotFound {
                title: format!("{shown} is a directory, not a program"),
                help: "give the path of the program, relative to the spec's directory".to_owned(),
            }),
            Ok(facts) if facts.permissions().mode() & 0o111 == 0 => Err(ProgramNotFound {
                title: format!("{shown} cannot be executed"),
                help: format!("make it executable: chmod +x {shown}"),
            }),
            Ok(_) => Ok(path),
            Err(error) => Err(ProgramNotFound {
                title: format!(
                    "cannot find the program {shown}: {}",
                    ReadError::from(error)
                ),
                help: "the path is relative to the spec's directory".to_owned(),
            }),
        };
    }
    let path = env.iter().find(|(key, _)| key == "PATH");
    let path = path.map_or("", |(_, path)| path.as_str());
    let is_program = |candidate: &PathBuf| {
        let facts = candidate.metadata();
        facts.is_ok_and(|facts| facts.is_file() && facts.permissions().mode() & 0o111 != 0)
    };
    let found = path
        .split(':')
        .filter(|entry| !entry.is_empty())
        .map(|entry| directory.join(entry).join(name))
        .find(is_program);
    found.ok_or_else(|| ProgramNotFound {
        title: format!("cannot find the program `{name}` in {path}"),
        help: format!(
            "for a program beside the spec write `./{name}`; to search elsewhere set `env: {{ PATH: … }}`"
        ),
    })
}
