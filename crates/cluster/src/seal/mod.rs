//! Sealed datagrams: what members tell each other by UDP, opaque to everyone without the cluster's secret.
//!
//! ```text
//! nonce 24 │ sealed by XChaCha20-Poly1305: header 39, payload │ tag 16
//! header:  kind 1 │ host 16 │ run 4 │ number 6 │ cookie 8 │ time 4
//! ```
//!
//! Nothing of it is readable or recognisable from outside. What does not open is dropped unanswered, so a stranger does
//! not learn that a cluster exists. The cluster's name is authenticated with every datagram: two clusters that share a
//! secret by mistake stay apart. 79 bytes are added to a payload: with [`MAX_PAYLOAD`] a datagram fits into an Ethernet
//! frame under IPv6 (1,500 − 48).
//!
//! # Why a replayed datagram does no harm
//!
//! Clocks prove nothing: an hour's difference between two hosts must do no harm. Three things decide instead.
//!
//! - **The number.** A sender numbers its datagrams within a run, and the receiver keeps a window of the last thousand
//!   numbers of each sender: what it has seen, or what is too old to tell, is refused.
//! - **The run.** It is persisted and rises with each start of an agent. A receiver refuses every run below the highest
//!   that it knows of a host.
//! - **The cookie.** The window and the runs are forgotten when the receiver restarts. So each agent draws a random
//!   cookie when it starts, and believes only datagrams that bear it. A datagram recorded yesterday, or on its way to
//!   another host, bears another cookie. Members learn each other's cookies with their identities, by gossip; a sender
//!   whose cookie is missing or old is told the right one by an exchange that proves itself in the same way:
//!   1. `Hello` (no cookie; the sender's own is inside): not believed, only answered;
//!   2. `Welcome` bears the greeter's cookie, so it was made in this run for this host: believed;
//!   3. `Ready` bears the cookie that `Welcome` brought: now both believe each other.
//!
//! What remains: someone who can withhold datagrams on the wire can deliver them late, within the window of a thousand.
//! They could as well drop them; and no single datagram keeps a dead host alive, since a probe's answer bears the
//! probe's number.
//!
//! The time in the header, in seconds, decides nothing. It shows which clocks differ, which certificates would mind.

mod window;

use std::collections::BTreeMap;
use std::fmt;

use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use longshore_model::HostId;
use rand::Rng;

use crate::secret::Keyring;
use window::Window;

const NONCE_BYTES: usize = 24;
const HEADER_BYTES: usize = 39;
const TAG_BYTES: usize = 16;

/// How many bytes sealing adds to a payload.
pub const OVERHEAD: usize = NONCE_BYTES + HEADER_BYTES + TAG_BYTES;
/// How long a payload may be.
pub const MAX_PAYLOAD: usize = 1_372;
/// How long a datagram may be: one Ethernet frame without the headers of IPv6 and UDP.
pub const MAX_DATAGRAM: usize = 1_452;
const _: () = assert!(OVERHEAD + MAX_PAYLOAD <= MAX_DATAGRAM);

/// How many senders are remembered; only holders of the secret count.
const MAX_SENDERS: usize = 16_384;
/// Numbers have six bytes.
const MAX_NUMBER: u64 = (1 << 48) - 1;

/// What a receiver draws when it starts, and which the datagrams to it must bear.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cookie(pub u64);

/// What a datagram is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Asks for the receiver's cookie.
    Hello,
    /// Answers `Hello`.
    Welcome,
    /// Answers `Welcome`.
    Ready,
    /// Bears a packet of the membership protocol.
    Packet,
    /// Asks for `Pong`.
    Ping,
    /// Answers `Ping`.
    Pong,
}

impl Kind {
    const ALL: [Self; 6] = [Self::Hello, Self::Welcome, Self::Ready, Self::Packet, Self::Ping, Self::Pong];

    /// The upper half of the byte is the version of the header's layout.
    fn byte(self) -> u8 {
        let index = Self::ALL.iter().position(|kind| *kind == self).unwrap_or_default();
        0x10 | index as u8
    }

    fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.byte() == byte)
    }
}

/// A datagram that was sealed by a holder of the secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The sender.
    pub from: HostId,
    /// The sender's run.
    pub run: u32,
    /// What it is for.
    pub kind: Kind,
    /// What the sender's clock showed, in seconds since 1970.
    pub time: u32,
    /// Whether it was made for this agent in this run, and arrives for the first time.
    pub standing: Standing,
    /// The payload.
    pub payload: Vec<u8>,
}

/// How far a datagram can be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is fresh.
    Fresh,
    /// It bears no cookie of this agent: it may be a recording.
    Unproven,
    /// It is fresh, but the sender's host has begun a later run, which this is.
    Superseded(u32),
}

/// Why a datagram is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// No secret of the keyring opens it.
    Sealed,
    /// It opens, but its content is malformed or of another version.
    Malformed,
    /// It is this host's own.
    Own,
    /// It was received before, or is too old to tell.
    Replayed,
    /// Too many senders are known.
    Full,
}

struct Sender {
    run: u32,
    window: Window,
}

/// Seals the datagrams of one agent, and opens those of others.
pub struct Sealer {
    keys: Vec<XChaCha20Poly1305>,
    cluster: String,
    me: HostId,
    run: u32,
    cookie: Cookie,
    sent: u64,
    senders: BTreeMap<HostId, Sender>,
}

impl Sealer {
    /// Creates the sealer of an agent's run. The generator is the source of its cookie and must be unpredictable.
    pub fn new(ring: &Keyring, cluster: &str, me: HostId, run: u32, random: &mut impl Rng) -> Self {
        // 0 is what a datagram without a cookie has.
        let cookie = Cookie(random.next_u64().max(1));
        let keys = keys(ring);
        Self { keys, cluster: cluster.to_owned(), me, run, cookie, sent: 0, senders: BTreeMap::new() }
    }

    /// Replaces the secrets. What is known of senders stays.
    pub fn set_keyring(&mut self, ring: &Keyring) {
        self.keys = keys(ring);
    }

    /// Returns the cookie that datagrams to this agent must bear.
    pub const fn cookie(&self) -> Cookie {
        self.cookie
    }

    /// Returns this agent's run.
    pub const fn run(&self) -> u32 {
        self.run
    }

    /// Begins a higher run.
    pub fn set_run(&mut self, run: u32) {
        self.run = self.run.max(run);
    }

    /// Returns the highest run of a host that datagrams have proven.
    pub fn run_of(&self, host: HostId) -> Option<u32> {
        self.senders.get(&host).map(|sender| sender.run)
    }

    /// Seals a payload for the agent with this cookie. `None` if it is too long.
    pub fn seal(
        &mut self,
        kind: Kind,
        to: Cookie,
        time: u32,
        payload: &[u8],
        random: &mut impl Rng,
    ) -> Option<Vec<u8>> {
        if payload.len() > MAX_PAYLOAD || self.sent == MAX_NUMBER {
            return None;
        }
        self.sent += 1;
        let mut nonce = [0; NONCE_BYTES];
        random.fill_bytes(&mut nonce);
        let mut datagram = Vec::with_capacity(OVERHEAD + payload.len());
        datagram.extend_from_slice(&nonce);
        datagram.push(kind.byte());
        datagram.extend_from_slice(&self.me.as_u128().to_be_bytes());
        datagram.extend_from_slice(&self.run.to_be_bytes());
        datagram.extend_from_slice(self.sent.to_be_bytes().get(2..)?);
        datagram.extend_from_slice(&to.0.to_be_bytes());
        datagram.extend_from_slice(&time.to_be_bytes());
        datagram.extend_from_slice(payload);
        let text = datagram.get_mut(NONCE_BYTES..)?;
        let key = self.keys.first()?;
        let tag =
            key.encrypt_inout_detached(&XNonce::from(nonce), self.cluster.as_bytes(), text.into()).ok()?;
        datagram.extend_from_slice(&tag);
        Some(datagram)
    }

    /// Opens a datagram.
    ///
    /// # Errors
    /// Every variant of [`Refused`].
    pub fn open(&mut self, datagram: &[u8]) -> Result<Opened, Refused> {
        let text = self.decrypt(datagram).ok_or(Refused::Sealed)?;
        let (header, payload) = Header::parse(&text).ok_or(Refused::Malformed)?;
        if header.from == self.me {
            return Err(Refused::Own);
        }
        let standing = self.standing(&header)?;
        let Header { kind, from, run, time, .. } = header;
        Ok(Opened { from, run, kind, time, standing, payload: payload.to_vec() })
    }

    fn decrypt(&self, datagram: &[u8]) -> Option<Vec<u8>> {
        if datagram.len() > MAX_DATAGRAM {
            return None;
        }
        let (nonce, sealed) = datagram.split_first_chunk::<NONCE_BYTES>()?;
        let (text, tag) = sealed.split_last_chunk::<TAG_BYTES>()?;
        if text.len() < HEADER_BYTES {
            return None;
        }
        self.keys.iter().find_map(|key| {
            let mut text = text.to_vec();
            let buffer = text.as_mut_slice().into();
            key.decrypt_inout_detached(&XNonce::from(*nonce), self.cluster.as_bytes(), buffer, &(*tag).into())
                .ok()
                .map(|()| text)
        })
    }

    /// Decides what a datagram proves, and remembers it.
    fn standing(&mut self, header: &Header) -> Result<Standing, Refused> {
        if header.kind == Kind::Hello || header.cookie != self.cookie {
            return Ok(Standing::Unproven);
        }
        if !self.senders.contains_key(&header.from) && self.senders.len() >= MAX_SENDERS {
            return Err(Refused::Full);
        }
        let sender = self
            .senders
            .entry(header.from)
            .or_insert_with(|| Sender { run: header.run, window: Window::new() });
        if header.run < sender.run {
            return Ok(Standing::Superseded(sender.run));
        }
        if header.run > sender.run {
            *sender = Sender { run: header.run, window: Window::new() };
        }
        if sender.window.take(header.number) { Ok(Standing::Fresh) } else { Err(Refused::Replayed) }
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer").field("me", &self.me).field("run", &self.run).finish_non_exhaustive()
    }
}

fn keys(ring: &Keyring) -> Vec<XChaCha20Poly1305> {
    ring.secrets().map(|secret| XChaCha20Poly1305::new(&(*secret.datagram_key()).into())).collect()
}

struct Header {
    kind: Kind,
    from: HostId,
    run: u32,
    number: u64,
    cookie: Cookie,
    time: u32,
}

impl Header {
    /// Returns the header of an opened datagram, and its payload.
    fn parse(text: &[u8]) -> Option<(Self, &[u8])> {
        let (kind, text) = text.split_first()?;
        let (from, text) = text.split_first_chunk()?;
        let (run, text) = text.split_first_chunk()?;
        let ([a, b, c, d, e, f], text) = text.split_first_chunk()?;
        let (cookie, text) = text.split_first_chunk()?;
        let (time, payload) = text.split_first_chunk()?;
        let header = Self {
            kind: Kind::from_byte(*kind)?,
            from: HostId::from_u128(u128::from_be_bytes(*from)),
            run: u32::from_be_bytes(*run),
            number: u64::from_be_bytes([0, 0, *a, *b, *c, *d, *e, *f]),
            cookie: Cookie(u64::from_be_bytes(*cookie)),
            time: u32::from_be_bytes(*time),
        };
        Some((header, payload))
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;
    use crate::secret::Secret;

    const A: HostId = HostId::from_u128(1);
    const B: HostId = HostId::from_u128(2);

    fn random(seed: u64) -> StdRng {
        StdRng::seed_from_u64(seed)
    }

    fn ring(bytes: &[u8]) -> Keyring {
        let lines: Vec<String> =
            bytes.iter().map(|byte| Secret::new([*byte; 32]).text().to_string()).collect();
        lines.join("\n").parse().unwrap()
    }

    fn sealer(host: HostId, run: u32, seed: u64) -> Sealer {
        Sealer::new(&ring(&[1]), "c", host, run, &mut random(seed))
    }

    fn packet(from: &mut Sealer, to: &Sealer) -> Vec<u8> {
        from.seal(Kind::Packet, to.cookie(), 77, b"payload", &mut random(3)).unwrap()
    }

    #[test]
    fn a_sealed_datagram_opens_once() {
        let (mut a, mut b) = (sealer(A, 4, 1), sealer(B, 1, 2));
        let datagram = packet(&mut a, &b);
        assert_eq!(datagram.len(), OVERHEAD + 7);
        let expected = Opened {
            from: A,
            run: 4,
            kind: Kind::Packet,
            time: 77,
            standing: Standing::Fresh,
            payload: b"payload".to_vec(),
        };
        assert_eq!(b.open(&datagram), Ok(expected));
        assert_eq!(b.open(&datagram), Err(Refused::Replayed));
        assert_eq!(a.open(&datagram), Err(Refused::Own));
    }

    #[test]
    fn the_longest_payload_fits_into_a_frame_and_a_longer_one_is_refused() {
        let (mut a, mut b) = (sealer(A, 1, 1), sealer(B, 1, 2));
        let cookie = b.cookie();
        let longest = a.seal(Kind::Packet, cookie, 0, &[7; MAX_PAYLOAD], &mut random(3)).unwrap();
        assert!(longest.len() <= MAX_DATAGRAM);
        assert_eq!(b.open(&longest).unwrap().payload.len(), MAX_PAYLOAD);
        assert_eq!(a.seal(Kind::Packet, cookie, 0, &[7; MAX_PAYLOAD + 1], &mut random(3)), None);
    }

    #[test]
    fn what_was_recorded_before_a_restart_is_not_believed_after_it() {
        let (mut a, mut b) = (sealer(A, 1, 1), sealer(B, 1, 2));
        let recorded = packet(&mut a, &b);
        assert_eq!(b.open(&recorded).unwrap().standing, Standing::Fresh);
        let mut restarted = sealer(B, 2, 5);
        assert_eq!(restarted.open(&recorded).unwrap().standing, Standing::Unproven);
        let answer = packet(&mut a, &restarted);
        assert_eq!(restarted.open(&answer).unwrap().standing, Standing::Fresh);
    }

    #[test]
    fn what_was_meant_for_another_host_is_not_believed() {
        let (mut a, b, mut other) = (sealer(A, 1, 1), sealer(B, 1, 2), sealer(HostId::from_u128(3), 1, 3));
        assert_eq!(other.open(&packet(&mut a, &b)).unwrap().standing, Standing::Unproven);
    }

    #[test]
    fn a_restarted_sender_begins_anew_and_its_earlier_run_is_over() {
        let (mut old, mut b) = (sealer(A, 8, 1), sealer(B, 1, 2));
        let kept = packet(&mut old, &b);
        b.open(&packet(&mut old, &b)).unwrap();
        let mut new = sealer(A, 9, 6);
        assert_eq!(b.open(&packet(&mut new, &b)).unwrap().standing, Standing::Fresh);
        assert_eq!(b.open(&kept).unwrap().standing, Standing::Superseded(9));
        assert_eq!(b.run_of(A), Some(9));
    }

    #[test]
    fn a_greeting_is_never_believed() {
        let (mut a, mut b) = (sealer(A, 1, 1), sealer(B, 1, 2));
        let hello = a.seal(Kind::Hello, b.cookie(), 0, b"", &mut random(3)).unwrap();
        for _ in 0..2 {
            assert_eq!(b.open(&hello).unwrap().standing, Standing::Unproven);
        }
        assert_eq!(b.run_of(A), None);
    }

    #[test]
    fn nothing_opens_with_another_secret_or_in_another_cluster() {
        let (mut a, b) = (sealer(A, 1, 1), sealer(B, 1, 2));
        let datagram = packet(&mut a, &b);
        let mut stranger = Sealer::new(&ring(&[9]), "c", B, 1, &mut random(2));
        assert_eq!(stranger.open(&datagram), Err(Refused::Sealed));
        let mut neighbour = Sealer::new(&ring(&[1]), "d", B, 1, &mut random(2));
        assert_eq!(neighbour.open(&datagram), Err(Refused::Sealed));
    }

    #[test]
    fn a_secret_is_replaced_without_a_gap() {
        let (mut a, mut b) = (sealer(A, 1, 1), sealer(B, 1, 2));
        for (of_a, of_b) in [(&[1, 2][..], &[1][..]), (&[1, 2], &[1, 2]), (&[2, 1], &[1, 2]), (&[2], &[2, 1])]
        {
            a.set_keyring(&ring(of_a));
            b.set_keyring(&ring(of_b));
            assert_eq!(b.open(&packet(&mut a, &b)).unwrap().standing, Standing::Fresh);
            assert_eq!(a.open(&packet(&mut b, &a)).unwrap().standing, Standing::Fresh);
        }
    }

    #[test]
    fn no_byte_can_be_changed_removed_or_added() {
        let (mut a, mut b) = (sealer(A, 1, 1), sealer(B, 1, 2));
        let datagram = packet(&mut a, &b);
        for at in 0..datagram.len() {
            let mut changed = datagram.clone();
            changed[at] ^= 1;
            assert_eq!(b.open(&changed), Err(Refused::Sealed), "byte {at}");
            assert_eq!(b.open(&datagram[..at]), Err(Refused::Sealed), "{at} bytes");
        }
        let longer = [&datagram[..], &[0]].concat();
        assert_eq!(b.open(&longer), Err(Refused::Sealed));
        assert_eq!(b.open(&[0; 70_000]), Err(Refused::Sealed));
    }

    #[test]
    fn debug_shows_no_key() {
        assert!(!format!("{:?}", sealer(A, 1, 1)).contains("keys"));
    }
}
