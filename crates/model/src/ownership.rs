//! The owner and the group that a file should have on the node.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, de};

/// Longest name of a user or group, in bytes.
const NAME_MAX_BYTES: usize = 32;

/// The owner and group of a file. At least one of them is given.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Ownership {
    /// The user. `None` keeps the owner of the replaced file, or is the user of `join`.
    pub owner: Option<Account>,
    /// The group. `None` keeps the group of the replaced file, or is the default group of new files.
    pub group: Option<Account>,
}

/// A user or group: a name, or a number in decimal digits. The node looks names up.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(into = "String")]
pub struct Account(Arc<str>);

/// A text that is neither the name nor the number of a user or group.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is neither the name nor the number of a user or group; a name has at most {NAME_MAX_BYTES} letters, digits, \
     `_`, `.` and `-`, and a number is at most {max}",
    max = u32::MAX - 1
)]
pub struct InvalidAccount(String);

impl Ownership {
    /// Returns the ownership with these parts, or `None` if there are none.
    pub fn of(owner: Option<Account>, group: Option<Account>) -> Option<Arc<Self>> {
        let is_given = owner.is_some() || group.is_some();
        is_given.then(|| Arc::new(Self { owner, group }))
    }

    /// Returns the text that is part of a file's digest.
    pub(super) fn digest_text(&self) -> String {
        let part = |name: &str, account: &Option<Account>| match account {
            Some(account) => format!(" {name}={account}"),
            None => String::new(),
        };
        part("owner", &self.owner) + &part("group", &self.group)
    }
}

impl Account {
    /// Checks a name or number.
    ///
    /// # Errors
    /// Fails if `text` is neither.
    pub fn new(text: &str) -> Result<Self, InvalidAccount> {
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
        let is_valid = if is_number {
            // The kernel reads the largest number as "do not change".
            text.parse().is_ok_and(|number: u32| number != u32::MAX)
        } else {
            let is_name_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
            // Some systems end the names of machine accounts with `$`.
            let name = text.strip_suffix('$').unwrap_or(text);
            text.len() <= NAME_MAX_BYTES
                && !name.is_empty()
                && !name.starts_with('-')
                && name.bytes().all(is_name_byte)
        };
        if is_valid && !text.is_empty() {
            Ok(Self(text.into()))
        } else {
            Err(InvalidAccount(text.to_owned()))
        }
    }

    /// Returns the number, or `None` for a name.
    pub fn number(&self) -> Option<u32> {
        self.0.parse().ok()
    }

    /// Returns the name or the digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Account> for String {
    fn from(account: Account) -> Self {
        account.as_str().to_owned()
    }
}

impl<'de> Deserialize<'de> for Account {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl de::Visitor<'_> for Text {
            type Value = Account;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name or number of a user or group")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Account, E> {
                Account::new(text).map_err(E::custom)
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Account, E> {
                Account::new(&number.to_string()).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_accepted() {
        for (text, number) in [
            ("0", Some(0)),
            ("1000", Some(1000)),
            ("4294967294", Some(u32::MAX - 1)),
            ("app", None),
            ("_svc-1.x", None),
            ("host$", None),
        ] {
            let account = Account::new(text).unwrap();
            assert_eq!((account.number(), account.as_str()), (number, text));
        }
        let long = "n".repeat(33);
        for text in [
            "",
            "4294967295",
            "99999999999",
            "a b",
            "-a",
            "a:b",
            "a\n",
            "$",
            &long,
        ] {
            let accepted = Account::new(text);
            assert!(accepted.is_err(), "{accepted:?}");
        }
        let read = |json: &str| serde_json::from_str::<Account>(json);
        assert_eq!(read("1000").unwrap(), read("\"1000\"").unwrap());
        assert!(read("-1").is_err() && read("4294967295").is_err() && read("true").is_err());
    }
}
