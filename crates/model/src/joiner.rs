//! Joiners: the processes that register nodes. They tell two machines with the same name apart.

use std::{fmt, net::IpAddr};

use cfgsync_support::clock::Timestamp;

use super::NodeRegistration;

/// The identity of one process that registers a node, random at its start and written as 32 lowercase hexadecimal
/// digits. It is no secret and proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct JoinerId([u8; 16]);

impl JoinerId {
    /// Returns the identity with these 16 bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Returns the 16 bytes of the identity.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Parses the written form. Returns `None` if `text` is not 32 lowercase hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = data_encoding::HEXLOWER.decode(text.as_bytes()).ok()?;
        Some(Self(bytes.try_into().ok()?))
    }
}

impl fmt::Display for JoinerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

/// The origin of a registration. It is kept with the registration and is no part of the facts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Origin {
    /// The process that registered the node. `None` if its client sends no joiner id.
    pub joiner: Option<JoinerId>,
    /// When the node registered. `None` if an earlier version accepted the registration.
    pub at: Option<Timestamp>,
}

/// The sender of a request about a node, as far as the request says who it is.
#[derive(Debug, Clone, Copy)]
pub enum Sender<'a> {
    /// A process with this identity and these facts.
    Joiner(JoinerId, &'a NodeRegistration),
    /// A client without a joiner id, at this address if it is known.
    Address(Option<IpAddr>),
}

impl<'a> Sender<'a> {
    /// Returns the sender of `registration`.
    pub fn new(joiner: Option<JoinerId>, registration: &'a NodeRegistration) -> Self {
        match joiner {
            Some(joiner) => Self::Joiner(joiner, registration),
            None => Self::Address(Some(registration.ip)),
        }
    }

    /// Returns whether another machine sent `registration`, whose origin has `joiner`. A joiner never conflicts with
    /// itself. Equal facts never conflict, because they give equal files. Without two joiner ids, the addresses decide.
    pub fn conflicts_with(self, joiner: Option<JoinerId>, registration: &NodeRegistration) -> bool {
        match (self, joiner) {
            (Self::Joiner(own, facts), Some(joiner)) => own != joiner && facts != registration,
            (Self::Joiner(_, facts), None) => facts.ip != registration.ip,
            (Self::Address(ip), _) => ip.is_some_and(|ip| ip != registration.ip),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_are_told_apart_by_joiner_or_else_by_address() {
        let [one, two] = [1, 2].map(|byte| Some(JoinerId::from_bytes([byte; 16])));
        let at = |last: u8| NodeRegistration::new("a", [10, 0, 0, last]).unwrap();
        for (sender, joiner, registration, expected) in [
            (Sender::new(one, &at(1)), two, at(2), true),
            (Sender::new(one, &at(1)), one, at(2), false),
            (Sender::new(one, &at(1)), two, at(1), false),
            (Sender::new(one, &at(1)), None, at(2), true),
            (Sender::new(one, &at(1)), None, at(1), false),
            (Sender::new(None, &at(1)), two, at(2), true),
            (Sender::new(None, &at(1)), None, at(2), true),
            (Sender::new(None, &at(1)), None, at(1), false),
            (Sender::Address(None), two, at(2), false),
        ] {
            let found = sender.conflicts_with(joiner, &registration);
            assert_eq!(found, expected, "{sender:?} {joiner:?} {registration:?}");
        }
    }

    #[test]
    fn joiner_id_is_32_hexadecimal_digits() {
        let text = "000102030405060708090a0b0c0d0e0f";
        assert_eq!(JoinerId::parse(text).unwrap().to_string(), text);
        for text in ["", "00", &text.to_uppercase(), &format!("{text}00")] {
            assert_eq!(JoinerId::parse(text), None, "{text}");
        }
    }
}
