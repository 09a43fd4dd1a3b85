//! The file of extra arguments that the old tool sourced in a shell (`--rc /etc/sysconfig/haproxy`), read as data.
//!
//! Understood: blank lines, comments, and assignments `NAME=value` with `export` or without, the value bare, in
//! single or in double quotes. Nothing is expanded or run: what a shell would expand or run in `OPTIONS` is an error.

use std::io;
use std::path::Path;

use crate::HaproxyError;

/// Arguments that only Longshore may set, and how many words follow each.
const RESERVED: [(&str, usize); 7] =
    [("-D", 0), ("-W", 0), ("-Ws", 0), ("-db", 0), ("-S", 1), ("-p", 1), ("-c", 0)];

/// Returns the extra arguments in the file; none if the file does not exist.
pub(crate) fn extra_arguments(path: &Path) -> Result<Vec<String>, HaproxyError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(HaproxyError::file("read", path)(error)),
    };
    let options =
        parse(&text).map_err(|(line, reason)| HaproxyError::Rc { path: path.to_owned(), line, reason })?;
    Ok(without_reserved(&options, path))
}

/// Characters that a shell would act on.
const SHELL_CHARACTERS: [char; 9] = ['$', '`', ';', '&', '|', '<', '>', '(', ')'];

/// Returns the words of the last `OPTIONS`.
fn parse(text: &str) -> Result<Vec<String>, (usize, &'static str)> {
    let mut options = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let fail = |reason| (index + 1, reason);
        let words = shlex::split(line).ok_or(fail("unclosed quote, or a line that continues on the next"))?;
        let words = words.strip_prefix(&["export".to_owned()]).unwrap_or(&words);
        let assignment = match words {
            [] => continue,
            [assignment] => assignment,
            [..] => return Err(fail("expected only NAME=value: commands are not run")),
        };
        let (name, value) = assignment.split_once('=').ok_or(fail("expected NAME=value"))?;
        if name == "OPTIONS" {
            if value.contains(SHELL_CHARACTERS) {
                return Err(fail("nothing is expanded or run: write the value itself"));
            }
            options = value.split_whitespace().map(str::to_owned).collect();
        }
    }
    Ok(options)
}

/// Returns the arguments without those that Longshore sets itself.
fn without_reserved(options: &[String], path: &Path) -> Vec<String> {
    let mut kept = Vec::new();
    let mut words = options.iter();
    while let Some(word) = words.next() {
        match RESERVED.iter().find(|(ours, _)| ours == word) {
            Some((ours, following)) => {
                tracing::warn!(file = %path.display(), "ignoring {ours} in OPTIONS: Longshore sets it");
                for _ in 0..*following {
                    words.next();
                }
            }
            None => kept.push(word.clone()),
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_as_a_shell_would_and_nothing_is_run() {
        let text = "# extra\n\nCONFIG=/x\nexport OPTIONS=\"-n 2000  -m 512\" # more\n";
        assert_eq!(parse(text).unwrap(), ["-n", "2000", "-m", "512"]);
        assert_eq!(parse("OPTIONS='-V'\nOPTIONS=").unwrap(), [""; 0]);
        assert_eq!(parse("OPTIONS=-n\\ 5").unwrap(), ["-n", "5"]);
        assert_eq!(parse("OPTIONS=-n'  '\"5\"").unwrap(), ["-n", "5"]);
        assert_eq!(parse("PID=$X\n# OPTIONS=$X\nOPTIONS=-V").unwrap(), ["-V"]);
    }

    #[test]
    fn what_is_no_assignment_is_an_error_with_its_line() {
        for (text, line) in [
            ("OPTIONS=\"$(reboot)\"", 1),
            ("\nOPTIONS=`id`", 2),
            ("reboot", 1),
            ("OPTIONS=a; reboot", 1),
            ("OPTIONS=a;reboot", 1),
            ("OPTIONS=a reboot", 1),
            ("OPTIONS=\"a", 1),
            ("OPTIONS=a\\", 1),
        ] {
            assert_eq!(parse(text).unwrap_err().0, line, "{text:?}");
        }
    }

    #[test]
    fn what_would_take_haproxy_out_of_our_hands_is_left_out() {
        let words = ["-D", "-n", "5", "-p", "/run/x.pid", "-V"].map(str::to_owned);
        assert_eq!(without_reserved(&words, Path::new("/rc")), ["-n", "5", "-V"]);
    }

    #[test]
    fn without_the_file_there_are_no_extra_arguments() {
        assert_eq!(extra_arguments(Path::new("/nonexistent/rc")).unwrap(), [""; 0]);
    }
}
