//! The identity of an event: the position in an instance's changes from which a watcher resumes.

use std::fmt;

use super::{Instance, Revision};

/// A position among the events of an instance. Positions are ordered as the events are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EventPosition {
    /// The revision of the event.
    pub revision: Revision,
    /// The part of the revision, from 0. `None` stands for the last part, and so for the whole revision: the position of
    /// a snapshot at this revision is the same.
    pub part: Option<u32>,
}

/// The id of an event, which is unique across servers and restarts. It is written as `INSTANCE-REVISION` for the last
/// event of a revision, and as `INSTANCE-REVISION.PART` for those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EventId {
    /// The instance of the store.
    pub instance: Instance,
    /// The position in this instance.
    pub position: EventPosition,
}

impl EventPosition {
    /// Returns the position behind all events of `revision`.
    pub const fn after(revision: Revision) -> Self {
        Self {
            revision,
            part: None,
        }
    }

    /// Returns whether an event is behind this position.
    pub fn precedes(self, revision: Revision, part: u32) -> bool {
        revision > self.revision
            || (revision == self.revision && self.part.is_some_and(|last| part > last))
    }
}

impl EventId {
    /// Parses the written form. Returns `None` for everything else, also for other spellings of the same numbers.
    pub fn parse(text: &str) -> Option<Self> {
        let (instance, position) = text.split_once('-')?;
        let (revision, part) = match position.split_once('.') {
            Some((revision, part)) => (revision, Some(part)),
            None => (position, None),
        };
        Some(Self {
            instance: Instance::parse(instance)?,
            position: EventPosition {
                revision: Revision(number(revision)?),
                part: match part {
                    Some(part) => Some(number(part)?.try_into().ok()?),
                    None => None,
                },
            },
        })
    }
}

/// Parses a number that is written without a sign and without leading zeros.
fn number(text: &str) -> Option<u64> {
    let is_canonical = text == "0" || !text.starts_with('0');
    let has_digits_only = text.bytes().all(|byte| byte.is_ascii_digit());
    (is_canonical && has_digits_only).then(|| text.parse().ok())?
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.instance, self.position.revision)?;
        match self.position.part {
            Some(part) => write!(f, ".{part}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn positions() -> impl Strategy<Value = EventPosition> {
        let part = proptest::option::of(any::<u32>());
        (any::<u64>(), part).prop_map(|(revision, part)| EventPosition {
            revision: Revision(revision),
            part,
        })
    }

    proptest! {
        #[test]
        fn written_form_is_read_back(instance: [u8; 16], position in positions()) {
            let id = EventId { instance: Instance::from_bytes(instance), position };
            prop_assert_eq!(EventId::parse(&id.to_string()), Some(id));
        }

        #[test]
        fn only_the_written_form_is_read(text in "([0-9a-f]{32}|[0-9a-f]{0,33})[-+. ]{0,2}[0-9]{0,21}([.-][0-9]{0,11})?") {
            if let Some(id) = EventId::parse(&text) {
                prop_assert_eq!(id.to_string(), text);
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text: String) {
            if let Some(id) = EventId::parse(&text) {
                prop_assert_eq!(id.to_string(), text);
            }
        }
    }

    #[test]
    fn foreign_ids_are_refused() {
        let instance = "0123456789abcdef0123456789abcdef";
        for position in ["0", "7", "7.0", "18446744073709551615.4294967295"] {
            let text = format!("{instance}-{position}");
            assert_eq!(EventId::parse(&text).map(|id| id.to_string()), Some(text));
        }
        for text in ["", "7", "-", "x-7", "null", "\u{0}", "0123-7"] {
            assert_eq!(EventId::parse(text), None, "{text:?}");
        }
        for position in [
            "",
            "x",
            "-1",
            "+1",
            "01",
            " 7",
            "7 ",
            "7.",
            ".7",
            "7.01",
            "7.0.0",
            "7.4294967296",
            "18446744073709551616",
            "7-7",
            "7.x",
            "٧",
        ] {
            let text = format!("{instance}-{position}");
            assert_eq!(EventId::parse(&text), None, "{text:?}");
        }
        let upper = format!("{}-7", instance.to_uppercase());
        assert_eq!(EventId::parse(&upper), None);
    }

    #[test]
    fn position_without_a_part_is_behind_the_whole_revision() {
        let at = |part| EventPosition {
            revision: Revision(7),
            part,
        };
        for (position, revision, part, is_behind) in [
            (at(None), 6, 9, false),
            (at(None), 7, 9, false),
            (at(None), 8, 0, true),
            (at(Some(1)), 7, 1, false),
            (at(Some(1)), 7, 2, true),
            (at(Some(1)), 6, 2, false),
            (at(Some(1)), 8, 0, true),
        ] {
            let found = position.precedes(Revision(revision), part);
            assert_eq!(found, is_behind, "{position:?} {revision}.{part}");
        }
    }
}
