//! A command inside a container, with the caller's terminal.

use std::io::{IsTerminal, Read, Write};
use std::process::ExitCode;

use longshore_api::{ExecOutput, ExecResult, ExecSession};
use longshore_model::{ExecRequest, TerminalSize};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::agent::client;
use crate::FAILED;
use crate::cli::ContainerExec;
use crate::output::{complain, write_all};

/// How much input is read at once, in bytes.
const PIECE: usize = 16 * 1024;

pub(super) async fn exec(asked: ContainerExec) -> anyhow::Result<ExitCode> {
    let ContainerExec { interactive, tty, detach, env, user, workdir, privileged, place, container, command } =
        asked;
    if interactive && tty && !std::io::stdin().is_terminal() {
        anyhow::bail!("standard input is not a terminal: leave out --tty");
    }
    let size = if tty { size() } else { None };
    let command =
        ExecRequest { command, env, user, workdir, privileged, stdin: interactive, tty, size, detach };
    let client = client(&place.connection)?;
    let session = client.exec(&container, place.host.as_deref(), &command).await?;
    let terminal = if interactive && tty { RawTerminal::begin() } else { None };
    let result = carry(session, interactive, tty).await;
    drop(terminal);
    let ExecResult { exit_code, error } = result?;
    match (exit_code, error) {
        (_, Some(error)) => {
            complain(&format!("longshore: {error}"));
            Ok(ExitCode::from(FAILED))
        }
        (Some(code), None) => Ok(ExitCode::from(u8::try_from(code).unwrap_or(FAILED))),
        (None, None) => Ok(ExitCode::SUCCESS),
    }
}

/// Passes input and output on until the command ends.
async fn carry(session: ExecSession, interactive: bool, tty: bool) -> anyhow::Result<ExecResult> {
    let ExecSession { mut output, mut input } = session;
    let mut typed = interactive.then(standard_input);
    let mut resized = signal(SignalKind::window_change())?;
    loop {
        let next = async {
            match &mut typed {
                Some(typed) => typed.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            piece = output.next() => match piece? {
                ExecOutput::Stdout(bytes) => write_all(&bytes)?,
                // If that fails, there is nowhere left to report it.
                ExecOutput::Stderr(bytes) => drop(std::io::stderr().lock().write_all(&bytes)),
                ExecOutput::Ended(result) => return Ok(result),
            },
            piece = next => match piece {
                Some(piece) => input.stdin(&piece).await,
                None => {
                    typed = None;
                    input.end().await;
                }
            },
            Some(()) = resized.recv(), if tty => {
                if let Some(size) = size() {
                    input.resize(size).await;
                }
            }
        }
    }
}

/// Reads standard input on a thread of its own: a read of a terminal cannot be cancelled.
fn standard_input() -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(4);
    std::thread::spawn(move || {
        let mut piece = vec![0; PIECE];
        while let Ok(length @ 1..) = std::io::stdin().lock().read(&mut piece) {
            let read = piece.get(..length).unwrap_or_default().to_vec();
            if sender.blocking_send(read).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Returns the size of the terminal, if there is one.
fn size() -> Option<TerminalSize> {
    let size = tcgetwinsize(std::io::stdout()).or_else(|_| tcgetwinsize(std::io::stdin())).ok()?;
    (size.ws_row > 0 && size.ws_col > 0).then_some(TerminalSize { rows: size.ws_row, columns: size.ws_col })
}

/// The terminal passes on every key, until this is dropped.
struct RawTerminal(Termios);

impl RawTerminal {
    fn begin() -> Option<Self> {
        let before = tcgetattr(std::io::stdin()).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(std::io::stdin(), OptionalActions::Now, &raw).ok()?;
        Some(Self(before))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        // A terminal that has gone has nothing to restore.
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.0);
    }
}
