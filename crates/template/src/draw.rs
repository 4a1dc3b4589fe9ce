//! `random_hex`, `random_base64url` and `now`: what `once` may draw.

use std::fmt;

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use minijinja::{Error, Value, machinery::ast::CallArg};

use super::error::fault;
use cfgsync_support::clock::Timestamp;

/// Most bytes that one draw may take.
const DRAW_MAX_BYTES: usize = 4096;

/// The functions that exist only in `once`.
pub(super) const DRAWS: &[&str] = &["now", "random_base64url", "random_hex"];

/// What is wrong with a call of the draw `name`, and the way out, as far as the text shows it.
pub(super) fn misuse(name: &str, args: &[CallArg<'_>]) -> Option<(String, String)> {
    match (name, args) {
        ("now", [_, ..]) => Some((
            "`now` takes no argument".to_owned(),
            "write `now()`: it gives the time in UTC, to the second".to_owned(),
        )),
        ("random_base64url" | "random_hex", [CallArg::Pos(count)]) => {
            let is_wrong = count.as_const().is_some_and(|count| {
                let count = usize::try_from(count);
                !count.is_ok_and(|count| (1..=DRAW_MAX_BYTES).contains(&count))
            });
            is_wrong.then(|| {
                (
                    format!("`{name}` takes a number of bytes, from 1 to {DRAW_MAX_BYTES}"),
                    format!("write for example `{name}(32)`"),
                )
            })
        }
        // How many a splat gives is seen when it is drawn.
        ("random_base64url" | "random_hex", args)
            if !matches!(args, [CallArg::PosSplat(_), ..]) =>
        {
            Some((
                format!("`{name}` takes one argument, how many bytes are drawn"),
                format!("write for example `{name}(32)`"),
            ))
        }
        _ => None,
    }
}

/// What placeholders are made of: `0badc0de` in hexadecimal, `placeholder-` in base64url.
const HEX_PLACEHOLDER: &[u8] = b"\x0b\xad\xc0\xde";
const BASE64URL_PLACEHOLDER: &[u8] = b"\xa6\x56\x9c\x7a\x1a\x25\x75\xea\xfe";

/// Where `once` gets its chance and its time from.
#[derive(Clone)]
pub enum Draw {
    /// Real randomness, and this time.
    Real(Timestamp),
    /// Values of the right shape that are visibly not drawn: what `plan` uses.
    Placeholder,
}

impl fmt::Debug for Draw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Real(_) => "Real",
            Self::Placeholder => "Placeholder",
        })
    }
}

impl Draw {
    /// The function called `name`, if it is one of [`DRAWS`].
    pub(super) fn function(&self, name: &str) -> Option<Value> {
        let draw = self.clone();
        Some(match name {
            "random_hex" => Value::from_function(move |bytes: usize| {
                Ok::<_, Error>(HEXLOWER.encode(&draw.bytes(bytes, HEX_PLACEHOLDER)?))
            }),
            "random_base64url" => Value::from_function(move |bytes: usize| {
                Ok::<_, Error>(BASE64URL_NOPAD.encode(&draw.bytes(bytes, BASE64URL_PLACEHOLDER)?))
            }),
            "now" => Value::from_function(move || draw.now()),
            _ => return None,
        })
    }

    fn bytes(&self, count: usize, placeholder: &[u8]) -> Result<Vec<u8>, Error> {
        if !(1..=DRAW_MAX_BYTES).contains(&count) {
            return Err(fault(format!(
                "between 1 and {DRAW_MAX_BYTES} bytes can be drawn"
            )));
        }
        match self {
            Self::Placeholder => Ok(placeholder.iter().copied().cycle().take(count).collect()),
            Self::Real(_) => {
                let mut bytes = vec![0; count];
                getrandom::fill(&mut bytes)
                    .map_err(|_| fault("the system gives no random bytes"))?;
                Ok(bytes)
            }
        }
    }

    /// RFC 3339 in UTC, to the second.
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
    fn placeholders_are_seen_to_be_placeholders() {
        let draw = Draw::Placeholder;
        assert_eq!(
            HEXLOWER.encode(&draw.bytes(6, HEX_PLACEHOLDER).unwrap()),
            "0badc0de0bad"
        );
        let text = BASE64URL_NOPAD.encode(&draw.bytes(16, BASE64URL_PLACEHOLDER).unwrap());
        assert!(text.starts_with("placeholder-placeh"), "{text}");
        assert_eq!(text.len(), 22);
        assert_eq!(draw.now(), "1970-01-01T00:00:00Z");
    }

    #[test]
    fn real_draws_differ_and_are_bounded() {
        let draw = Draw::Real("2026-01-02T03:04:05.678Z".parse().unwrap());
        assert_eq!(draw.now(), "2026-01-02T03:04:05Z");
        assert_ne!(draw.bytes(16, &[]).unwrap(), draw.bytes(16, &[]).unwrap());
        assert!(draw.bytes(0, &[]).is_err());
        assert!(draw.bytes(DRAW_MAX_BYTES + 1, &[]).is_err());
    }
}
