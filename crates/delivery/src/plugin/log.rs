//! A plugin's output in the agent's log: under its handler's name, one entry per line, without control sequences, and
//! rate-limited.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::Level;

/// Lines allowed in a burst.
const BURST: f64 = 200.0;
/// Lines allowed per second in the long run.
const PER_SECOND: f64 = 20.0;
/// Most characters per line.
const WIDEST: usize = 2000;
/// Most characters of the last line that a failure quotes.
const LAST: usize = 200;
/// How long before the end a line may have come to count as the reason.
const JUST_BEFORE: Duration = Duration::from_secs(5);

/// The log of one handler's plugin.
#[derive(Debug)]
pub(super) struct Log {
    handler: String,
    allowance: Mutex<Allowance>,
    /// The last line that may explain its end, and when it came.
    last: Mutex<Option<(Instant, String)>>,
}

/// The log allowance: a bucket that refills over time.
#[derive(Debug)]
struct Allowance {
    lines: f64,
    filled: Instant,
    /// How many lines were dropped since the last report.
    dropped: u64,
}

impl Allowance {
    fn new(now: Instant) -> Self {
        Self { lines: BURST, filled: now, dropped: 0 }
    }

    /// Takes one line from the allowance. Returns how many lines were dropped before it, or `None` if it must be
    /// dropped too.
    fn take(&mut self, now: Instant) -> Option<u64> {
        let elapsed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.lines = (self.lines + elapsed * PER_SECOND).min(BURST);
        self.filled = now;
        if self.lines < 1.0 {
            self.dropped += 1;
            return None;
        }
        self.lines -= 1.0;
        Some(std::mem::take(&mut self.dropped))
    }
}

impl Log {
    pub(super) fn new(handler: &str) -> Self {
        Self {
            handler: handler.to_owned(),
            allowance: Mutex::new(Allowance::new(Instant::now())),
            last: Mutex::default(),
        }
    }

    /// Logs a line of standard error.
    pub(super) fn error_line(&self, text: &str) {
        self.remember(text);
        self.log(Level::INFO, text);
    }

    /// Logs a plugin's message at the level that it names.
    pub(super) fn say(&self, level: &str, text: &str) {
        let level = level_of(level);
        if level == Level::ERROR {
            self.remember(text);
        }
        self.log(level, text);
    }

    /// Takes the likely reason for its end: its last line on standard error or of level error, if recent enough.
    pub(super) fn last_words(&self) -> Option<String> {
        let (at, line) = self.last.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        (at.elapsed() < JUST_BEFORE).then_some(line)
    }

    fn remember(&self, text: &str) {
        if let Some(line) = text.lines().rfind(|line| !line.trim().is_empty()) {
            let line = (Instant::now(), plain(line.trim(), LAST));
            *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(line);
        }
    }

    fn log(&self, level: Level, text: &str) {
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            // Lines that the log level filters out do not count towards the allowance.
            if !heard(level) {
                return;
            }
            if let Some(dropped) = self.allowance().take(Instant::now()) {
                self.dropped(dropped);
                self.write(level, &plain(line, WIDEST));
            }
        }
    }

    /// Reports how many lines were dropped since the last report.
    pub(super) fn flush(&self) {
        let dropped = std::mem::take(&mut self.allowance().dropped);
        self.dropped(dropped);
    }

    fn dropped(&self, lines: u64) {
        if lines > 0 {
            tracing::warn!(target: "longshore::plugin", handler = self.handler, "{lines} lines of its output were dropped: it writes too many");
        }
    }

    fn allowance(&self) -> std::sync::MutexGuard<'_, Allowance> {
        self.allowance.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, level: Level, text: &str) {
        let handler = self.handler.as_str();
        match level {
            Level::ERROR => tracing::error!(target: "longshore::plugin", handler, "{text}"),
            Level::WARN => tracing::warn!(target: "longshore::plugin", handler, "{text}"),
            Level::INFO => tracing::info!(target: "longshore::plugin", handler, "{text}"),
            Level::DEBUG => tracing::debug!(target: "longshore::plugin", handler, "{text}"),
            Level::TRACE => tracing::trace!(target: "longshore::plugin", handler, "{text}"),
        }
    }
}

fn heard(level: Level) -> bool {
    match level {
        Level::ERROR => tracing::enabled!(target: "longshore::plugin", Level::ERROR),
        Level::WARN => tracing::enabled!(target: "longshore::plugin", Level::WARN),
        Level::INFO => tracing::enabled!(target: "longshore::plugin", Level::INFO),
        Level::DEBUG => tracing::enabled!(target: "longshore::plugin", Level::DEBUG),
        Level::TRACE => tracing::enabled!(target: "longshore::plugin", Level::TRACE),
    }
}

/// Returns the level with this name, in Python's or syslog's spelling too; `info` for any other.
fn level_of(name: &str) -> Level {
    match name.to_ascii_lowercase().as_str() {
        "trace" => Level::TRACE,
        "debug" => Level::DEBUG,
        "warn" | "warning" => Level::WARN,
        "error" | "critical" | "fatal" | "alert" | "emergency" => Level::ERROR,
        _ => Level::INFO,
    }
}

/// Returns the text's first `most` characters, with terminal control characters escaped.
pub(super) fn plain(text: &str, most: usize) -> String {
    let mut plain = String::with_capacity(text.len().min(most));
    for (index, c) in text.trim_end().chars().enumerate() {
        if index == most {
            plain.push('…');
            break;
        }
        // These change the direction of the following text.
        let turns = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if (c.is_control() && c != '\t') || turns {
            plain.extend(c.escape_default());
        } else {
            plain.push(c);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_flood_is_cut_to_the_allowance_and_what_was_dropped_is_counted() {
        let start = Instant::now();
        let mut allowance = Allowance::new(start);
        let logged = (0..1000).filter(|_| allowance.take(start).is_some()).count();
        assert_eq!(logged, 200);
        assert_eq!(allowance.take(start + Duration::from_secs(1)), Some(800));
        let logged = (0..1000).filter(|_| allowance.take(start + Duration::from_secs(1)).is_some()).count();
        assert_eq!(logged, 19);
        assert_eq!(allowance.take(start + Duration::from_secs(3600)), Some(981));
    }

    #[test]
    fn what_commands_a_terminal_is_escaped_and_what_is_long_is_cut() {
        assert_eq!(plain("a\u{1b}[2Jb\tc\u{202e}\r\n", 100), "a\\u{1b}[2Jb\tc\\u{202e}");
        assert_eq!(plain("naïve", 3), "naï…");
        assert_eq!(plain("naïve", 5), "naïve");
    }

    proptest! {
        #[test]
        fn no_text_has_a_control_character_left(text in any::<String>()) {
            prop_assert!(plain(&text, 50).chars().all(|c| !c.is_control() || c == '\t'));
        }
    }
}
