//! Values of flags and settings, parsed the same way wherever they are written. An error states what is
//! expected; the caller adds the name of the value.

use std::net::{IpAddr, SocketAddr};

use longshore_daemon::config::IpNet;
use tracing_subscriber::EnvFilter;

/// The log levels, quietest first.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

pub(crate) fn duration(text: &str) -> Result<humantime::Duration, String> {
    text.parse().map_err(|_| "expected a duration such as 500ms, 30s or 5m".to_owned())
}

pub(crate) fn ip(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| "expected an IP address such as 192.0.2.10 or 2001:db8::10".to_owned())
}

pub(crate) fn socket(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "expected ADDRESS:PORT, such as 127.0.0.1:7051 or [::1]:7051".to_owned())
}

/// Parses a network, or an address, which is a network of one.
pub(crate) fn network(text: &str) -> Result<IpNet, String> {
    let address = || text.parse::<IpAddr>().map(IpNet::from);
    let network = text.parse::<IpNet>().or_else(|_| address());
    network.map_err(|_| "expected an address or a network such as 10.0.0.0/8".to_owned())
}

/// Checks a command or socket that reloads HAProxy.
pub(crate) fn reload(text: &str) -> Result<String, String> {
    let expected = "expected a command, or the path of HAProxy's master socket; check the quotes";
    longshore_haproxy::Reload::parse(text).map(|_| text.to_owned()).map_err(|_| expected.to_owned())
}

/// Checks a log filter. A word by itself must be a level: `EnvFilter` would take a misspelt level as a target
/// and silence everything else.
pub(crate) fn log_filter(text: &str) -> Result<String, String> {
    let is_level = |word: &str| LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word));
    let is_directive = |word: &str| word.contains(['=', '[', ':']) || is_level(word);
    let known = text.split(',').map(str::trim).all(is_directive);
    if known && !text.trim().is_empty() && EnvFilter::try_new(text).is_ok() {
        return Ok(text.to_owned());
    }
    let levels = LEVELS.join(", ");
    Err(format!("expected one of {levels}, or a filter such as info,longshore_daemon=debug"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_filter_is_a_level_or_names_what_it_is_for() {
        for good in ["info", "WARN", "off", "info,longshore_daemon=debug", "longshore_proxy::http=trace"] {
            assert_eq!(log_filter(good).as_deref(), Ok(good));
        }
        for wrong in ["verbose", "infos", "", "info,verbose", "longshore=loud", "info,,debug"] {
            assert!(log_filter(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn an_invalid_value_is_answered_with_what_is_expected() {
        assert!(duration("soon").unwrap_err().contains("30s"));
        assert!(socket("localhost").unwrap_err().contains("127.0.0.1:7051"));
        assert!(ip("x").unwrap_err().contains("192.0.2.10"));
        assert!(network("10.0.0.0/33").unwrap_err().contains("10.0.0.0/8"));
        assert_eq!(network("10.0.0.1").map(|net| net.to_string()), Ok("10.0.0.1/32".to_owned()));
    }
}
