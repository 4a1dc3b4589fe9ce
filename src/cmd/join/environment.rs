//! `--env`: the variables of a dotenv artifact are added to the environment of CMD.
//!
//! Some variables decide which code a program runs, and that must not depend on the server. No list of them can be
//! complete, so `--env-allow` turns the question around: it names the variables that the server may set.

use std::str::FromStr;

use cfgsync::ArtifactFile;

use super::dotenv;

/// Variables that are known to decide which code is run. A name that ends with `*` is a prefix.
const CODE_VARIABLES: &[&str] = &[
    // The system: which file a name leads to, which libraries are loaded.
    "PATH",
    "LD_*",
    "DYLD_*",
    "GCONV_PATH",
    "GLIBC_TUNABLES",
    "LOCPATH",
    "NLSPATH",
    "OPENSSL_*",
    // Shells.
    "BASH_ENV",
    "BASH_FUNC_*",
    "BASHOPTS",
    "ENV",
    "FPATH",
    "IFS",
    "PROMPT_COMMAND",
    "PS4",
    "SHELLOPTS",
    "ZDOTDIR",
    // Interpreters and runtimes.
    "CLASSPATH",
    "COMPlus_*",
    "CORECLR_*",
    "DOTNET_*",
    "ELIXIR_ERL_OPTIONS",
    "ERL_*",
    "GUILE_*",
    "JAVA_OPTS",
    "JAVA_TOOL_OPTIONS",
    "JDK_JAVA_OPTIONS",
    "LUA_*",
    "NODE_OPTIONS",
    "NODE_PATH",
    "PERL*",
    "PHPRC",
    "PHP_INI_SCAN_DIR",
    "PYTHON*",
    "RUBYLIB",
    "RUBYOPT",
    "TCLLIBPATH",
    "_JAVA_OPTIONS",
    "BUNDLE_*",
    "GEM_*",
    "NPM_CONFIG_*",
    "npm_config_*",
    // Programs that other programs start.
    "BROWSER",
    "EDITOR",
    "GIT_*",
    "LESSCLOSE",
    "LESSOPEN",
    "MAKEFLAGS",
    "MANPAGER",
    "PAGER",
    "SSH_ASKPASS",
    "SUDO_*",
    "VISUAL",
    "GTK_*",
    "QT_*",
    "GIO_*",
];

/// The names that `--env-allow` lets the server set: one name, or all names with a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EnvPattern(String);

impl EnvPattern {
    pub(super) fn matches(&self, name: &str) -> bool {
        matches(&self.0, name)
    }
}

impl FromStr for EnvPattern {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let name = text.strip_suffix('*').unwrap_or(text);
        if !dotenv::is_key(name) {
            return Err("expected the name of a variable, or a prefix such as `APP_*`");
        }
        Ok(Self(text.to_owned()))
    }
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => name == pattern,
    }
}

/// Returns the variables of `file`, in order.
///
/// If `allowed` is not empty, only the variables in it are accepted. If it is empty, the variables that are known to
/// decide which code is run are refused. An error does not show the content of the file, which may be secret.
pub(super) fn read(
    file: &ArtifactFile,
    allowed: &[EnvPattern],
) -> Result<Vec<(String, String)>, String> {
    let name = &file.path;
    let bytes = file.content.to_bytes();
    let text = std::str::from_utf8(&bytes).map_err(|error| {
        format!("{name} has a mistake: {error}; correct it in the spec of the server")
    })?;
    let variables = dotenv::parse(text).map_err(|error| {
        format!("{name} has a mistake: {error}; correct it in the spec of the server")
    })?;
    for (key, value) in &variables {
        let is_code = CODE_VARIABLES.iter().any(|pattern| matches(pattern, key));
        if allowed.is_empty() && is_code {
            return Err(format!(
                "{name} sets {key}, which can decide which code a program runs, so CMD was not started; remove it from \
                 {name} in the spec, or name each variable that the server may set: --env-allow NAME"
            ));
        }
        if !allowed.is_empty() && !allowed.iter().any(|pattern| pattern.matches(key)) {
            return Err(format!(
                "{name} sets {key}, which no --env-allow names; remove it from the artifact, or add --env-allow {key}"
            ));
        }
        if value.contains('\0') {
            return Err(format!("{name} sets {key} to a value with a NUL byte"));
        }
    }
    Ok(variables)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str, allowed: &[&str]) -> Result<Vec<(String, String)>, String> {
        let allowed: Vec<EnvPattern> = allowed.iter().map(|one| one.parse().unwrap()).collect();
        let file = ArtifactFile::new("app.env".parse().unwrap(), text.to_owned());
        read(&file, &allowed)
    }

    #[test]
    fn reads_a_dotenv_artifact() {
        let text = "# comment\nexport A=1\nB=\"two words\"\nC='$A'\nD=\n";
        let expected = [("A", "1"), ("B", "two words"), ("C", "$A"), ("D", "")];
        assert_eq!(
            read_text(text, &[]).unwrap(),
            expected.map(|(key, value)| (key.to_owned(), value.to_owned()))
        );
    }

    #[test]
    fn refuses_variables_that_decide_which_code_runs() {
        for key in [
            "PATH",
            "LD_PRELOAD",
            "BASH_ENV",
            "PYTHONPATH",
            "NODE_OPTIONS",
            "PERL5OPT",
            "GIT_SSH_COMMAND",
        ] {
            let expected = format!(
                "app.env sets {key}, which can decide which code a program runs, so CMD was not started; remove it from \
                 app.env in the spec, or name each variable that the server may set: --env-allow NAME"
            );
            let text = format!("A=1\n{key}=/tmp");
            assert_eq!(read_text(&text, &[]).unwrap_err(), expected);
            assert!(read_text(&text, &["A", key]).is_ok());
        }
        assert!(read_text("PATHS=x\nMY_LD_X=y\nGITHUB=z", &[]).is_ok());
    }

    #[test]
    fn allows_only_the_names_and_prefixes_of_env_allow() {
        assert!(read_text("APP_A=1\nAPP_=2\nHOME=/x", &["APP_*", "HOME"]).is_ok());
        for text in ["APP=1", "HOMES=1", "LD_PRELOAD=1"] {
            let key = text.strip_suffix("=1").unwrap();
            let expected = format!(
                "app.env sets {key}, which no --env-allow names; remove it from the artifact, or add --env-allow {key}"
            );
            assert_eq!(read_text(text, &["APP_*", "HOME"]).unwrap_err(), expected);
        }
    }

    #[test]
    fn env_allow_takes_a_name_or_a_prefix() {
        for text in ["", "*", "A B", "A=1", "1A", "A**", "*A"] {
            assert!(text.parse::<EnvPattern>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn mistake_names_the_line_without_its_text() {
        let message = read_text("A=1\nsecret words\n", &[]).unwrap_err();
        assert_eq!(
            message,
            "app.env has a mistake: line 2: there is no '=' after the key; correct it in the spec of the server"
        );
        let message = read_text("A='sec\0ret'", &[]).unwrap_err();
        assert_eq!(message, "app.env sets A to a value with a NUL byte");
    }
}
