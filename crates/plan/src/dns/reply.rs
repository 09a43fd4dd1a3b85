//! Builds and encodes answers.

use hickory_proto::op::{Edns, Message, Metadata, OpCode, Query, ResponseCode};
use hickory_proto::rr::Record;
use hickory_proto::serialize::binary::{BinEncodable, BinEncoder};
use longshore_model::Transport;

use super::Answer;

/// The longest datagram sent, whatever the client accepts: longer ones may be fragmented and lost.
const LONGEST_DATAGRAM: u16 = 1232;
/// The longest datagram that every client accepts.
const SHORTEST_LIMIT: u16 = 512;

/// An answer under construction.
#[derive(Clone, Debug)]
pub(super) struct Response {
    pub(super) message: Message,
    /// The maximum length, in bytes.
    pub(super) limit: u16,
}

impl Response {
    /// Creates an answer with nothing but a response code, to a request of which only the header was read.
    pub(super) fn bare(id: u16, code: OpCode, recursion_desired: bool, response: ResponseCode) -> Self {
        let mut message = Message::error_msg(id, code, response);
        message.metadata.recursion_desired = recursion_desired;
        Self { message, limit: SHORTEST_LIMIT }
    }

    /// Creates an empty answer to a request.
    pub(super) fn to(request: &Message, transport: Transport) -> Self {
        let mut message = Message::response(request.metadata.id, request.metadata.op_code);
        message.metadata = Metadata::response_from_request(&request.metadata);
        message.queries.clone_from(&request.queries);
        let mut limit = match transport {
            Transport::Tcp => u16::MAX,
            Transport::Udp => SHORTEST_LIMIT,
        };
        if let Some(theirs) = &request.edns {
            let mut edns = Edns::new();
            edns.set_max_payload(LONGEST_DATAGRAM).set_version(0);
            edns.set_dnssec_ok(theirs.flags().dnssec_ok);
            message.edns = Some(edns);
            if transport == Transport::Udp {
                limit = theirs.max_payload().clamp(SHORTEST_LIMIT, LONGEST_DATAGRAM);
            }
        }
        Self { message, limit }
    }

    /// Returns the only question.
    pub(super) fn query(&self) -> Option<&Query> {
        self.message.queries.first()
    }

    /// Returns the answer with this response code.
    pub(super) fn with(mut self, code: ResponseCode) -> Self {
        self.message.metadata.response_code = code;
        self
    }

    pub(super) fn answer(&mut self, record: Record) {
        self.message.answers.push(record);
    }

    /// Encodes the answer. If it is too long, additional records are dropped first; a datagram that is still
    /// too long carries no answers but the truncation flag, and the client asks again over TCP.
    pub(super) fn encode(mut self) -> Answer {
        let code = self.message.metadata.response_code;
        let answer = |bytes| Answer { bytes, code };
        if let Some(bytes) = encode(&self.message, self.limit) {
            return answer(bytes);
        }
        self.message.additionals.clear();
        if let Some(bytes) = encode(&self.message, self.limit) {
            return answer(bytes);
        }
        self.message.metadata.truncation = true;
        // TCP is the last resort: include as much as fits.
        if let Some(bytes) = encode(&self.message, self.limit) {
            return answer(bytes);
        }
        self.message.answers.clear();
        self.message.authorities.clear();
        match encode(&self.message, self.limit) {
            Some(bytes) => answer(bytes),
            // A question and an OPT record take less than 512 bytes: a client that sent more gets the header
            // only.
            None => {
                let metadata = self.message.metadata;
                let bare = Self::bare(
                    metadata.id,
                    metadata.op_code,
                    metadata.recursion_desired,
                    ResponseCode::ServFail,
                );
                let bytes = encode(&bare.message, u16::MAX).unwrap_or_default();
                Answer { bytes, code: ResponseCode::ServFail }
            }
        }
    }
}

/// Returns the whole message, unless it is longer than `limit`.
fn encode(message: &Message, limit: u16) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(usize::from(SHORTEST_LIMIT));
    let mut encoder = BinEncoder::new(&mut bytes);
    encoder.set_max_size(u16::MAX);
    message.emit(&mut encoder).ok()?;
    let whole = message.metadata.truncation || !is_truncated(&bytes);
    (whole && bytes.len() <= usize::from(limit)).then_some(bytes)
}

/// Returns whether the encoder left something out.
fn is_truncated(bytes: &[u8]) -> bool {
    bytes.get(2).is_some_and(|flags| flags & 0b10 != 0)
}
