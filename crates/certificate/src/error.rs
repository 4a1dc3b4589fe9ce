//! The errors of reading certificates and keys.

use std::path::PathBuf;

/// The reason why a file of certificates or keys cannot be used. The message names the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// The operating system cannot read the file.
    #[error("cannot read {}: {problem}", path.display())]
    Unreadable {
        /// The path of the file.
        path: PathBuf,
        /// The operating system's reason.
        problem: String,
    },
    /// The file has no PEM block of the expected kind.
    #[error("{} contains no {expected} in PEM form (`-----BEGIN …`)", path.display())]
    Missing {
        /// The path of the file.
        path: PathBuf,
        /// The kind of PEM block that was expected, such as `certificate`.
        expected: &'static str,
    },
    /// A certificate or key in the file is damaged or has a form that cannot be used.
    #[error("{}: {problem}", path.display())]
    Unusable {
        /// The path of the file.
        path: PathBuf,
        /// The problem and, where there is one, the solution.
        problem: String,
    },
    /// The key does not belong to the certificate.
    #[error(
        "the key in {} does not belong to the certificate in {}; use the key that the certificate was issued for",
        key.display(),
        certificate.display()
    )]
    NotAPair {
        /// The path of the certificate's file.
        certificate: PathBuf,
        /// The path of the key's file.
        key: PathBuf,
    },
}
