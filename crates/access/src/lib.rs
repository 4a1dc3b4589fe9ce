//! Authentication, authorization, rates and the audit log.
//!
//! **Job.** A protocol server hands over [`Credentials`] as a client presented them. [`authenticate`] turns them into a
//! [`Principal`]. [`authorize`] decides whether that principal may do an [`Action`] to a [`Resource`], and
//! [`authorize_registration`] whether it may register as a node. The alternative is a [`Denial`]. [`AccessControl`]
//! holds what these decisions need on a running server, limits the rate of each client address, and writes the audit
//! log.
//!
//! **Neighbours.** Above stand `model` and `spec`, which give identifiers, digests and the spec's `identity:`. Below
//! stands `server`, which maps requests to actions and denials to responses.
//!
//! **Invariants.**
//! - This crate knows no protocol: no method, path, status or header appears here.
//! - Secrets are hashed where they arrive. Only hashes are stored and compared, in constant time.
//! - Decisions are pure functions of their arguments. The same functions serve every protocol.
//! - Every action that is not allowed explicitly is denied. A wrong token is never ignored in favour of other
//!   credentials.

mod role;
mod action;
mod pattern;
mod credentials;
mod token;
mod last_use;
mod principal;
mod tokens_file;
mod denial;
mod decisions;
mod rates;
mod refusal_lines;
mod audit_line;
mod audit_target;
mod audit_writer;
mod audit_log;
mod control;

pub use action::{Action, NodeIdentity, Resource};
pub use audit_line::{AuditLine, AuditOutcome};
pub use audit_log::{AuditLog, AuditUnavailable};
pub use audit_target::AuditTarget;
pub use control::{AccessConfig, AccessControl, IdentityUnsupported};
pub use credentials::{CertificateNames, Credentials, PresentedToken};
pub use decisions::{Policy, authenticate, authorize, authorize_registration};
pub use denial::Denial;
pub use last_use::TokenUse;
pub use pattern::{InvalidPattern, Pattern};
pub use principal::{Principal, PrincipalKind};
pub use rates::{Rate, client_network};
pub use role::Role;
pub use token::{Token, hash, new_secret};
pub use tokens_file::{Tokens, TokensError, check_name};

pub use cfgsync_spec::IdentityMode;
