//! A command inside a container: created, started on an upgraded connection, and asked for its exit code.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use longshore_model::{CallError, ExecRequest, Input, Output, TerminalSize};
use longshore_runtime::{OutputStream, Reply, Session, chain};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::engine::{Engine, Query, parse, segment, whole};
use super::output::{self, ByteStream};

/// How much is read at once, in bytes.
const PIECE: usize = 16 * 1024;
/// How many pieces of input wait for the command to read them.
const MAX_WAITING: usize = 16;
/// How long Docker may take to change the size of a terminal.
const RESIZE_TIMEOUT: Duration = Duration::from_secs(5);
/// The attempts to set a terminal's first size, and the pause between two.
const RESIZE_ATTEMPTS: usize = 10;
const RESIZE_INTERVAL: Duration = Duration::from_millis(50);
/// How long a command whose output has ended may take to exit.
const EXIT_TIMEOUT: Duration = Duration::from_secs(10);
const EXIT_INTERVAL: Duration = Duration::from_millis(20);

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Create<'a> {
    attach_stdin: bool,
    attach_stdout: bool,
    attach_stderr: bool,
    tty: bool,
    cmd: &'a [String],
    env: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    working_dir: Option<&'a str>,
    privileged: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    console_size: Option<[u16; 2]>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Created {
    id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Inspected {
    running: bool,
    exit_code: Option<i64>,
}

/// Runs a command in the container at this path.
pub(super) async fn exec(engine: Engine, path: &str, request: ExecRequest) -> Result<Reply, CallError> {
    let ExecRequest { command, env, user, workdir, privileged, stdin, tty, size, detach } = request;
    let size = size.filter(|_| tty);
    let create = Create {
        attach_stdin: stdin && !detach,
        attach_stdout: !detach,
        attach_stderr: !detach,
        tty,
        cmd: &command,
        env: &env,
        user: user.as_deref(),
        working_dir: workdir.as_deref(),
        privileged,
        console_size: size.map(|size| [size.rows, size.columns]),
    };
    let created = engine.post(&format!("{path}/exec"), json(&create), &[]).await?;
    let Created { id } = parse(&whole(created.into_body()).await?)?;
    let path = format!("/exec/{}", segment(&id));
    let start = json(&serde_json::json!({ "Detach": detach, "Tty": tty }));
    if detach {
        engine.post(&format!("{path}/start"), start, &[]).await?;
        return Ok(Reply::Done);
    }
    let upgrade = [("connection", "Upgrade".to_owned()), ("upgrade", "tcp".to_owned())];
    let started = engine.post(&format!("{path}/start"), start, &upgrade).await?;
    let upgraded = hyper::upgrade::on(started).await.map_err(|error| CallError::Broken(chain(&error)))?;
    let (read, write) = tokio::io::split(TokioIo::new(upgraded));
    let (input, received) = mpsc::channel(MAX_WAITING);
    let pump =
        AbortOnDropHandle::new(tokio::spawn(feed(engine.clone(), path.clone(), size, write, received)));
    let bytes = bytes(read);
    let output = if tty { output::plain(bytes) } else { output::multiplexed(bytes) };
    Ok(Reply::Session(Session { output: with_exit(output, engine, path, pump), input }))
}

fn json(value: &impl Serialize) -> Bytes {
    // Text and numbers can always be encoded as JSON.
    serde_json::to_vec(value).unwrap_or_default().into()
}

/// Passes input on until the caller ends it or goes away.
async fn feed(
    engine: Engine,
    path: String,
    size: Option<TerminalSize>,
    mut write: WriteHalf<TokioIo<Upgraded>>,
    mut received: mpsc::Receiver<Input>,
) {
    if let Some(size) = size {
        // Docker knew no size at the start before its API 1.42, and a command that has not begun yet has no terminal.
        for _ in 0..RESIZE_ATTEMPTS {
            if resize(&engine, &path, size).await {
                break;
            }
            tokio::time::sleep(RESIZE_INTERVAL).await;
        }
    }
    let mut is_open = true;
    while let Some(input) = received.recv().await {
        match input {
            // A command that reads nothing any more may still write.
            Input::Stdin(bytes) if is_open => is_open = write.write_all(&bytes).await.is_ok(),
            Input::Stdin(_) => {}
            Input::End => {
                is_open = false;
                let _ = write.shutdown().await;
            }
            Input::Resize(size) => {
                resize(&engine, &path, size).await;
            }
        }
    }
    let _ = write.shutdown().await;
}

/// Changes the size of a terminal, and returns whether that was possible: a command that has ended has none.
async fn resize(engine: &Engine, path: &str, size: TerminalSize) -> bool {
    let query = Query::default().with("h", size.rows).with("w", size.columns);
    let path = query.after(&format!("{path}/resize"));
    match tokio::time::timeout(RESIZE_TIMEOUT, engine.post(&path, Bytes::new(), &[])).await {
        Ok(Ok(_)) => return true,
        Ok(Err(error)) => tracing::debug!(%error, "a terminal keeps its size"),
        Err(_) => tracing::debug!("a terminal keeps its size: Docker does not answer"),
    }
    false
}

fn bytes(read: ReadHalf<TokioIo<Upgraded>>) -> ByteStream {
    stream::try_unfold(read, async |mut read| {
        let mut piece = bytes::BytesMut::with_capacity(PIECE);
        match read.read_buf(&mut piece).await {
            Ok(0) => Ok(None),
            Ok(_) => Ok(Some((piece.freeze(), read))),
            Err(error) => Err(CallError::Broken(chain(&error))),
        }
    })
    .boxed()
}

/// Adds the exit code to a command's output. The input's pump lives as long as the output.
fn with_exit(
    output: OutputStream,
    engine: Engine,
    path: String,
    pump: AbortOnDropHandle<()>,
) -> OutputStream {
    let exit = stream::once(async move {
        let code = exit_code(&engine, &path).await;
        drop(pump);
        code.map(Output::Exited)
    });
    let mut has_failed = false;
    // After an error there is no exit code to wait for.
    output
        .chain(exit)
        .take_while(move |piece| {
            let goes_on = !has_failed;
            has_failed |= piece.is_err();
            std::future::ready(goes_on)
        })
        .boxed()
}

async fn exit_code(engine: &Engine, path: &str) -> Result<i64, CallError> {
    let exited = async {
        loop {
            let Inspected { running, exit_code } = engine.read(&format!("{path}/json")).await?;
            match exit_code {
                Some(code) if !running => return Ok(code),
                _ => tokio::time::sleep(EXIT_INTERVAL).await,
            }
        }
    };
    let late = || CallError::Broken("the command has ended its output and goes on".to_owned());
    tokio::time::timeout(EXIT_TIMEOUT, exited).await.unwrap_or_else(|_| Err(late()))
}
