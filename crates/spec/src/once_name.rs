//! Checks the names of the section `once`, which expressions use as `once.NAME`.

/// Returns whether an expression can use `text` as a name.
pub(super) fn is_valid(text: &str) -> bool {
    let starts = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    starts && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Returns the message for a name that is not valid.
pub(super) fn invalid(name: &str) -> String {
    format!(
        "expressions cannot use the name `{name}`: a name has letters, digits and '_', and does not begin with a digit"
    )
}

/// Returns a valid name that resembles `name`, if there is one.
pub(super) fn suggestion(name: &str) -> Option<String> {
    Some(name.replace('-', "_")).filter(|name| is_valid(name))
}
