use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use http::{Request, Response};
use hyper::body::Incoming;
use longshore_model::{ContainerId, ContainerRef, HostId, RelayRefusal, Transport};
use longshore_net::relay::{Relay, RelayStream, RelayTarget, datagrams};
use longshore_wire::relay::RelayRequest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::timeout;
use tokio_rustls::TlsStream;
use tokio_util::task::AbortOnDropHandle;

use super::*;
use crate::facts::OwnFacts;
use crate::identity::Identity;
use crate::peer::{Body, Members, PeerHandler, serve};

const RING: [[u8; 32]; 1] = [[7; 32]];
const PATIENCE: Duration = Duration::from_secs(20);
const OWNER: HostId = HostId::from_u128(1);
const ASKER: HostId = HostId::from_u128(2);

/// Leads to one address, for the container `a` and any port but 1.
struct Only(SocketAddr);

impl RelayTargets for Only {
    fn find(&self, request: &RelayRequest) -> Result<Vec<SocketAddr>, RelayRefusal> {
        match (request.container.as_str(), request.port) {
            ("a", 1) => Err(RelayRefusal::NoRoute),
            ("a", _) => Ok(vec![self.0]),
            _ => Err(RelayRefusal::NoContainer),
        }
    }
}

struct Answers(RelayServer, Identity);

impl PeerHandler for Answers {
    async fn call(&self, _: HostId, _: Request<Incoming>) -> Response<Body> {
        unreachable!("nobody calls")
    }

    async fn relay(&self, from: HostId, stream: TlsStream<TcpStream>) {
        self.0.serve(&self.1, from, stream).await;
    }
}

/// An agent that leads to one address.
struct Owner {
    agent: SocketAddr,
    identity: Identity,
    server: RelayServer,
    serving: AbortOnDropHandle<()>,
}

impl Owner {
    async fn of(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let agent = listener.local_addr().unwrap();
        let identity = Identity::new(OWNER, &RING).unwrap();
        let server = RelayServer::new(Only(target));
        let answers = Answers(server.clone(), identity.clone());
        let (_, nobody) = tokio::sync::watch::channel(Members::new());
        let serving =
            tokio::spawn(serve(listener, identity.clone(), OwnFacts::new(OWNER, 1), answers, nobody));
        Self { agent, identity, server, serving: AbortOnDropHandle::new(serving) }
    }

    fn target(&self, container: &str, port: u16, transport: Transport) -> RelayTarget {
        let container = ContainerRef::new(OWNER, ContainerId::new(container));
        RelayTarget { container, agent: self.agent, port, transport }
    }

    async fn connect(&self, container: &str, port: u16) -> io::Result<RelayStream> {
        let connecting = client(&RING).connect(self.target(container, port, Transport::Tcp));
        timeout(PATIENCE, connecting).await.unwrap()
    }
}

fn client(ring: &[[u8; 32]]) -> RelayClient {
    let client = RelayClient::default();
    client.set_identity(Identity::new(ASKER, ring).unwrap());
    client
}

/// Returns the address of a server that sends back all that it was sent, once the sender is done.
async fn echo_at_the_end() -> (SocketAddr, AbortOnDropHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut all = Vec::new();
                if stream.read_to_end(&mut all).await.is_ok() {
                    let _ = stream.write_all(&all).await;
                }
            });
        }
    });
    (address, AbortOnDropHandle::new(serving))
}

fn error(result: io::Result<RelayStream>) -> io::Error {
    match result {
        Ok(_) => panic!("it was connected"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn bytes_go_both_ways_and_each_side_ends_by_itself() {
    let (address, _echo) = echo_at_the_end().await;
    let owner = Owner::of(address).await;
    let (mut from, mut to) = tokio::io::split(owner.connect("a", 80).await.unwrap());
    let sent: Vec<u8> = (0..3_000_000_u32).map(|n| (n * 7 % 251) as u8).collect();
    let expected = sent.clone();
    let send = async {
        to.write_all(&sent).await.unwrap();
        to.shutdown().await.unwrap();
    };
    let mut received = Vec::new();
    let exchange = async { tokio::join!(send, from.read_to_end(&mut received)).1.unwrap() };
    timeout(PATIENCE, exchange).await.unwrap();
    assert!(received == expected, "{} bytes of {}", received.len(), expected.len());
}

#[tokio::test]
async fn what_leads_nowhere_and_what_refuses_are_told_apart_from_an_agent_that_is_gone() {
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let owner = Owner::of(closed).await;
    for (container, port, refusal) in [
        ("a", 1, RelayRefusal::NoRoute),
        ("b", 80, RelayRefusal::NoContainer),
        ("a", 80, RelayRefusal::Refused),
    ] {
        let error = error(owner.connect(container, port).await);
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(error.to_string(), refusal.to_string());
    }
    let target = owner.target("a", 80, Transport::Tcp);
    let alone = error(RelayClient::default().connect(target.clone()).await);
    assert_eq!(alone.kind(), io::ErrorKind::HostUnreachable);
    owner.serving.abort();
    let refused = async {
        while error(owner.connect("a", 80).await).to_string() == RelayRefusal::Refused.to_string() {}
    };
    timeout(PATIENCE, refused).await.unwrap();
}

#[tokio::test]
async fn one_without_the_secret_reaches_nothing() {
    let (address, _echo) = echo_at_the_end().await;
    let owner = Owner::of(address).await;
    let target = owner.target("a", 80, Transport::Tcp);
    let stranger = timeout(PATIENCE, client(&[[8; 32]]).connect(target)).await.unwrap();
    assert_eq!(error(stranger).kind(), io::ErrorKind::HostUnreachable);
}

#[tokio::test]
async fn a_connection_outlives_the_membership_but_not_the_key_that_let_it_in() {
    let (address, _echo) = echo_at_the_end().await;
    let owner = Owner::of(address).await;
    let mut kept = owner.connect("a", 80).await.unwrap();
    let mut lost = owner.connect("a", 80).await.unwrap();
    let Owner { identity, server, serving, .. } = owner;
    serving.abort();
    assert!(serving.await.is_err());
    kept.write_all(b"still here").await.unwrap();
    kept.shutdown().await.unwrap();
    let mut text = String::new();
    timeout(PATIENCE, kept.read_to_string(&mut text)).await.unwrap().unwrap();
    assert_eq!(text, "still here");
    identity.set_ring(&[[8; 32]]).unwrap();
    let ended = timeout(PATIENCE, lost.read_u8()).await.unwrap();
    assert!(ended.is_err());
    timeout(PATIENCE, server.drain(PATIENCE * 2)).await.unwrap();
}

#[tokio::test]
async fn datagrams_keep_their_bounds() {
    let upstream = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let owner = Owner::of(upstream.local_addr().unwrap()).await;
    let connecting = client(&RING).connect(owner.target("a", 53, Transport::Udp));
    let stream = timeout(PATIENCE, connecting).await.unwrap().unwrap();
    let (mut to, mut from) = datagrams(stream).split::<bytes::Bytes>();
    for size in [1, 1472, 40_000] {
        to.send(vec![size as u8; size].into()).await.unwrap();
        let mut buffer = vec![0; 65_535];
        let (length, peer) = timeout(PATIENCE, upstream.recv_from(&mut buffer)).await.unwrap().unwrap();
        assert_eq!(length, size);
        upstream.send_to(&buffer[..length], peer).await.unwrap();
        let back = timeout(PATIENCE, from.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(back.len(), size);
    }
}
