//! TCP frontends: bytes both ways between a client and one upstream.
//!
//! The upstream is chosen when the client connects; if it cannot be reached the next one is tried, as nothing was
//! sent yet. A connection then stays with its upstream to the end, even if the routes change.

use std::rc::Rc;

use tokio::net::TcpStream;

use crate::backend::MAX_RETRIES;
use crate::client::Client;
use crate::frontend::FrontendState;
use crate::io::{ClientIo, relay};
use crate::shard::Shard;
use crate::upstream::UpstreamStream;

/// Serves one connection.
pub(crate) async fn serve(stream: TcpStream, client: Rc<Client>, frontend: &FrontendState, shard: &Shard) {
    client.relays();
    let Some(mut upstream) = connect(frontend, shard).await else { return };
    if let Err(error) = relay(ClientIo::new(stream, Rc::clone(&client)), &mut upstream).await {
        tracing::debug!(peer = %client.peer, %error, "TCP connection ended with an error");
    }
}

async fn connect(frontend: &FrontendState, shard: &Shard) -> Option<UpstreamStream> {
    let mut tried = Vec::new();
    while tried.len() <= MAX_RETRIES {
        let backend = frontend.only_route()?.pick(&tried)?;
        if !tried.is_empty() {
            frontend.counters.retries.add(1);
        }
        match backend.connect(&shard.settings, &shard.observer).await {
            Ok(stream) => return Some(stream),
            Err(_) => frontend.counters.upstream_failures.add(1),
        }
        tried.push(backend);
    }
    None
}
