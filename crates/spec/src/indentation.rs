//! Finds the field whose wrong indentation makes a text invalid YAML.

use std::ops::Range;

/// A field that is indented like no field above it.
#[derive(Debug, PartialEq)]
pub(super) struct Misindented<'a> {
    /// The name of the field.
    pub(super) name: &'a str,
    /// The bytes of the name in the text.
    pub(super) range: Range<usize>,
    /// The field above that it was probably meant to be beside, and the indentation of that field.
    sibling: (&'a str, usize),
}

impl<'a> Misindented<'a> {
    /// Returns the field at the beginning of `line` (counted from 1), if its indentation is that of no field above it.
    pub(super) fn find(text: &'a str, line: usize) -> Option<Self> {
        let mut open: Vec<Field<'a>> = Vec::new();
        let mut offset = 0;
        // The lines of a block scalar are indented deeper than its field.
        let mut scalar_of: Option<usize> = None;
        for (at, raw) in text.split_inclusive('\n').enumerate() {
            let start = offset;
            offset += raw.len();
            let content = raw.trim_end();
            let indent = content.len() - content.trim_start_matches(' ').len();
            let is_wrong = at + 1 == line;
            if content.len() == indent || content[indent..].starts_with('#') {
                continue;
            }
            if scalar_of.is_some_and(|column| indent > column) && !is_wrong {
                continue;
            }
            scalar_of = None;
            let field = Field::of(content, indent);
            if is_wrong {
                let field = field.filter(|field| field.column == indent)?;
                return Self::beside(&field, start, &open);
            }
            let Some(field) = field else { continue };
            // A list may have the indentation of its own field.
            let is_item = field.column > indent;
            open.retain(|other| other.column < indent || (is_item && other.column == indent));
            if has_block_scalar(content) {
                scalar_of = Some(field.column);
            }
            open.push(field);
        }
        None
    }

    /// Returns the field that is the most likely sibling of `field`: the one whose indentation is nearest. Of two, it is
    /// the deeper one.
    fn beside(field: &Field<'a>, start: usize, open: &[Field<'a>]) -> Option<Self> {
        let is_beside = open.iter().any(|other| other.column == field.column);
        let is_below = open
            .last()
            .is_some_and(|last| last.is_empty && last.column < field.column);
        if is_beside || is_below {
            return None;
        }
        let distance = |other: &&Field<'_>| other.column.abs_diff(field.column);
        let nearest = open.iter().rev().min_by_key(distance)?;
        let start = start + field.column;
        Some(Self {
            name: field.name,
            range: start..start + field.name.len(),
            sibling: (nearest.name, nearest.column),
        })
    }

    /// Returns the hint that says what to do.
    pub(super) fn help(&self) -> String {
        let (sibling, column) = self.sibling;
        match column {
            0 => format!("begin it in the first column, like `{sibling}`"),
            1 => format!("indent it with 1 space, like `{sibling}`"),
            _ => format!("indent it with {column} spaces, like `{sibling}`"),
        }
    }
}

/// A field of a block mapping.
struct Field<'a> {
    name: &'a str,
    /// The column of its name, counted from 0. In `- name: …`, it is the column behind the dash.
    column: usize,
    /// Whether no value follows on the line, so that the fields below may belong to it.
    is_empty: bool,
}

impl<'a> Field<'a> {
    /// Returns the field at the beginning of a line.
    fn of(line: &'a str, indent: usize) -> Option<Self> {
        let mut column = indent;
        while let Some(rest) = line[column..].strip_prefix("- ") {
            column += 2 + rest.len() - rest.trim_start_matches(' ').len();
        }
        let rest = &line[column..];
        let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/');
        let end = rest.find(|c| !is_part(c))?;
        let is_field = end > 0 && rest[end..].starts_with(':');
        let is_end = rest[end..].len() == 1 || rest[end..].starts_with(": ");
        (is_field && is_end).then(|| Self {
            name: &rest[..end],
            column,
            is_empty: rest[end + 1..].trim().is_empty(),
        })
    }
}

/// Returns whether a line ends with the beginning of a block scalar, such as `key: |-`.
fn has_block_scalar(line: &str) -> bool {
    let last = line.rsplit(' ').next().unwrap_or_default();
    let mark = last.trim_end_matches(['-', '+']);
    matches!(mark, "|" | ">")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str, line: usize) -> Option<(&str, String)> {
        Misindented::find(text, line).map(|wrong| {
            assert_eq!(&text[wrong.range.clone()], wrong.name);
            (wrong.name, wrong.help())
        })
    }

    #[test]
    fn sibling_is_the_field_with_the_nearest_indentation() {
        let item = "files:\n  - path: a\n    template: |\n      key: x\n\n    # comment\n";
        for (field, help) in [
            ("   mode: x", "indent it with 4 spaces, like `template`"),
            ("  mode: x", "indent it with 4 spaces, like `template`"),
            ("     mode: x", "indent it with 4 spaces, like `template`"),
            (" late: x", "begin it in the first column, like `files`"),
        ] {
            let text = format!("{item}{field}\n");
            let name = field.trim().split(':').next().unwrap();
            assert_eq!(found(&text, 7), Some((name, help.to_owned())), "{field}");
        }
    }

    #[test]
    fn field_beside_another_and_other_lines_are_not_misindented() {
        let text = "a:\n  b: 1\n  c: 2\n  - d\n  e f: 3\n";
        for line in [2, 3, 4, 5, 9] {
            assert_eq!(found(text, line), None, "{line}");
        }
    }
}
