//! The cluster's authority, as every host with the secret derives it.

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ED25519,
};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};

use super::IdentityError;

/// What precedes the seed of an Ed25519 key in PKCS #8 (RFC 8410).
const PKCS8: [u8; 16] = [48, 46, 2, 1, 0, 48, 5, 6, 3, 43, 101, 112, 4, 34, 4, 32];

/// An authority on the ring.
#[derive(Debug)]
pub(super) struct Authority {
    pub(super) issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    /// Its name in TLS, which only the key's holders know.
    pub(super) name: rustls::DistinguishedName,
}

impl Authority {
    pub(super) fn new(seed: &[u8; 32]) -> Result<Self, IdentityError> {
        let pkcs8 = [PKCS8.as_slice(), seed.as_slice()].concat();
        let key = KeyPair::from_pkcs8_der_and_sign_algo(&PrivatePkcs8KeyDer::from(pkcs8), &PKCS_ED25519)?;
        let mut params = CertificateParams::default();
        let fingerprint = params.key_identifier(&key);
        params.distinguished_name = DistinguishedName::new();
        let name: String = fingerprint.iter().map(|byte| format!("{byte:02x}")).collect();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let certificate: CertificateDer<'static> = params.self_signed(&key)?.into();
        let name = roots([&certificate])?.subjects().pop().ok_or(IdentityError::NoKey)?;
        Ok(Self { issuer: Issuer::new(params, key), certificate, name })
    }
}

/// Returns the authorities as TLS's roots.
pub(super) fn roots_of(authorities: &[Authority]) -> Result<RootCertStore, IdentityError> {
    roots(authorities.iter().map(|authority| &authority.certificate))
}

fn roots<'a>(
    certificates: impl IntoIterator<Item = &'a CertificateDer<'static>>,
) -> Result<RootCertStore, IdentityError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots.add(certificate.clone())?;
    }
    Ok(roots)
}
