//! The vocabulary of authorization: actions of clients, and the resources that they act on. It is the same for every
//! protocol.

use cfgsync_model::{Digest, Identifier, Namespace};
use cfgsync_spec::IdentityMode;

use super::Role;

/// One kind of operation that a client may ask the server for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Ask whether the server is alive or ready. Open to every client.
    Probe,
    /// Put a node's registration.
    Register,
    /// Receive a node's payload, or wait for it.
    Fetch,
    /// Withdraw a node's registration.
    Leave,
    /// Report a phase of a node.
    Report,
    /// Wait until nodes have reached a phase. Open to nodes and viewers.
    WaitForPhase,
    /// Ask to run a program for all nodes, renew the lease, or wait for its result.
    ClaimRun,
    /// End such a run.
    EndRun,
    /// Read the state of the cluster: nodes, generations, metrics.
    Inspect,
    /// Read the payload of any node, or the list of tokens.
    Read,
    /// Change the cluster: overrides, removals, failure, reset.
    Operate,
    /// Watch the events of the cluster. Those of values need [`Action::ReadValues`] too, and those of aliases
    /// [`Action::ListNames`].
    Watch,
    /// Read operators' values of one namespace.
    ReadValues,
    /// Change operators' values of one namespace.
    WriteValues,
    /// List the namespaces that the client may read, the aliases and the codecs.
    ListNames,
    /// Change aliases, which hold in every namespace.
    WriteAliases,
    /// Ask which of these two the client may do. Open to every client.
    CheckAccess,
}

impl Action {
    /// The role that the action requires; `None` if it is open to every client. An operator may also do what the other
    /// roles may.
    pub const fn required_role(self) -> Option<Role> {
        match self {
            Self::Probe | Self::CheckAccess => None,
            Self::Register
            | Self::Fetch
            | Self::Leave
            | Self::Report
            | Self::WaitForPhase
            | Self::ClaimRun
            | Self::EndRun => Some(Role::Node),
            Self::Inspect | Self::Watch => Some(Role::Viewer),
            Self::Read
            | Self::Operate
            | Self::ReadValues
            | Self::WriteValues
            | Self::ListNames
            | Self::WriteAliases => Some(Role::Operator),
        }
    }

    /// Whether a successful action changes the cluster, so that it belongs into the audit log.
    pub const fn is_change(self) -> bool {
        match self {
            Self::Register
            | Self::Leave
            | Self::Report
            | Self::EndRun
            | Self::Operate
            | Self::WriteValues
            | Self::WriteAliases => true,
            Self::Probe
            | Self::Fetch
            | Self::WaitForPhase
            | Self::ClaimRun
            | Self::Inspect
            | Self::Read
            | Self::Watch
            | Self::ReadValues
            | Self::ListNames
            | Self::CheckAccess => false,
        }
    }

    /// Whether a token that is limited to reading allows the action.
    pub(super) const fn only_reads(self) -> bool {
        match self {
            Self::Probe
            | Self::CheckAccess
            | Self::Inspect
            | Self::Watch
            | Self::WaitForPhase
            | Self::Read
            | Self::ReadValues
            | Self::ListNames => true,
            // A fetch counts as a delivery.
            Self::Register
            | Self::Fetch
            | Self::Leave
            | Self::Report
            | Self::ClaimRun
            | Self::EndRun
            | Self::Operate
            | Self::WriteValues
            | Self::WriteAliases => false,
        }
    }

    /// Whether a token that is limited to namespaces allows the action whatever the namespace. Of other parts of the
    /// cluster, its holder sees what a viewer sees.
    pub(super) const fn is_outside_namespaces(self) -> bool {
        matches!(
            self,
            Self::Probe
                | Self::CheckAccess
                | Self::Inspect
                | Self::Watch
                | Self::WaitForPhase
                | Self::ListNames
        )
    }
}

/// The object of an action.
#[derive(Debug, Clone, Copy)]
pub enum Resource<'a> {
    /// The cluster as a whole. Only the role decides.
    Cluster,
    /// The values of one namespace. A token must be for this namespace.
    Namespace(&'a Namespace),
    /// One node. The principal must also be allowed to act as that node.
    Node(NodeIdentity<'a>),
}

/// A node, and how the spec and the store establish who it is.
#[derive(Debug, Clone, Copy)]
pub struct NodeIdentity<'a> {
    /// The node's name.
    pub identifier: &'a Identifier,
    /// The spec's `identity:`.
    pub mode: IdentityMode,
    /// The hash of the key that owns the identifier, if one does. Only `identity: first-use` looks at it.
    pub owner: Option<&'a Digest>,
}
