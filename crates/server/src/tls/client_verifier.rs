//! Decides which client certificates are trusted: those that an authority has signed, and whose names can be read. Both are
//! checked in the handshake, where an alert can still tell the client why it is refused.

use std::{path::Path, sync::Arc};

use rustls::{
    CertificateError as CertificateFault, DigitallySignedStruct, DistinguishedName, RootCertStore,
    SignatureScheme,
    client::danger::HandshakeSignatureValid,
    pki_types::{CertificateDer, UnixTime},
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};

use cfgsync_certificate::{self, CertificateError, PeerCertificate, names_of, provider};

/// Verifies client certificates by the authorities of one file.
#[derive(Debug)]
pub(super) struct ClientVerifier {
    authorities: Arc<RootCertStore>,
    verifier: Arc<dyn ClientCertVerifier>,
}

impl ClientVerifier {
    /// Trusts the authorities in the file at `path`.
    pub(super) fn trusting(path: &Path) -> Result<Self, CertificateError> {
        let authorities = Arc::new(cfgsync_certificate::read_issuers(path)?);
        let builder = WebPkiClientVerifier::builder_with_provider;
        let verifier = builder(Arc::clone(&authorities), provider())
            .build()
            .map_err(|error| CertificateError::Unusable {
                path: path.to_owned(),
                problem: error.to_string(),
            })?;
        Ok(Self {
            authorities,
            verifier,
        })
    }

    /// Whether `other` trusts the same authorities.
    pub(super) fn has_same_authorities(&self, other: &Self) -> bool {
        self.authorities.roots == other.authorities.roots
    }
}

impl ClientVerifier {
    /// Returns the names in a certificate that the handshake has verified. `chain` begins with it.
    pub(super) fn names(&self, chain: &[CertificateDer<'_>]) -> PeerCertificate {
        let Some((own, intermediates)) = chain.split_first() else {
            return PeerCertificate::default();
        };
        // The handshake accepts only certificates whose names can be read.
        let mut names = names_of(own, intermediates).unwrap_or_default();
        let mut authorities = self.authorities.roots.iter();
        if authorities.any(|root| root.name_constraints.is_some()) {
            names.common_name = None;
        }
        names
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.verifier.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self
            .verifier
            .verify_client_cert(end_entity, intermediates, now)?;
        match names_of(end_entity, intermediates) {
            Some(_) => Ok(verified),
            None => Err(CertificateFault::BadEncoding.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let inner = &self.verifier;
        inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let inner = &self.verifier;
        inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}
