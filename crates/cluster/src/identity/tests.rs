use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, DistinguishedName, SignatureScheme};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::authority::Authority;
use super::*;

const A: HostId = HostId::from_u128(0xa);
const B: HostId = HostId::from_u128(0xb);
const OLD: [u8; 32] = [1; 32];
const NEW: [u8; 32] = [2; 32];

/// A clock that is off by some seconds.
#[derive(Debug)]
struct Off(i64);

impl TimeProvider for Off {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = UnixTime::now().as_secs().checked_add_signed(self.0)?;
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}

fn host(id: HostId, ring: &[[u8; 32]]) -> Identity {
    Identity::new(id, ring).unwrap()
}

fn off(id: HostId, hours: i64) -> Identity {
    Identity::with_clock(id, &[OLD], Arc::new(Off(hours * 3600))).unwrap()
}

async fn sockets() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (client, server) = tokio::join!(TcpStream::connect(address), listener.accept());
    (client.unwrap(), server.unwrap().0)
}

type Ends = (io::Result<Secured<TcpStream>>, io::Result<Secured<TcpStream>>);

/// Connects one host to another, which should be `expected`.
async fn meet(client: &Identity, server: &Identity, expected: HostId) -> Ends {
    let (near, far) = sockets().await;
    let (client, server) = (client.clone(), server.clone());
    let accepting = tokio::spawn(async move { server.accept(far).await });
    let connected = client.connect(near, expected, PeerProtocol::Http2).await;
    (connected, accepting.await.unwrap())
}

async fn is_refused(client: &Identity, server: &Identity, expected: HostId) -> bool {
    let (connected, accepted) = meet(client, server, expected).await;
    let is_silent = match connected {
        Err(_) => true,
        // A client is done before its certificate was checked.
        Ok(mut connected) => !matches!(connected.stream.read(&mut [0; 8]).await, Ok(1..)),
    };
    accepted.is_err() && is_silent
}

async fn is_welcome(client: &Identity, server: &Identity) -> bool {
    let (Ok(mut near), Ok(mut far)) = meet(client, server, server.host()).await else { return false };
    far.stream.write_all(b"hello").await.unwrap();
    let mut said = [0; 5];
    near.stream.read_exact(&mut said).await.unwrap();
    (near.peer, far.peer) == (server.host(), client.host()) && said == *b"hello"
}

#[tokio::test]
async fn two_hosts_of_a_cluster_know_each_other() {
    let (a, b) = (host(A, &[OLD]), host(B, &[OLD]));
    assert!(is_welcome(&a, &b).await && is_welcome(&b, &a).await);
    for protocol in [PeerProtocol::Http2, PeerProtocol::Relay] {
        let (near, far) = sockets().await;
        let (near, far) = tokio::join!(a.connect(near, B, protocol), b.accept(far));
        assert_eq!((near.unwrap().protocol, far.unwrap().protocol), (protocol, protocol));
    }
}

#[tokio::test]
async fn a_host_with_another_secret_is_refused() {
    let (a, stranger) = (host(A, &[OLD]), host(B, &[NEW]));
    assert!(is_refused(&stranger, &a, A).await);
    assert!(is_refused(&a, &stranger, B).await);
}

#[tokio::test]
async fn another_host_of_the_cluster_does_not_pass_for_the_expected_one() {
    let (a, b) = (host(A, &[OLD]), host(B, &[OLD]));
    let (connected, accepted) = meet(&a, &b, HostId::from_u128(0xc)).await;
    assert!(connected.unwrap_err().to_string().contains("not valid for name"));
    assert!(accepted.is_err());
}

#[tokio::test]
async fn clocks_may_differ_by_half_a_day_and_not_by_days() {
    for hours in [1, -1, 11, -11] {
        let (a, b) = (off(A, 0), off(B, hours));
        assert!(is_welcome(&a, &b).await && is_welcome(&b, &a).await, "{hours} hours");
    }
    for hours in [100, -100] {
        let (a, b) = (off(A, 0), off(B, hours));
        assert!(is_refused(&a, &b, B).await && is_refused(&b, &a, A).await, "{hours} hours");
    }
    let (connected, _) = meet(&off(A, 0), &off(B, -100), B).await;
    assert!(connected.unwrap_err().to_string().contains("expired"));
}

#[tokio::test]
async fn a_certificate_is_renewed_before_it_ends_and_when_the_clock_is_set() {
    #[derive(Debug)]
    struct Set(std::sync::atomic::AtomicU64);
    impl TimeProvider for Set {
        fn current_time(&self) -> Option<UnixTime> {
            Some(UnixTime::since_unix_epoch(Duration::from_secs(self.0.load(Ordering::Relaxed))))
        }
    }
    let clock = Arc::new(Set(0.into()));
    let identity = |id| Identity::with_clock(id, &[OLD], Arc::clone(&clock) as _).unwrap();
    let (a, b) = (identity(A), identity(B));
    let now = UnixTime::now().as_secs();
    // Before the network gave it the time, a machine may believe that it is 1970.
    for at in [0, now, now + 11 * 3600, now + 100 * 3600, now - 100 * 3600] {
        clock.0.store(at, Ordering::Relaxed);
        assert!(is_welcome(&a, &b).await, "at {at}");
    }
}

#[tokio::test]
async fn keys_are_rotated_without_a_moment_in_which_two_hosts_do_not_meet() {
    let stages: [&[[u8; 32]]; 4] = [&[OLD], &[OLD, NEW], &[NEW, OLD], &[NEW]];
    for stages in stages.windows(2) {
        let (early, late) = (host(A, stages[0]), host(B, stages[1]));
        assert!(is_welcome(&early, &late).await && is_welcome(&late, &early).await, "{stages:?}");
    }
    assert!(is_refused(&host(A, stages[0]), &host(B, stages[3]), B).await);
}

#[tokio::test]
async fn what_a_removed_key_let_in_is_told_to_go() {
    let a = host(A, &[OLD]);
    let mut removals = a.removals();
    a.set_ring(&[NEW, OLD]).unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(20), removals.removed()).await.is_err());
    a.set_ring(&[NEW]).unwrap();
    removals.removed().await;
    assert!(is_refused(&host(B, &[OLD]), &a, A).await && is_welcome(&host(B, &[NEW]), &a).await);
    assert!(matches!(a.set_ring(&[]), Err(IdentityError::NoKey)));
    assert!(is_welcome(&host(B, &[NEW]), &a).await, "the ring stays as it was");
}

#[test]
fn no_secret_is_in_what_is_logged() {
    let (seed, identity) = ([0xab; 32], host(A, &[[0xab; 32]]));
    let told =
        format!("{identity:?} {:?} {:?}", Authority::new(&seed).unwrap(), identity.0.configs.load().server);
    for secret in ["171, 171, 171", "abababab", "ABABABAB"] {
        assert!(!told.contains(secret), "{told}");
    }
}

/// Accepts every server, and remembers whether it saw a certificate.
#[derive(Debug)]
struct Curious {
    names: Option<Vec<DistinguishedName>>,
    saw: AtomicBool,
}

impl ServerCertVerifier for Curious {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.saw.store(true, Ordering::Relaxed);
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn root_hint_subjects(&self) -> Option<&[DistinguishedName]> {
        self.names.as_deref()
    }
}

/// Knocks at a host without a certificate. Returns whether it showed its own, and what was read.
async fn knock(names: Option<Vec<DistinguishedName>>) -> (bool, Vec<u8>) {
    let (near, far) = sockets().await;
    let curious = Arc::new(Curious { names, saw: AtomicBool::new(false) });
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(&curious) as _)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let a = host(A, &[OLD]);
    let accepting = tokio::spawn(async move { a.accept(far).await.map(drop) });
    let mut read = Vec::new();
    let name = certificates::server_name(A).unwrap();
    if let Ok(mut stream) = TlsConnector::from(Arc::new(config)).connect(name, near).await {
        let _ = stream.read_to_end(&mut read).await;
    }
    assert!(accepting.await.unwrap().is_err());
    (curious.saw.load(Ordering::Relaxed), read)
}

#[tokio::test]
async fn who_lacks_the_secret_is_shown_nothing() {
    assert_eq!(knock(None).await, (false, Vec::new()));
    let stranger = Authority::new(&NEW).unwrap().name;
    assert_eq!(knock(Some(vec![stranger])).await, (false, Vec::new()));
    // Whoever overheard a host's greeting can repeat the name in it, but has no certificate.
    let overheard = Authority::new(&OLD).unwrap().name;
    let (_, read) = knock(Some(vec![overheard])).await;
    assert!(read.is_empty());
}
