//! Durations as people write them: `500ms`, `2s`, `1h30m`.

use std::time::Duration;

use jiff::{
    Span, SpanRelativeTo,
    fmt::friendly::{Designator, Spacing, SpanPrinter},
};

/// The longest duration that is accepted: a year. A longer one is probably a typing error.
pub const DURATION_MAX: Duration = Duration::from_hours(366 * 24);

/// The reason why a text is not a duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDuration {
    /// The text has another form.
    #[error("expected a duration such as 500ms, 2s, 10m or 1h30m")]
    Form,
    /// The text is a number without a unit.
    #[error("a duration needs a unit, such as 30s or 5m")]
    NoUnit,
    /// The duration is longer than [`DURATION_MAX`].
    #[error("a duration is at most a year")]
    TooLong,
}

/// Reads numbers with the units `d`, `h`, `m`, `s` and `ms`. Each unit occurs at most once, and larger units come first.
///
/// # Errors
/// See [`InvalidDuration`]. A bare `0` has no unit and is refused like any other bare number.
pub fn parse(text: &str) -> Result<Duration, InvalidDuration> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(InvalidDuration::NoUnit);
    }
    // jiff accepts more forms ("2 seconds", "PT2S", "-1h"). A spec allows only one.
    let is_plain = |byte: u8| byte.is_ascii_digit() || b"dhms".contains(&byte);
    if !text.starts_with(|c: char| c.is_ascii_digit()) || !text.bytes().all(is_plain) {
        return Err(InvalidDuration::Form);
    }
    let span: Span = text.parse().map_err(|_| InvalidDuration::Form)?;
    let exact = span
        .to_duration(SpanRelativeTo::days_are_24_hours())
        .map_err(|_| InvalidDuration::TooLong)?;
    match Duration::try_from(exact) {
        Ok(duration) if duration <= DURATION_MAX => Ok(duration),
        _ => Err(InvalidDuration::TooLong),
    }
}

/// Returns the text of a duration as [`parse`] reads it, without the part below a millisecond: `1h30m`, `0s`.
pub fn text(duration: Duration) -> String {
    const PRINTER: SpanPrinter = SpanPrinter::new()
        .designator(Designator::Compact)
        .spacing(Spacing::None);
    let whole_ms = Duration::from_millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
    PRINTER.unsigned_duration_to_string(&whole_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_numbers_with_units() {
        for (text, expected) in [
            ("2s", Ok(2_000)),
            ("500ms", Ok(500)),
            ("1h30m", Ok(5_400_000)),
            ("1d2h3m4s5ms", Ok(93_784_005)),
            ("90m", Ok(5_400_000)),
            ("366d", Ok(31_622_400_000)),
            ("367d", Err(InvalidDuration::TooLong)),
            ("99999999999999999999s", Err(InvalidDuration::Form)),
            ("5", Err(InvalidDuration::NoUnit)),
            ("", Err(InvalidDuration::Form)),
            ("s", Err(InvalidDuration::Form)),
            ("-2s", Err(InvalidDuration::Form)),
            ("2 s", Err(InvalidDuration::Form)),
            ("1.5s", Err(InvalidDuration::Form)),
            ("2sec", Err(InvalidDuration::Form)),
            ("PT2S", Err(InvalidDuration::Form)),
            ("1s2s", Err(InvalidDuration::Form)),
            ("1s2m", Err(InvalidDuration::Form)),
        ] {
            assert_eq!(parse(text), expected.map(Duration::from_millis), "{text:?}");
        }
    }

    #[test]
    fn prints_what_it_reads() {
        for (ms, expected) in [
            (0, "0s"),
            (500, "500ms"),
            (2_000, "2s"),
            (1_500, "1s500ms"),
            (300_000, "5m"),
            (5_400_000, "1h30m"),
        ] {
            let duration = Duration::from_millis(ms);
            assert_eq!(text(duration), expected);
            assert_eq!(parse(expected), Ok(duration), "{expected}");
        }
    }
}
