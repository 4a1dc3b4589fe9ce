//! The order of names that people expect: `n-2` before `n-10`.

use std::cmp::Ordering;

/// Compares two names. Digits that stand together count as one number. Names that are then equal, such as `n-1` and
/// `n-01`, are ordered by their bytes.
pub fn compare(one: &str, other: &str) -> Ordering {
    let (mut left, mut right) = (one, other);
    loop {
        let ((number, left_rest), (other_number, right_rest)) =
            (split_digits(left), split_digits(right));
        let ordering = if number.is_empty() || other_number.is_empty() {
            let (mut left_chars, mut right_chars) = (left.chars(), right.chars());
            let (next, other_next) = (left_chars.next(), right_chars.next());
            if next.is_none() && other_next.is_none() {
                return one.cmp(other);
            }
            (left, right) = (left_chars.as_str(), right_chars.as_str());
            next.cmp(&other_next)
        } else {
            (left, right) = (left_rest, right_rest);
            let significant = |digits: &str| digits.trim_start_matches('0').to_owned();
            let (number, other_number) = (significant(number), significant(other_number));
            let by_length = number.len().cmp(&other_number.len());
            by_length.then_with(|| number.cmp(&other_number))
        };
        if ordering.is_ne() {
            return ordering;
        }
    }
}

/// Splits `text` after its leading digits.
fn split_digits(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit());
    text.split_at(end.unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_names_are_compared_as_numbers() {
        let sorted = [
            "",
            "1",
            "2",
            "10",
            "a",
            "n-01",
            "n-1",
            "n-2",
            "n-2-9",
            "n-2-10",
            "n-10",
            "n-99999999999999999999999",
            "n-100000000000000000000000",
            "nn",
            "o-1",
        ];
        for (at, one) in sorted.iter().enumerate() {
            for (other_at, other) in sorted.iter().enumerate() {
                assert_eq!(compare(one, other), at.cmp(&other_at), "{one:?} {other:?}");
            }
        }
    }
}
