//! Forwards HAProxy's output to the log, line by line.
//!
//! It goes through a named pipe, which an agent that takes over a running HAProxy opens again. HAProxy's end of the
//! pipe does not block: without a reading agent, lines are lost and HAProxy continues.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, OFlags};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::unix::pipe;
use tokio::task::JoinHandle;

use crate::HaproxyError;

/// How many lines are kept for [`Output::recent`].
const MAX_LINES: usize = 200;

/// The reading end of the pipe.
pub(crate) struct Output {
    writing_end: OwnedFd,
    lines: Arc<Mutex<Lines>>,
    reader: JoinHandle<()>,
}

#[derive(Default)]
struct Lines {
    kept: VecDeque<String>,
    /// How many lines have been read.
    read: usize,
}

impl Output {
    /// Opens the pipe, and creates it if it is missing.
    pub(crate) fn open(path: &Path) -> Result<Self, HaproxyError> {
        let fail = |action| HaproxyError::file(action, path);
        let is_pipe =
            rustix::fs::stat(path).map(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Fifo);
        match is_pipe {
            Ok(true) => {}
            Ok(false) => return Err(fail("read")(std::io::ErrorKind::AlreadyExists.into())),
            Err(_) => rustix::fs::mkfifoat(CWD, path, Mode::RUSR | Mode::WUSR)
                .map_err(|errno| fail("create")(errno.into()))?,
        }
        // Opened for writing too, so the pipe does not end when HAProxy exits.
        let receiver = pipe::OpenOptions::new().read_write(true).open_receiver(path).map_err(fail("read"))?;
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let writing_end =
            rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| fail("write")(errno.into()))?;
        let lines = Arc::new(Mutex::new(Lines::default()));
        let reader = tokio::spawn(read(receiver, lines.clone()));
        Ok(Self { writing_end, lines, reader })
    }

    /// Returns the end that HAProxy writes to.
    pub(crate) fn writing_end(&self) -> std::io::Result<OwnedFd> {
        self.writing_end.try_clone()
    }

    /// Returns how many lines have been read.
    pub(crate) fn position(&self) -> usize {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).read
    }

    /// Returns the lines since a position, once no more arrive for a moment.
    pub(crate) async fn recent(&self, position: usize) -> Vec<String> {
        let mut before = usize::MAX;
        while before != self.position() {
            before = self.position();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = lines.read.saturating_sub(position).min(lines.kept.len());
        lines.kept.iter().skip(lines.kept.len() - wanted).cloned().collect()
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

async fn read(receiver: pipe::Receiver, lines: Arc<Mutex<Lines>>) {
    let mut reader = BufReader::new(receiver);
    let mut raw = Vec::new();
    loop {
        raw.clear();
        match reader.read_until(b'\n', &mut raw).await {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(target: "longshore::haproxy", %error, "cannot read HAProxy's output any more");
                return;
            }
        }
        let line = String::from_utf8_lossy(&raw).trim_end().to_owned();
        log(&line);
        let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.read += 1;
        lines.kept.push_back(line);
        if lines.kept.len() > MAX_LINES {
            lines.kept.pop_front();
        }
    }
}

fn log(line: &str) {
    // HAProxy reports each of our commands, and each proxy that a reload stops, as a warning.
    let echo = line.contains(" : CLI : ") || line.contains(" stopped (cumulated conns: ");
    if line.starts_with("[ALERT]") && !echo {
        tracing::warn!(target: "longshore::haproxy", "{line}");
    } else if echo || line.is_empty() || line.starts_with("[NOTICE]") {
        tracing::debug!(target: "longshore::haproxy", "{line}");
    } else {
        tracing::info!(target: "longshore::haproxy", "{line}");
    }
}
