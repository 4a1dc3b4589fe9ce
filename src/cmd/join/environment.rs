//! `--env`: a dotenv artifact becomes the environment of CMD.

use cfgsync::ArtifactFile;

use super::dotenv;

/// Returns the variables of `file`, in order.
///
/// Refuses `PATH` and `LD_*`: they decide which code runs, and that must not depend on the server. The error does not
/// show the content of the file, which may be secret.
pub(super) fn read(file: &ArtifactFile) -> Result<Vec<(String, String)>, String> {
    let name = &file.path;
    let bytes = file.content.to_bytes();
    let text = std::str::from_utf8(&bytes)
        .map_err(|error| format!("{name} is not a dotenv file: {error}"))?;
    let variables =
        dotenv::parse(text).map_err(|error| format!("{name} is not a dotenv file: {error}"))?;
    for (key, value) in &variables {
        if key == "PATH" || key.starts_with("LD_") {
            return Err(format!(
                "{name} sets {key}, which `join` refuses because it decides which code runs; remove it from the \
                 artifact"
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

    fn read_text(text: &str) -> Result<Vec<(String, String)>, String> {
        read(&ArtifactFile::new(
            "app.env".parse().unwrap(),
            text.to_owned(),
        ))
    }

    #[test]
    fn reads_a_dotenv_artifact() {
        let variables = read_text("# comment\nexport A=1\nB=\"two words\"\nC='$A'\nD=\n").unwrap();
        let expected = [("A", "1"), ("B", "two words"), ("C", "$A"), ("D", "")];
        assert_eq!(
            variables,
            expected.map(|(key, value)| (key.to_owned(), value.to_owned()))
        );
    }

    #[test]
    fn refuses_variables_that_decide_which_code_runs() {
        for key in ["PATH", "LD_PRELOAD", "LD_LIBRARY_PATH"] {
            let expected = format!(
                "app.env sets {key}, which `join` refuses because it decides which code runs; remove it from the \
                 artifact"
            );
            assert_eq!(
                read_text(&format!("A=1\n{key}=/tmp")).unwrap_err(),
                expected
            );
        }
        assert!(read_text("PATHS=x\nMY_LD_X=y").is_ok());
    }

    #[test]
    fn mistake_names_the_line_without_its_text() {
        let message = read_text("A=1\nsecret words\n").unwrap_err();
        assert_eq!(
            message,
            "app.env is not a dotenv file: line 2: expected KEY=VALUE"
        );
        let message = read_text("A='sec\0ret'").unwrap_err();
        assert_eq!(message, "app.env sets A to a value with a NUL byte");
    }
}
