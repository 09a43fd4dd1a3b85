//! Groups of flags of `longshore run`, each with what it comes to.

mod dns;
mod handlers;
mod haproxy;
mod publish;

pub(crate) use dns::DnsFlags;
pub(crate) use handlers::{HandlerFlags, folders};
pub(crate) use haproxy::{HaproxyFlags, reload};
pub(crate) use publish::PublishFlags;

/// A flag that is wrong: its name, and what is wrong with it.
pub(crate) type Wrong = (&'static str, String);
