//! Parsers for values on the command line: durations, sizes and JSON; and URLs without their secrets, for messages.

use std::{
    path::{Path, PathBuf},
    str::FromStr as _,
    time::Duration,
};

use cfgsync_model::{GenerationNumber, check_integer_range};
use cfgsync_support::duration::{self, DURATION_MAX, InvalidDuration};
use serde_json::Value;

/// Parses a duration such as `500ms`, `2s`, `10m` or `1h30m`. `0` needs no unit.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    const EXPECTED: &str = "expected a duration such as `500ms`, `2s`, `10m` or `1h30m`";
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let parsed = match duration::parse(text) {
        // A flag also takes forms that a spec does not, such as `1.5s` and `2 min`.
        Err(InvalidDuration::Form) => jiff::SignedDuration::from_str(text)
            .ok()
            .and_then(|signed| Duration::try_from(signed).ok())
            .ok_or(InvalidDuration::Form),
        parsed => parsed,
    };
    match parsed {
        Ok(duration) if duration <= DURATION_MAX => Ok(duration),
        Ok(_) | Err(InvalidDuration::TooLong) => Err("a duration is at most one year".to_owned()),
        Err(InvalidDuration::NoUnit) => Err(format!(
            "a duration needs a unit, such as `{text}s` or `{text}m`"
        )),
        Err(InvalidDuration::Form) => Err(EXPECTED.to_owned()),
    }
}

/// Parses the number of a generation.
pub(crate) fn generation(text: &str) -> Result<GenerationNumber, String> {
    match text.parse() {
        Ok(number) if number >= 1 => Ok(GenerationNumber(number)),
        _ => Err("expected the number of a generation, which is at least 1".to_owned()),
    }
}

/// Returns `path` for a process with another working directory.
pub(crate) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Returns `None` for a duration of 0, which means "without a limit".
pub(crate) fn limit(duration: Duration) -> Option<Duration> {
    (!duration.is_zero()).then_some(duration)
}

/// Parses a number of bytes such as `65536`, `64KiB`, `32MiB` or `1GiB`.
pub(crate) fn bytes(text: &str) -> Result<usize, String> {
    const EXPECTED: &str = "expected a size such as `65536`, `64KiB` or `32MiB`";
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let each: usize = match unit.trim_start() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(EXPECTED.to_owned()),
    };
    let number: usize = number.parse().map_err(|_| EXPECTED.to_owned())?;
    number
        .checked_mul(each)
        .ok_or_else(|| "the size is larger than this machine can address".to_owned())
}

/// Parses a JSON value for the metadata of a registration. Numbers that would be rounded are errors.
pub(crate) fn json(text: &str) -> Result<Value, String> {
    let value = serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))?;
    check_integer_range(text).map_err(|error| error.to_string())?;
    Ok(value)
}

/// Returns a URL without user, password and query, which may be secret.
pub(crate) fn without_secrets(text: &str) -> String {
    let (shown, hidden) = match text.split_once('?') {
        Some((shown, _)) => (shown, "?…"),
        None => (text, ""),
    };
    match shown.rsplit_once('@') {
        Some((before, host)) => {
            let scheme = before.split_once("://").map_or("", |(scheme, _)| scheme);
            format!("{scheme}://…@{host}{hidden}")
        }
        None => format!("{shown}{hidden}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duration_needs_a_unit() {
        for (text, milliseconds) in [
            ("0", 0),
            ("0s", 0),
            ("500ms", 500),
            ("2s", 2_000),
            ("10m", 600_000),
            ("1h30m", 5_400_000),
            ("1.5s", 1_500),
            ("2 min", 120_000),
        ] {
            assert_eq!(
                duration(text),
                Ok(Duration::from_millis(milliseconds)),
                "{text}"
            );
        }
        for text in ["", "5", "-5s", "s", "soon", "1000000h"] {
            assert!(duration(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn size_takes_binary_units() {
        for (text, expected) in [("0", 0), ("7B", 7), ("64KiB", 65536), ("32 MiB", 32 << 20)] {
            assert_eq!(bytes(text), Ok(expected), "{text}");
        }
        for text in ["", "KiB", "1kb", "-1", "99999999999999999999"] {
            assert!(bytes(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn url_is_shown_without_secrets() {
        for (text, shown) in [
            ("boot:4400", "boot:4400"),
            ("cfgsync://boot/?token=t&pi=n", "cfgsync://boot/?…"),
            ("http://me:secret@boot:1/x", "http://…@boot:1/x"),
            ("http://me:a?b@boot", "http://me:a?…"),
        ] {
            assert_eq!(without_secrets(text), shown);
        }
    }
}
