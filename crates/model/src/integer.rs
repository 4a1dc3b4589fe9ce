//! A check for integers in JSON that do not fit into 64 bits. The JSON reader would round them silently.

/// An integer in JSON that does not fit into 64 bits. The value is the integer as it is written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the integer {0} needs more than 64 bits and would be rounded; write it as a string")]
pub struct IntegerOutOfRange(String);

/// Checks that every integer in `json` is at least -2⁶³ and less than 2⁶⁴. `json` must be valid JSON.
///
/// Numbers with a fraction or an exponent pass, because JSON numbers of this form are approximate anyway (RFC 8259,
/// section 6).
///
/// # Errors
///
/// Fails with the first integer outside this range.
pub fn check_integer_range(json: &str) -> Result<(), IntegerOutOfRange> {
    let mut rest = json.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = match byte {
            b'"' => after_string(after),
            b'-' | b'0'..=b'9' => {
                let is_part = |b: &u8| b.is_ascii_digit() || b"+-.eE".contains(b);
                let end = rest.iter().position(|b| !is_part(b));
                let (number, after) = rest.split_at(end.unwrap_or(rest.len()));
                let number = String::from_utf8_lossy(number);
                let is_integer = !number.contains(['.', 'e', 'E']);
                if is_integer && number.parse::<i64>().is_err() && number.parse::<u64>().is_err() {
                    return Err(IntegerOutOfRange(number.into_owned()));
                }
                after
            }
            _ => after,
        };
    }
    Ok(())
}

/// Returns the rest of the JSON after the closing quotation mark of a string.
fn after_string(mut rest: &[u8]) -> &[u8] {
    loop {
        rest = match rest {
            [b'"', after @ ..] => return after,
            [b'\\', _, after @ ..] | [_, after @ ..] => after,
            [] => return rest,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_only_integers_beyond_64_bits() {
        for json in [
            "18446744073709551615",
            "-9223372036854775808",
            r#"{"a": [1, -0, 1e30, 12345678901234567890.5, 99999999999999999999E1]}"#,
            r#"{"99999999999999999999": "\"99999999999999999999\\"}"#,
        ] {
            assert_eq!(check_integer_range(json), Ok(()), "{json}");
        }
        for (json, integer) in [
            ("18446744073709551616", "18446744073709551616"),
            (r#"{"a":[0,-9223372036854775809]}"#, "-9223372036854775809"),
            (r#"["\\",99999999999999999999]"#, "99999999999999999999"),
        ] {
            let refused = IntegerOutOfRange(integer.to_owned());
            assert_eq!(check_integer_range(json), Err(refused), "{json}");
        }
    }
}
