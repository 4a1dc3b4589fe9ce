//! `--env`: a dotenv artifact becomes CMD's environment.

use cfgsync::ArtifactFile;

/// The variables of `file`, in order.
///
/// `PATH` and `LD_*` decide which code runs, which is not for the server to say. A `$` stands for itself: what nodes
/// bring may be in there, and must not fetch what is in this one's environment.
pub(crate) fn read(file: &ArtifactFile) -> Result<Vec<(String, String)>, String> {
    let name = &file.path;
    let bytes = file.content.to_bytes();
    let text = std::str::from_utf8(&bytes)
        .map_err(|error| format!("{name} is not a dotenv file: {error}"))?;
    let (text, dollar) = without_dollars(text)
        .ok_or_else(|| format!("{name} is not a dotenv file: it has all private characters"))?;
    let mut variables = Vec::new();
    for variable in dotenvy::from_read_iter(text.as_bytes()) {
        let (key, value) = variable.map_err(|error| match error {
            // The line itself may hold a secret.
            dotenvy::Error::LineParse(line, _) => {
                let at = text
                    .lines()
                    .position(|candidate| candidate.contains(line.trim()));
                let at = at.map_or_else(String::new, |at| format!("line {}: ", at + 1));
                format!("{name}: {at}not KEY=VALUE as in a dotenv file")
            }
            error => format!("{name} is not a dotenv file: {error}"),
        })?;
        if key == "PATH" || key.starts_with("LD_") {
            return Err(format!(
                "{name} sets {key}, which decides what code runs: refused"
            ));
        }
        if value.contains('\0') {
            return Err(format!("{name} sets {key} to a value with a NUL byte"));
        }
        variables.push((key, value.replace(dollar, "$")));
    }
    Ok(variables)
}

/// `text` with a character that is not in it in place of each `$` that dotenvy would take for the beginning of a
/// variable's name. One behind an odd number of backslashes is either escaped or in single quotes: it is none.
fn without_dollars(text: &str) -> Option<(String, char)> {
    let dollar = ('\u{e000}'..='\u{f8ff}').find(|&c| !text.contains(c))?;
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        let backslashes = plain.bytes().rev().take_while(|&b| b == b'\\').count();
        plain.push(match c {
            '$' if backslashes % 2 == 0 => dollar,
            c => c,
        });
    }
    Some((plain, dollar))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Vec<(String, String)>, String> {
        read(&ArtifactFile::new(
            "app.env".parse().unwrap(),
            text.to_owned(),
        ))
    }

    #[test]
    fn dotenv_is_understood() {
        let variables = of("# comment\nexport A=1\nB=\"two words\"\nC='$A'\nD=\n").unwrap();
        let expected = [("A", "1"), ("B", "two words"), ("C", "$A"), ("D", "")];
        assert_eq!(
            variables,
            expected.map(|(key, value)| (key.to_owned(), value.to_owned()))
        );
    }

    /// Another node's metadata could have this node's environment put into them, and passwords lost their `$…`.
    #[test]
    fn a_dollar_is_a_dollar() {
        let home = std::env::var("HOME").unwrap_or_default();
        for (written, value) in [
            ("$HOME", "$HOME"),
            ("\"a ${HOME} b\"", "a ${HOME} b"),
            ("pa$word-1", "pa$word-1"),
            ("$(id)", "$(id)"),
            ("'$HOME \\$'", "$HOME \\$"),
            ("\"\\$HOME\"", "$HOME"),
            ("\"\\\\$HOME\"", "\\$HOME"),
            ("$", "$"),
        ] {
            let variables = of(&format!("A=1\nX={written}\n")).unwrap();
            assert_eq!(variables[1].1, value, "{written} ({home})");
        }
    }

    #[test]
    fn what_decides_on_code_is_refused() {
        for key in ["PATH", "LD_PRELOAD", "LD_LIBRARY_PATH"] {
            let expected = format!("app.env sets {key}, which decides what code runs: refused");
            assert_eq!(of(&format!("A=1\n{key}=/tmp")).unwrap_err(), expected);
        }
        assert!(of("PATHS=x\nMY_LD_X=y").is_ok());
    }

    #[test]
    fn mistakes_name_the_line_and_not_its_text() {
        let message = of("A=1\nsecret words\n").unwrap_err();
        assert_eq!(
            message,
            "app.env: line 2: not KEY=VALUE as in a dotenv file"
        );
    }
}
