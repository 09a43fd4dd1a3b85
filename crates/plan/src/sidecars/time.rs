//! Compose's durations: `90s`, `1m30s`, `1.5h`, `250ms`, and bare seconds.

use std::time::Duration;

use super::reader::text;
use super::yaml::Node;
use crate::claim::quoted;

/// The longest duration accepted for any of compose's keys, in seconds.
const MAX_SECONDS: u64 = 24 * 3600;

pub(super) fn duration(node: &Node) -> Result<Duration, String> {
    let text = text(node)?;
    let read = read(&text).ok_or_else(|| format!("invalid time {}: expected 30s or 1m30s", quoted(&text)))?;
    if read.as_secs() > MAX_SECONDS { Err(format!("{} is more than a day", quoted(&text))) } else { Ok(read) }
}

/// Returns whole seconds, rounded up, and at most an hour.
pub(super) fn seconds(node: &Node) -> Result<u32, String> {
    let read = duration(node)?;
    let seconds = read.as_secs() + u64::from(read.subsec_nanos() > 0);
    let short = u32::try_from(seconds).ok().filter(|seconds| *seconds <= 3600);
    short.ok_or_else(|| format!("{} is more than an hour", quoted(&node.scalar().unwrap_or_default())))
}

fn read(text: &str) -> Option<Duration> {
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, unit) = rest.split_at_checked(digits)?;
        let end = unit.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(unit.len());
        let (unit, after) = unit.split_at_checked(end)?;
        rest = after;
        let scale = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "" if after.is_empty() => 1.0,
            "ms" => 1e-3,
            "us" | "\u{b5}s" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        let part = Duration::try_from_secs_f64(number.parse::<f64>().ok()? * scale).ok()?;
        total = total.checked_add(part)?;
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_compose_reads_them() {
        let read = |text| duration(&Node::text(text)).ok().map(|time| time.as_secs_f64());
        for (text, expected) in [
            ("90s", Some(90.0)),
            ("1m30s", Some(90.0)),
            ("1.5h", Some(5400.0)),
            ("250ms", Some(0.25)),
            ("10", Some(10.0)),
            ("1m10", Some(70.0)),
            ("24h", Some(86400.0)),
            ("25h", None),
            ("soon", None),
            ("1 s", None),
            ("-1s", None),
            ("1..2s", None),
            (".s", None),
            ("1e9s", None),
            ("99999999999999999999999999h", None),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
        assert_eq!(seconds(&Node::text("1500ms")), Ok(2));
        assert!(seconds(&Node::text("61m")).is_err());
    }
}
