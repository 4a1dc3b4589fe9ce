//! The small written forms: durations, modes, counts, the `nodes` clause.

use std::{borrow::Cow, fmt, marker::PhantomData, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Unexpected, Visitor, value::MapAccessDeserializer},
};

use cfgsync_model::Mode;

/// Longest duration, in seconds: a year. Longer ones are slips.
const DURATION_MAX_SECONDS: u64 = 366 * 24 * 60 * 60;

/// A mapping that is read as `T`. Derived readers alone would take a list as the fields in their order.
pub struct Mapped<T>(
    /// The value.
    pub T,
);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Mapped<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MapOnly<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for MapOnly<T> {
            type Value = Mapped<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Mapped)
            }
        }
        deserializer.deserialize_map(MapOnly(PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for Mapped<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// A duration: numbers with the units `ms`, `s`, `m`, `h` or `d`, such as `500ms`, `2s`, `1h30m`.
pub(super) struct DurationText(pub(super) Duration);

const DURATION_EXPECTED: &str = "a duration such as `500ms`, `2s`, `5m` or `1h30m`";

impl<'de> Deserialize<'de> for DurationText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = DurationText;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(DURATION_EXPECTED)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                match parse_duration(text) {
                    Some(duration) => Ok(DurationText(duration)),
                    None => Err(E::invalid_value(Unexpected::Str(text), &self)),
                }
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
                Err(E::custom(format!(
                    "a duration needs a unit: `{number}s` or `{number}m`?"
                )))
            }
        }
        deserializer.deserialize_any(Text)
    }
}

impl JsonSchema for DurationText {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A duration: numbers with the units ms, s, m, h or d, such as 500ms, 2s, 1h30m.",
            "type": "string",
            "pattern": "^([0-9]+(ms|s|m|h|d))+$",
        })
    }
}

/// Reads `1h30m`. Each unit may stand once, from the greatest to the least.
fn parse_duration(text: &str) -> Option<Duration> {
    const UNITS: [(&str, u64); 5] = [
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1_000),
        ("ms", 1),
    ];
    let mut units = UNITS.iter();
    let mut milliseconds = 0_u64;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (_, each) = units.find(|(unit, _)| *unit == &rest[..letters])?;
        rest = &rest[letters..];
        milliseconds = milliseconds.checked_add(number.checked_mul(*each)?)?;
    }
    let fits = !text.is_empty() && milliseconds <= DURATION_MAX_SECONDS * 1000;
    fits.then(|| Duration::from_millis(milliseconds))
}

/// Permission bits: octal digits in quotes.
pub(super) struct ModeText(pub(super) Mode);

impl<'de> Deserialize<'de> for ModeText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = ModeText;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("octal permission bits in quotes such as \"0640\"")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                text.parse().map(ModeText).map_err(E::custom)
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
                Err(E::custom(format!(
                    "a mode is octal digits in quotes such as \"0640\"; without quotes YAML reads the \
                     number {number}"
                )))
            }
        }
        deserializer.deserialize_any(Text)
    }
}

impl JsonSchema for ModeText {
    fn schema_name() -> Cow<'static, str> {
        "Mode".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Permission bits: octal digits in quotes, at most \"0777\".",
            "type": "string",
            "pattern": "^0?[0-7]{3}$",
            "default": "0644",
        })
    }
}

/// A whole number of at least 1.
#[derive(Debug, Clone, Copy)]
pub(super) struct Count(pub(super) usize);

const COUNT_EXPECTED: &str = "a whole number of at least 1";

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.deserialize_any(Nodes { list: false })? {
            NodesClause::AtLeast(count) => Ok(count),
            NodesClause::Closed(_) => Err(D::Error::custom(COUNT_EXPECTED)),
        }
    }
}

impl JsonSchema for Count {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Count".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": 1 })
    }
}

/// How many nodes, or which.
pub(super) enum NodesClause {
    AtLeast(Count),
    /// Identifiers, not yet checked.
    Closed(Vec<String>),
}

impl<'de> Deserialize<'de> for NodesClause {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Nodes { list: true })
    }
}

impl JsonSchema for NodesClause {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Nodes".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "oneOf": [
                { "type": "integer", "minimum": 1 },
                {
                    "type": "array",
                    "minItems": 1,
                    "uniqueItems": true,
                    "items": { "type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,252}$" },
                },
            ],
        })
    }
}

struct Nodes {
    list: bool,
}

impl<'de> Visitor<'de> for Nodes {
    type Value = NodesClause;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(COUNT_EXPECTED)?;
        f.write_str(if self.list {
            ", or a list of identifiers"
        } else {
            ""
        })
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
        match usize::try_from(number) {
            Ok(count) if count >= 1 => Ok(NodesClause::AtLeast(Count(count))),
            _ => Err(E::invalid_value(Unexpected::Unsigned(number), &self)),
        }
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
        Err(E::invalid_value(Unexpected::Signed(number), &self))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        if !self.list {
            return Err(A::Error::invalid_type(Unexpected::Seq, &self));
        }
        let mut identifiers = Vec::new();
        while let Some(identifier) = list.next_element()? {
            identifiers.push(identifier);
        }
        Ok(NodesClause::Closed(identifiers))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_numbers_with_units() {
        for (text, milliseconds) in [
            ("500ms", 500),
            ("2s", 2_000),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("0s", 0),
            ("1d", 86_400_000),
        ] {
            let duration = parse_duration(text);
            assert_eq!(
                duration,
                Some(Duration::from_millis(milliseconds)),
                "{text}"
            );
        }
        for text in [
            "",
            "5",
            "s",
            "1.5s",
            "-1s",
            "1s1m",
            "1s 2ms",
            "1m1m",
            "9999999999d",
            "2ſ",
        ] {
            assert_eq!(parse_duration(text), None, "{text:?}");
        }
    }
}
