//! `kind: exec`.

use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_yaml::Value;

use super::Reader;
use crate::{ExecSpec, files::in_words, raw::RawExec, source::YamlPath, typed};

/// How long a program may take unless the spec says.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Where programs are looked for unless the spec says.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

pub(super) fn read_exec(reader: &mut Reader, value: &Value, path: &YamlPath) -> Option<ExecSpec> {
    let raw: RawExec = reader.section(value, path)?;
    let place = path.key("env");
    let texts = typed::texts(
        &reader.document,
        raw.env.as_ref(),
        &place,
        &mut reader.mistakes,
    );
    let mut env: Vec<(String, String)> = Vec::new();
    for (name, text) in texts {
        if name.is_empty() || name.contains(['=', '\0']) || text.contains('\0') {
            reader.note(
                &place.key(name),
                format!("{name:?} cannot be a variable of a program"),
            );
        }
        env.push((name.to_owned(), text.to_owned()));
    }
    if !env.iter().any(|(name, _)| name == "PATH") {
        env.push(("PATH".to_owned(), PATH.to_owned()));
    }
    let timeout = raw.timeout.map_or(TIMEOUT, |timeout| timeout.0);
    if timeout.is_zero() {
        let title = "a timeout of nothing leaves the program no time";
        reader.note(&path.key("timeout"), title);
    }
    let place = path.key("command");
    let Some(name) = raw.command.first() else {
        reader.note(&place, "an empty command names no program");
        return None;
    };
    if raw.command.iter().any(|word| word.contains('\0')) {
        reader.note(&place, "a command cannot hold a NUL byte");
    }
    let directory = match std::path::absolute(reader.files.directory()) {
        Ok(directory) => directory,
        Err(error) => {
            reader.note(
                &place,
                format!("the spec's directory cannot be told: {error}"),
            );
            return None;
        }
    };
    let program = match find_program(reader, name, &directory, &env) {
        Ok(program) => program,
        Err(problem) => {
            let mistake = reader.document.value(&place.index(0), problem.title);
            reader.mistakes.push(mistake.help(problem.help));
            return None;
        }
    };
    reader.files.note_program(name, &program);
    Some(ExecSpec {
        command: raw.command,
        program,
        directory,
        env,
        timeout,
        secret: raw.secret.unwrap_or(false),
    })
}

struct NoProgram {
    title: String,
    help: String,
}

fn find_program(
    reader: &Reader,
    name: &str,
    directory: &Path,
    env: &[(String, String)],
) -> Result<PathBuf, NoProgram> {
    if name.contains('/') {
        let path = directory.join(name);
        let shown = reader.files.resolve(name).display().to_string();
        return match path.metadata() {
            Ok(facts) if facts.is_dir() => Err(NoProgram {
                title: format!("{shown} is a directory, not a program"),
                help: "give the program's path relative to the spec's directory".to_owned(),
            }),
            Ok(facts) if facts.permissions().mode() & 0o111 == 0 => Err(NoProgram {
                title: format!("{shown} cannot be executed"),
                help: format!("chmod +x {shown}"),
            }),
            Ok(_) => Ok(path),
            Err(error) => Err(NoProgram {
                title: format!("cannot find the program {shown}: {}", in_words(&error)),
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
    found.ok_or_else(|| NoProgram {
        title: format!("there is no program `{name}` in {path}"),
        help: format!("for a program beside the spec write `./{name}`; `env: {{ PATH: … }}` sets where to look"),
    })
}
