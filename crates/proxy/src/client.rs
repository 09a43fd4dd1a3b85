//! A client connection as its worker sees it: counted, timed out and drained without a timer or a task for each.

use std::cell::{Cell, OnceCell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use http::HeaderValue;
use longshore_model::Frontend;
use longshore_net::IpNet;
use slab::Slab;
use tokio::task::AbortHandle;

use crate::clock::Clock;
use crate::settings::Timeouts;
use crate::stats::Counters;

/// The connection's current activity, which determines its timeout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Open, but nothing received yet.
    Fresh,
    /// Between two requests.
    Idle,
    /// In the middle of a request's headers.
    Head,
    /// At least one request is being answered.
    Busy,
    /// Bytes are relayed, whatever their meaning.
    Tunnel,
}

/// One client connection, as its worker sees it.
pub(crate) struct Client {
    /// The frontend it is connected to.
    pub(crate) frontend: Frontend,
    pub(crate) counters: Arc<Counters>,
    /// The peer's address; an IPv4 peer of an IPv6 socket is written as IPv4.
    pub(crate) peer: SocketAddr,
    /// That address as a header value.
    pub(crate) peer_text: HeaderValue,
    /// Whether the peer's headers about the client behind it are trusted.
    pub(crate) trusted: bool,
    /// Whether the client may still be sending a body that nobody will read.
    pub(crate) unread: Cell<bool>,
    clock: Rc<Clock>,
    phase: Cell<Phase>,
    since: Cell<u64>,
    active: Cell<u64>,
    open: Cell<u32>,
    multiplexed: Cell<bool>,
    /// HTTP/1: whether the client has to act next.
    waited_for: Cell<bool>,
    /// HTTP/1: whether the next bytes of the request's body are awaited.
    body_awaited: Cell<bool>,
    /// Whether it has closed its sending side; it may still receive its response.
    half_closed: Cell<bool>,
    /// HTTP/2: the streams that are open, and the tasks of those that have not begun.
    streams: RefCell<Slab<Rc<Stream>>>,
    stream_tasks: RefCell<Vec<AbortHandle>>,
    flushes: Cell<u64>,
    leaving: Cell<bool>,
    waker: RefCell<Option<Waker>>,
    abort: OnceCell<AbortHandle>,
}

impl Client {
    /// Returns a newly accepted connection; `trusted` are the networks of trusted peers.
    pub(crate) fn new(
        frontend: Frontend,
        peer: SocketAddr,
        counters: Arc<Counters>,
        clock: Rc<Clock>,
        trusted: &[IpNet],
    ) -> Self {
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        let now = clock.now();
        // An address consists of visible ASCII, so this never falls back to the empty value.
        let peer_text = HeaderValue::try_from(peer.ip().to_string()).unwrap_or(HeaderValue::from_static(""));
        Self {
            frontend,
            counters,
            trusted: trusted.iter().any(|net| net.contains(&peer.ip())),
            peer,
            peer_text,
            unread: Cell::new(false),
            clock,
            phase: Cell::new(Phase::Fresh),
            since: Cell::new(now),
            active: Cell::new(now),
            open: Cell::new(0),
            multiplexed: Cell::new(false),
            waited_for: Cell::new(false),
            body_awaited: Cell::new(false),
            half_closed: Cell::new(false),
            streams: RefCell::default(),
            stream_tasks: RefCell::default(),
            flushes: Cell::new(0),
            leaving: Cell::new(false),
            waker: RefCell::new(None),
            abort: OnceCell::new(),
        }
    }

    fn enter(&self, phase: Phase) {
        self.phase.set(phase);
        self.since.set(self.clock.now());
    }

    /// Sets the task that serves it, which a timeout aborts.
    pub(crate) fn served_by(&self, task: AbortHandle) {
        // Set once, right after the task is spawned.
        let _ = self.abort.set(task);
    }

    /// Records that it uses HTTP/2: bytes between requests do not begin one.
    pub(crate) fn multiplexes(&self) {
        self.multiplexed.set(true);
        self.enter(Phase::Idle);
    }

    /// Returns whether it uses HTTP/2.
    pub(crate) fn is_multiplexed(&self) -> bool {
        self.multiplexed.get()
    }

    /// Records that it relays bytes from now on.
    pub(crate) fn relays(&self) {
        self.enter(Phase::Tunnel);
    }

    /// Records that a request's headers are complete.
    pub(crate) fn begin(&self) {
        self.open.set(self.open.get() + 1);
        self.phase.set(Phase::Busy);
    }

    /// Records that a request has ended.
    pub(crate) fn end(&self) {
        self.open.set(self.open.get().saturating_sub(1));
        if self.open.get() == 0 {
            self.waited_for.set(false);
            self.body_awaited.set(false);
            if self.phase.get() == Phase::Busy {
                self.enter(Phase::Idle);
            }
        }
    }

    /// Records the task that will serve the next stream.
    pub(crate) fn stream_task(&self, task: AbortHandle) {
        self.stream_tasks.borrow_mut().push(task);
    }

    /// Records that the current task's stream has begun, and returns it with its number.
    pub(crate) fn begin_stream(&self) -> (usize, Rc<Stream>) {
        let current = tokio::task::try_id();
        let mut tasks = self.stream_tasks.borrow_mut();
        let at = tasks.iter().position(|task| Some(task.id()) == current);
        let task = at.map(|at| tasks.swap_remove(at));
        let stream = Rc::new(Stream { waiting_since: Cell::new(u64::MAX), task });
        (self.streams.borrow_mut().insert(Rc::clone(&stream)), stream)
    }

    /// Records that a stream has ended.
    pub(crate) fn end_stream(&self, number: usize) {
        self.streams.borrow_mut().try_remove(number);
    }

    /// Returns whether its end of sending must be hidden from HTTP/1, as its response is still due: HTTP/1 would take
    /// it for the end of the connection. `first` is true if the end was just found, when earlier bytes may not have
    /// been processed yet.
    pub(crate) fn hides_end(&self, first: bool) -> bool {
        if self.phase.get() != Phase::Busy || self.multiplexed.get() {
            return false;
        }
        if first {
            self.half_closed.set(true);
            self.active.set(self.clock.now());
        }
        first || !self.body_awaited.get()
    }

    /// Counts bytes received from it.
    pub(crate) fn received(&self, count: usize) {
        let now = self.clock.now();
        self.active.set(now);
        if matches!(self.phase.get(), Phase::Fresh | Phase::Idle) && !self.multiplexed.get() {
            self.phase.set(Phase::Head);
            self.since.set(now);
        }
        self.counters.bytes_in.add(count as u64);
    }

    /// Counts bytes sent to it.
    pub(crate) fn sent(&self, count: usize) {
        self.active.set(self.clock.now());
        self.counters.bytes_out.add(count as u64);
    }

    /// Records whether the client has to act next: to take what was handed over, or to continue its body.
    pub(crate) fn waits(&self, for_client: bool) {
        self.waited_for.set(for_client);
    }

    /// Records whether the next bytes of its body are awaited.
    pub(crate) fn awaits_body(&self, awaited: bool) {
        self.body_awaited.set(awaited);
        if awaited && self.half_closed.get() {
            // None will come: wakes its connection to notice that.
            self.wake();
        }
    }

    /// Records that everything written so far was handed to the system.
    pub(crate) fn flushed(&self) {
        self.flushes.set(self.flushes.get() + 1);
    }

    /// Returns the number of flushes.
    pub(crate) fn flushes(&self) -> u64 {
        self.flushes.get()
    }

    /// Returns the time on its worker's clock.
    pub(crate) fn now(&self) -> u64 {
        self.clock.now()
    }

    /// Stores the waker for when the connection is asked to leave.
    pub(crate) fn watch(&self, waker: &Waker) {
        let mut kept = self.waker.borrow_mut();
        if !kept.as_ref().is_some_and(|kept| kept.will_wake(waker)) {
            *kept = Some(waker.clone());
        }
    }

    /// Asks it to end after its open requests.
    pub(crate) fn leave(&self) {
        self.leaving.set(true);
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.borrow().as_ref() {
            waker.wake_by_ref();
        }
    }

    /// Returns whether it was asked to end.
    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving.get()
    }

    /// Ends every wait that has exceeded its timeout at `now` (milliseconds of the worker's clock).
    pub(crate) fn check(&self, now: u64, timeouts: &Timeouts) {
        if self.is_overdue(now, timeouts)
            && let Some(task) = self.abort.get()
        {
            task.abort();
        }
        for (_, stream) in self.streams.borrow().iter() {
            stream.check(now, timeouts.idle);
        }
    }

    fn is_overdue(&self, now: u64, timeouts: &Timeouts) -> bool {
        let (since, limit) = match self.phase.get() {
            Phase::Fresh | Phase::Head => (self.since.get(), timeouts.headers),
            Phase::Idle => (self.since.get(), timeouts.idle),
            Phase::Busy if self.half_closed.get() => (self.active.get(), timeouts.half_closed),
            Phase::Busy if self.waited_for.get() => (self.active.get(), timeouts.idle),
            Phase::Busy => return false,
            Phase::Tunnel => (self.active.get(), timeouts.tunnel),
        };
        u128::from(now.saturating_sub(since)) > limit.as_millis()
    }
}

/// One stream of an HTTP/2 connection. Traffic on the other streams does not affect it.
pub(crate) struct Stream {
    /// Since when the client has to act, on the worker's clock; `u64::MAX` while it does not.
    waiting_since: Cell<u64>,
    task: Option<AbortHandle>,
}

impl Stream {
    /// Records that the client acted, and whether it has to act again, at `now`.
    pub(crate) fn moved(&self, now: u64, client_is_next: bool) {
        self.waiting_since.set(if client_is_next { now } else { u64::MAX });
    }

    /// Records that the client has to act, from `now` on unless it already had to.
    pub(crate) fn waits(&self, now: u64) {
        self.waiting_since.set(self.waiting_since.get().min(now));
    }

    /// Ends this stream alone if its client has had to act for longer than `limit`.
    fn check(&self, now: u64, limit: Duration) {
        if u128::from(now.saturating_sub(self.waiting_since.get())) > limit.as_millis()
            && let Some(task) = &self.task
        {
            task.abort();
        }
    }
}
