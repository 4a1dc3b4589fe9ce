//! Reads the small written forms: durations, modes, counts, the `nodes` clause.

use std::{borrow::Cow, fmt, marker::PhantomData, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Unexpected, Visitor, value::MapAccessDeserializer},
};

use cfgsync_model::{Account, Mode};
use cfgsync_support::duration::{self, InvalidDuration};

/// A `T` that is read from a mapping only. serde's derived readers alone would also accept a list of the fields'
/// values in their order.
pub struct Mapped<T>(
    /// The value that was read.
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

/// A duration, see [`duration::parse`].
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
                match duration::parse(text) {
                    Ok(duration) => Ok(DurationText(duration)),
                    Err(InvalidDuration::NoUnit) => Err(without_unit(text)),
                    Err(InvalidDuration::TooLong) => {
                        Err(E::custom(format!("{}: {text}", InvalidDuration::TooLong)))
                    }
                    Err(InvalidDuration::Form) => {
                        Err(E::invalid_value(Unexpected::Str(text), &self))
                    }
                }
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
                Err(without_unit(number))
            }
        }
        deserializer.deserialize_any(Text)
    }
}

fn without_unit<E: Error>(number: impl fmt::Display) -> E {
    E::custom(format!(
        "a duration needs a unit, such as `{number}s` or `{number}m`"
    ))
}

impl JsonSchema for DurationText {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A duration of at most a year: numbers with the units d, h, m, s and ms, such as 500ms, 2s or 1h30m.",
            "type": "string",
            "pattern": "^([0-9]+(ms|s|m|h|d))+$",
        })
    }
}

/// A number of nodes, or a share of all nodes of a roll-out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtOnce {
    /// So many nodes, at least 1.
    Nodes(usize),
    /// So many percent of the nodes, from 1 to 100, and at least one node.
    Percent(u8),
}

impl AtOnce {
    /// Returns the number of nodes if the roll-out has `all` nodes.
    pub fn of(self, all: usize) -> usize {
        match self {
            Self::Nodes(nodes) => nodes,
            Self::Percent(percent) => (all * usize::from(percent) / 100).max(1),
        }
    }
}

const AT_ONCE_EXPECTED: &str = "a number of nodes from 1, or a share from `1%` to `100%`";

impl<'de> Deserialize<'de> for AtOnce {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = AtOnce;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(AT_ONCE_EXPECTED)
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
                match usize::try_from(number) {
                    Ok(nodes) if nodes > 0 => Ok(AtOnce::Nodes(nodes)),
                    _ => Err(E::invalid_value(Unexpected::Unsigned(number), &self)),
                }
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                let percent = text.strip_suffix('%').and_then(|text| text.parse().ok());
                match percent.filter(|percent| (1..=100).contains(percent)) {
                    Some(percent) => Ok(AtOnce::Percent(percent)),
                    None => Err(E::invalid_value(Unexpected::Str(text), &self)),
                }
            }
        }
        deserializer.deserialize_any(Text)
    }
}

impl JsonSchema for AtOnce {
    fn schema_name() -> Cow<'static, str> {
        "AtOnce".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A number of nodes, or a share of all nodes such as 25%.",
            "oneOf": [
                { "type": "integer", "minimum": 1 },
                { "type": "string", "pattern": "^([1-9][0-9]?|100)%$" },
            ],
        })
    }
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
                    "a mode is octal digits in quotes, such as \"0640\"; without quotes YAML reads the \
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

/// The name or number of a user or group.
#[derive(Deserialize)]
pub(super) struct AccountText(pub(super) Account);

impl JsonSchema for AccountText {
    fn schema_name() -> Cow<'static, str> {
        "Account".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "The name or number of a user or group on the node.",
            "type": ["string", "integer"],
            "minimum": 0,
            "maximum": u32::MAX - 1,
            "pattern": "^([A-Za-z0-9_.][A-Za-z0-9_.-]*\\$?)$",
        })
    }
}

/// A whole number of at least 1.
#[derive(Debug, Clone, Copy)]
pub(super) struct Count(pub(super) usize);

const COUNT_EXPECTED: &str = "a whole number of at least 1";

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.deserialize_any(NodesVisitor {
            accepts_list: false,
        })? {
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

/// The `nodes` clause: a number of nodes, or a closed list.
pub(super) enum NodesClause {
    AtLeast(Count),
    /// The identifiers, not checked yet.
    Closed(Vec<String>),
}

impl<'de> Deserialize<'de> for NodesClause {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodesVisitor { accepts_list: true })
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

/// Reads a [`Count`], or a list where it is accepted.
struct NodesVisitor {
    accepts_list: bool,
}

impl<'de> Visitor<'de> for NodesVisitor {
    type Value = NodesClause;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(COUNT_EXPECTED)?;
        if self.accepts_list {
            f.write_str(", or a list of identifiers")?;
        }
        Ok(())
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
        if !self.accepts_list {
            return Err(A::Error::invalid_type(Unexpected::Seq, &self));
        }
        let mut identifiers = Vec::new();
        while let Some(identifier) = list.next_element()? {
            identifiers.push(identifier);
        }
        Ok(NodesClause::Closed(identifiers))
    }
}
