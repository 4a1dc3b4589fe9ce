//! Certificates and keys: reads them from PEM files, and gives the contents of certificates.
//!
//! Server and client both build their TLS settings from this crate, so that both accept the same files and use the
//! same cryptography. Below it is only [`cfgsync_model`], for [`Pin`](cfgsync_model::Pin).
//!
//! Invariants:
//!
//! - An error names the file and what is wrong with it. It never contains the file's text, which may be a key.
//! - Nothing here decides whether to trust a certificate; that is rustls, with the authorities read here.

mod error;
mod provider;
mod contents;
mod pem_files;

pub use contents::{PeerCertificate, dates_of, is_constrained, names_of, pin_of};
pub use error::CertificateError;
pub use pem_files::{read_authorities, read_issuers, read_pair};
pub use provider::provider;
