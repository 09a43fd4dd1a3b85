//! Standard output, where a reader that has gone and a full disk are ordinary.

use std::fmt;
use std::io::{self, IsTerminal, Write};

/// Standard output is closed, as by `| head`: the reader has enough, which is not a failure.
#[derive(Debug)]
pub(crate) struct ClosedPipe;

impl fmt::Display for ClosedPipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("standard output is closed")
    }
}

impl std::error::Error for ClosedPipe {}

/// Writes a text and a line feed.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    write_all(format!("{text}\n").as_bytes())
}

/// Writes bytes as they are.
pub(crate) fn write_all(bytes: &[u8]) -> anyhow::Result<()> {
    let mut output = io::stdout().lock();
    match output.write_all(bytes).and_then(|()| output.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(ClosedPipe.into()),
        written => {
            written.map_err(|error| anyhow::Error::new(error).context("cannot write to standard output"))
        }
    }
}

/// Writes a line to standard error. If that fails, there is nowhere left to report it.
pub(crate) fn complain(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Writes a question to standard error, without a line feed.
pub(crate) fn ask(text: &str) {
    let mut errors = io::stderr().lock();
    let _ = write!(errors, "{text}").and_then(|()| errors.flush());
}

/// The terminal that a table has to fit into.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Terminal {
    /// In columns; absent if the output is not a terminal, as in a pipe.
    pub(crate) width: Option<u16>,
    /// Colours are wanted.
    pub(crate) colour: bool,
}

impl Terminal {
    /// Describes standard output.
    pub(crate) fn of_output() -> Self {
        let output = io::stdout();
        if !output.is_terminal() {
            return Self::default();
        }
        let size = rustix::termios::tcgetwinsize(&output).ok();
        let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        Self {
            width: size.map(|size| size.ws_col).filter(|width| *width > 0),
            colour: !is_set("NO_COLOR") && !is_dumb,
        }
    }
}
