//! This host's certificates: one of each authority, issued when they are needed.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use longshore_model::HostId;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose,
    PKCS_ED25519, date_time_ymd,
};
use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::crypto::ring::sign::any_eddsa_type;
use rustls::pki_types::{CertificateDer, InvalidDnsNameError, PrivatePkcs8KeyDer, ServerName};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::time_provider::TimeProvider;

use super::IdentityError;
use super::authority::Authority;

/// What follows the host's id in a certificate's name.
const DOMAIN: &str = ".longshore.internal";

const HOUR: u64 = 3600;

/// How long before it was issued a certificate is valid: for peers whose clocks are behind.
const VALID_BEFORE: u64 = 24 * HOUR;

/// How long after it was issued a certificate is valid. It is renewed long before, for peers whose clocks are ahead.
const VALID_AFTER: u64 = 48 * HOUR;

/// A certificate is renewed when it was issued longer ago than this, or, as a clock may be set back, that far ahead.
/// So the clocks of two hosts may differ by 12 hours.
const RENEWAL: u64 = 12 * HOUR;

/// The last second of the year 9000: later dates cannot be written.
const LAST_SECOND: u64 = 221_845_391_999;

/// Returns the name that a peer's certificate must have.
pub(super) fn server_name(host: HostId) -> Result<ServerName<'static>, InvalidDnsNameError> {
    ServerName::try_from(format!("{host}{DOMAIN}"))
}

/// Returns the host that a verified certificate is for.
pub(super) fn host_of(certificate: &CertificateDer<'_>) -> Option<HostId> {
    let certificate = webpki::EndEntityCert::try_from(certificate).ok()?;
    let mut names = certificate.valid_dns_names();
    let host = names.next()?.strip_suffix(DOMAIN)?.parse().ok()?;
    names.next().is_none().then_some(host)
}

struct Issued {
    /// In seconds since 1970.
    at: u64,
    key: Arc<CertifiedKey>,
}

/// The certificates of one host under each authority of its ring.
pub(super) struct Certificates {
    host: HostId,
    clock: Arc<dyn TimeProvider>,
    authorities: Vec<(Authority, Mutex<Option<Issued>>)>,
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Certificates").field(&self.host).finish()
    }
}

impl Certificates {
    pub(super) fn new(host: HostId, clock: Arc<dyn TimeProvider>, authorities: Vec<Authority>) -> Self {
        let authorities = authorities.into_iter().map(|authority| (authority, Mutex::new(None))).collect();
        Self { host, clock, authorities }
    }

    /// Returns the certificate under the first authority of the ring that the peer accepts; `None` if there is none.
    fn accepted_by(&self, is_accepted: impl Fn(&[u8]) -> bool) -> Option<Arc<CertifiedKey>> {
        let (authority, issued) =
            self.authorities.iter().find(|(authority, _)| is_accepted(authority.name.as_ref()))?;
        let now = self.clock.current_time()?.as_secs();
        let mut issued = issued.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Issued { at, key }) = &*issued
            && at.abs_diff(now) < RENEWAL
        {
            return Some(Arc::clone(key));
        }
        match issue(self.host, authority, now) {
            Ok(key) => {
                *issued = Some(Issued { at: now, key: Arc::clone(&key) });
                Some(key)
            }
            Err(error) => {
                tracing::error!(%error, "this host cannot issue itself a certificate");
                None
            }
        }
    }
}

fn issue(host: HostId, authority: &Authority, now: u64) -> Result<Arc<CertifiedKey>, IdentityError> {
    let key = KeyPair::generate_for(&PKCS_ED25519)?;
    let mut params = CertificateParams::new([format!("{host}{DOMAIN}")])?;
    let date = |second: u64| date_time_ymd(1970, 1, 1) + Duration::from_secs(second.min(LAST_SECOND));
    params.not_before = date(now.saturating_sub(VALID_BEFORE));
    params.not_after = date(now.saturating_add(VALID_AFTER));
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "longshore");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let certificate = params.signed_by(&key, &authority.issuer)?;
    let signer = any_eddsa_type(&PrivatePkcs8KeyDer::from(key.serialize_der()))?;
    Ok(Arc::new(CertifiedKey::new(vec![certificate.into()], signer)))
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let accepted = client_hello.certificate_authorities()?;
        self.accepted_by(|name| accepted.iter().any(|other| other.as_ref() == name))
    }
}

impl ResolvesClientCert for Certificates {
    fn resolve(&self, hints: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.accepted_by(|name| hints.contains(&name))
    }

    fn has_certs(&self) -> bool {
        true
    }
}
