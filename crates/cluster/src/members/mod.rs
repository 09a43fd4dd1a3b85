//! Who is a member of the cluster, and who of them answers.
//!
//! [`Core`] is [`foca`]'s SWIM with what a cluster of agents needs besides. It has no clock, no socket and no thread:
//! time, datagrams and commands come in, datagrams and a [`Roster`] come out, and 500 of them run in one test in
//! virtual time. [`crate::service`] drives it.
//!
//! ```text
//! datagram ─► Sealer ─┬─ Packet ───────────────► foca ─┐                    ┌─► Packet ─► Sealer ─► datagram
//!                     ├─ Hello, Welcome, Ready ─► meet  ├─ scan ─► Known ─► Roster
//!                     └─ Ping, Pong ────────────► reach ┘
//! ```
//!
//! # States
//!
//! | state | when |
//! |---|---|
//! | `alive` | foca holds it for alive |
//! | `suspect` | foca holds it for suspect or down: it leaves traffic at once |
//! | `dead` | suspect, and no datagram for two seconds: what it carried may run elsewhere |
//! | `restarting` | its agent said so; after 30 s it is dead |
//! | `left` | its agent said so |
//!
//! A member that is alive but does not answer this host's own pings is `unreachable_from_here`: the pair is cut, while
//! others reach both.
//!
//! # What foca leaves to its user
//!
//! - It does not tell of suspicion: its list is scanned every 50 ms.
//! - Its timers stop when no other member is left. So every 500 ms (250 ms while alone) the core itself greets the
//!   addresses to join through and the hosts that it misses. Any one of them suffices to make the cluster whole, and no
//!   host needs to be a seed.
//! - A host that hears nobody for 600 ms is itself cut off. It holds all others for suspect, and begins with a new epoch
//!   and an empty foca. Otherwise it would come back with the opinion that everybody else is dead.
//! - A host that was held for dead must come back with a higher epoch. foca would renew by itself without a limit: a
//!   clock that was set back, or a copied data directory, makes hundreds of renewals a second. Here the core renews,
//!   eight times in five seconds at most; the run is a persisted counter, no clock; and a host that
//!   learns of a later run of itself goes above it.
//! - Custom broadcasts that do not fit are queued for ever. There are none: digests and facts go over HTTP.
//! - All members must agree on the size of packets: it is a constant.
//! - After a freeze, timers that are long due would declare everybody dead whose answers lie unread in the socket. So
//!   the socket is read first, and the core's time stands still while its own timers are late: a starved host doubts
//!   itself first.
//!
//! # Names
//!
//! A name belongs to the host that was created first, which its id (a UUIDv7) tells: so all hosts decide alike, whoever
//! sees whom first. The other one stays a member, marked as refused ([`Member::name_taken_by`]), and both have a
//! problem. A host that is dead or has left has no name.
//!
//! Deliberately absent: facts about hosts beyond what foca's packets carry, and what is done about a dead host.

mod core;
mod identity;
mod interface;
mod known;
mod member;
mod packet;
mod reach;
mod roster;
mod settings;
mod timers;

pub use self::core::Core;
pub use identity::{Epoch, HostName};
pub use interface::{At, Command, Config, Departure, Output};
pub use member::{Member, MemberState};
pub use roster::Roster;
pub use settings::Settings;
