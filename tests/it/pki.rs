//! Certificates for tests: authorities, and certificates that they sign.

use std::{
    fs,
    path::{Path, PathBuf},
};

use cfgsync_client::Trust;
use cfgsync_server::{HttpConfig, Tls, TlsFiles};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, SanType, date_time_ymd,
};

/// A certificate authority that writes its files to a directory of the test.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: PathBuf,
    name: String,
}

/// A certificate and its key, as files.
#[derive(Clone)]
pub(crate) struct Pair {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Authority {
    pub(crate) fn new(directory: &Path, name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let authority = Self {
            issuer: CertifiedIssuer::self_signed(params, key).unwrap(),
            directory: directory.to_owned(),
            name: name.to_owned(),
        };
        fs::write(authority.file(), authority.issuer.pem()).unwrap();
        authority
    }

    /// Returns the path of the authority's own certificate.
    pub(crate) fn file(&self) -> PathBuf {
        self.directory.join(format!("{}.pem", self.name))
    }

    /// Returns client settings that trust this authority.
    pub(crate) fn trust(&self) -> Trust {
        Trust::new().with_authorities(self.file())
    }

    /// Signs a certificate for `name` and writes it and its key to files of that name.
    pub(crate) fn sign(&self, name: &str) -> Pair {
        self.sign_with(name, |_| {})
    }

    pub(crate) fn sign_with(&self, name: &str, change: impl Fn(&mut CertificateParams)) -> Pair {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let file = |what: &str| self.directory.join(format!("{}-{name}.{what}", self.name));
        let pair = Pair {
            certificate: file("crt"),
            key: file("key"),
        };
        fs::write(&pair.certificate, certificate.pem()).unwrap();
        fs::write(&pair.key, key.serialize_pem()).unwrap();
        pair
    }
}

impl Pair {
    pub(crate) fn files(&self) -> TlsFiles {
        TlsFiles {
            certificate: self.certificate.clone(),
            key: self.key.clone(),
            client_authorities: None,
        }
    }

    pub(crate) fn tls(&self) -> Tls {
        Tls::read(&self.files()).unwrap()
    }

    /// Returns the configuration of a server with this certificate.
    pub(crate) fn server_config(&self) -> HttpConfig {
        tls_config(self.tls())
    }

    /// Returns client settings that trust `authority` and present this certificate.
    pub(crate) fn client_trust(&self, authority: &Authority) -> Trust {
        authority
            .trust()
            .with_identity(&self.certificate, &self.key)
    }
}

pub(crate) fn tls_config(tls: Tls) -> HttpConfig {
    HttpConfig {
        tls: Some(tls),
        ..HttpConfig::default()
    }
}

/// Makes a certificate that expired in 2001.
pub(crate) fn expired(params: &mut CertificateParams) {
    params.not_before = date_time_ymd(2000, 1, 1);
    params.not_after = date_time_ymd(2001, 1, 1);
}

/// Makes a certificate that is not valid before the year 3000.
pub(crate) fn not_yet_valid(params: &mut CertificateParams) {
    params.not_before = date_time_ymd(3000, 1, 1);
}

/// Makes a certificate whose extended key usage allows servers only.
pub(crate) fn for_servers_only(params: &mut CertificateParams) {
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
}

/// Makes a certificate with malformed DER in its subject alternative names: an inner length exceeds the outer one.
pub(crate) fn with_malformed_names(params: &mut CertificateParams) {
    const ALTERNATIVE_NAME: &[u64] = &[2, 5, 29, 17];
    params.subject_alt_names.clear();
    let malformed = vec![0x30, 3, 0x82, 9, b'x'];
    let malformed = CustomExtension::from_oid_content(ALTERNATIVE_NAME, malformed);
    params.custom_extensions.push(malformed);
}

/// Puts a host name in front of the certificate's own name.
pub(crate) fn with_host_name_first(params: &mut CertificateParams) {
    let machine = SanType::DnsName("machine.example".try_into().unwrap());
    params.subject_alt_names.insert(0, machine);
}
