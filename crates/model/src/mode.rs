//! File modes: the permission bits of an artifact on the node.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The permission bits of a file, written as four octal digits: `"0644"`. The default is `0644`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mode(u32);

/// A text that is not an octal mode of at most `0777`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("mode {0:?} is not octal permission bits like \"0644\" (at most \"0777\")")]
pub struct InvalidMode(String);

/// A mode that gives permissions to group or others, for a secret file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("mode {0} gives other users access to a secret file; only its owner may have permissions")]
pub struct ModeNotPrivate(pub Mode);

impl Mode {
    /// Returns the mode with these permission bits, or `None` if they are above `0777`.
    pub const fn from_bits(bits: u32) -> Option<Self> {
        if bits <= 0o777 {
            Some(Self(bits))
        } else {
            None
        }
    }

    /// Returns the permission bits, at most `0o777`.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Returns `given`, or the default: `0600` for a secret file and `0644` for any other.
    ///
    /// # Errors
    ///
    /// Fails if the file is secret and `given` gives permissions to group or others.
    pub fn for_file(given: Option<Self>, secret: bool) -> Result<Self, ModeNotPrivate> {
        match (given, secret) {
            (None, false) => Ok(Self::default()),
            (None, true) => Ok(Self(0o600)),
            (Some(mode), true) if !mode.is_private() => Err(ModeNotPrivate(mode)),
            (Some(mode), _) => Ok(mode),
        }
    }

    /// Returns whether only the owner has permissions.
    pub const fn is_private(self) -> bool {
        (self.0 & 0o077).count_ones() == 0
    }

    /// Returns the mode without the permissions of group and others.
    pub(super) const fn owner_only(self) -> Self {
        Self(self.0 & 0o700)
    }
}

impl Default for Mode {
    fn default() -> Self {
        Self(0o644)
    }
}
impl std::str::FromStr for Mode {
    type Err = InvalidMode;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_octal =
            (3..=4).contains(&text.len()) && text.bytes().all(|b| (b'0'..=b'7').contains(&b));
        match u32::from_str_radix(text, 8) {
            Ok(bits) if is_octal && bits <= 0o777 => Ok(Self(bits)),
            _ => Err(InvalidMode(text.to_owned())),
        }
    }
}
impl TryFrom<String> for Mode {
    type Error = InvalidMode;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}
impl From<Mode> for String {
    fn from(mode: Mode) -> Self {
        mode.to_string()
    }
}
impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}
impl fmt::Debug for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_three_or_four_octal_digits() {
        assert_eq!("0640".parse::<Mode>().unwrap().bits(), 0o640);
        assert_eq!("600".parse::<Mode>().unwrap().to_string(), "0600");
        for text in ["", "640640", "0888", "+644", "1777", "rw"] {
            assert!(text.parse::<Mode>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn secret_files_are_private() {
        let open = Mode::default();
        assert_eq!(Mode::for_file(None, true).unwrap().bits(), 0o600);
        assert_eq!(Mode::for_file(Some(open), true), Err(ModeNotPrivate(open)));
        assert_eq!(Mode::for_file(Some(open), false), Ok(open));
    }
}
