//! Signals as Docker accepts them: by number, or by name in any case, with or without `SIG`.

use nix::sys::signal::Signal;

/// The real-time signals, as Docker numbers them on Linux.
const RTMIN: u32 = 34;
const RTMAX: u32 = 64;

/// Returns a signal's number; `None` if there is no such signal.
pub(super) fn number(text: &str) -> Option<u32> {
    if let Ok(number) = text.parse() {
        return (1..=RTMAX).contains(&number).then_some(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let offset = |digits: &str| digits.parse::<u32>().ok().filter(|n| *n <= RTMAX - RTMIN);
    match name {
        "RTMIN" => return Some(RTMIN),
        "RTMAX" => return Some(RTMAX),
        // Aliases.
        "CLD" => return Some(Signal::SIGCHLD as u32),
        "IOT" => return Some(Signal::SIGABRT as u32),
        "POLL" => return Some(Signal::SIGIO as u32),
        _ => {}
    }
    if let Some(digits) = name.strip_prefix("RTMIN+") {
        return offset(digits).map(|n| RTMIN + n);
    }
    if let Some(digits) = name.strip_prefix("RTMAX-") {
        return offset(digits).map(|n| RTMAX - n);
    }
    format!("SIG{name}").parse::<Signal>().ok().map(|signal| signal as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_read_as_docker_reads_it() {
        for (text, signal) in [
            ("SIGQUIT", 3),
            ("sigquit", 3),
            ("Quit", 3),
            ("3", 3),
            ("ALRM", 14),
            ("SIGWINCH", 28),
            ("SIGPOLL", 29),
            ("RTMIN", 34),
            ("RTMIN+3", 37),
            ("sigrtmin+3", 37),
            ("SIGRTMAX-2", 62),
            ("64", 64),
        ] {
            assert_eq!(number(text), Some(signal), "{text}");
        }
        for text in ["", "SIG", "0", "65", "RTMIN+31", "RTMIN+-1", "HUPP", "-9"] {
            assert_eq!(number(text), None, "{text}");
        }
    }
}
