//! A script's output, logged line by line.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};

/// Most bytes of one line; the rest is left out.
const LINE: usize = 8 * 1024;
/// Most bytes of one stream that an attempt logs, including each line's overhead.
const ALL: usize = 1024 * 1024;
/// Most characters of the last line that a failure quotes.
const LAST: usize = 200;
/// A line's overhead in the log.
const BESIDES: usize = 100;
/// How many lines are logged before yielding.
const TURN: usize = 32;
/// Pause after each read once nothing more is logged, so a flood does not keep a processor busy.
const FLOOD: Duration = Duration::from_millis(2);

/// One stream of a script.
#[derive(Debug)]
pub(super) struct Output<'a, R> {
    handler: &'a str,
    stream: &'static str,
    source: Option<R>,
    chunk: Vec<u8>,
    lines: Lines,
    last: String,
}

impl<'a, R: AsyncRead + Unpin> Output<'a, R> {
    pub(super) fn new(handler: &'a str, stream: &'static str, source: Option<R>) -> Self {
        let (chunk, lines) = (vec![0; 16 * 1024], Lines::default());
        Self { handler, stream, source, chunk, lines, last: String::new() }
    }

    /// Reads to the end and logs. May be dropped at any time and called again.
    pub(super) async fn pump(&mut self) {
        while let Some(source) = &mut self.source {
            let read = source.read(&mut self.chunk).await.unwrap_or(0);
            let Some(bytes) = self.chunk.get(..read).filter(|bytes| !bytes.is_empty()) else {
                self.source = None;
                return;
            };
            self.lines.take(bytes);
            while !self.lines.whole.is_empty() {
                self.log(TURN);
                tokio::task::yield_now().await;
            }
            if self.lines.left_out > 0 {
                tokio::time::sleep(FLOOD).await;
            }
        }
    }

    /// Logs a partial last line, and closes the stream.
    pub(super) fn finish(&mut self) {
        self.source = None;
        self.lines.finish();
        self.log(usize::MAX);
        if self.lines.left_out > 0 {
            let (handler, stream, bytes) = (self.handler, self.stream, self.lines.left_out);
            tracing::warn!(handler, stream, "{bytes} more bytes are left out");
        }
    }

    /// Returns the last non-empty line, shortened.
    pub(super) fn last_line(&self) -> &str {
        &self.last
    }

    fn log(&mut self, most: usize) {
        let count = most.min(self.lines.whole.len());
        for line in self.lines.whole.drain(..count) {
            tracing::info!(handler = self.handler, stream = self.stream, "{line}");
            if !line.trim().is_empty() {
                self.last = line.trim().chars().take(LAST).collect();
            }
        }
    }
}

/// Splits bytes into loggable lines.
#[derive(Debug, Default)]
struct Lines {
    whole: VecDeque<String>,
    line: Vec<u8>,
    /// How many bytes of the line were left out.
    cut: usize,
    logged: usize,
    /// How many bytes came after the log limit.
    left_out: u64,
}

impl Lines {
    fn take(&mut self, bytes: &[u8]) {
        for part in bytes.split_inclusive(|&byte| byte == b'\n') {
            let (text, ends) = part.strip_suffix(b"\n").map_or((part, false), |text| (text, true));
            if self.logged >= ALL {
                self.left_out += part.len() as u64;
                continue;
            }
            let room = LINE.saturating_sub(self.line.len()).min(text.len());
            let (kept, cut) = text.split_at_checked(room).unwrap_or((text, &[]));
            self.line.extend_from_slice(kept);
            self.cut += cut.len();
            if ends {
                self.end_line();
            }
        }
    }

    fn finish(&mut self) {
        if !self.line.is_empty() {
            self.end_line();
        }
    }

    fn end_line(&mut self) {
        self.logged += self.line.len() + BESIDES;
        let line = std::mem::take(&mut self.line);
        let text = line.strip_suffix(b"\r").unwrap_or(&line);
        let mut shown = String::with_capacity(text.len());
        for c in String::from_utf8_lossy(text).chars() {
            if is_plain(c) {
                shown.push(c);
            } else {
                shown.extend(c.escape_default());
            }
        }
        let cut = std::mem::take(&mut self.cut);
        self.whole.push_back(if cut == 0 { shown } else { format!("{shown}… ({cut} more bytes)") });
    }
}

/// Returns whether a terminal shows the character unchanged: not a control character or a direction override.
fn is_plain(c: char) -> bool {
    let turns = matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c == '\t' || !(c.is_control() || turns)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(bytes: &[u8]) -> Vec<String> {
        let mut lines = Lines::default();
        lines.take(bytes);
        lines.finish();
        lines.whole.into()
    }

    #[test]
    fn lines_are_escaped_shortened_and_read_as_utf8_as_far_as_they_are() {
        assert_eq!(shown(b"one\r\ntwo\n\nlast"), ["one", "two", "", "last"]);
        assert_eq!(shown(b"\x1b[31mred\x07"), ["\\u{1b}[31mred\\u{7}"]);
        assert_eq!(shown("r\u{202e}l".as_bytes()), ["r\\u{202e}l"]);
        assert_eq!(shown(b"\xff\xfeok"), ["\u{fffd}\u{fffd}ok"]);
        assert_eq!(shown(&[b'a'; LINE + 3]), [format!("{}… (3 more bytes)", "a".repeat(LINE))]);
    }

    #[test]
    fn a_flood_ends_after_its_share_of_the_log() {
        let mut lines = Lines::default();
        let flood = vec![b'\n'; 64 * 1024];
        for _ in 0..100 {
            lines.take(&flood);
        }
        assert_eq!(lines.whole.len(), ALL.div_ceil(BESIDES));
        assert_eq!(lines.left_out, 100 * 64 * 1024 - ALL.div_ceil(BESIDES) as u64);
    }

    proptest! {
        #[test]
        fn it_does_not_matter_how_the_bytes_are_cut(bytes in proptest::collection::vec(any::<u8>(), 0..300), at in 0_usize..300) {
            let (a, b) = bytes.split_at(at.min(bytes.len()));
            let mut lines = Lines::default();
            lines.take(a);
            lines.take(b);
            lines.finish();
            prop_assert_eq!(Vec::from(lines.whole), shown(&bytes));
        }
    }
}
