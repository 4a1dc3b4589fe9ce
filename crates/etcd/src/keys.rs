//! The keys of a cluster in etcd.

use std::fmt;

use cfgsync_model::Digest;

/// A key below the prefix of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    /// Says to which cluster and instance the data belong.
    Meta,
    /// One entry of the log. Each writer counts its own.
    Log(LogKey),
    /// A part of the files of a generation, or of a snapshot.
    Part(Digest),
    /// Changes with each new reference to parts.
    References,
    /// The newest snapshot.
    Snapshot,
    /// The record of a running server.
    Server(ServerId),
    /// The server whose turn it is to render.
    Turn,
    /// The render that a server has begun and not ended.
    Rendering(ServerId),
    /// A part of a server's message about its nodes. Parts are numbered from 0.
    Presence(ServerId, usize),
}

/// A random number, one for each store that was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ServerId(pub(crate) u64);

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl ServerId {
    /// Parses the written form.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let id = Self(u64::from_str_radix(text, 16).ok()?);
        (id.to_string() == text).then_some(id)
    }
}

/// The key of an entry of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LogKey {
    /// The server that wrote it.
    pub(crate) writer: ServerId,
    /// The number of the entry, from 1.
    pub(crate) entry: u64,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Meta => f.write_str("meta"),
            Self::Log(LogKey { writer, entry }) => write!(f, "log/{writer}/{entry:016x}"),
            Self::Part(digest) => write!(f, "parts/{digest}"),
            Self::References => f.write_str("references"),
            Self::Snapshot => f.write_str("snapshot"),
            Self::Server(id) => write!(f, "servers/{id}"),
            Self::Turn => f.write_str("turn"),
            Self::Rendering(id) => write!(f, "rendering/{id}"),
            Self::Presence(id, part) => write!(f, "presence/{id}/{part}"),
        }
    }
}

impl Key {
    /// Returns the key that `text` names below the prefix of the cluster. `None` if this program does not use it.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let key = match text.split_once('/') {
            None => match text {
                "meta" => Self::Meta,
                "references" => Self::References,
                "snapshot" => Self::Snapshot,
                "turn" => Self::Turn,
                _ => return None,
            },
            Some(("log", rest)) => {
                let (writer, entry) = rest.split_once('/')?;
                Self::Log(LogKey {
                    writer: ServerId::parse(writer)?,
                    entry: u64::from_str_radix(entry, 16).ok()?,
                })
            }
            Some(("presence", rest)) => {
                let (id, part) = rest.split_once('/')?;
                Self::Presence(ServerId::parse(id)?, part.parse().ok()?)
            }
            Some(("rendering", id)) => Self::Rendering(ServerId::parse(id)?),
            Some(("servers", id)) => Self::Server(ServerId::parse(id)?),
            Some(("parts", digest)) => Self::Part(digest.parse().ok()?),
            Some(_) => return None,
        };
        (key.to_string() == text).then_some(key)
    }
}

/// The keys of one cluster, with its prefix.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    prefix: String,
}

impl Keys {
    /// Returns the keys below `prefix`, which ends with a slash.
    pub(crate) fn new(prefix: String) -> Self {
        Self { prefix }
    }

    /// Returns the full key.
    pub(crate) fn full(&self, key: &Key) -> Vec<u8> {
        format!("{}{key}", self.prefix).into_bytes()
    }

    /// Returns the name of a full key below the prefix.
    pub(crate) fn name<'a>(&self, full: &'a [u8]) -> Option<&'a str> {
        std::str::from_utf8(full).ok()?.strip_prefix(&self.prefix)
    }

    /// Returns the first key and the end of the range of all keys.
    pub(crate) fn all(&self) -> (Vec<u8>, Vec<u8>) {
        (self.prefix.clone().into_bytes(), self.end_of(""))
    }

    /// Returns the ranges of all keys except the parts.
    pub(crate) fn all_but_parts(&self) -> [(Vec<u8>, Vec<u8>); 2] {
        let (first, end) = self.all();
        let parts = format!("{}parts/", self.prefix).into_bytes();
        [(first, parts), (self.end_of("parts/"), end)]
    }

    /// Returns the first key and the end of the range of the parts.
    pub(crate) fn parts(&self) -> (Vec<u8>, Vec<u8>) {
        let first = format!("{}parts/", self.prefix).into_bytes();
        (first, self.end_of("parts/"))
    }

    /// Returns the key behind all keys that begin with `name`, which ends with a slash or is empty.
    fn end_of(&self, name: &str) -> Vec<u8> {
        let mut end = format!("{}{name}", self.prefix).into_bytes();
        let last = end.last_mut().expect("the prefix ends with a slash");
        *last += 1;
        end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_they_are_written() {
        let log = LogKey {
            writer: ServerId(u64::MAX),
            entry: 17,
        };
        for key in [
            Key::Meta,
            Key::Log(log),
            Key::Part(Digest::of(b"x")),
            Key::References,
            Key::Snapshot,
            Key::Server(ServerId(7)),
            Key::Turn,
            Key::Rendering(ServerId(7)),
            Key::Presence(ServerId(7), 12),
        ] {
            assert_eq!(Key::parse(&key.to_string()), Some(key));
        }
    }

    #[test]
    fn other_names_are_no_keys() {
        for text in [
            "",
            "log",
            "log/1/2",
            "log/zz/1",
            "parts/x",
            "meta/",
            "servers/a",
            "Meta",
        ] {
            assert_eq!(Key::parse(text), None, "{text}");
        }
    }

    #[test]
    fn ranges_leave_the_parts_out() {
        let keys = Keys::new("/cfgsync/demo/".to_owned());
        let [before, behind] = keys.all_but_parts();
        let part = keys.full(&Key::Part(Digest::of(b"x")));
        assert!(part >= before.1 && part < behind.0);
        for key in [Key::Meta, Key::References, Key::Snapshot, Key::Turn] {
            let full = keys.full(&key);
            let is_in = |range: &(Vec<u8>, Vec<u8>)| full >= range.0 && full < range.1;
            assert!(is_in(&before) || is_in(&behind), "{key}");
        }
        assert_eq!(
            keys.name(&part).and_then(Key::parse),
            Some(Key::Part(Digest::of(b"x")))
        );
        assert_eq!(keys.name(b"/other/key"), None);
    }
}
