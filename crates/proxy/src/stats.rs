//! Counting without a lock: each worker writes counters of its own, a reader adds them up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use longshore_model::Frontend;

/// What the balancer has done since it started, by frontend. Frontends that closed stay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Each frontend's figures.
    pub frontends: BTreeMap<Frontend, FrontendStats>,
}

/// One frontend's figures since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrontendStats {
    /// HTTP responses by class: 1xx to 5xx. The balancer's own answers count too.
    pub responses: [u64; 5],
    /// Client connections accepted (UDP: sessions begun).
    pub connections: u64,
    /// Those of them that are open.
    pub open: u64,
    /// Bytes that clients sent.
    pub bytes_in: u64,
    /// Bytes sent to clients.
    pub bytes_out: u64,
    /// Attempts beyond the first of a request or connection.
    pub retries: u64,
    /// Connections to an upstream that failed.
    pub upstream_failures: u64,
}

/// One worker's counters of one frontend. Only that worker's thread writes.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) responses: [Counter; 5],
    pub(crate) opened: Counter,
    pub(crate) closed: Counter,
    pub(crate) bytes_in: Counter,
    pub(crate) bytes_out: Counter,
    pub(crate) retries: Counter,
    pub(crate) upstream_failures: Counter,
}

/// A number that one thread raises and any thread reads.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// Raises it. With a single writer, a load and a store lose nothing and need no bus lock.
    pub(crate) fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl Counters {
    /// Counts a response.
    pub(crate) fn response(&self, status: http::StatusCode) {
        if let Some(counter) = self.responses.get(usize::from(status.as_u16() / 100).wrapping_sub(1)) {
            counter.add(1);
        }
    }
}

/// All workers' counters of one frontend, by worker.
pub(crate) type CounterSet = Vec<Arc<Counters>>;

/// Adds up what the workers counted.
pub(crate) fn sum(workers: &CounterSet) -> FrontendStats {
    let mut total = FrontendStats::default();
    for counters in workers {
        for (sum, counter) in total.responses.iter_mut().zip(&counters.responses) {
            *sum += counter.get();
        }
        // Closed before opened: a connection that ends between the two reads is counted as open.
        let closed = counters.closed.get();
        let opened = counters.opened.get();
        total.connections += opened;
        total.open += opened.saturating_sub(closed);
        total.bytes_in += counters.bytes_in.get();
        total.bytes_out += counters.bytes_out.get();
        total.retries += counters.retries.get();
        total.upstream_failures += counters.upstream_failures.get();
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_are_added_up() {
        let workers: CounterSet = vec![Arc::default(), Arc::default()];
        for counters in &workers {
            counters.opened.add(3);
            counters.closed.add(1);
            counters.response(http::StatusCode::NOT_FOUND);
        }
        let total = sum(&workers);
        assert_eq!((total.connections, total.open, total.responses), (6, 4, [0, 0, 0, 2, 0]));
    }
}
