//! Echoes bytes to where they came from.

use std::sync::Arc;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::Server;

/// Sends each connection the line `NAME`, then echoes its bytes; open connections end by themselves.
pub(crate) async fn tcp(server: Arc<Server>, listener: TcpListener, mut stopping: watch::Receiver<bool>) {
    let mut open = JoinSet::new();
    loop {
        tokio::select! {
            Ok((stream, _)) = listener.accept() => {
                open.spawn(greet_and_echo(Arc::clone(&server), stream));
            }
            Some(_) = open.join_next() => {}
            _ = stopping.wait_for(|stop| *stop) => break,
        }
    }
    drop(listener);
    while open.join_next().await.is_some() {}
}

async fn greet_and_echo(server: Arc<Server>, mut stream: TcpStream) {
    if stream.write_all(format!("{}\n", server.settings.name).as_bytes()).await.is_err() {
        return;
    }
    let (mut read, mut write) = stream.split();
    // Nobody needs to know about a broken connection.
    let _ = tokio::io::copy(&mut read, &mut write).await;
    let _ = write.shutdown().await;
}

/// Answers each datagram with `NAME: datagram`.
pub(crate) async fn udp(server: Arc<Server>, socket: UdpSocket, mut stopping: watch::Receiver<bool>) {
    let mut buffer = vec![0; 65_536];
    loop {
        let (length, peer) = tokio::select! {
            received = socket.recv_from(&mut buffer) => match received {
                Ok(received) => received,
                Err(_) => continue,
            },
            _ = stopping.wait_for(|stop| *stop) => return,
        };
        let mut answer = format!("{}: ", server.settings.name).into_bytes();
        answer.extend_from_slice(buffer.get(..length).unwrap_or_default());
        let _ = socket.send_to(&answer, peer).await;
    }
}
