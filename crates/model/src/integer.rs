//! Integers that JSON can write and 64 bits cannot hold: a reader would round them without a word.

/// An integer that would come out as another one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the integer {0} needs more than 64 bits and would be rounded; write it as a string")]
pub struct RoundedInteger(String);

/// Refuses integers below -2⁶³ and from 2⁶⁴ on in `json`, which must be valid. Numbers with a fraction or an
/// exponent are approximate by their nature (RFC 8259, section 6), and stay so.
pub fn refuse_rounded(json: &str) -> Result<(), RoundedInteger> {
    let mut rest = json.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = match byte {
            b'"' => after_text(after),
            b'-' | b'0'..=b'9' => {
                let is_part = |b: &u8| b.is_ascii_digit() || b"+-.eE".contains(b);
                let end = rest.iter().position(|b| !is_part(b));
                let (number, after) = rest.split_at(end.unwrap_or(rest.len()));
                let number = String::from_utf8_lossy(number);
                let is_integer = !number.contains(['.', 'e', 'E']);
                if is_integer && number.parse::<i64>().is_err() && number.parse::<u64>().is_err() {
                    return Err(RoundedInteger(number.into_owned()));
                }
                after
            }
            _ => after,
        };
    }
    Ok(())
}

/// What follows the quotation mark at the end of a text.
fn after_text(mut rest: &[u8]) -> &[u8] {
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
    fn only_integers_that_would_be_rounded_are_refused() {
        for json in [
            "18446744073709551615",
            "-9223372036854775808",
            r#"{"a": [1, -0, 1e30, 12345678901234567890.5, 99999999999999999999E1]}"#,
            r#"{"99999999999999999999": "\"99999999999999999999\\"}"#,
        ] {
            assert_eq!(refuse_rounded(json), Ok(()), "{json}");
        }
        for (json, integer) in [
            ("18446744073709551616", "18446744073709551616"),
            (r#"{"a":[0,-9223372036854775809]}"#, "-9223372036854775809"),
            (r#"["\\",99999999999999999999]"#, "99999999999999999999"),
        ] {
            let refused = RoundedInteger(integer.to_owned());
            assert_eq!(refuse_rounded(json), Err(refused), "{json}");
        }
    }
}
