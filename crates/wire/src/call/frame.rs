//! Frames: a byte for the kind, four for the length, and the payload.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// The largest frame of a stream, in bytes; longer output is split.
pub const MAX_PIECE: usize = 1 << 20;
/// The largest whole JSON reply, in bytes: far above the list of the largest host.
pub const MAX_JSON: usize = 64 << 20;
/// The longest call, in bytes: far above the definition of any container.
pub const MAX_CALL: usize = 8 << 20;

const HEAD: usize = 5;

/// Why frames cannot be read. Nothing after it can be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A frame is longer than allowed.
    #[error("a frame of {0} bytes is too long")]
    TooLong(usize),
    /// A payload is not what its kind says.
    #[error("a frame of kind {0} cannot be read")]
    Payload(u8),
}

/// Something that is sent as a frame.
pub trait Frame: Sized {
    /// Returns the frame's kind and payload.
    fn parts(&self) -> (u8, Bytes);

    /// Reads a frame; `None` if a later version added its kind.
    ///
    /// # Errors
    /// The payload is not what the kind says.
    fn read(kind: u8, payload: Bytes) -> Result<Option<Self>, FrameError>;

    /// Returns the longest payload of this kind.
    fn limit(kind: u8) -> usize;

    /// Returns the frame's bytes.
    fn encode(&self) -> Bytes {
        let (kind, payload) = self.parts();
        let mut bytes = BytesMut::with_capacity(HEAD + payload.len());
        bytes.put_u8(kind);
        // A longer payload is refused by its reader anyway.
        bytes.put_u32(u32::try_from(payload.len()).unwrap_or(u32::MAX));
        bytes.extend_from_slice(&payload);
        bytes.freeze()
    }
}

/// Collects bytes until they are whole frames.
#[derive(Debug, Default)]
pub struct Frames(BytesMut);

impl Frames {
    /// Adds received bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// Takes the next whole frame, and skips those that a later version added. `None` until there are more bytes.
    ///
    /// # Errors
    /// What was received are not frames of this kind.
    pub fn take<T: Frame>(&mut self) -> Result<Option<T>, FrameError> {
        loop {
            let Some((mut head, _)) = self.0.split_at_checked(HEAD) else { return Ok(None) };
            let kind = head.get_u8();
            let length = usize::try_from(head.get_u32()).unwrap_or(usize::MAX);
            if length > T::limit(kind) {
                return Err(FrameError::TooLong(length));
            }
            if self.0.len() < HEAD + length {
                return Ok(None);
            }
            self.0.advance(HEAD);
            if let Some(frame) = T::read(kind, self.0.split_to(length).freeze())? {
                return Ok(Some(frame));
            }
        }
    }

    /// Returns whether all received bytes were taken: otherwise the last frame was cut off.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
