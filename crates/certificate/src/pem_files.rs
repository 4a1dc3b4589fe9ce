//! Reads certificates, keys and authorities from PEM files.

use std::path::Path;

use rustls::{
    InconsistentKeys, RootCertStore,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
    sign::CertifiedKey,
};
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _, x509::X509Version};

use super::{CertificateError, pin_of, provider};
use cfgsync_support::bounded_file;

/// The largest PEM file, in bytes. The certificates of all public authorities take a fifth of a MiB.
const FILE_MAX_BYTES: u64 = 16 << 20;

/// Reads a certificate chain, its own certificate first, and the private key of that certificate.
///
/// # Errors
///
/// Fails if a file cannot be read or has no certificate or key, or if the two do not belong together.
pub fn read_pair(certificate: &Path, key: &Path) -> Result<CertifiedKey, CertificateError> {
    let chain = read_certificates(certificate)?;
    pin_of(&chain[0]).ok_or_else(|| not_a_certificate(certificate))?;
    let end_entity = chain[0].clone();
    let private_key = read_key(key)?;
    CertifiedKey::from_der(chain, private_key, &provider()).map_err(|error| match error {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            CertificateError::NotAPair {
                certificate: certificate.to_owned(),
                key: key.to_owned(),
            }
        }
        rustls::Error::InvalidCertificate(reason) => CertificateError::Unusable {
            path: certificate.to_owned(),
            problem: match version_of(&end_entity) {
                Some(X509Version::V3) | None => format!("the certificate cannot be used: {reason}"),
                Some(_) => "the certificate is not X.509 version 3; sign it with extensions such as \
                            subjectAltName (openssl x509 -req -extfile FILE)"
                    .to_owned(),
            },
        },
        error => CertificateError::Unusable {
            path: key.to_owned(),
            problem: format!(
                "the key cannot be used ({error}); use ECDSA on P-256 or P-384, Ed25519, or RSA of at least 2048 bits"
            ),
        },
    })
}

fn version_of(certificate: &CertificateDer<'_>) -> Option<X509Version> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    Some(parsed.version())
}

/// Reads the certificates that are trusted to sign a server's certificate. A self-signed server certificate is one
/// of these as well.
///
/// # Errors
///
/// Fails if the file cannot be read or has no certificate, or if one of its certificates is damaged.
pub fn read_authorities(path: &Path) -> Result<RootCertStore, CertificateError> {
    let mut authorities = RootCertStore::empty();
    for certificate in read_certificates(path)? {
        let added = authorities.add(certificate);
        added.map_err(|_| not_a_certificate(path))?;
    }
    Ok(authorities)
}

/// Reads the authorities that are trusted to sign clients' certificates.
///
/// # Errors
///
/// Fails as [`read_authorities`] does, and if a certificate is not a CA certificate. With a client's certificate in
/// the file, the holder of that client's key could issue certificates for any name.
pub fn read_issuers(path: &Path) -> Result<RootCertStore, CertificateError> {
    for certificate in read_certificates(path)? {
        let (_, parsed) =
            X509Certificate::from_der(&certificate).map_err(|_| not_a_certificate(path))?;
        // Certificates before version 3 cannot say whether they are a CA certificate.
        if parsed.version() == X509Version::V3 && !parsed.is_ca() {
            return Err(CertificateError::Unusable {
                path: path.to_owned(),
                problem: "it contains a certificate that is not a CA certificate (its basicConstraints do not say \
                          CA:TRUE); use the file of the authority that signs clients' certificates"
                    .to_owned(),
            });
        }
    }
    read_authorities(path)
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let text = read(path)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let certificates = certificates.map_err(|error| pem_error(path, "certificate", &error))?;
    if certificates.is_empty() {
        return Err(CertificateError::Missing {
            path: path.to_owned(),
            expected: "certificate",
        });
    }
    Ok(certificates)
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, CertificateError> {
    PrivateKeyDer::from_pem_slice(&read(path)?)
        .map_err(|error| pem_error(path, "unencrypted private key", &error))
}

fn read(path: &Path) -> Result<Vec<u8>, CertificateError> {
    let read = bounded_file::read_without_waiting(path, FILE_MAX_BYTES);
    read.map_err(|error| CertificateError::Unreadable {
        path: path.to_owned(),
        problem: error.to_string(),
    })
}

/// Converts an error of the PEM reader. Its own message is dropped because it quotes the file, which may be a key.
fn pem_error(path: &Path, expected: &'static str, error: &pem::Error) -> CertificateError {
    let path = path.to_owned();
    match error {
        pem::Error::NoItemsFound => CertificateError::Missing { path, expected },
        _ => CertificateError::Unusable {
            path,
            problem: format!("the PEM text of the {expected} is damaged"),
        },
    }
}

fn not_a_certificate(path: &Path) -> CertificateError {
    CertificateError::Unusable {
        path: path.to_owned(),
        problem: "a PEM block marked as a certificate does not contain one".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endless_file_is_refused() {
        let error = read_authorities(Path::new("/dev/zero")).err().unwrap();
        let error = error.to_string();
        assert!(error.contains("it is larger than 16 MiB"), "{error}");
    }

    /// rustls reports such a certificate as a problem of the key. `openssl x509 -req` creates them by default.
    #[test]
    fn error_names_the_version_of_a_certificate_without_extensions() {
        let path = Path::new("fixtures/version-1.pem");
        let error = read_pair(path, path).err().unwrap().to_string();
        let expected = "the certificate is not X.509 version 3; sign it with extensions";
        assert!(error.contains(expected), "{error}");
    }
}
