//! The name of a value on the command line: `NAMESPACE/KEY`.

use std::{fmt, str::FromStr};

use cfgsync_model::{Namespace, ValueKey};

/// A namespace and a key, written `NAMESPACE/KEY`. The first `/` separates them, because only a key may contain `/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ValueAddress {
    pub(super) namespace: Namespace,
    pub(super) key: ValueKey,
}

/// A namespace, or all keys in it that begin with a text: `NAMESPACE` or `NAMESPACE/PREFIX`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PrefixAddress {
    pub(super) namespace: Namespace,
    pub(super) prefix: String,
}

impl FromStr for ValueAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = "expected NAMESPACE/KEY, such as production/app/timeout";
        let (namespace, key) = text.split_once('/').ok_or(expected)?;
        if namespace.is_empty() || key.is_empty() {
            return Err(expected.to_owned());
        }
        Ok(Self {
            namespace: namespace
                .parse()
                .map_err(|error| format!("{expected}: {error}"))?,
            key: key
                .parse()
                .map_err(|error| format!("{expected}: {error}"))?,
        })
    }
}

impl FromStr for PrefixAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (namespace, prefix) = text.split_once('/').unwrap_or((text, ""));
        Ok(Self {
            namespace: namespace.parse().map_err(|error| {
                format!("expected NAMESPACE or NAMESPACE/PREFIX, such as production/app/: {error}")
            })?,
            prefix: prefix.to_owned(),
        })
    }
}

impl fmt::Display for ValueAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_slash_separates_namespace_and_key() {
        let address: ValueAddress = "production/app/timeout".parse().unwrap();
        assert_eq!(
            (address.namespace.as_str(), address.key.as_str()),
            ("production", "app/timeout")
        );
        assert_eq!(address.to_string(), "production/app/timeout");
        for text in ["production", "production/", "/app", "a b/c", "a/b c", ""] {
            let error = text.parse::<ValueAddress>().unwrap_err();
            assert!(error.starts_with("expected NAMESPACE/KEY"), "{error}");
        }
    }

    #[test]
    fn prefix_may_be_empty_and_may_end_with_a_slash() {
        for (text, namespace, prefix) in [
            ("production", "production", ""),
            ("production/", "production", ""),
            ("production/app/", "production", "app/"),
        ] {
            let address: PrefixAddress = text.parse().unwrap();
            assert_eq!(address.namespace.as_str(), namespace);
            assert_eq!(address.prefix, prefix);
        }
        assert!("".parse::<PrefixAddress>().is_err());
    }
}
