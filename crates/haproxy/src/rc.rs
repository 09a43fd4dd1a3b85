//! The file of extra arguments that the old tool sourced in a shell (`--rc /etc/sysconfig/haproxy`), read as data.
//!
//! Understood: blank lines, comments, and assignments `NAME=value` with `export` or without, the value bare, in
//! single or in double quotes. Nothing is expanded or run: a `$` or a backtick is an error, not a command.

use std::io;
use std::path::Path;

use crate::HaproxyError;

/// Arguments that would take HAProxy out of our hands, and how many words follow each.
const OURS: [(&str, usize); 7] =
    [("-D", 0), ("-W", 0), ("-Ws", 0), ("-db", 0), ("-S", 1), ("-p", 1), ("-c", 0)];

/// The extra arguments in the file; none where there is no such file.
pub(crate) fn extra_arguments(path: &Path) -> Result<Vec<String>, HaproxyError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(HaproxyError::file("read", path)(error)),
    };
    let options =
        parse(&text).map_err(|(line, reason)| HaproxyError::Rc { path: path.to_owned(), line, reason })?;
    Ok(keep_foreign(&options, path))
}

/// The words of the last `OPTIONS`.
fn parse(text: &str) -> Result<Vec<String>, (usize, &'static str)> {
    let mut options = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let fail = |reason| (index + 1, reason);
        let assignment = line.strip_prefix("export ").unwrap_or(line).trim_start();
        let (name, value) = assignment.split_once('=').ok_or(fail("it is no assignment"))?;
        let value = unquote(value).map_err(fail)?;
        if name == "OPTIONS" {
            options = value.split_whitespace().map(str::to_owned).collect();
        }
    }
    Ok(options)
}

/// The text of one shell word, and nothing but a comment after it.
fn unquote(value: &str) -> Result<String, &'static str> {
    let mut word = String::new();
    let mut chars = value.chars();
    let mut quote = None;
    while let Some(c) = chars.next() {
        match (c, quote) {
            ('\'', None) | ('"', None) => quote = Some(c),
            (c, Some(q)) if c == q => quote = None,
            ('$' | '`', None | Some('"')) => return Err("expansions are not read: write the value itself"),
            ('\\', None | Some('"')) => match chars.next() {
                Some(escaped) => word.push(escaped),
                None => return Err("a value may not go on in the next line"),
            },
            (';' | '&' | '|' | '<' | '>' | '(' | ')', None) => return Err("commands are not run"),
            (c, None) if c.is_whitespace() => {
                let rest = chars.as_str().trim();
                let comment = rest.is_empty() || rest.starts_with('#');
                return if comment { Ok(word) } else { Err("commands are not run") };
            }
            (c, _) => word.push(c),
        }
    }
    if quote.is_some() { Err("a quote is not closed") } else { Ok(word) }
}

/// Leaves out what Longshore says itself.
fn keep_foreign(options: &[String], path: &Path) -> Vec<String> {
    let mut kept = Vec::new();
    let mut words = options.iter();
    while let Some(word) = words.next() {
        match OURS.iter().find(|(ours, _)| ours == word) {
            Some((ours, following)) => {
                tracing::warn!(file = %path.display(), "{ours} in OPTIONS is left out: Longshore decides that");
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
    }

    #[test]
    fn what_is_no_assignment_is_an_error_with_its_line() {
        for (text, line) in [
            ("OPTIONS=\"$(reboot)\"", 1),
            ("\nOPTIONS=`id`", 2),
            ("reboot", 1),
            ("OPTIONS=a; reboot", 1),
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
        assert_eq!(keep_foreign(&words, Path::new("/rc")), ["-n", "5", "-V"]);
    }

    #[test]
    fn without_the_file_there_are_no_extra_arguments() {
        assert_eq!(extra_arguments(Path::new("/nonexistent/rc")).unwrap(), [""; 0]);
    }
}
