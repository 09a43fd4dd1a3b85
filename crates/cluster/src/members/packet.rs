//! The bytes of the membership protocol's packets, and of the introductions by which members meet.

use bytes::{Buf, BufMut};
use foca::{Header, Member, Message, State};

use super::identity::Identity;
use crate::seal::Cookie;

/// A packet is malformed, or does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PacketError {
    #[error("malformed packet")]
    Malformed,
    #[error("no space left in the packet")]
    Full,
}

/// Encodes foca's packets.
#[derive(Clone, Copy, Debug)]
pub(super) struct PacketCodec;

impl foca::Codec<Identity> for PacketCodec {
    type Error = PacketError;

    fn encode_header(&mut self, header: &Header<Identity>, buf: impl BufMut) -> Result<(), PacketError> {
        let mut bytes = Vec::with_capacity(192);
        header.src.encode(&mut bytes);
        bytes.put_u16(header.src_incarnation);
        header.dst.encode(&mut bytes);
        encode_message(&header.message, &mut bytes);
        put(&bytes, buf)
    }

    fn decode_header(&mut self, mut buf: impl Buf) -> Result<Header<Identity>, PacketError> {
        decode_header(&mut buf).ok_or(PacketError::Malformed)
    }

    fn encode_member(&mut self, member: &Member<Identity>, buf: impl BufMut) -> Result<(), PacketError> {
        let mut bytes = Vec::with_capacity(64);
        member.id().encode(&mut bytes);
        bytes.put_u16(member.incarnation());
        bytes.put_u8(match member.state() {
            State::Alive => 0,
            State::Suspect => 1,
            State::Down => 2,
        });
        put(&bytes, buf)
    }

    fn decode_member(&mut self, mut buf: impl Buf) -> Result<Member<Identity>, PacketError> {
        decode_member(&mut buf).ok_or(PacketError::Malformed)
    }
}

fn put(bytes: &[u8], mut buf: impl BufMut) -> Result<(), PacketError> {
    if buf.remaining_mut() < bytes.len() {
        return Err(PacketError::Full);
    }
    buf.put_slice(bytes);
    Ok(())
}

fn encode_message(message: &Message<Identity>, out: &mut Vec<u8>) {
    match message {
        Message::Ping(number) => out.put_slice(&[0, *number]),
        Message::Ack(number) => out.put_slice(&[1, *number]),
        Message::PingReq { target, probe_number } => encode_indirect(2, target, *probe_number, out),
        Message::IndirectPing { origin, probe_number } => encode_indirect(3, origin, *probe_number, out),
        Message::IndirectAck { target, probe_number } => encode_indirect(4, target, *probe_number, out),
        Message::ForwardedAck { origin, probe_number } => encode_indirect(5, origin, *probe_number, out),
        Message::Announce => out.put_u8(6),
        Message::Feed => out.put_u8(7),
        Message::Gossip => out.put_u8(8),
        Message::Broadcast => out.put_u8(9),
        Message::TurnUndead => out.put_u8(10),
    }
}

fn encode_indirect(tag: u8, about: &Identity, number: u8, out: &mut Vec<u8>) {
    out.put_slice(&[tag, number]);
    about.encode(out);
}

fn decode_header(from: &mut impl Buf) -> Option<Header<Identity>> {
    let src = Identity::decode(from)?;
    let src_incarnation = from.try_get_u16().ok()?;
    let dst = Identity::decode(from)?;
    let tag = from.try_get_u8().ok()?;
    let number = if tag <= 5 { from.try_get_u8().ok()? } else { 0 };
    let message = match tag {
        0 => Message::Ping(number),
        1 => Message::Ack(number),
        2 => Message::PingReq { target: Identity::decode(from)?, probe_number: number },
        3 => Message::IndirectPing { origin: Identity::decode(from)?, probe_number: number },
        4 => Message::IndirectAck { target: Identity::decode(from)?, probe_number: number },
        5 => Message::ForwardedAck { origin: Identity::decode(from)?, probe_number: number },
        6 => Message::Announce,
        7 => Message::Feed,
        8 => Message::Gossip,
        9 => Message::Broadcast,
        10 => Message::TurnUndead,
        _ => return None,
    };
    Some(Header { src, src_incarnation, dst, message })
}

fn decode_member(from: &mut impl Buf) -> Option<Member<Identity>> {
    let id = Identity::decode(from)?;
    let incarnation = from.try_get_u16().ok()?;
    let state = match from.try_get_u8().ok()? {
        0 => State::Alive,
        1 => State::Suspect,
        2 => State::Down,
        _ => return None,
    };
    Some(Member::new(id, incarnation, state))
}

/// The payload of `Hello`, `Welcome` and `Ready`: they have the same length, so nobody can make a host send more than
/// they send themselves.
#[derive(Clone, Debug)]
pub(super) struct Introduction {
    /// Who speaks.
    pub(super) identity: Identity,
    /// The highest run of the addressee that the speaker knows of; 0 if none.
    pub(super) your_run: u32,
    /// The cookie that the addressee had in that run.
    pub(super) your_cookie: Cookie,
}

impl Introduction {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(128);
        self.identity.encode(&mut bytes);
        bytes.put_u32(self.your_run);
        bytes.put_u64(self.your_cookie.0);
        bytes
    }

    /// Ignores what a later release may append.
    pub(super) fn decode(mut from: &[u8]) -> Option<Self> {
        let identity = Identity::decode(&mut from)?;
        let your_run = from.try_get_u32().ok()?;
        let your_cookie = Cookie(from.try_get_u64().ok()?);
        Some(Self { identity, your_run, your_cookie })
    }
}

#[cfg(test)]
mod tests {
    use foca::Codec;
    use longshore_model::HostId;

    use super::super::identity::{Epoch, Phase};
    use super::*;
    use crate::seal::MAX_PAYLOAD;

    fn identity(host: u128) -> Identity {
        Identity {
            host: HostId::from_u128(host),
            epoch: Epoch { run: 1, renewal: 2 },
            cookie: Cookie(3),
            phase: Phase::Running,
            address: "[2001:db8::1]:7052".parse().unwrap(),
            name: "a".repeat(63).parse().unwrap(),
        }
    }

    fn messages() -> Vec<Message<Identity>> {
        let (about, probe_number) = (identity(3), 200);
        vec![
            Message::Ping(1),
            Message::Ack(255),
            Message::PingReq { target: about.clone(), probe_number },
            Message::IndirectPing { origin: about.clone(), probe_number },
            Message::IndirectAck { target: about.clone(), probe_number },
            Message::ForwardedAck { origin: about, probe_number },
            Message::Announce,
            Message::Feed,
            Message::Gossip,
            Message::Broadcast,
            Message::TurnUndead,
        ]
    }

    #[test]
    fn every_packet_survives_its_bytes_and_a_cut_one_is_refused() {
        for message in messages() {
            let header = Header { src: identity(1), src_incarnation: 7, dst: identity(2), message };
            let mut bytes = Vec::new();
            PacketCodec.encode_header(&header, &mut bytes).unwrap();
            let mut rest = bytes.as_slice();
            assert_eq!(PacketCodec.decode_header(&mut rest).unwrap(), header);
            assert!(rest.is_empty());
            for end in 0..bytes.len() {
                assert_eq!(PacketCodec.decode_header(&bytes[..end]), Err(PacketError::Malformed));
            }
            assert!(MAX_PAYLOAD - bytes.len() > 5 * 118, "five members fit beside the longest header");
        }
        assert_eq!(PacketCodec.decode_header(&[0xff; 400][..]), Err(PacketError::Malformed));
    }

    #[test]
    fn every_state_of_a_member_survives_its_bytes() {
        for state in [State::Alive, State::Suspect, State::Down] {
            let member = Member::new(identity(1), 9, state);
            let mut bytes = Vec::new();
            PacketCodec.encode_member(&member, &mut bytes).unwrap();
            assert_eq!(PacketCodec.decode_member(bytes.as_slice()).unwrap(), member);
            let last = bytes.len() - 1;
            bytes[last] = 3;
            assert_eq!(PacketCodec.decode_member(bytes.as_slice()), Err(PacketError::Malformed));
        }
    }

    #[test]
    fn what_does_not_fit_leaves_the_packet_as_it_was() {
        let mut bytes = Vec::new();
        let member = Member::alive(identity(1));
        assert_eq!(PacketCodec.encode_member(&member, (&mut bytes).limit(100)), Err(PacketError::Full));
        assert!(bytes.is_empty());
    }

    #[test]
    fn an_introduction_survives_its_bytes_and_may_grow() {
        let introduction = Introduction { identity: identity(1), your_run: 5, your_cookie: Cookie(6) };
        let mut bytes = introduction.encode();
        bytes.push(1);
        let read = Introduction::decode(&bytes).unwrap();
        assert_eq!((read.identity, read.your_run, read.your_cookie), (identity(1), 5, Cookie(6)));
        assert!(Introduction::decode(&bytes[..bytes.len() - 2]).is_none());
    }
}
