//! The roles: what holders of credentials may do.

use std::fmt;

/// The rights of a holder of credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Register, fetch its own payload, and leave.
    Node,
    /// See the state of the cluster, but no contents and no secret metadata, and change nothing.
    Viewer,
    /// Everything.
    Operator,
}

impl Role {
    /// The role as it is written in the tokens file: `node`, `viewer` or `operator`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Viewer => "viewer",
            Self::Operator => "operator",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl std::str::FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "node" => Ok(Self::Node),
            "viewer" => Ok(Self::Viewer),
            "operator" => Ok(Self::Operator),
            _ => Err("a role is `node`, `viewer` or `operator`".to_owned()),
        }
    }
}
