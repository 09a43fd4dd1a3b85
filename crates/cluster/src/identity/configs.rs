//! TLS's settings for one ring.

use std::sync::Arc;

use longshore_model::HostId;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::time_provider::TimeProvider;
use rustls::version::TLS13;
use rustls::{ClientConfig, DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme};

use super::authority::{Authority, roots_of};
use super::certificates::Certificates;
use super::{IdentityError, PeerProtocol};

/// The settings for one ring.
pub(super) struct Configs {
    names: Vec<DistinguishedName>,
    pub(super) server: Arc<ServerConfig>,
    pub(super) http2: Arc<ClientConfig>,
    pub(super) relay: Arc<ClientConfig>,
}

impl Configs {
    pub(super) fn new(
        host: HostId,
        ring: &[[u8; 32]],
        clock: &Arc<dyn TimeProvider>,
    ) -> Result<Self, IdentityError> {
        if ring.is_empty() {
            return Err(IdentityError::NoKey);
        }
        let provider = Arc::new(ring::default_provider());
        let authorities = ring.iter().map(Authority::new).collect::<Result<Vec<_>, _>>()?;
        let names: Vec<_> = authorities.iter().map(|authority| authority.name.clone()).collect();
        let roots = Arc::new(roots_of(&authorities)?);
        let certificates = Arc::new(Certificates::new(host, Arc::clone(clock), authorities));

        let clients =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider)).build()?;
        let mut server = ServerConfig::builder_with_details(Arc::clone(&provider), Arc::clone(clock))
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(clients)
            .with_cert_resolver(Arc::clone(&certificates) as _);
        server.alpn_protocols =
            [PeerProtocol::Http2, PeerProtocol::Relay].map(|protocol| protocol.alpn().to_vec()).into();
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;

        let standard = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider)).build()?;
        let servers = Arc::new(Servers { standard, names: names.clone() });
        let client = |protocol: PeerProtocol| {
            let mut client = ClientConfig::builder_with_details(Arc::clone(&provider), Arc::clone(clock))
                .with_protocol_versions(&[&TLS13])?
                .dangerous()
                .with_custom_certificate_verifier(Arc::clone(&servers) as _)
                .with_client_cert_resolver(Arc::clone(&certificates) as _);
            client.alpn_protocols = vec![protocol.alpn().to_vec()];
            client.enable_sni = false;
            client.resumption = Resumption::disabled();
            Ok::<_, IdentityError>(Arc::new(client))
        };
        let (http2, relay) = (client(PeerProtocol::Http2)?, client(PeerProtocol::Relay)?);
        Ok(Self { names, server: Arc::new(server), http2, relay })
    }

    /// Returns whether another ring has all keys of this one.
    pub(super) fn is_covered_by(&self, other: &Self) -> bool {
        self.names.iter().all(|name| other.names.iter().any(|other| other.as_ref() == name.as_ref()))
    }
}

/// The standard check of a server's certificate, which also tells the server in advance what will pass it.
#[derive(Debug)]
struct Servers {
    standard: Arc<WebPkiServerVerifier>,
    names: Vec<DistinguishedName>,
}

impl ServerCertVerifier for Servers {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.standard.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.standard.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.standard.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.standard.supported_verify_schemes()
    }

    fn root_hint_subjects(&self) -> Option<&[DistinguishedName]> {
        Some(&self.names)
    }
}
