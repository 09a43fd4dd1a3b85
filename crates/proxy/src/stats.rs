//! Lock-free counting: each worker writes its own counters, and a reader adds them up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use longshore_model::Frontend;

/// The balancer's counters since it started, by frontend. Closed frontends are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Each frontend's figures.
    pub frontends: BTreeMap<Frontend, FrontendStats>,
}

/// The upper bounds of the buckets of [`FrontendStats::durations`], in microseconds; longer durations are counted in
/// one more.
pub const DURATION_BOUNDS: [u64; 13] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    10_000_000,
];

/// One frontend's counters since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrontendStats {
    /// HTTP responses by class: 1xx to 5xx. The balancer's own answers count too.
    pub responses: [u64; 5],
    /// Requests by the time until their response's head was there, in the buckets of [`DURATION_BOUNDS`].
    pub durations: [u64; DURATION_BOUNDS.len() + 1],
    /// The sum of those durations, in microseconds.
    pub duration_sum: u64,
    /// Client connections accepted (UDP: sessions begun).
    pub connections: u64,
    /// Client connections that are open.
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
    durations: [Counter; DURATION_BOUNDS.len() + 1],
    duration_sum: Counter,
    pub(crate) opened: Counter,
    pub(crate) closed: Counter,
    pub(crate) bytes_in: Counter,
    pub(crate) bytes_out: Counter,
    pub(crate) retries: Counter,
    pub(crate) upstream_failures: Counter,
}

/// A number that one thread adds to and any thread reads.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// Adds to it. With a single writer, a load and a store lose nothing and need no bus lock.
    pub(crate) fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl Counters {
    /// Counts a response, and the time from its request's head to its own.
    pub(crate) fn response(&self, status: http::StatusCode, took: Duration) {
        if let Some(counter) = self.responses.get(usize::from(status.as_u16() / 100).wrapping_sub(1)) {
            counter.add(1);
        }
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = DURATION_BOUNDS.partition_point(|bound| *bound < took);
        if let Some(counter) = self.durations.get(bucket) {
            counter.add(1);
        }
        self.duration_sum.add(took);
    }
}

/// All workers' counters of one frontend, by worker.
pub(crate) type CounterSet = Vec<Arc<Counters>>;

/// Adds up the workers' counters.
pub(crate) fn sum(workers: &CounterSet) -> FrontendStats {
    let mut total = FrontendStats::default();
    for counters in workers {
        for (sum, counter) in total.responses.iter_mut().zip(&counters.responses) {
            *sum += counter.get();
        }
        for (sum, counter) in total.durations.iter_mut().zip(&counters.durations) {
            *sum += counter.get();
        }
        total.duration_sum += counters.duration_sum.get();
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
            counters.response(http::StatusCode::NOT_FOUND, Duration::from_millis(1));
            counters.response(http::StatusCode::OK, Duration::from_secs(60));
        }
        let total = sum(&workers);
        assert_eq!((total.connections, total.open, total.responses), (6, 4, [0, 2, 0, 2, 0]));
        assert_eq!(
            (total.durations[0], total.durations[1], total.durations[13]),
            (0, 2, 2),
            "a bound is in its bucket"
        );
        assert_eq!(total.duration_sum, 2 * 60_001_000);
    }
}
