//! The idle connections of one worker, by upstream.

use std::cell::RefCell;

use bytes::Bytes;
use hyper::body::Body;
use rustc_hash::FxHashMap;

use super::upstream::UpstreamConn;
use crate::backend::Backend;
use crate::clock::milliseconds;
use crate::shard::Shard;

/// Idle connections, for requests with bodies `B`.
pub(crate) struct Pool<B>(RefCell<FxHashMap<u64, Upstream<B>>>)
where
    B: Body<Data = Bytes> + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>;

/// The idle connections to one upstream.
struct Upstream<B>
where
    B: Body<Data = Bytes> + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    idle: Vec<Idle<B>>,
    /// For how long the upstream has kept idle connections open, in milliseconds.
    lasting: u64,
}

struct Idle<B>
where
    B: Body<Data = Bytes> + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    conn: Box<UpstreamConn<B>>,
    /// On the worker's clock.
    since: u64,
}

impl<B> Default for Pool<B>
where
    B: Body<Data = Bytes> + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn default() -> Self {
        Self(RefCell::default())
    }
}

impl<B> Pool<B>
where
    B: Body<Data = Bytes> + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// Takes an open idle connection to `backend`, for a request that can be retried if the upstream closes it at
    /// this moment.
    pub(super) fn take(&self, backend: &Backend) -> Option<Box<UpstreamConn<B>>> {
        self.0.borrow_mut().get_mut(&backend.id)?.take(|_, _| true)
    }

    /// Takes an idle connection to `backend` for a request that cannot be retried: one that the upstream will not
    /// close at this moment, as it has kept others open for twice as long.
    pub(super) fn take_lasting(&self, backend: &Backend, shard: &Shard) -> Option<Box<UpstreamConn<B>>> {
        let now = shard.clock.now();
        // The clock is read once per sweep.
        let sweep = milliseconds(shard.settings.timeouts.sweep());
        let lasts = |since: u64, lasting: u64| 2 * (now.saturating_sub(since) + sweep) <= lasting;
        self.0.borrow_mut().get_mut(&backend.id)?.take(lasts)
    }

    /// Keeps a connection for the next request, if it is reusable.
    pub(super) fn keep(&self, backend: &Backend, mut conn: Box<UpstreamConn<B>>) {
        if !backend.is_retired() && conn.is_reusable() {
            let mut pool = self.0.borrow_mut();
            let upstream =
                pool.entry(backend.id).or_insert_with(|| Upstream { idle: Vec::new(), lasting: 0 });
            if upstream.idle.len() < conn.shard().settings.idle_per_upstream {
                let since = conn.shard().clock.now();
                upstream.idle.push(Idle { conn, since });
            }
        }
    }

    /// Closes the idle connections to `backend`.
    pub(crate) fn close(&self, backend: &Backend) {
        self.0.borrow_mut().remove(&backend.id);
    }

    /// Closes connections that the upstream closed, or that have been idle for too long.
    pub(crate) fn sweep(&self, shard: &Shard) {
        let now = shard.clock.now();
        let longest = milliseconds(shard.settings.timeouts.upstream_idle);
        let sweep = milliseconds(shard.settings.timeouts.sweep());
        for upstream in self.0.borrow_mut().values_mut() {
            upstream.sweep(now, longest, sweep);
        }
    }
}

impl<B> Upstream<B>
where
    B: Body<Data = Bytes> + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// Takes the most recently used connection, if it is open and `lasts`, which receives since when it is idle and
    /// for how long others were kept.
    fn take(&mut self, lasts: impl Fn(u64, u64) -> bool) -> Option<Box<UpstreamConn<B>>> {
        while self.idle.last().is_some_and(|last| lasts(last.since, self.lasting)) {
            let Idle { mut conn, .. } = self.idle.pop()?;
            if conn.is_usable() {
                return Some(conn);
            }
            // It was closed at some unknown time since the last sweep.
            self.lasting = 0;
        }
        None
    }

    fn sweep(&mut self, now: u64, longest: u64, sweep: u64) {
        let (mut kept, mut closed) = (0, u64::MAX);
        self.idle.retain_mut(|idle| {
            let age = now.saturating_sub(idle.since);
            let is_open = idle.conn.is_usable();
            if is_open {
                // If it was put back right before the last clock reading, it is that much younger.
                kept = kept.max(age.saturating_sub(sweep));
            } else {
                closed = closed.min(age.saturating_sub(sweep));
            }
            is_open && age <= longest
        });
        self.lasting = self.lasting.max(kept).min(closed);
    }
}
