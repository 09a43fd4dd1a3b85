use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use longshore_model::Transport;
use longshore_net::{Datagrams, LocalAddress};
use longshore_plan::dns::Reply;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::responder::Responder;

/// The longest request that is read whole; a longer one is truncated, and therefore refused.
const MAX_REQUEST: usize = 4096;
/// Requests answered in a row before yielding to other tasks.
const MAX_BATCH: usize = 64;
/// How long reading pauses after a system error.
const READ_PAUSE: Duration = Duration::from_millis(100);

/// Answers datagrams until stopped. Those still in the queue are left to the next owner of the port.
pub(super) async fn serve(
    socket: Datagrams,
    responder: Arc<Responder>,
    tasks: TaskTracker,
    stop: CancellationToken,
) {
    let socket = Arc::new(socket);
    let mut buffer = vec![0; MAX_REQUEST];
    loop {
        let ready = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            ready = socket.readable() => ready,
        };
        let taken = ready.and_then(|()| take(&socket, &responder, &tasks, &mut buffer));
        if let Err(error) = taken {
            tracing::warn!(%error, "cannot read DNS requests; retrying");
            tokio::time::sleep(READ_PAUSE).await;
        }
        tokio::task::yield_now().await;
    }
}

/// Answers the datagrams that have arrived, up to one batch.
fn take(
    socket: &Arc<Datagrams>,
    responder: &Arc<Responder>,
    tasks: &TaskTracker,
    buffer: &mut [u8],
) -> io::Result<()> {
    for _ in 0..MAX_BATCH {
        let (length, peer, local) = match socket.receive(buffer) {
            Ok(taken) => taken,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        let request = buffer.get(..length).unwrap_or_default();
        match responder.answer(request, Transport::Udp, peer.ip()) {
            Reply::Nothing => {}
            Reply::Answer(answer) => send(socket, &answer.bytes, peer, local),
            Reply::Forward(forward) => {
                let (socket, responder) = (Arc::clone(socket), Arc::clone(responder));
                tasks.spawn(async move {
                    let answer = responder.forward(*forward).await;
                    send(&socket, &answer.bytes, peer, local);
                });
            }
        }
    }
    Ok(())
}

/// Sends a datagram. A failure counts as a lost datagram: the client retries.
fn send(socket: &Datagrams, bytes: &[u8], peer: SocketAddr, local: LocalAddress) {
    if let Err(error) = socket.send(bytes, peer, local) {
        tracing::debug!(%peer, %error, "cannot send a DNS answer");
    }
}
