//! Asks other hosts' agents for connections.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use longshore_model::RelayRefusal;
use longshore_net::relay::{Connecting, Relay, RelayStream, RelayTarget};
use longshore_wire::relay::{RelayRequest, read_reply};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{read_head, watch_over};
use crate::identity::{Identity, PeerProtocol};

/// How long an agent may take to accept a secure connection: long enough for one packet to be lost and sent again.
const CONNECT_LIMIT: Duration = Duration::from_millis(1500);

/// Opens connections to containers of other hosts, as a member of the cluster. Clones share the membership.
#[derive(Clone, Default)]
pub struct RelayClient(Arc<ArcSwapOption<Identity>>);

impl fmt::Debug for RelayClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RelayClient").field(&self.0.load()).finish()
    }
}

impl RelayClient {
    /// Sets who this host is to its peers. Until then, no connection can be opened.
    pub fn set_identity(&self, identity: Identity) {
        self.0.store(Some(Arc::new(identity)));
    }
}

impl Relay for RelayClient {
    fn connect(&self, target: RelayTarget) -> Connecting {
        let identity = self.0.load_full();
        Box::pin(async move {
            let identity = identity.ok_or_else(|| unreachable("this host is in no cluster"))?;
            connect(&identity, target).await
        })
    }
}

async fn connect(identity: &Identity, target: RelayTarget) -> io::Result<RelayStream> {
    let RelayTarget { container, agent, port, transport } = target;
    let connecting = async {
        let stream = TcpStream::connect(agent).await?;
        watch_over(&stream);
        identity.connect(stream, container.host, PeerProtocol::Relay).await
    };
    let mut stream = timeout(CONNECT_LIMIT, connecting).await?.map_err(of_the_way)?.stream;
    let request = RelayRequest { container: container.id, port, transport };
    let asked = async {
        stream.write_all(&request.encode()).await?;
        stream.flush().await?;
        read_head(&mut stream).await
    };
    let reply = read_reply(&asked.await.map_err(of_the_way)?).map_err(unreachable)?;
    match reply {
        Ok(()) => Ok(Box::new(stream)),
        Err(RelayRefusal::Unreachable) => Err(io::ErrorKind::TimedOut.into()),
        Err(refusal) => Err(io::Error::new(io::ErrorKind::ConnectionRefused, refusal.to_string())),
    }
}

/// Tells what this host is at fault for (it has no descriptor left, say) from what the way is: a peer that is not the
/// expected one, or that ends the connection, is as good as none.
fn of_the_way(error: io::Error) -> io::Error {
    if error.raw_os_error().is_some() { error } else { unreachable(error) }
}

fn unreachable(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::HostUnreachable, why)
}
