use longshore_proxy::{Balancer, FrontendStats};

/// What flows through the built-in data plane, as figures.
#[derive(Clone)]
pub(crate) struct Traffic(Balancer);

impl Traffic {
    pub(crate) fn new(balancer: Balancer) -> Self {
        Self(balancer)
    }

    /// Brings the figures up to date; done when they are asked for, so that a request pays nothing for them.
    pub(crate) fn publish(&self) {
        for (frontend, stats) in self.0.stats().frontends {
            figures(&frontend.to_string(), &stats);
        }
    }
}

fn figures(frontend: &str, stats: &FrontendStats) {
    let name = || frontend.to_owned();
    for (class, count) in (1..).zip(stats.responses) {
        let class = format!("{class}xx");
        metrics::counter!("longshore_responses_total", "frontend" => name(), "class" => class)
            .absolute(count);
    }
    metrics::counter!("longshore_connections_total", "frontend" => name()).absolute(stats.connections);
    metrics::gauge!("longshore_connections_open", "frontend" => name()).set(stats.open as f64);
    metrics::counter!("longshore_received_bytes_total", "frontend" => name()).absolute(stats.bytes_in);
    metrics::counter!("longshore_sent_bytes_total", "frontend" => name()).absolute(stats.bytes_out);
    metrics::counter!("longshore_retries_total", "frontend" => name()).absolute(stats.retries);
    metrics::counter!("longshore_upstream_failures_total", "frontend" => name())
        .absolute(stats.upstream_failures);
}
