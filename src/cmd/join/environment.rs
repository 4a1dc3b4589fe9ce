//! `--env`: a dotenv artifact becomes CMD's environment.

use cfgsync::ArtifactFile;

/// The variables of `file`, in order.
///
/// `PATH` and `LD_*` decide which code runs, which is not for the server to say.
pub(crate) fn read(file: &ArtifactFile) -> Result<Vec<(String, String)>, String> {
    let name = &file.path;
    let bytes = file.content.to_bytes();
    let mut variables = Vec::new();
    for variable in dotenvy::from_read_iter(bytes.as_ref()) {
        let (key, value) = variable.map_err(|error| match error {
            // The line itself may hold a secret.
            dotenvy::Error::LineParse(line, _) => {
                let text = String::from_utf8_lossy(&bytes);
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
        variables.push((key, value));
    }
    Ok(variables)
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
