//! Docker's streams as pieces of output: nothing is gathered but the head of a frame and one line of JSON.

use bytes::{Buf, Bytes, BytesMut};
use futures_util::stream::{self, BoxStream, StreamExt};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use longshore_model::{CallError, Output};
use longshore_runtime::{OutputStream, chain};

/// The longest line of JSON, in bytes.
const MAX_LINE: usize = 1 << 20;
/// The head of a frame: its stream, three zeros, its length.
const HEAD: usize = 8;

/// Bytes as they come.
pub(super) type ByteStream = BoxStream<'static, Result<Bytes, CallError>>;

/// Returns the bytes of an answer.
pub(super) fn bytes(body: Incoming) -> ByteStream {
    body.into_data_stream().map(|piece| piece.map_err(|error| CallError::Broken(chain(&error)))).boxed()
}

/// Returns the output of a terminal.
pub(super) fn plain(bytes: ByteStream) -> OutputStream {
    bytes.map(|piece| piece.map(Output::Stdout)).boxed()
}

/// Returns output of which Docker sends standard output and error in frames.
pub(super) fn multiplexed(bytes: ByteStream) -> OutputStream {
    each(bytes, Demultiplexer::default())
}

/// Returns values of which Docker sends one in each line.
pub(super) fn json_lines(bytes: ByteStream) -> OutputStream {
    each(bytes, Lines::default())
}

/// Turns bytes into pieces of output.
trait Decode: Send + 'static {
    fn push(&mut self, bytes: Bytes) -> Vec<Result<Output, CallError>>;
    fn end(&mut self) -> Option<Result<Output, CallError>>;
}

/// Decodes a stream up to its first error.
fn each(bytes: ByteStream, decoder: impl Decode) -> OutputStream {
    let pieces = stream::unfold(Some((bytes, decoder)), async |state| {
        let (mut bytes, mut decoder) = state?;
        match bytes.next().await {
            Some(Ok(piece)) => {
                let pieces = decoder.push(piece);
                let goes_on = pieces.last().is_none_or(Result::is_ok);
                Some((pieces, goes_on.then_some((bytes, decoder))))
            }
            Some(Err(error)) => Some((vec![Err(error)], None)),
            None => Some((Vec::from_iter(decoder.end()), None)),
        }
    });
    pieces.flat_map(stream::iter).boxed()
}

/// Separates standard output from standard error.
#[derive(Debug, Default)]
struct Demultiplexer {
    head: BytesMut,
    /// The stream of the frame that has begun, and how much of it is missing.
    frame: Option<(u8, usize)>,
}

impl Decode for Demultiplexer {
    fn push(&mut self, mut bytes: Bytes) -> Vec<Result<Output, CallError>> {
        let mut pieces = Vec::new();
        let mut run: Option<(u8, BytesMut)> = None;
        let joined = |(stream, bytes): (u8, BytesMut)| {
            Ok(if stream == 2 { Output::Stderr(bytes.freeze()) } else { Output::Stdout(bytes.freeze()) })
        };
        while !bytes.is_empty() {
            let Some((stream, missing)) = self.frame else {
                let more = bytes.split_to((HEAD - self.head.len()).min(bytes.len()));
                self.head.extend_from_slice(&more);
                if self.head.len() == HEAD {
                    let mut head = self.head.split();
                    let stream = head.get_u8();
                    head.advance(3);
                    let length = usize::try_from(head.get_u32()).unwrap_or(usize::MAX);
                    self.frame = (length > 0).then_some((stream, length));
                }
                continue;
            };
            let piece = bytes.split_to(missing.min(bytes.len()));
            self.frame = Some((stream, missing - piece.len())).filter(|(_, missing)| *missing > 0);
            // Docker has a frame for each line: those that came together go on together.
            match (&mut run, stream) {
                (Some((of, bytes)), _) if *of == stream => bytes.extend_from_slice(&piece),
                // Docker's own errors are in stream 3.
                (_, 3..) => {
                    pieces.extend(run.take().map(joined));
                    pieces.push(Err(CallError::Broken(String::from_utf8_lossy(&piece).into_owned())));
                    return pieces;
                }
                _ => pieces.extend(run.replace((stream, BytesMut::from(piece))).map(joined)),
            }
        }
        pieces.extend(run.map(joined));
        pieces
    }

    fn end(&mut self) -> Option<Result<Output, CallError>> {
        let is_whole = self.head.is_empty() && self.frame.is_none();
        (!is_whole).then(|| Err(CallError::Broken("it ended in the middle".to_owned())))
    }
}

/// Separates lines.
#[derive(Debug, Default)]
struct Lines(BytesMut);

impl Decode for Lines {
    fn push(&mut self, bytes: Bytes) -> Vec<Result<Output, CallError>> {
        self.0.extend_from_slice(&bytes);
        let mut lines = Vec::new();
        while let Some(end) = self.0.iter().position(|byte| *byte == b'\n') {
            let line = self.0.split_to(end + 1).freeze();
            lines.extend(value(&line).map(Ok));
        }
        if self.0.len() > MAX_LINE {
            lines.push(Err(CallError::Broken("a line is longer than 1 MiB".to_owned())));
        }
        lines
    }

    fn end(&mut self) -> Option<Result<Output, CallError>> {
        value(&self.0.split().freeze()).map(Ok)
    }
}

fn value(line: &Bytes) -> Option<Output> {
    let json = line.trim_ascii();
    (!json.is_empty()).then(|| Output::Json(line.slice_ref(json)))
}

#[cfg(test)]
mod tests {
    use futures_util::TryStreamExt;

    use super::*;

    fn cut(bytes: &[u8], size: usize) -> ByteStream {
        let pieces: Vec<_> = bytes.chunks(size).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        stream::iter(pieces).boxed()
    }

    #[tokio::test]
    async fn standard_output_and_error_are_separated_however_the_stream_is_cut() {
        let sent = b"\x01\0\0\0\0\0\0\x03out\x02\0\0\0\0\0\0\x04oops\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\x01!";
        for size in 1..sent.len() {
            let pieces: Vec<Output> = multiplexed(cut(sent, size)).try_collect().await.unwrap();
            let (mut out, mut err) = (Vec::new(), Vec::new());
            for piece in pieces {
                match piece {
                    Output::Stdout(bytes) => out.extend_from_slice(&bytes),
                    Output::Stderr(bytes) => err.extend_from_slice(&bytes),
                    other => panic!("{other:?}"),
                }
            }
            assert_eq!((out.as_slice(), err.as_slice()), (&b"out!"[..], &b"oops"[..]), "{size}");
        }
    }

    #[tokio::test]
    async fn a_stream_that_ends_in_the_middle_or_has_an_error_fails() {
        for sent in [&b"\x01\0\0\0\0\0\0\x03ou"[..], b"\x01\0\0", b"\x03\0\0\0\0\0\0\x02no"] {
            let pieces: Result<Vec<Output>, _> = multiplexed(cut(sent, 5)).try_collect().await;
            assert!(matches!(pieces, Err(CallError::Broken(_))), "{sent:?}");
        }
    }

    #[tokio::test]
    async fn each_line_is_a_value_and_an_endless_one_is_not_gathered() {
        for size in 1..12 {
            let values: Vec<Output> =
                json_lines(cut(b"{\"a\":1}\r\n\r\n{}\n[2]", size)).try_collect().await.unwrap();
            let wanted =
                ["{\"a\":1}", "{}", "[2]"].map(|json| Output::Json(Bytes::from_static(json.as_bytes())));
            assert_eq!(values, wanted);
        }
        let endless = stream::repeat_with(|| Ok(Bytes::from(vec![b'x'; 1 << 16]))).boxed();
        let values: Result<Vec<Output>, _> = json_lines(endless).try_collect().await;
        assert!(matches!(values, Err(CallError::Broken(_))));
    }
}
