use std::time::Duration;

use bytes::{Buf, Bytes};
use longshore_model::{CallError, Output};
use serde::{Deserialize, Serialize};

use super::frame::{Frame, FrameError, MAX_JSON, MAX_PIECE};

/// One frame of a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplyFrame {
    /// It is done, or the stream is complete.
    Done,
    /// There was nothing to do.
    Already,
    /// The whole reply, as Docker wrote it.
    Json(Bytes),
    /// A stream follows.
    Opened,
    /// A piece of the stream.
    Output(Output),
    /// The call failed, or the stream did.
    Failed(CallError),
}

const DONE: u8 = 1;
const ALREADY: u8 = 2;
const JSON: u8 = 3;
const OPENED: u8 = 4;
const FAILED: u8 = 5;
const STDOUT: u8 = 16;
const STDERR: u8 = 17;
const LINE: u8 = 18;
const EXITED: u8 = 19;

impl ReplyFrame {
    /// Returns the frames of a piece of output, none of them too long to be read. A JSON value cannot be split.
    pub fn of_output(output: Output) -> Vec<Self> {
        let split = |mut bytes: Bytes, of: fn(Bytes) -> Output| {
            let mut pieces = Vec::new();
            while bytes.len() > MAX_PIECE {
                pieces.push(Self::Output(of(bytes.split_to(MAX_PIECE))));
            }
            pieces.push(Self::Output(of(bytes)));
            pieces
        };
        match output {
            Output::Stdout(bytes) => split(bytes, Output::Stdout),
            Output::Stderr(bytes) => split(bytes, Output::Stderr),
            output @ (Output::Json(_) | Output::Exited(_)) => vec![Self::Output(output)],
        }
    }
}

impl Frame for ReplyFrame {
    fn parts(&self) -> (u8, Bytes) {
        match self {
            Self::Done => (DONE, Bytes::new()),
            Self::Already => (ALREADY, Bytes::new()),
            Self::Json(json) => (JSON, json.clone()),
            Self::Opened => (OPENED, Bytes::new()),
            Self::Output(Output::Stdout(bytes)) => (STDOUT, bytes.clone()),
            Self::Output(Output::Stderr(bytes)) => (STDERR, bytes.clone()),
            Self::Output(Output::Json(json)) => (LINE, json.clone()),
            Self::Output(Output::Exited(code)) => (EXITED, Bytes::copy_from_slice(&code.to_be_bytes())),
            // Text and numbers can always be encoded as JSON.
            Self::Failed(error) => {
                (FAILED, serde_json::to_vec(&ErrorRow::from(error)).unwrap_or_default().into())
            }
        }
    }

    fn read(kind: u8, mut payload: Bytes) -> Result<Option<Self>, FrameError> {
        Ok(Some(match kind {
            DONE => Self::Done,
            ALREADY => Self::Already,
            JSON => Self::Json(payload),
            OPENED => Self::Opened,
            STDOUT => Self::Output(Output::Stdout(payload)),
            STDERR => Self::Output(Output::Stderr(payload)),
            LINE => Self::Output(Output::Json(payload)),
            EXITED if payload.len() >= 8 => Self::Output(Output::Exited(payload.get_i64())),
            EXITED => return Err(FrameError::Payload(kind)),
            FAILED => match serde_json::from_slice::<ErrorRow>(&payload) {
                Ok(row) => Self::Failed(row.into()),
                Err(_) => return Err(FrameError::Payload(kind)),
            },
            _ => return Ok(None),
        }))
    }

    fn limit(kind: u8) -> usize {
        if kind == JSON { MAX_JSON } else { MAX_PIECE }
    }
}

/// A [`CallError`] as JSON.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum ErrorRow {
    Docker { status: u16, message: String },
    Away { why: String },
    Invalid { why: String },
    Timeout { ms: u64 },
    Broken { why: String },
    UnknownHost { host: String },
    Unreachable { host: String, why: String },
}

impl From<&CallError> for ErrorRow {
    fn from(error: &CallError) -> Self {
        match error.clone() {
            CallError::Docker { status, message } => Self::Docker { status, message },
            CallError::Away(why) => Self::Away { why },
            CallError::Invalid(why) => Self::Invalid { why },
            CallError::Timeout(limit) => {
                Self::Timeout { ms: u64::try_from(limit.as_millis()).unwrap_or(u64::MAX) }
            }
            CallError::Broken(why) => Self::Broken { why },
            CallError::UnknownHost(host) => Self::UnknownHost { host },
            CallError::Unreachable { host, why } => Self::Unreachable { host, why },
        }
    }
}

impl From<ErrorRow> for CallError {
    fn from(row: ErrorRow) -> Self {
        match row {
            ErrorRow::Docker { status, message } => Self::Docker { status, message },
            ErrorRow::Away { why } => Self::Away(why),
            ErrorRow::Invalid { why } => Self::Invalid(why),
            ErrorRow::Timeout { ms } => Self::Timeout(Duration::from_millis(ms)),
            ErrorRow::Broken { why } => Self::Broken(why),
            ErrorRow::UnknownHost { host } => Self::UnknownHost(host),
            ErrorRow::Unreachable { host, why } => Self::Unreachable { host, why },
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Frames, InputFrame};
    use super::*;

    fn bytes() -> impl Strategy<Value = Bytes> {
        prop::collection::vec(any::<u8>(), 0..200).prop_map(Bytes::from)
    }

    fn error() -> impl Strategy<Value = CallError> {
        let text = any::<String>;
        prop_oneof![
            (any::<u16>(), text()).prop_map(|(status, message)| CallError::Docker { status, message }),
            text().prop_map(CallError::Away),
            text().prop_map(CallError::Invalid),
            any::<u64>().prop_map(|ms| CallError::Timeout(Duration::from_millis(ms))),
            text().prop_map(CallError::Broken),
            text().prop_map(CallError::UnknownHost),
            (text(), text()).prop_map(|(host, why)| CallError::Unreachable { host, why }),
        ]
    }

    fn frame() -> impl Strategy<Value = ReplyFrame> {
        prop_oneof![
            Just(ReplyFrame::Done),
            Just(ReplyFrame::Already),
            Just(ReplyFrame::Opened),
            bytes().prop_map(ReplyFrame::Json),
            bytes().prop_map(|bytes| ReplyFrame::Output(Output::Stdout(bytes))),
            bytes().prop_map(|bytes| ReplyFrame::Output(Output::Stderr(bytes))),
            bytes().prop_map(|bytes| ReplyFrame::Output(Output::Json(bytes))),
            any::<i64>().prop_map(|code| ReplyFrame::Output(Output::Exited(code))),
            error().prop_map(ReplyFrame::Failed),
        ]
    }

    proptest! {
        #[test]
        fn frames_are_read_as_they_were_written_however_they_are_cut(
            frames in prop::collection::vec(frame(), 0..8),
            cut in 1_usize..64,
        ) {
            let sent: Vec<u8> = frames.iter().flat_map(|frame| frame.encode().to_vec()).collect();
            let mut received = Frames::default();
            let mut read = Vec::new();
            for piece in sent.chunks(cut) {
                received.push(piece);
                while let Some(frame) = received.take::<ReplyFrame>().unwrap() {
                    read.push(frame);
                }
            }
            prop_assert_eq!(read, frames);
            prop_assert!(received.is_empty());
        }

        #[test]
        fn no_bytes_are_more_than_frames_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut received = Frames::default();
            received.push(&bytes);
            while let Ok(Some(_)) = received.take::<ReplyFrame>() {}
            received = Frames::default();
            received.push(&bytes);
            while let Ok(Some(_)) = received.take::<InputFrame>() {}
        }
    }

    #[test]
    fn a_frame_that_is_too_long_is_refused_before_it_has_arrived() {
        let mut received = Frames::default();
        received.push(&[STDOUT, 0xff, 0xff, 0xff, 0xff]);
        assert_eq!(received.take::<ReplyFrame>(), Err(FrameError::TooLong(0xffff_ffff)));
    }

    #[test]
    fn what_a_later_version_adds_is_skipped() {
        let mut received = Frames::default();
        received.push(&[99, 0, 0, 0, 1, 7]);
        received.push(&ReplyFrame::Done.encode());
        assert_eq!(received.take::<ReplyFrame>(), Ok(Some(ReplyFrame::Done)));
    }

    #[test]
    fn long_output_is_split_into_frames_that_can_be_read() {
        let long = Bytes::from(vec![7; 2 * MAX_PIECE + 1]);
        let frames = ReplyFrame::of_output(Output::Stderr(long.clone()));
        assert_eq!(frames.len(), 3);
        let mut received = Frames::default();
        let mut read = Vec::new();
        for frame in frames {
            received.push(&frame.encode());
            match received.take::<ReplyFrame>() {
                Ok(Some(ReplyFrame::Output(Output::Stderr(piece)))) => read.extend_from_slice(&piece),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(read, long);
    }

    #[test]
    fn input_is_read_as_it_was_written() {
        use longshore_model::{Input, TerminalSize};
        let size = TerminalSize { rows: 24, columns: 80 };
        for input in [Input::Stdin(Bytes::from_static(b"ls\n")), Input::End, Input::Resize(size)] {
            let mut received = Frames::default();
            received.push(&InputFrame(input.clone()).encode());
            assert_eq!(received.take(), Ok(Some(InputFrame(input))));
        }
    }
}
