use std::io;
use std::sync::Arc;
use std::time::Duration;

use longshore_model::Transport;
use longshore_plan::dns::Reply;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::responder::Responder;

/// Maximum number of connections served at once; more wait in the system's queue.
const MAX_CONNECTIONS: usize = 128;
/// How long a client may take to send a whole request or to read its answer; an idle client is disconnected after
/// this.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(10);
/// The same while the connection limit is reached, so that waiting connections get their turn.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);
/// How long accepting pauses after a system error.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves connections until stopped. Those still in the queue are left to the next owner of the port.
pub(super) async fn serve(
    listener: TcpListener,
    responder: Arc<Responder>,
    tasks: TaskTracker,
    stop: CancellationToken,
) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let begin = |stream: TcpStream, permit| {
        let (responder, room, stop) = (Arc::clone(&responder), Arc::clone(&room), stop.clone());
        tasks.spawn(async move {
            // How a client's connection ends does not matter here.
            let _ = connection(stream, &responder, &room, &stop).await;
            drop(permit);
        });
    };
    loop {
        let taken = async {
            let permit = Arc::clone(&room).acquire_owned().await.map_err(io::Error::other)?;
            Ok::<_, io::Error>((listener.accept().await?.0, permit))
        };
        let taken = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            taken = taken => taken,
        };
        match taken {
            Ok((stream, permit)) => begin(stream, permit),
            // The client left while in the queue.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept DNS connections; retrying");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Answers requests one after another, in order.
async fn connection(
    mut stream: TcpStream,
    responder: &Responder,
    room: &Semaphore,
    stop: &CancellationToken,
) -> io::Result<()> {
    // A failure only costs latency.
    let _ = stream.set_nodelay(true);
    let asker = stream.peer_addr()?.ip();
    let mut request = Vec::new();
    let mut first = true;
    loop {
        let limit = if room.available_permits() == 0 { BUSY_TIMEOUT } else { CLIENT_TIMEOUT };
        let whole = timeout(limit, read(&mut stream, &mut request));
        tokio::select! {
            biased;
            read = whole => read.map_err(|_| io::ErrorKind::TimedOut)??,
            () = stop.cancelled(), if !first => return Ok(()),
        }
        first = false;
        let answer = match responder.answer(&request, Transport::Tcp, asker) {
            Reply::Answer(answer) => answer,
            Reply::Forward(forward) => responder.forward(*forward).await,
            // Not a request: close the connection.
            Reply::Nothing => return Ok(()),
        };
        let Ok(length) = u16::try_from(answer.bytes.len()) else { return Ok(()) };
        let framed = [length.to_be_bytes().as_slice(), &answer.bytes].concat();
        timeout(CLIENT_TIMEOUT, stream.write_all(&framed)).await.map_err(|_| io::ErrorKind::TimedOut)??;
    }
}

/// Reads one whole request, replacing the contents of `request`.
async fn read(stream: &mut TcpStream, request: &mut Vec<u8>) -> io::Result<()> {
    let length = stream.read_u16().await?;
    request.clear();
    // Allocates for what arrives, not for what is announced.
    let read = AsyncReadExt::take(stream, u64::from(length)).read_to_end(request).await?;
    if read < usize::from(length) { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
}
