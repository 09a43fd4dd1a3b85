//! A plugin's process: its group, its three pipes, and how they end.

use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use longshore_runtime::{ProcessGroup, descriptors};
use rustix::process::Signal;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{ChildStdin, Command};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::log::{Log, plain};
use super::python::search_path;
use super::wire::{self, PluginMessage};
use crate::inherited::inherited;

/// How long its remaining output is awaited after its end.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Most messages read after its end: a process that left the group may keep writing.
const MOST_WORDS: usize = 1000;
/// Most bytes of standard error that become one log line.
const ERROR_LINE: u64 = 8 * 1024;

/// An observed act of a plugin.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Act {
    Wrote(PluginMessage),
    /// It wrote a line that exceeds the protocol's limit; nothing more is read.
    TooLong,
    /// Its standard output ended.
    Silent,
    /// A line could not be sent to it, and no more can be.
    Unheard(&'static str),
    /// Its process ended; processes that it started may keep running.
    Ended,
}

/// A running plugin. Dropping it terminates it and everything it started.
#[derive(Debug)]
pub(super) struct Process {
    group: ProcessGroup,
    /// Lines to write to it; `None` once its standard input is closed.
    lines: Option<mpsc::UnboundedSender<Vec<u8>>>,
    acts: mpsc::Receiver<Act>,
    errors: AbortOnDropHandle<()>,
    _pipes: [AbortOnDropHandle<()>; 2],
}

impl Process {
    /// Starts the process. After a line that cannot be written within `patience`, no more are written.
    pub(super) fn start(
        command: &[String],
        docker_host: &str,
        python: Option<&Path>,
        patience: Duration,
        log: &Arc<Log>,
    ) -> io::Result<Self> {
        let empty = || io::Error::new(io::ErrorKind::InvalidInput, "its command is empty");
        let (program, arguments) = command.split_first().ok_or_else(empty)?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_clear()
            .envs(inherited(std::env::vars_os()))
            .env("DOCKER_HOST", docker_host)
            .envs(python.map(|folder| ("PYTHONPATH", search_path(std::env::var_os("PYTHONPATH"), folder))))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Its own group: all that it starts ends with it, and Ctrl-C in a terminal reaches only the agent.
            .process_group(0);
        let mut child = descriptors::spawn(&mut command)?;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let group = ProcessGroup::led_by(child);
        let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        let (lines, to_write) = mpsc::unbounded_channel();
        // Bounded: while this is full, the plugin's output is not read, and it blocks.
        let (tell, acts) = mpsc::channel(16);
        let errors = AbortOnDropHandle::new(tokio::spawn(read_errors(stderr, log.clone())));
        let writer = tokio::spawn(write(stdin, to_write, patience, tell.clone()));
        let reader = tokio::spawn(read_acts(stdout, tell, log.clone()));
        let _pipes = [writer, reader].map(AbortOnDropHandle::new);
        Ok(Self { group, lines: Some(lines), acts, errors, _pipes })
    }

    /// Queues a line to write, after those before it.
    pub(super) fn tell(&self, line: Vec<u8>) {
        if let Some(lines) = &self.lines {
            // If nothing can be written any more, `next` reports that.
            let _ = lines.send(line);
        }
    }

    /// Closes its standard input after the lines before.
    pub(super) fn hang_up(&mut self) {
        self.lines = None;
    }

    /// Sends a signal to the whole group.
    pub(super) fn signal(&self, signal: Signal) {
        self.group.signal(signal);
    }

    /// Returns its next act. Cancel-safe.
    pub(super) async fn next(&mut self) -> Act {
        tokio::select! {
            // Output from before its end is reported before its end.
            biased;
            Some(act) = self.acts.recv() => act,
            _ = self.group.ended() => Act::Ended,
        }
    }

    /// Ends the process group, after `grace` for a voluntary exit, and reads the remaining output. Returns its last
    /// messages, and the exit status if it exited by itself.
    pub(super) async fn end(mut self, grace: Duration) -> (Vec<PluginMessage>, Option<ExitStatus>) {
        // Otherwise the writer would wait for more lines, and the readers for the writer.
        self.hang_up();
        let status = timeout(grace, self.group.ended()).await.ok().and_then(Result::ok);
        self.group.kill().await;
        let mut words = Vec::new();
        let listen = async {
            while let Some(act) = self.acts.recv().await {
                match act {
                    Act::Wrote(said) if words.len() < MOST_WORDS => words.push(said),
                    Act::Wrote(_) | Act::TooLong | Act::Silent | Act::Ended => break,
                    Act::Unheard(_) => {}
                }
            }
            let _ = (&mut self.errors).await;
        };
        // A process that left the group can hold the pipes open indefinitely.
        let _ = timeout(LAST_WORDS, listen).await;
        (words, status)
    }
}

async fn write(
    mut stdin: ChildStdin,
    mut lines: mpsc::UnboundedReceiver<Vec<u8>>,
    patience: Duration,
    tell: mpsc::Sender<Act>,
) {
    while let Some(line) = lines.recv().await {
        let why = match timeout(patience, stdin.write_all(&line)).await {
            Ok(Ok(())) => continue,
            Ok(Err(_)) => "it closed its standard input",
            Err(_) => "it does not read its standard input",
        };
        let _ = tell.send(Act::Unheard(why)).await;
        return;
    }
}

async fn read_acts(stdout: impl AsyncRead + Unpin, tell: mpsc::Sender<Act>, log: Arc<Log>) {
    let mut reader = BufReader::new(stdout);
    let mut line = Vec::new();
    let limit = wire::LONGEST as u64 + 1;
    loop {
        line.clear();
        let act = match (&mut reader).take(limit).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => Act::Silent,
            Ok(_) if line.len() as u64 == limit && !line.ends_with(b"\n") => Act::TooLong,
            Ok(_) => match heard(&line, &log) {
                Some(said) => Act::Wrote(said),
                None => continue,
            },
        };
        let last = matches!(act, Act::Silent | Act::TooLong);
        if tell.send(act).await.is_err() || last {
            return;
        }
        // A line may have been long, but few are.
        line.shrink_to(64 * 1024);
    }
}

/// Returns the message in a line, unless it is only for the log.
fn heard(line: &[u8], log: &Log) -> Option<PluginMessage> {
    match wire::parse(line) {
        Ok(PluginMessage::Log { level, message }) => log.say(&level, &message),
        Ok(said) => return Some(said),
        Err(_) if line.trim_ascii().is_empty() => {}
        Err(error) => {
            let start = line.get(..400).unwrap_or(line);
            let text = plain(&String::from_utf8_lossy(start), 200);
            log.say("warning", &format!("ignoring an invalid message on standard output ({error}): {text}"));
        }
    }
    None
}

async fn read_errors(stderr: impl AsyncRead + Unpin, log: Arc<Log>) {
    let mut reader = BufReader::new(stderr);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut reader).take(ERROR_LINE).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => log.error_line(&String::from_utf8_lossy(&line)),
        }
    }
}
