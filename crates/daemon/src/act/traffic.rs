use std::fmt::{self, Write};

use longshore_haproxy::{FrontendTraffic, Meter};
use longshore_model::{Frontend, Protocol};
use longshore_proxy::{Balancer, DURATION_BOUNDS, FrontendStats};

/// The histogram of how long requests take.
const DURATION: &str = "longshore_request_duration_seconds";

/// The engine's traffic, as metrics.
#[derive(Clone)]
pub(crate) struct Traffic {
    built_in: Balancer,
    haproxy: Option<Meter>,
}

impl Traffic {
    pub(crate) fn new(built_in: Balancer, haproxy: Option<Meter>) -> Self {
        Self { built_in, haproxy }
    }

    /// Updates the metrics, on demand, so that a request pays nothing for them. Returns the durations of
    /// requests as text in Prometheus's format: the workers count into buckets themselves, and no recorder
    /// accepts a histogram that was counted elsewhere.
    pub(crate) async fn publish(&self) -> String {
        if let Some(meter) = &self.haproxy {
            for (frontend, traffic) in meter.read().await {
                figures(frontend, &of_haproxy(&traffic));
            }
        }
        let stats = self.built_in.stats();
        for (frontend, stats) in &stats.frontends {
            figures(*frontend, stats);
        }
        let http = stats.frontends.iter().filter(|(frontend, _)| frontend.protocol == Protocol::Http);
        durations(http).unwrap_or_default()
    }
}

/// Converts HAProxy's counters, which mean the same as the built-in data plane's. It has no durations.
fn of_haproxy(traffic: &FrontendTraffic) -> FrontendStats {
    FrontendStats {
        responses: traffic.responses,
        connections: traffic.connections,
        open: traffic.open,
        bytes_in: traffic.bytes_in,
        bytes_out: traffic.bytes_out,
        retries: traffic.retries,
        upstream_failures: traffic.upstream_failures,
        ..FrontendStats::default()
    }
}

fn figures(frontend: Frontend, stats: &FrontendStats) {
    let name = || frontend.to_string();
    if frontend.protocol == Protocol::Http {
        for (class, count) in (1..).zip(stats.responses) {
            let class = format!("{class}xx");
            metrics::counter!("longshore_responses_total", "frontend" => name(), "class" => class)
                .absolute(count);
        }
    }
    metrics::counter!("longshore_connections_total", "frontend" => name()).absolute(stats.connections);
    metrics::gauge!("longshore_connections_open", "frontend" => name()).set(stats.open as f64);
    metrics::counter!("longshore_received_bytes_total", "frontend" => name()).absolute(stats.bytes_in);
    metrics::counter!("longshore_sent_bytes_total", "frontend" => name()).absolute(stats.bytes_out);
    metrics::counter!("longshore_retries_total", "frontend" => name()).absolute(stats.retries);
    metrics::counter!("longshore_upstream_failures_total", "frontend" => name())
        .absolute(stats.upstream_failures);
}

fn durations<'a>(
    frontends: impl Iterator<Item = (&'a Frontend, &'a FrontendStats)>,
) -> Result<String, fmt::Error> {
    let mut text = format!(
        "# HELP {DURATION} Time from a request's head to its response's head, by frontend.\n# TYPE {DURATION} histogram\n"
    );
    for (frontend, stats) in frontends {
        let bounds = DURATION_BOUNDS.iter().map(|micros| seconds(*micros).to_string());
        let mut count = 0;
        for (bound, counted) in bounds.chain(["+Inf".to_owned()]).zip(stats.durations) {
            count += counted;
            writeln!(text, "{DURATION}_bucket{{frontend=\"{frontend}\",le=\"{bound}\"}} {count}")?;
        }
        writeln!(text, "{DURATION}_sum{{frontend=\"{frontend}\"}} {}", seconds(stats.duration_sum))?;
        writeln!(text, "{DURATION}_count{{frontend=\"{frontend}\"}} {count}")?;
    }
    Ok(text)
}

fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    fn frontend(text: &str) -> Frontend {
        text.parse().unwrap()
    }

    #[test]
    fn only_http_frontends_have_responses() {
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, || {
            figures(frontend("http:80"), &FrontendStats::default());
            figures(frontend("tcp:5432"), &FrontendStats { connections: 3, ..FrontendStats::default() });
        });
        let text = recorder.handle().render();
        assert!(text.contains("longshore_connections_total{frontend=\"tcp:5432\"} 3"), "{text}");
        assert!(text.contains("longshore_responses_total{frontend=\"http:80\",class=\"5xx\"} 0"), "{text}");
        assert!(!text.contains("longshore_responses_total{frontend=\"tcp:5432\""), "{text}");
    }

    #[test]
    fn durations_are_counted_up_from_bucket_to_bucket() {
        let mut stats = FrontendStats { duration_sum: 2_500_000, ..FrontendStats::default() };
        (stats.durations[1], stats.durations[13]) = (2, 1);
        let text = durations([(&frontend("http:80"), &stats)].into_iter()).unwrap();
        for line in [
            "# TYPE longshore_request_duration_seconds histogram",
            "longshore_request_duration_seconds_bucket{frontend=\"http:80\",le=\"0.0005\"} 0",
            "longshore_request_duration_seconds_bucket{frontend=\"http:80\",le=\"0.001\"} 2",
            "longshore_request_duration_seconds_bucket{frontend=\"http:80\",le=\"10\"} 2",
            "longshore_request_duration_seconds_bucket{frontend=\"http:80\",le=\"+Inf\"} 3",
            "longshore_request_duration_seconds_sum{frontend=\"http:80\"} 2.5",
            "longshore_request_duration_seconds_count{frontend=\"http:80\"} 3",
        ] {
            assert!(text.lines().any(|found| found == line), "{line:?} is not in\n{text}");
        }
    }
}
