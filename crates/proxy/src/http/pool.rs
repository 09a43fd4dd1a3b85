//! The idle connections of one worker, by upstream.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Body;

use super::upstream::UpstreamConn;
use crate::backend::Backend;
use crate::clock::milliseconds;

/// Connections that wait for their next request, over which requests with bodies `B` go.
pub(crate) struct Pool<B>(RefCell<HashMap<u64, Vec<Idle<B>>>>)
where
    B: Body<Data = Bytes> + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>;

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
    /// Takes an idle connection to `backend` that is still open.
    pub(super) fn take(&self, backend: &Backend) -> Option<Box<UpstreamConn<B>>> {
        let mut pool = self.0.borrow_mut();
        let idle = pool.get_mut(&backend.id)?;
        while let Some(Idle { mut conn, .. }) = idle.pop() {
            if conn.is_usable() {
                return Some(conn);
            }
        }
        None
    }

    /// Keeps a connection for the next request, if it is fit for one.
    pub(super) fn keep(&self, backend: &Backend, mut conn: Box<UpstreamConn<B>>) {
        if !backend.is_retired() && conn.is_reusable() {
            let mut pool = self.0.borrow_mut();
            let idle = pool.entry(backend.id).or_default();
            if idle.len() < conn.shard().settings.idle_per_upstream {
                let since = conn.shard().clock.now();
                idle.push(Idle { conn, since });
            }
        }
    }

    /// Closes the idle connections to `backend`.
    pub(crate) fn close(&self, backend: &Backend) {
        self.0.borrow_mut().remove(&backend.id);
    }

    /// Closes connections that the upstream closed, or that nobody used for `longest`.
    pub(crate) fn sweep(&self, now: u64, longest: Duration) {
        let oldest = now.saturating_sub(milliseconds(longest));
        self.0.borrow_mut().retain(|_, idle| {
            idle.retain_mut(|idle| idle.since >= oldest && idle.conn.is_usable());
            !idle.is_empty()
        });
    }
}
