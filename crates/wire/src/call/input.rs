use bytes::{Buf, BufMut, Bytes, BytesMut};
use longshore_model::{Input, TerminalSize};

use super::frame::{Frame, FrameError, MAX_PIECE};

/// One frame of a session's input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputFrame(pub Input);

const STDIN: u8 = 1;
const END: u8 = 2;
const RESIZE: u8 = 3;

impl Frame for InputFrame {
    fn parts(&self) -> (u8, Bytes) {
        match &self.0 {
            Input::Stdin(bytes) => (STDIN, bytes.clone()),
            Input::End => (END, Bytes::new()),
            Input::Resize(TerminalSize { rows, columns }) => {
                let mut payload = BytesMut::with_capacity(4);
                payload.put_u16(*rows);
                payload.put_u16(*columns);
                (RESIZE, payload.freeze())
            }
        }
    }

    fn read(kind: u8, mut payload: Bytes) -> Result<Option<Self>, FrameError> {
        Ok(Some(Self(match kind {
            STDIN => Input::Stdin(payload),
            END => Input::End,
            RESIZE if payload.len() >= 4 => {
                Input::Resize(TerminalSize { rows: payload.get_u16(), columns: payload.get_u16() })
            }
            RESIZE => return Err(FrameError::Payload(kind)),
            _ => return Ok(None),
        })))
    }

    fn limit(_: u8) -> usize {
        MAX_PIECE
    }
}
