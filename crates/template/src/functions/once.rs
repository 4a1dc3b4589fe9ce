//! The functions that exist only in `once`: `random_hex`, `random_base64url` and `now`.

use std::fmt;

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use minijinja::{Error, Value, machinery::ast::CallArg};

use crate::engine_error::invalid_operation;
use cfgsync_support::clock::Timestamp;

/// Maximum number of random bytes that one call gives.
const RANDOM_MAX_BYTES: usize = 4096;

/// Returns an error message and a help text if the call of `name` has wrong arguments. Only arguments whose values are
/// in the text are checked; the others fail when the function is called.
pub(crate) fn check_call(name: &str, args: &[CallArg<'_>]) -> Option<(String, String)> {
    match (name, args) {
        ("now", [_, ..]) => Some((
            "`now` takes no argument".to_owned(),
            "write `now()`, which returns the time in UTC to the second".to_owned(),
        )),
        ("random_base64url" | "random_hex", [CallArg::Pos(count)]) => {
            let is_wrong = count.as_const().is_some_and(|count| {
                let count = usize::try_from(count);
                !count.is_ok_and(|count| (1..=RANDOM_MAX_BYTES).contains(&count))
            });
            is_wrong.then(|| {
                (
                    format!("`{name}` takes a number of bytes, from 1 to {RANDOM_MAX_BYTES}"),
                    format!("for example, write `{name}(32)`"),
                )
            })
        }
        // The number of arguments that `*LIST` gives is not known before the call.
        ("random_base64url" | "random_hex", args)
            if !matches!(args, [CallArg::PosSplat(_), ..]) =>
        {
            Some((
                format!("`{name}` takes one argument, the number of bytes"),
                format!("for example, write `{name}(32)`"),
            ))
        }
        _ => None,
    }
}

/// The bytes that a placeholder repeats: `0badc0de` in hexadecimal, `placeholder-` in base64url.
const HEX_PLACEHOLDER: &[u8] = b"\x0b\xad\xc0\xde";
const BASE64URL_PLACEHOLDER: &[u8] = b"\xa6\x56\x9c\x7a\x1a\x25\x75\xea\xfe";

/// The source of random bytes and time for the functions of `once`.
#[derive(Clone)]
pub enum OnceSource {
    /// Random bytes of the operating system, and this time.
    Real(Timestamp),
    /// Fixed values of the right form that are easy to recognize. `plan` uses them to give the same output each time.
    Placeholder,
}

impl fmt::Debug for OnceSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Real(_) => "Real",
            Self::Placeholder => "Placeholder",
        })
    }
}

impl OnceSource {
    /// Returns the function with this name, if it is one of `once`.
    pub(crate) fn function(&self, name: &str) -> Option<Value> {
        let source = self.clone();
        Some(match name {
            "random_hex" => Value::from_function(move |bytes: usize| {
                Ok::<_, Error>(HEXLOWER.encode(&source.bytes(bytes, HEX_PLACEHOLDER)?))
            }),
            "random_base64url" => Value::from_function(move |bytes: usize| {
                Ok::<_, Error>(BASE64URL_NOPAD.encode(&source.bytes(bytes, BASE64URL_PLACEHOLDER)?))
            }),
            "now" => Value::from_function(move || source.now()),
            _ => return None,
        })
    }

    fn bytes(&self, count: usize, placeholder: &[u8]) -> Result<Vec<u8>, Error> {
        if !(1..=RANDOM_MAX_BYTES).contains(&count) {
            return Err(invalid_operation(format!(
                "the number of random bytes must be from 1 to {RANDOM_MAX_BYTES}"
            )));
        }
        match self {
            Self::Placeholder => Ok(placeholder.iter().copied().cycle().take(count).collect()),
            Self::Real(_) => {
                let mut bytes = vec![0; count];
                getrandom::fill(&mut bytes)
                    .map_err(|_| invalid_operation("the operating system gives no random bytes"))?;
                Ok(bytes)
            }
        }
    }

    /// Returns the time in UTC to the second, as RFC 3339 writes it.
    fn now(&self) -> String {
        match self {
            Self::Real(time) => format!("{time:.0}"),
            Self::Placeholder => "1970-01-01T00:00:00Z".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_recognizable() {
        let source = OnceSource::Placeholder;
        assert_eq!(
            HEXLOWER.encode(&source.bytes(6, HEX_PLACEHOLDER).unwrap()),
            "0badc0de0bad"
        );
        let text = BASE64URL_NOPAD.encode(&source.bytes(16, BASE64URL_PLACEHOLDER).unwrap());
        assert!(text.starts_with("placeholder-placeh"), "{text}");
        assert_eq!(text.len(), 22);
        assert_eq!(source.now(), "1970-01-01T00:00:00Z");
    }

    #[test]
    fn random_bytes_differ_and_their_number_is_limited() {
        let source = OnceSource::Real("2026-01-02T03:04:05.678Z".parse().unwrap());
        assert_eq!(source.now(), "2026-01-02T03:04:05Z");
        assert_ne!(
            source.bytes(16, &[]).unwrap(),
            source.bytes(16, &[]).unwrap()
        );
        assert!(source.bytes(0, &[]).is_err());
        assert!(source.bytes(RANDOM_MAX_BYTES + 1, &[]).is_err());
    }
}
