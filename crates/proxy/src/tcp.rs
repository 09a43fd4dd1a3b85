//! TCP frontends: bytes both ways between a client and one upstream.
//!
//! The upstream is chosen when the client connects; if it cannot be reached the next one is
//! tried, as nothing was sent yet. A connection then stays with its upstream to the end, whatever
//! becomes of the routes.

use std::rc::Rc;

use tokio::net::TcpStream;

use crate::client::Client;
use crate::io::{ClientIo, relay};
use crate::site::MOST_RETRIES;

/// Serves one connection.
pub(crate) async fn serve(stream: TcpStream, client: Rc<Client>) {
    client.relays();
    let Some(mut upstream) = connect(&client).await else { return };
    if let Err(error) = relay(ClientIo::new(stream, Rc::clone(&client)), &mut upstream).await {
        tracing::debug!(peer = %client.peer, %error, "a relayed connection broke");
    }
}

async fn connect(client: &Client) -> Option<TcpStream> {
    let site = &client.site;
    let mut tried = Vec::new();
    while tried.len() <= MOST_RETRIES {
        let backend = site.only_route()?.pick(&tried)?;
        if !tried.is_empty() {
            site.counters.retries.add(1);
        }
        match backend.connect(&site.worker).await {
            Ok(stream) => return Some(stream),
            Err(_) => site.counters.upstream_failures.add(1),
        }
        tried.push(backend);
    }
    None
}
