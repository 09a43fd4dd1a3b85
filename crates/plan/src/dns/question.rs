//! Reads requests and decides whether they are ours to answer.

use hickory_proto::op::{Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Record, RecordType};
use longshore_model::Transport;

use super::reply::Response;
use super::{Answer, Zone};

/// The length of a header, in bytes.
const HEADER: usize = 12;

/// The outcome of reading a request.
pub(super) enum Read {
    /// Not a request.
    Nothing,
    /// A request that is answered without looking at the names.
    Refused(Response),
    /// A question about the domain.
    Asked(Response),
    /// A question about another domain.
    Forward(Box<Forward>),
}

/// A question for other servers.
#[derive(Clone, Debug)]
pub struct Forward {
    response: Response,
    query: Query,
    dnssec_ok: bool,
}

impl Forward {
    /// Returns the question.
    pub fn query(&self) -> &Query {
        &self.query
    }

    /// Returns whether the client wants DNSSEC signatures.
    pub fn dnssec_ok(&self) -> bool {
        self.dnssec_ok
    }

    /// Turns another server's answer into ours.
    pub fn answered(mut self, code: ResponseCode, answers: Vec<Record>, authorities: Vec<Record>) -> Answer {
        self.response.message.answers = answers;
        self.response.message.authorities = authorities;
        self.response.with(code).encode()
    }
}

/// Reads a request. Whatever the header alone decides is decided first.
pub(super) fn read(zone: &Zone, request: &[u8], transport: Transport) -> Read {
    let Some(&[id_high, id_low, flags, _, count_high, count_low]) = request.first_chunk::<6>() else {
        return Read::Nothing;
    };
    // Answering an answer could loop forever.
    let is_answer = flags & 0x80 != 0;
    if request.len() < HEADER || is_answer {
        return Read::Nothing;
    }
    let id = u16::from_be_bytes([id_high, id_low]);
    let code = OpCode::from_u8((flags >> 3) & 0b1111);
    let bare = |response| Read::Refused(Response::bare(id, code, flags & 1 != 0, response));
    if code != OpCode::Query {
        return bare(ResponseCode::NotImp);
    }
    if u16::from_be_bytes([count_high, count_low]) != 1 {
        return bare(ResponseCode::FormErr);
    }
    let Ok(message) = Message::from_vec(request) else { return bare(ResponseCode::FormErr) };
    let Some(query) = message.queries.first() else { return bare(ResponseCode::FormErr) };

    let mut response = Response::to(&message, transport);
    response.message.metadata.recursion_available = zone.forwards;
    if message.version() > 0 {
        return Read::Refused(response.with(ResponseCode::BADVERS));
    }
    let is_transfer = matches!(query.query_type(), RecordType::AXFR | RecordType::IXFR);
    if query.query_class() != DNSClass::IN || is_transfer {
        return Read::Refused(response.with(ResponseCode::Refused));
    }
    if zone.domain.zone_of(query.name()) {
        return Read::Asked(response);
    }
    if !zone.forwards || !message.metadata.recursion_desired {
        return Read::Refused(response.with(ResponseCode::Refused));
    }
    let dnssec_ok = message.edns.as_ref().is_some_and(|edns| edns.flags().dnssec_ok);
    Read::Forward(Box::new(Forward { response, query: query.clone(), dnssec_ok }))
}
