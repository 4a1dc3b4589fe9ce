//! A key and a certificate of the server's own making, for clients that know it by its pin.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use rcgen::{CertificateParams, DnType, KeyPair};
use rustls::{
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    sign::CertifiedKey,
};

use super::TlsError;
use cfgsync_certificate::provider;

/// A key and its certificate.
pub(super) struct SelfSigned {
    certificate: rcgen::Certificate,
    key: KeyPair,
}

/// Makes them, for host names and addresses. They do not expire: what is trusted is the key.
pub(super) fn make(names: &[String]) -> Result<SelfSigned, TlsError> {
    let failed = |error: rcgen::Error| TlsError::Make(error.to_string());
    let mut parameters = CertificateParams::new(names).map_err(failed)?;
    parameters
        .distinguished_name
        .push(DnType::CommonName, "cfgsync");
    let key = KeyPair::generate().map_err(failed)?;
    let certificate = parameters.self_signed(&key).map_err(failed)?;
    Ok(SelfSigned { certificate, key })
}

impl SelfSigned {
    pub(super) fn certified(&self) -> Result<CertifiedKey, TlsError> {
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.key.serialize_der()));
        CertifiedKey::from_der(vec![self.certificate.der().clone()], key, &provider())
            .map_err(|error| TlsError::Make(error.to_string()))
    }

    /// Writes both into one file that only its owner reads: after a crash it is there as a whole, or not at all.
    pub(super) fn keep(&self, path: &Path) -> Result<(), TlsError> {
        let pem = self.certificate.pem() + &self.key.serialize_pem();
        write(path, &pem).map_err(|error| TlsError::Keep {
            path: path.to_owned(),
            problem: error.to_string(),
        })
    }
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let staged = path.with_extension("new");
    // What an earlier attempt left.
    let _ = std::fs::remove_file(&staged);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&staged)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&staged, path)?;
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}
