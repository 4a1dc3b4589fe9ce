//! A self-signed certificate, for clients that know the server by the pin of its key.

use std::path::Path;

use rcgen::{CertificateParams, DnType, KeyPair};
use rustls::{
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    sign::CertifiedKey,
};

use super::TlsError;
use cfgsync_certificate::provider;
use cfgsync_support::replace_file;

/// Mode of the file: only its owner reads the key.
const FILE_MODE: u32 = 0o600;

/// A key and the certificate for it.
pub(super) struct SelfSigned {
    certificate: rcgen::Certificate,
    key: KeyPair,
}

/// Creates a key and a certificate for these host names and addresses. The certificate does not expire, because clients
/// trust the key.
pub(super) fn create(names: &[String]) -> Result<SelfSigned, TlsError> {
    let failed = |error: rcgen::Error| TlsError::Create(error.to_string());
    let mut parameters = CertificateParams::new(names).map_err(failed)?;
    parameters
        .distinguished_name
        .push(DnType::CommonName, "cfgsync");
    let key = KeyPair::generate().map_err(failed)?;
    let certificate = parameters.self_signed(&key).map_err(failed)?;
    Ok(SelfSigned { certificate, key })
}

impl SelfSigned {
    /// Returns both in the form that rustls uses.
    pub(super) fn certified(&self) -> Result<CertifiedKey, TlsError> {
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.key.serialize_der()));
        CertifiedKey::from_der(vec![self.certificate.der().clone()], key, &provider())
            .map_err(|error| TlsError::Create(error.to_string()))
    }

    /// Writes both into one file that only its owner reads. After a crash the file is complete or absent.
    pub(super) fn store(&self, path: &Path) -> Result<(), TlsError> {
        let pem = self.certificate.pem() + &self.key.serialize_pem();
        replace_file::replace(path, pem.as_bytes(), FILE_MODE).map_err(|error| TlsError::Store {
            path: path.to_owned(),
            problem: error.to_string(),
        })
    }
}
