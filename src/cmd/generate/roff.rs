//! Text as roff: what it looks like on a terminal is what it is, also when it is copied from there.

/// A paragraph: one line that cannot begin a request, `code` in it is bold.
pub(super) fn paragraph(text: &str) -> String {
    let mut out = String::new();
    let mut bold = false;
    for letter in text.replace('\n', " ").chars() {
        match letter {
            '`' => {
                out.push_str(if bold { "\\fR" } else { "\\fB" });
                bold = !bold;
            }
            letter => out.push_str(&letter_of(letter)),
        }
    }
    harmless(out)
}

/// Text line by line, every letter as it is.
pub(super) fn lines(text: &str) -> String {
    let line = |line: &str| harmless(line.chars().map(letter_of).collect());
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// What roff would read as a command, or print as a prettier letter.
fn letter_of(letter: char) -> String {
    match letter {
        '\\' => "\\e".to_owned(),
        '-' => "\\-".to_owned(),
        '\'' => "\\(aq".to_owned(),
        '`' => "\\(ga".to_owned(),
        '^' => "\\(ha".to_owned(),
        '~' => "\\(ti".to_owned(),
        letter => letter.to_string(),
    }
}

fn harmless(line: String) -> String {
    match line.starts_with('.') {
        true => format!("\\&{line}"),
        false => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_shell_reads_stays_what_it_is() {
        assert_eq!(
            lines("echo 'a\\n' | grep -v '^~'\n. ./env `x`"),
            "echo \\(aqa\\en\\(aq | grep \\-v \\(aq\\(ha\\(ti\\(aq\n\\&. ./env \\(gax\\(ga"
        );
    }

    #[test]
    fn code_is_bold_and_begins_no_request() {
        assert_eq!(paragraph("`a-b`\nand c's"), "\\fBa\\-b\\fR and c\\(aqs");
        assert_eq!(paragraph("..."), "\\&...");
    }
}
