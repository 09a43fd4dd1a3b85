//! wrk: requests as fast as they are answered.

use anyhow::Context;
use longshore_testkit::Host;

/// The result of a run.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Asked {
    /// Requests per second.
    pub(super) rate: f64,
    /// The median in milliseconds.
    pub(super) p50: f64,
    /// The 99th percentile in milliseconds.
    pub(super) p99: f64,
    /// Failed requests.
    pub(super) failed: u64,
}

/// Loads a port of the host itself with requests for a site, over this many connections.
pub(super) async fn ask(
    host: &Host,
    port: u16,
    site: &str,
    connections: usize,
    seconds: usize,
) -> anyhow::Result<Asked> {
    let (connections, duration) = (format!("-c{connections}"), format!("-d{seconds}s"));
    let (header, url) = (format!("Host: {site}"), format!("http://127.0.0.1:{port}/"));
    let line = ["wrk", "-t1", &connections, &duration, "--latency", "-H", &header, &url];
    let said = host.exec_in_namespace(&line).await?;
    read(&said).with_context(|| format!("wrk said:\n{said}"))
}

fn read(said: &str) -> Option<Asked> {
    let after = |key: &str| {
        said.lines().find_map(|line| line.trim().strip_prefix(key)).map(|rest| rest.trim().to_owned())
    };
    let errors = after("Socket errors:").unwrap_or_default();
    let numbers = errors.split([' ', ',']).filter_map(|word| word.parse::<u64>().ok());
    let bad = after("Non-2xx or 3xx responses:").and_then(|count| count.parse().ok()).unwrap_or(0);
    Some(Asked {
        rate: after("Requests/sec:")?.parse().ok()?,
        p50: in_milliseconds(&after("50%")?)?,
        p99: in_milliseconds(&after("99%")?)?,
        failed: numbers.sum::<u64>() + bad,
    })
}

/// Parses wrk's `870.00us`, `1.23ms`, `1.02s`.
fn in_milliseconds(text: &str) -> Option<f64> {
    let (number, factor) = if let Some(number) = text.strip_suffix("us") {
        (number, 0.001)
    } else if let Some(number) = text.strip_suffix("ms") {
        (number, 1.0)
    } else {
        (text.strip_suffix('s')?, 1_000.0)
    };
    Some(number.parse::<f64>().ok()? * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wrk_says_is_read() {
        let said = "Running 2s test\n  Latency Distribution\n     50%  1.00ms\n     99%  870.00us\n  20 requests in 2s\n  \
                    Socket errors: connect 0, read 2, write 0, timeout 1\n  Non-2xx or 3xx responses: 4\n\
                    Requests/sec:  12345.67\nTransfer/sec: 1MB\n";
        assert_eq!(read(said), Some(Asked { rate: 12345.67, p50: 1.0, p99: 0.87, failed: 7 }));
    }

    #[test]
    fn wrks_units_are_read() {
        assert_eq!(in_milliseconds("1.50s"), Some(1500.0));
        assert_eq!(in_milliseconds("2ms"), Some(2.0));
        assert_eq!(in_milliseconds("x"), None);
    }
}
