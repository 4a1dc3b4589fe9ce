//! The contents of a certificate: the pin of its key, its validity and its names.

use std::{fmt, ops::RangeInclusive};

use cfgsync_model::Pin;
use rustls::pki_types::CertificateDer;
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, prelude::FromDer as _};

/// The names in a client certificate that the TLS handshake has verified.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PeerCertificate {
    /// The DNS names among the subject alternative names, as they are written, including wildcards.
    pub dns_names: Vec<String>,
    /// The common name of the subject, if there is exactly one. `None` if the certificate has alternative names of any
    /// kind, or if an authority above it is constrained to certain names: constraints do not cover common names.
    pub common_name: Option<String>,
    /// The end of the certificate's validity, in seconds since 1970.
    pub expires: i64,
}

/// Prints the first name in quotes, because the certificate's owner chose its text.
impl fmt::Display for PeerCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.dns_names.first().or(self.common_name.as_ref()) {
            Some(name) => write!(f, "{name:?}"),
            None => f.write_str("a certificate without a name"),
        }
    }
}

/// Returns the pin of a certificate's public key, or `None` if the bytes are not a certificate.
pub fn pin_of(certificate: &CertificateDer<'_>) -> Option<Pin> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    Some(Pin::of(parsed.public_key().raw))
}

/// Returns the first and last second of a certificate's validity, in seconds since 1970, or `None` if the bytes are
/// not a certificate.
pub fn dates_of(certificate: &CertificateDer<'_>) -> Option<RangeInclusive<i64>> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let validity = parsed.validity();
    Some(validity.not_before.timestamp()..=validity.not_after.timestamp())
}

/// Returns whether the authority of this certificate may issue certificates only for certain names. Bytes that cannot
/// be read count as constrained.
pub fn is_constrained(authority: &CertificateDer<'_>) -> bool {
    let Ok((_, parsed)) = X509Certificate::from_der(authority) else {
        return true;
    };
    !matches!(parsed.name_constraints(), Ok(None))
}

/// Returns the names in a certificate, or `None` if the bytes are not a certificate. `intermediates` are the
/// authorities between it and a trusted one.
pub fn names_of(
    certificate: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
) -> Option<PeerCertificate> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let alternative = parsed.subject_alternative_name().ok()?;
    let has_common_name = alternative.is_none() && !intermediates.iter().any(is_constrained);
    let general_names = alternative.map(|names| names.value.general_names.as_slice());
    let dns_names = general_names
        .unwrap_or_default()
        .iter()
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            _ => None,
        });
    let mut common_names = parsed.subject().iter_common_name();
    let common_name = match (common_names.next(), common_names.next()) {
        (Some(name), None) if has_common_name => name.as_str().ok().map(str::to_owned),
        _ => None,
    };
    Some(PeerCertificate {
        dns_names: dns_names.collect(),
        common_name,
        expires: parsed.validity().not_after.timestamp(),
    })
}

#[cfg(test)]
mod tests {
    use rcgen::{
        BasicConstraints, CertificateParams, DnType, GeneralSubtree, IsCa, KeyPair,
        NameConstraints, SanType,
    };

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
        names_of(made.der(), &[]).unwrap()
    }

    #[test]
    fn reads_only_dns_names() {
        let read = names(&["node-1", "*.example", "10.0.0.1"], Some("node-2"));
        assert_eq!(read.dns_names, ["node-1", "*.example"]);
        assert_eq!(read.common_name, None);
    }

    /// An intermediate authority that may issue only certain names could otherwise issue any other as a common name.
    #[test]
    fn common_name_counts_only_without_alternative_names_and_constraints() {
        let own = |alternatives: Vec<SanType>| {
            let mut params = CertificateParams::default();
            params.subject_alt_names = alternatives;
            params.distinguished_name.push(DnType::CommonName, "node-2");
            params.self_signed(&KeyPair::generate().unwrap()).unwrap()
        };
        let authority = |constraints: Option<NameConstraints>| {
            let mut params = CertificateParams::default();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.name_constraints = constraints;
            params.self_signed(&KeyPair::generate().unwrap()).unwrap()
        };
        let free = authority(None).der().clone();
        let bound = authority(Some(NameConstraints {
            permitted_subtrees: vec![GeneralSubtree::DnsName("a.example".to_owned())],
            excluded_subtrees: vec![],
        }));
        let bound = bound.der().clone();
        let other_kind = SanType::Rfc822Name("root@example.com".try_into().unwrap());
        for (alternatives, intermediates, expected) in [
            (vec![], vec![], Some("node-2")),
            (vec![], vec![free.clone()], Some("node-2")),
            (vec![], vec![free.clone(), bound.clone()], None),
            (vec![other_kind], vec![free.clone()], None),
        ] {
            let read = names_of(own(alternatives).der(), &intermediates).unwrap();
            assert_eq!(read.common_name.as_deref(), expected);
        }
        assert!(is_constrained(&bound) && !is_constrained(&free));
    }

    #[test]
    fn bytes_that_are_not_a_certificate_have_no_names_and_no_pin() {
        let bytes = CertificateDer::from_slice(b"hello");
        assert_eq!(names_of(&bytes, &[]), None);
        assert!(is_constrained(&bytes));
        assert_eq!(pin_of(&bytes), None);
    }
}
