//! A command inside a container, over a websocket.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use longshore_api::{ExecResult, ExecSize, exec_channel as channel};
use longshore_model::{ContainerCall, ExecRequest, Input, Output, TerminalSize};
use longshore_runtime::{OutputStream, Reply, Session};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use utoipa::IntoParams;

use super::Api;
use super::containers::OnHost;
use super::errors::Refusal;
use super::params::{Params, invalid};
use super::target::{QUESTION, unexpected};

/// How many sessions may be open at once.
pub(super) const MAX_SESSIONS: usize = 128;
/// The longest message of a client, in bytes.
const MAX_MESSAGE: usize = 1 << 20;
/// How often a silent client is asked whether it is there; its connection breaks if it is not.
const PING: Duration = Duration::from_secs(20);

type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// The command to run.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "the document's description of what `exec_request` reads")]
pub(super) struct ExecQuery {
    /// The program, then each of its arguments: `cmd=ls&cmd=-l`.
    cmd: Vec<String>,
    /// A variable, `NAME=value`; may be given several times.
    env: Option<Vec<String>>,
    /// The user, if not the container's own.
    user: Option<String>,
    /// The working directory, if not the container's own.
    workdir: Option<String>,
    /// Give it all capabilities; false by default.
    privileged: Option<bool>,
    /// Read standard input from the websocket; false by default.
    stdin: Option<bool>,
    /// Give it a terminal; false by default.
    tty: Option<bool>,
    /// The terminal's lines.
    rows: Option<u16>,
    /// The characters in a line of the terminal.
    columns: Option<u16>,
    /// Run it without a session; false by default.
    detach: Option<bool>,
}

/// Runs a command inside a container, over a websocket.
///
/// Each message is binary, and its first byte is the channel. To the command: 0 is standard input (an empty message ends it),
/// 4 is the terminal's size (`ExecSize` as JSON). From it: 1 is standard output, 2 is standard error, 3 is the end (`ExecResult`
/// as JSON).
#[utoipa::path(
    get,
    path = "/v1/containers/{id}/exec",
    operation_id = "container_exec",
    tag = "containers",
    params(
        ("id" = String, Path, description = "The container's id, its name, or the beginning of its id."),
        OnHost,
        ExecQuery
    ),
    responses((status = 101, description = "The websocket."))
)]
pub(super) async fn exec(
    State(api): State<Api>,
    Path(id): Path<String>,
    params: Params,
    request: Request,
) -> Result<Response, Refusal> {
    let Some(key) = handshake(request.headers()) else {
        return Err(Refusal::new(StatusCode::BAD_REQUEST, "this is a websocket: connect with ws://"));
    };
    let command = exec_request(&params)?;
    let target = api.target(&id, params.text("host"))?;
    let Ok(permit) = api.sessions.clone().try_acquire_owned() else {
        return Err(Refusal::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "too many commands are running: retry later",
        ));
    };
    tracing::info!(container = %target.name, host = %target.host, command = ?command.command,
        "a client of the API runs a command");
    let session = match api.call(&target, ContainerCall::Exec(command), QUESTION).await? {
        Reply::Session(session) => Some(session),
        Reply::Done => None,
        reply => return Err(unexpected(&target.host, &reply)),
    };
    tokio::spawn(serve(request, session, permit));
    let accept = HeaderValue::try_from(derive_accept_key(key.as_bytes()));
    let accept = accept.map_err(|error| Refusal::new(StatusCode::BAD_REQUEST, error.to_string()))?;
    let headers = [
        (header::CONNECTION, HeaderValue::from_static("upgrade")),
        (header::UPGRADE, HeaderValue::from_static("websocket")),
        (header::SEC_WEBSOCKET_ACCEPT, accept),
    ];
    Ok((StatusCode::SWITCHING_PROTOCOLS, headers, Body::empty()).into_response())
}

/// Returns the key of a websocket's handshake, if it is one.
fn handshake(headers: &HeaderMap) -> Option<String> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let is_upgrade =
        text(header::CONNECTION).split(',').any(|word| word.trim().eq_ignore_ascii_case("upgrade"));
    let is_websocket = text(header::UPGRADE).eq_ignore_ascii_case("websocket");
    let key = text(header::SEC_WEBSOCKET_KEY);
    let is_whole = text(header::SEC_WEBSOCKET_VERSION) == "13" && !key.is_empty();
    (is_upgrade && is_websocket && is_whole).then(|| key.to_owned())
}

fn exec_request(params: &Params) -> Result<ExecRequest, Refusal> {
    let command = params.all("cmd");
    if command.is_empty() {
        return Err(invalid("cmd", "", &"expected a program"));
    }
    let size = params.value("rows")?.zip(params.value("columns")?);
    Ok(ExecRequest {
        command,
        env: params.all("env"),
        user: params.text("user").map(str::to_owned),
        workdir: params.text("workdir").map(str::to_owned),
        privileged: params.flag("privileged", false)?,
        stdin: params.flag("stdin", false)?,
        tty: params.flag("tty", false)?,
        size: size.map(|(rows, columns)| TerminalSize { rows, columns }),
        detach: params.flag("detach", false)?,
    })
}

/// Carries a session until the command or the client ends it.
async fn serve(request: Request, session: Option<Session>, _permit: OwnedSemaphorePermit) {
    let upgraded = match hyper::upgrade::on(request).await {
        Ok(upgraded) => TokioIo::new(upgraded),
        Err(error) => return tracing::debug!(%error, "a client left before its command began"),
    };
    let config =
        WebSocketConfig::default().max_message_size(Some(MAX_MESSAGE)).max_frame_size(Some(MAX_MESSAGE));
    let socket = Socket::from_raw_socket(upgraded, Role::Server, Some(config)).await;
    let (mut sink, stream) = socket.split();
    let result = match session {
        None => Some(ExecResult { exit_code: None, error: None }),
        Some(Session { output, input }) => {
            tokio::select! {
                result = write(&mut sink, output) => result,
                () = read(stream, input) => None,
            }
        }
    };
    // Without a result the client has gone.
    if let Some(result) = result {
        let json = serde_json::to_vec(&result).unwrap_or_default();
        let _ = sink.send(message(channel::RESULT, &json)).await;
        let _ = sink.close().await;
    }
}

/// Passes output on to the client. Returns how the command ended; nothing if the client has gone.
async fn write(sink: &mut SplitSink<Socket, Message>, mut output: OutputStream) -> Option<ExecResult> {
    let mut pings = interval_at(Instant::now() + PING, PING);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let piece = tokio::select! {
            piece = output.next() => piece,
            _ = pings.tick() => {
                sink.send(Message::Ping(Bytes::new())).await.ok()?;
                continue;
            }
        };
        let message = match piece {
            Some(Ok(Output::Stdout(bytes))) => message(channel::STDOUT, &bytes),
            Some(Ok(Output::Stderr(bytes))) => message(channel::STDERR, &bytes),
            Some(Ok(Output::Json(_))) => continue,
            Some(Ok(Output::Exited(code))) => return Some(ExecResult { exit_code: Some(code), error: None }),
            Some(Err(error)) => return Some(ExecResult { exit_code: None, error: Some(error.to_string()) }),
            None => return Some(ExecResult { exit_code: None, error: None }),
        };
        sink.send(message).await.ok()?;
    }
}

/// Passes the client's messages on to the command, until the client has gone.
async fn read(mut stream: SplitStream<Socket>, input: mpsc::Sender<Input>) {
    while let Some(Ok(message)) = stream.next().await {
        let input_of = match message {
            Message::Binary(bytes) => of_client(&bytes),
            Message::Text(text) => Some(Input::Stdin(Bytes::copy_from_slice(text.as_bytes()))),
            Message::Close(_) => return,
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => None,
        };
        // The command may not read any more: what it writes is still wanted.
        if let Some(piece) = input_of {
            let _ = input.send(piece).await;
        }
    }
}

/// Reads a client's message. One that is not understood is skipped.
fn of_client(bytes: &Bytes) -> Option<Input> {
    let (kind, payload) = bytes.split_first()?;
    match *kind {
        channel::STDIN if payload.is_empty() => Some(Input::End),
        channel::STDIN => Some(Input::Stdin(bytes.slice(1..))),
        channel::SIZE => {
            let ExecSize { rows, columns } = serde_json::from_slice(payload).ok()?;
            Some(Input::Resize(TerminalSize { rows, columns }))
        }
        _ => None,
    }
}

fn message(kind: u8, bytes: &[u8]) -> Message {
    let mut message = BytesMut::with_capacity(1 + bytes.len());
    message.put_u8(kind);
    message.put_slice(bytes);
    Message::Binary(message.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clients_message_is_input_a_size_or_nothing() {
        let of = |bytes: &'static [u8]| of_client(&Bytes::from_static(bytes));
        assert_eq!(of(b"\x00ls\n"), Some(Input::Stdin(Bytes::from_static(b"ls\n"))));
        assert_eq!(of(b"\x00"), Some(Input::End));
        let size = TerminalSize { rows: 24, columns: 80 };
        assert_eq!(of(b"\x04{\"rows\":24,\"columns\":80}"), Some(Input::Resize(size)));
        for nothing in [&b""[..], b"\x04{", b"\x01out", b"\xff"] {
            assert_eq!(of(nothing), None, "{nothing:?}");
        }
    }

    #[test]
    fn only_a_whole_handshake_opens_a_websocket() {
        let headers = |connection: &str, version: &str| {
            let pairs = [
                (header::CONNECTION, connection),
                (header::UPGRADE, "websocket"),
                (header::SEC_WEBSOCKET_VERSION, version),
                (header::SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ=="),
            ];
            pairs.into_iter().map(|(name, value)| (name, value.parse().unwrap())).collect::<HeaderMap>()
        };
        assert!(handshake(&headers("keep-alive, Upgrade", "13")).is_some());
        assert!(handshake(&headers("keep-alive", "13")).is_none());
        assert!(handshake(&headers("upgrade", "8")).is_none());
    }

    #[test]
    fn a_command_is_read_word_by_word() {
        let request =
            exec_request(&Params::of("cmd=sh&cmd=-c&cmd=echo%20a&tty=1&rows=2&columns=3&env=A%3Db"));
        let request = request.unwrap();
        assert_eq!(request.command, ["sh", "-c", "echo a"]);
        assert_eq!((request.tty, request.env), (true, vec!["A=b".to_owned()]));
        assert_eq!(request.size, Some(TerminalSize { rows: 2, columns: 3 }));
        assert!(exec_request(&Params::of("tty=1")).is_err());
    }
}
