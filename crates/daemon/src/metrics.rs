//! The metrics: their names, meanings and buckets.
//!
//! A counter without labels, or with labels known in advance, exists with 0 from the start, so that its first
//! increase is visible. A test finds every metric that is recorded somewhere and not described here.

use std::time::Duration;

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use metrics_process::Collector;

/// Buckets of durations from a fraction of a millisecond to seconds, in seconds.
const SHORT: &[f64] = &[0.000_25, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];
/// Buckets of durations of users' scripts and external servers, in seconds.
const LONG: &[f64] = &[0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0];

/// Histograms: name, buckets, help.
const HISTOGRAMS: &[(&str, &[f64], &str)] = &[
    ("longshore_route_apply_seconds", SHORT, "Time to apply changed routes to the balancer."),
    ("longshore_delivery_seconds", LONG, "Time of one attempt to deliver an event to a handler."),
];

/// Counters: name and help.
const COUNTERS: &[(&str, &str)] = &[
    ("longshore_docker_events_total", "Events that Docker reported, by action."),
    ("longshore_resync_repairs_total", "Changes that no event reported, found by the resync."),
    ("longshore_route_apply_failures_total", "Failed attempts to apply routes to the balancer."),
    (
        "longshore_synthetic_events_total",
        "Events that Docker did not report, derived from the containers' state.",
    ),
    ("longshore_deliveries_total", "Attempts to deliver an event to a handler, by outcome."),
    ("longshore_dns_queries_total", "DNS queries answered, by response code."),
    ("longshore_responses_total", "HTTP responses sent to clients, by frontend and status class."),
    ("longshore_connections_total", "Client connections accepted, by frontend; UDP: sessions."),
    ("longshore_received_bytes_total", "Bytes received from clients, by frontend."),
    ("longshore_sent_bytes_total", "Bytes sent to clients, by frontend."),
    ("longshore_retries_total", "Attempts beyond the first of a request or connection, by frontend."),
    ("longshore_upstream_failures_total", "Failed connections to upstreams, by frontend."),
];

/// Gauges: name and help.
const GAUGES: &[(&str, &str)] = &[
    ("longshore_build_info", "Always 1; the labels describe the build."),
    ("longshore_containers", "Containers of this host, running or not."),
    ("longshore_routes", "Routes that the balancer carries."),
    ("longshore_problems", "Current problems."),
    ("longshore_docker_connected", "1 while Docker responds, else 0."),
    ("longshore_publish_keys", "Keys published in etcd, by publisher."),
    ("longshore_connections_open", "Client connections that are open, by frontend."),
];

/// Counters that exist from the start: those without labels.
const UNLABELLED: &[&str] = &[
    "longshore_resync_repairs_total",
    "longshore_route_apply_failures_total",
    "longshore_synthetic_events_total",
];

/// Docker's actions that are counted by name.
const ACTIONS: &[&str] = &[
    "create",
    "start",
    "kill",
    "die",
    "pause",
    "unpause",
    "rename",
    "health_status",
    "connect",
    "disconnect",
    "destroy",
    "other",
];

/// How often samples are moved into their buckets; until then each takes memory.
const UPKEEP: Duration = Duration::from_secs(5);

/// Installs this process's recorder, with everything described.
///
/// # Errors
/// A recorder is already installed.
pub(crate) fn install() -> Result<PrometheusHandle, BuildError> {
    let handle = builder()?.install_recorder()?;
    describe();
    Ok(handle)
}

/// Keeps the memory of samples bounded, whether or not the metrics are scraped.
pub(crate) async fn keep_up(handle: PrometheusHandle) {
    loop {
        tokio::time::sleep(UPKEEP).await;
        handle.run_upkeep();
    }
}

/// Returns all metrics as text.
pub(crate) fn render(handle: &PrometheusHandle) -> String {
    Collector::default().collect();
    handle.run_upkeep();
    handle.render()
}

fn builder() -> Result<PrometheusBuilder, BuildError> {
    HISTOGRAMS.iter().try_fold(PrometheusBuilder::new(), |builder, (name, buckets, _)| {
        builder.set_buckets_for_metric(Matcher::Full((*name).to_owned()), buckets)
    })
}

fn describe() {
    for (name, _, help) in HISTOGRAMS {
        describe_histogram!(*name, Unit::Seconds, *help);
    }
    COUNTERS.iter().for_each(|(name, help)| describe_counter!(*name, *help));
    GAUGES.iter().for_each(|(name, help)| describe_gauge!(*name, *help));
    Collector::default().describe();
    for name in UNLABELLED {
        counter!(*name).absolute(0);
    }
    for action in ACTIONS {
        counter!("longshore_docker_events_total", "action" => *action).absolute(0);
    }
    gauge!("longshore_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    fn rendered() -> String {
        let recorder = builder().unwrap().build_recorder();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, || {
            describe();
            metrics::histogram!("longshore_route_apply_seconds").record(0.002);
            metrics::histogram!("longshore_delivery_seconds", "handler" => "a").record(2.0);
            render(&handle)
        })
    }

    /// Collects the names that follow a macro of the `metrics` crate, in all sources below a folder.
    fn recorded(folder: &Path, names: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                recorded(&entry, names);
            } else if entry.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&entry).unwrap();
                let text: String = text.split_whitespace().collect();
                for kind in ["counter!(\"", "gauge!(\"", "histogram!(\""] {
                    let found = text.split(kind).skip(1).filter_map(|rest| rest.split('"').next());
                    names.extend(found.filter(|name| name.starts_with("longshore_")).map(str::to_owned));
                }
            }
        }
    }

    #[test]
    fn every_metric_that_is_recorded_is_described() {
        let described: BTreeSet<&str> = (HISTOGRAMS.iter().map(|(name, ..)| *name))
            .chain(COUNTERS.iter().chain(GAUGES).map(|(name, _)| *name))
            .collect();
        let mut names = BTreeSet::new();
        recorded(&Path::new(env!("CARGO_MANIFEST_DIR")).join(".."), &mut names);
        assert!(names.contains("longshore_problems"), "the sources were read");
        let missing: Vec<_> = names.iter().filter(|name| !described.contains(name.as_str())).collect();
        assert!(missing.is_empty(), "not described: {missing:?}");
        let unused: Vec<_> = described.iter().filter(|name| !names.contains(**name)).collect();
        assert!(unused.is_empty(), "described, and recorded nowhere: {unused:?}");
    }

    #[test]
    fn every_family_has_a_help_text_and_a_type() {
        let text = rendered();
        let helped = |family: &str| text.contains(&format!("# HELP {family} "));
        let families: Vec<&str> =
            text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
        assert!(families.len() > 10, "{text}");
        for family in families {
            assert!(helped(family), "{family} has no help text:\n{text}");
        }
    }

    #[test]
    fn durations_are_histograms_and_rare_counters_are_there_from_the_start() {
        let text = rendered();
        for line in [
            "# TYPE longshore_route_apply_seconds histogram",
            "longshore_route_apply_seconds_bucket{le=\"0.0025\"} 1",
            "longshore_route_apply_seconds_bucket{le=\"+Inf\"} 1",
            "longshore_delivery_seconds_bucket{handler=\"a\",le=\"1\"} 0",
            "longshore_resync_repairs_total 0",
            "longshore_route_apply_failures_total 0",
            "longshore_docker_events_total{action=\"health_status\"} 0",
            concat!("longshore_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
        ] {
            assert!(text.lines().any(|found| found == line), "{line:?} is not in\n{text}");
        }
        for name in ["process_resident_memory_bytes ", "process_open_fds ", "process_cpu_seconds_total "] {
            assert!(text.lines().any(|line| line.starts_with(name)), "{name:?} is not in\n{text}");
        }
        assert!(!text.contains("quantile"), "{text}");
    }
}
