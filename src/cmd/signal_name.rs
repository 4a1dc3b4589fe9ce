//! Names of signals on the command line, such as `HUP`.

use std::str::FromStr;

use cfgsync_support::nearest::did_you_mean;
use rustix::process::Signal;

/// The signals that a flag accepts. A program can handle all of them.
const SIGNALS: [(&str, Signal); 9] = [
    ("HUP", Signal::HUP),
    ("INT", Signal::INT),
    ("QUIT", Signal::QUIT),
    ("USR1", Signal::USR1),
    ("USR2", Signal::USR2),
    ("ALRM", Signal::ALARM),
    ("TERM", Signal::TERM),
    ("CONT", Signal::CONT),
    ("WINCH", Signal::WINCH),
];

/// A signal with its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NamedSignal {
    /// The name without `SIG`.
    pub(crate) name: &'static str,
    pub(crate) signal: Signal,
}

/// The signal that asks a program to end.
pub(crate) const TERMINATE: NamedSignal = NamedSignal {
    name: "TERM",
    signal: Signal::TERM,
};

impl FromStr for NamedSignal {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let upper = text.to_ascii_uppercase();
        let wanted = upper.strip_prefix("SIG").unwrap_or(&upper);
        let found = SIGNALS.iter().find(|(name, _)| *name == wanted);
        match found {
            Some((name, signal)) => Ok(Self {
                name,
                signal: *signal,
            }),
            None => Err(
                did_you_mean(wanted, SIGNALS.map(|(name, _)| name)).unwrap_or_else(|| {
                    "expected the name of a signal, such as HUP or TERM".to_owned()
                }),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_accepted_with_and_without_sig() {
        for text in ["HUP", "SIGHUP", "hup", "sighup"] {
            assert_eq!(text.parse::<NamedSignal>().unwrap().signal, Signal::HUP);
        }
        assert_eq!("TERM".parse(), Ok(TERMINATE));
        let unknown = "1".parse::<NamedSignal>().unwrap_err();
        assert!(unknown.starts_with("expected the name of a signal"));
    }
}
