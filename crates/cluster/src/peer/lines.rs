//! Bytes become lines.

use longshore_wire::facts::MAX_LINE;

/// A line is longer than any that a host sends.
#[derive(Debug, thiserror::Error)]
#[error("a line of the peer's facts is longer than {MAX_LINE} bytes")]
pub(super) struct TooLong;

/// The beginning of a line whose end has not come yet.
#[derive(Debug, Default)]
pub(super) struct Lines(Vec<u8>);

impl Lines {
    /// Takes in the next bytes, and passes each whole line on.
    pub(super) fn take<E: From<TooLong>>(
        &mut self,
        bytes: &[u8],
        mut each: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            if self.0.len() + part.len() > MAX_LINE {
                return Err(TooLong.into());
            }
            match (part.strip_suffix(b"\n"), self.0.is_empty()) {
                (None, _) => self.0.extend_from_slice(part),
                (Some(line), true) => each(line)?,
                (Some(end), false) => {
                    let mut line = std::mem::take(&mut self.0);
                    line.extend_from_slice(end);
                    each(&line)?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(parts: &[&[u8]]) -> Result<Vec<String>, TooLong> {
        let (mut lines, mut found) = (Lines::default(), Vec::new());
        for part in parts {
            lines.take(part, |line| {
                found.push(String::from_utf8_lossy(line).into_owned());
                Ok::<_, TooLong>(())
            })?;
        }
        Ok(found)
    }

    #[test]
    fn lines_are_the_same_however_their_bytes_arrive() {
        let text = b"one\n\ntwo and more\nthree\nrest";
        let expected = ["one", "", "two and more", "three"];
        assert_eq!(lines(&[text]).unwrap(), expected);
        assert_eq!(lines(&text.chunks(1).collect::<Vec<_>>()).unwrap(), expected);
        assert_eq!(lines(&text.chunks(5).collect::<Vec<_>>()).unwrap(), expected);
    }

    #[test]
    fn a_line_without_an_end_is_given_up() {
        let part = vec![b'x'; MAX_LINE / 2];
        assert!(lines(&[&part, &part]).is_ok());
        assert!(lines(&[&part, &part, b"x"]).is_err());
    }
}
