//! Certificates and keys: how they are read from PEM files, and what certificates say.
//!
//! Messages name files and what is wrong with them, never what stands in them.

use std::{
    fmt,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    sync::{Arc, LazyLock},
};

use rustls::{
    InconsistentKeys, RootCertStore,
    crypto::{CryptoProvider, ring},
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
    sign::CertifiedKey,
};
use x509_parser::{
    certificate::X509Certificate, extensions::GeneralName, prelude::FromDer as _, x509::X509Version,
};

use cfgsync_model::Pin;

/// A file of certificates or keys that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// It cannot be read.
    #[error("cannot read {}: {problem}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the operating system said.
        problem: String,
    },
    /// It does not hold what it should.
    #[error("{} holds no {what} in PEM form (`-----BEGIN …`)", path.display())]
    Missing {
        /// Which file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
    /// Something in it cannot be understood.
    #[error("{}: {problem}", path.display())]
    Unusable {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Two files that do not belong together.
    #[error("the key in {} is not that of the certificate in {}", key.display(), certificate.display())]
    NotAPair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
}

/// The names in a client certificate that was verified, and whose key its holder has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PeerCertificate {
    /// The DNS names among its alternative names, as they are written, wildcards too.
    pub dns_names: Vec<String>,
    /// The common name of its subject, if it has exactly one.
    pub common_name: Option<String>,
    /// Until when it is valid, in seconds since 1970.
    pub expires: i64,
}

/// The cryptography that all of TLS here is done with.
pub fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(ring::default_provider()));
    Arc::clone(&PROVIDER)
}

/// A certificate with those of its issuers, and its key.
pub fn read_pair(certificate: &Path, key: &Path) -> Result<CertifiedKey, CertificateError> {
    let chain = read_certificates(certificate)?;
    pin_of(&chain[0]).ok_or_else(|| not_a_certificate(certificate))?;
    let first = chain[0].clone();
    let secret = read_key(key)?;
    CertifiedKey::from_der(chain, secret, &provider()).map_err(|error| match error {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            CertificateError::NotAPair {
                certificate: certificate.to_owned(),
                key: key.to_owned(),
            }
        }
        rustls::Error::InvalidCertificate(fault) => CertificateError::Unusable {
            path: certificate.to_owned(),
            problem: match version_of(&first) {
                Some(X509Version::V3) | None => format!("its certificate cannot be used: {fault}"),
                Some(_) => "its certificate is none of X.509 version 3: sign it with extensions, such as \
                            subjectAltName (openssl x509 -req -extfile FILE)"
                    .to_owned(),
            },
        },
        error => CertificateError::Unusable {
            path: key.to_owned(),
            problem: format!(
                "its key cannot be used ({error}); ECDSA on P-256 or P-384, Ed25519, and RSA of 2048 bits or more can"
            ),
        },
    })
}

fn version_of(certificate: &CertificateDer<'_>) -> Option<X509Version> {
    let (_, read) = X509Certificate::from_der(certificate).ok()?;
    Some(read.version())
}

/// Those whose signatures are believed.
pub fn read_authorities(path: &Path) -> Result<RootCertStore, CertificateError> {
    let mut authorities = RootCertStore::empty();
    for certificate in read_certificates(path)? {
        let added = authorities.add(certificate);
        added.map_err(|_| not_a_certificate(path))?;
    }
    Ok(authorities)
}

/// The same for those who sign others' certificates, and none of whom may be one of these others: whoever had its key
/// would be an authority unawares.
pub fn read_issuers(path: &Path) -> Result<RootCertStore, CertificateError> {
    for certificate in read_certificates(path)? {
        let (_, read) =
            X509Certificate::from_der(&certificate).map_err(|_| not_a_certificate(path))?;
        // Before version 3 nothing in a certificate said whose it is.
        if read.version() == X509Version::V3 && !read.is_ca() {
            return Err(CertificateError::Unusable {
                path: path.to_owned(),
                problem: "a certificate in it is no authority's (its basicConstraints do not say CA:TRUE): name the \
                          file of the authority that signs clients' certificates"
                    .to_owned(),
            });
        }
    }
    read_authorities(path)
}

/// The pin of a certificate's key; `None` for what is no certificate.
pub fn pin_of(certificate: &CertificateDer<'_>) -> Option<Pin> {
    let (_, read) = X509Certificate::from_der(certificate).ok()?;
    Some(Pin::of(read.public_key().raw))
}

/// When a certificate is valid, in seconds since 1970; `None` for what is no certificate.
pub fn dates_of(certificate: &CertificateDer<'_>) -> Option<RangeInclusive<i64>> {
    let (_, read) = X509Certificate::from_der(certificate).ok()?;
    let dates = read.validity();
    Some(dates.not_before.timestamp()..=dates.not_after.timestamp())
}

/// The names in a certificate; `None` for what is no certificate.
pub fn names_of(certificate: &CertificateDer<'_>) -> Option<PeerCertificate> {
    let (_, read) = X509Certificate::from_der(certificate).ok()?;
    let alternative = read.subject_alternative_name().ok()?;
    let all = alternative.map(|names| names.value.general_names.as_slice());
    let dns_names = all
        .unwrap_or_default()
        .iter()
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            _ => None,
        });
    let mut common = read.subject().iter_common_name();
    let common_name = match (common.next(), common.next()) {
        (Some(name), None) => name.as_str().ok().map(str::to_owned),
        _ => None,
    };
    Some(PeerCertificate {
        dns_names: dns_names.collect(),
        common_name,
        expires: read.validity().not_after.timestamp(),
    })
}

/// Its first name, quoted: a certificate's text is its owner's.
impl fmt::Display for PeerCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.dns_names.first().or(self.common_name.as_ref()) {
            Some(name) => write!(f, "{name:?}"),
            None => f.write_str("a certificate without a name"),
        }
    }
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let text = read(path)?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let all = all.map_err(|error| damaged(path, "certificate", &error))?;
    match all.is_empty() {
        true => Err(CertificateError::Missing {
            path: path.to_owned(),
            what: "certificate",
        }),
        false => Ok(all),
    }
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, CertificateError> {
    PrivateKeyDer::from_pem_slice(&read(path)?)
        .map_err(|error| damaged(path, "unencrypted private key", &error))
}

fn read(path: &Path) -> Result<Vec<u8>, CertificateError> {
    std::fs::read(path).map_err(|error| CertificateError::Unreadable {
        path: path.to_owned(),
        problem: error.to_string(),
    })
}

/// The words of a PEM error quote the file.
fn damaged(path: &Path, what: &'static str, error: &pem::Error) -> CertificateError {
    let path = path.to_owned();
    match error {
        pem::Error::NoItemsFound => CertificateError::Missing { path, what },
        _ => CertificateError::Unusable {
            path,
            problem: format!("the PEM text of its {what} is damaged"),
        },
    }
}

fn not_a_certificate(path: &Path) -> CertificateError {
    CertificateError::Unusable {
        path: path.to_owned(),
        problem: "what it holds as a certificate is none".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    fn names(alternatives: &[&str], common: Option<&str>) -> PeerCertificate {
        let alternatives: Vec<String> = alternatives.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(alternatives).unwrap();
        params.subject_alt_names.push(SanType::Rfc822Name(
            "root@node-9.example".try_into().unwrap(),
        ));
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::OrganizationName, "node-8");
        if let Some(common) = common {
            params.distinguished_name.push(DnType::CommonName, common);
        }
        let made = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        names_of(made.der()).unwrap()
    }

    /// The key was blamed, in the words of a debugger. `openssl x509 -req` makes such certificates by itself.
    #[test]
    fn a_certificate_without_extensions_is_called_that() {
        let path = Path::new("fixtures/version-1.pem");
        let told = read_pair(path, path).err().unwrap().to_string();
        let expected = "its certificate is none of X.509 version 3: sign it with extensions";
        assert!(told.contains(expected), "{told}");
    }

    #[test]
    fn names_are_the_dns_names_and_the_common_name_and_nothing_else() {
        let read = names(&["node-1", "*.example", "10.0.0.1"], Some("node-2"));
        assert_eq!(read.dns_names, ["node-1", "*.example"]);
        assert_eq!(read.common_name.as_deref(), Some("node-2"));
        let read = names(&[], None);
        assert_eq!((read.dns_names.len(), read.common_name), (0, None));
    }

    #[test]
    fn what_is_no_certificate_has_neither_names_nor_a_pin() {
        let bytes = CertificateDer::from_slice(b"hello");
        assert_eq!(names_of(&bytes), None);
        assert_eq!(pin_of(&bytes), None);
    }
}
