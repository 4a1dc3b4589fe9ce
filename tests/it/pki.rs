//! Certificates that a test makes: authorities, and what they sign.

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

/// An authority, whose files stand in a directory of the test's.
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

    /// Its own certificate.
    pub(crate) fn file(&self) -> PathBuf {
        self.directory.join(format!("{}.pem", self.name))
    }

    /// Who trusts it.
    pub(crate) fn trust(&self) -> Trust {
        Trust {
            authorities: Some(self.file()),
            ..Trust::default()
        }
    }

    /// Signs a certificate for `name`, in files of that name.
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

    /// A server that shows it.
    pub(crate) fn served(&self) -> HttpConfig {
        served(self.tls())
    }

    /// A client that trusts `authority` and shows it.
    pub(crate) fn shown(&self, authority: &Authority) -> Trust {
        Trust {
            identity: Some((self.certificate.clone(), self.key.clone())),
            ..authority.trust()
        }
    }
}

pub(crate) fn served(tls: Tls) -> HttpConfig {
    HttpConfig {
        tls: Some(tls),
        ..HttpConfig::default()
    }
}

/// A certificate that was good until 2001.
pub(crate) fn expired(params: &mut CertificateParams) {
    params.not_before = date_time_ymd(2000, 1, 1);
    params.not_after = date_time_ymd(2001, 1, 1);
}

/// One that is good from 3000 on.
pub(crate) fn early(params: &mut CertificateParams) {
    params.not_before = date_time_ymd(3000, 1, 1);
}

/// One that says that it is for servers alone.
pub(crate) fn for_servers(params: &mut CertificateParams) {
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
}

/// One whose alternative name is longer than what holds it.
pub(crate) fn with_garbled_names(params: &mut CertificateParams) {
    const ALTERNATIVE_NAME: &[u64] = &[2, 5, 29, 17];
    params.subject_alt_names.clear();
    let garbled = vec![0x30, 3, 0x82, 9, b'x'];
    let garbled = CustomExtension::from_oid_content(ALTERNATIVE_NAME, garbled);
    params.custom_extensions.push(garbled);
}

/// One whose first name is its machine's, in front of the one that it is for.
pub(crate) fn of_a_machine(params: &mut CertificateParams) {
    let machine = SanType::DnsName("machine.example".try_into().unwrap());
    params.subject_alt_names.insert(0, machine);
}
