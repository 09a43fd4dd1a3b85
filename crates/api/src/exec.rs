//! A command inside a container, as a client sees it.

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use http::header;
use hyper::body::Bytes;
use longshore_model::{ExecRequest, TerminalSize};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::client::Client;
use crate::client_error::{ClientError, plain};
use crate::connector::Stream;
use crate::container_filter::Query;
use crate::{ExecResult, ExecSize, exec_channel as channel};

/// Returns the query that asks for a command inside a container.
pub(crate) fn query(command: &ExecRequest, host: Option<&str>) -> Query {
    let ExecRequest { command, env, user, workdir, privileged, stdin, tty, size, detach } = command;
    let query = Query::default().option("host", host);
    let query = command.iter().fold(query, |query, word| query.with("cmd", word));
    let query = env.iter().fold(query, |query, variable| query.with("env", variable));
    query
        .option("user", user.as_ref())
        .option("workdir", workdir.as_ref())
        .flag("privileged", *privileged)
        .flag("stdin", *stdin)
        .flag("tty", *tty)
        .option("rows", size.map(|size| size.rows))
        .option("columns", size.map(|size| size.columns))
        .flag("detach", *detach)
}

/// What a command writes, and how it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExecOutput {
    /// Standard output, or all output of its terminal.
    Stdout(Bytes),
    /// Standard error.
    Stderr(Bytes),
    /// The end.
    Ended(ExecResult),
}

type Socket = WebSocketStream<Stream>;

/// A command that runs. It is left alone when both halves are dropped.
#[derive(Debug)]
pub struct ExecSession {
    /// What it writes.
    pub output: ExecReader,
    /// What it reads.
    pub input: ExecWriter,
}

/// Reads a command's output.
#[derive(Debug)]
pub struct ExecReader {
    stream: SplitStream<Socket>,
    address: String,
}

/// Writes a command's input. Fails silently once the command has ended: its output tells how.
#[derive(Debug)]
pub struct ExecWriter(SplitSink<Socket, Message>);

impl ExecSession {
    pub(crate) async fn open(client: &Client, path: &str) -> Result<Self, ClientError> {
        let address = client.address().to_owned();
        let lost = |error: &(dyn std::error::Error + 'static)| ClientError::Unreachable {
            address: address.clone(),
            cause: plain(error),
        };
        let stream = client.connector().connect().await.map_err(|error| lost(&error))?;
        let url = format!("ws://{}{path}", client.authority());
        let mut request = url.into_client_request().map_err(|error| lost(&error))?;
        request.headers_mut().extend(client.authorization().map(|value| (header::AUTHORIZATION, value)));
        let socket = match client_async(request, stream).await {
            Ok((socket, _)) => socket,
            Err(tungstenite::Error::Http(response)) => {
                let body = response.body().clone().unwrap_or_default();
                return Err(client.refused(response.status(), &body));
            }
            Err(error) => return Err(lost(&error)),
        };
        let (sink, stream) = socket.split();
        Ok(Self { output: ExecReader { stream, address }, input: ExecWriter(sink) })
    }
}

impl ExecReader {
    /// Waits for the next piece of output, or the end.
    ///
    /// # Errors
    /// [`ClientError::Body`] where the session breaks off.
    pub async fn next(&mut self) -> Result<ExecOutput, ClientError> {
        let broken = |cause: String| ClientError::Body { address: self.address.clone(), cause };
        loop {
            let message = match self.stream.next().await {
                Some(Ok(message)) => message,
                Some(Err(error)) => return Err(broken(plain(&error))),
                None => return Err(broken("connection closed".to_owned())),
            };
            let Message::Binary(bytes) = message else { continue };
            match bytes.first().copied() {
                Some(channel::STDOUT) => return Ok(ExecOutput::Stdout(bytes.slice(1..))),
                Some(channel::STDERR) => return Ok(ExecOutput::Stderr(bytes.slice(1..))),
                Some(channel::RESULT) => {
                    let result = serde_json::from_slice(&bytes.slice(1..));
                    return result
                        .map(ExecOutput::Ended)
                        .map_err(|source| ClientError::Answer { address: self.address.clone(), source });
                }
                _ => {}
            }
        }
    }
}

impl ExecWriter {
    /// Writes standard input.
    pub async fn stdin(&mut self, bytes: &[u8]) {
        // An empty message would end it.
        if !bytes.is_empty() {
            self.send(channel::STDIN, bytes).await;
        }
    }

    /// Ends standard input.
    pub async fn end(&mut self) {
        self.send(channel::STDIN, &[]).await;
    }

    /// Reports the size of the caller's terminal.
    pub async fn resize(&mut self, TerminalSize { rows, columns }: TerminalSize) {
        let size = ExecSize { rows, columns };
        self.send(channel::SIZE, &serde_json::to_vec(&size).unwrap_or_default()).await;
    }

    async fn send(&mut self, kind: u8, bytes: &[u8]) {
        let mut message = Vec::with_capacity(1 + bytes.len());
        message.push(kind);
        message.extend_from_slice(bytes);
        let _ = self.0.send(Message::Binary(message.into())).await;
    }
}
