//! The names of several values on the command line: `NAMESPACE` or `NAMESPACE/PREFIX`.

use std::str::FromStr;

use cfgsync_model::Namespace;

/// A namespace, or all keys in it that begin with a text: `NAMESPACE` or `NAMESPACE/PREFIX`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PrefixAddress {
    pub(super) namespace: Namespace,
    pub(super) prefix: String,
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

#[cfg(test)]
mod tests {
    use super::*;

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
