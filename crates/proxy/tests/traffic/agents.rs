//! Upstreams behind the agents of other hosts.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use longshore_model::{PeerAgent, Protocol, Route, Transport, Upstream, Way};
use longshore_net::relay::{Connecting, Relay, RelayTarget, datagrams};
use longshore_proxy::Settings;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::bench::{Bench, SOON, read_reply, settings, upstream};
use crate::relays::{asks, udp_client, udp_echo};
use crate::upstreams::Echo;

/// What an agent does with those who ask for a connection.
#[derive(Clone, Copy, Debug)]
enum Agent {
    /// It connects them to this port.
    Leads(u16),
    Refuses,
    /// It never answers.
    Hangs,
}

/// Stands for all agents, and counts how often they are asked.
#[derive(Debug)]
struct Agents(Agent, AtomicUsize);

impl Relay for Agents {
    fn connect(&self, target: RelayTarget) -> Connecting {
        self.1.fetch_add(1, SeqCst);
        let agent = self.0;
        Box::pin(async move {
            match agent {
                Agent::Leads(port) => match target.transport {
                    Transport::Tcp => Ok(Box::new(TcpStream::connect(("127.0.0.1", port)).await?) as _),
                    Transport::Udp => relay_datagrams(port).await,
                },
                Agent::Refuses => Err(io::ErrorKind::ConnectionRefused.into()),
                Agent::Hangs => std::future::pending().await,
            }
        })
    }
}

async fn relay_datagrams(port: u16) -> io::Result<longshore_net::relay::RelayStream> {
    let (near, far) = tokio::io::duplex(4096);
    let socket = UdpSocket::bind("127.0.0.1:0").await?;
    socket.connect(("127.0.0.1", port)).await?;
    tokio::spawn(async move {
        let (mut to, mut from) = datagrams(far).split::<Bytes>();
        let mut buffer = vec![0; 65_535];
        while let Some(Ok(data)) = from.next().await {
            socket.send(&data).await.unwrap();
            let length = socket.recv(&mut buffer).await.unwrap();
            to.send(Bytes::copy_from_slice(&buffer[..length])).await.unwrap();
        }
    });
    Ok(Box::new(near))
}

fn behind(run: u32) -> Upstream {
    let agent = PeerAgent { address: ([192, 0, 2, 1], 7052).into(), run };
    Upstream { way: Way::Agent(agent), ..upstream(SocketAddr::from(([192, 0, 2, 1], 80)), 100) }
}

async fn bench(protocol: Protocol, agent: Agent) -> (Bench, Arc<Agents>) {
    let agents = Arc::new(Agents(agent, AtomicUsize::new(0)));
    let settings = Settings { relay: Some(Arc::clone(&agents) as _), ..settings() };
    (Bench::new(protocol, settings).await, agents)
}

async fn balance(bench: &mut Bench, upstreams: Vec<Upstream>) {
    let key = bench.key("*", "");
    let failed = bench.put(Route { key, strip_prefix: false, upstreams, waiting: Vec::new() }).await;
    assert!(failed.is_empty(), "{failed:?}");
}

#[tokio::test]
async fn connections_through_an_agent_are_kept_until_another_run_of_it() {
    let echo = Echo::start().await;
    let (mut bench, agents) = bench(Protocol::Http, Agent::Leads(echo.port())).await;
    balance(&mut bench, vec![behind(1)]).await;
    let mut client = bench.connect().await;
    let mut ask = async || {
        client.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
        assert_eq!(read_reply(&mut client).await.by(), echo.port());
    };
    for _ in 0..10 {
        ask().await;
    }
    assert_eq!(agents.1.load(SeqCst), 1);
    balance(&mut bench, vec![behind(2)]).await;
    ask().await;
    assert_eq!(agents.1.load(SeqCst), 2);
}

#[tokio::test]
async fn an_agent_that_refuses_is_passed_over() {
    let echo = Echo::start().await;
    let (mut bench, agents) = bench(Protocol::Http, Agent::Refuses).await;
    balance(&mut bench, vec![behind(1), upstream(echo.address, 100)]).await;
    for _ in 0..20 {
        assert_eq!(bench.get("h", "/").await.by(), echo.port());
    }
    assert!((1..5).contains(&agents.1.load(SeqCst)), "it is not asked each time");
    balance(&mut bench, vec![behind(1)]).await;
    assert_eq!(bench.get("h", "/").await.status, 502);
}

#[tokio::test]
async fn a_connection_that_is_being_opened_to_one_that_goes_is_opened_to_another() {
    let echo = Echo::start().await;
    let (mut bench, agents) = bench(Protocol::Http, Agent::Hangs).await;
    balance(&mut bench, vec![behind(1)]).await;
    let mut client = bench.connect().await;
    client.write_all(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await.unwrap();
    let asked = async {
        while agents.1.load(SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(SOON, asked).await.unwrap();
    balance(&mut bench, vec![upstream(echo.address, 100)]).await;
    let mut reply = String::new();
    // Far less than the time that an upstream has to accept a connection.
    timeout(Duration::from_secs(3), client.read_to_string(&mut reply)).await.unwrap().unwrap();
    assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
}

#[tokio::test]
async fn bytes_and_datagrams_go_through_an_agent() {
    let echo = Echo::start().await;
    let (mut tcp, _) = bench(Protocol::Tcp, Agent::Leads(echo.port())).await;
    balance(&mut tcp, vec![behind(1)]).await;
    assert_eq!(tcp.get("h", "/").await.by(), echo.port());
    let upstream = udp_echo().await;
    let (mut udp, agents) = bench(Protocol::Udp, Agent::Leads(upstream.port())).await;
    balance(&mut udp, vec![behind(1)]).await;
    let client = udp_client(udp.address()).await;
    for text in ["one", "two", &"x".repeat(9000)] {
        assert_eq!(asks(&client, text).await, (upstream.port(), text.to_owned()));
    }
    assert_eq!(agents.1.load(SeqCst), 1, "one session");
}
