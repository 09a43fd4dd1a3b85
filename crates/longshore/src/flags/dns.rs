use std::net::SocketAddr;

use clap::Args;
use longshore_daemon::config::DnsSettings;

use super::Wrong;

/// The DNS server.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "DNS")]
pub(crate) struct DnsFlags {
    /// Where the DNS server listens, such as 127.0.0.1:7053 [default: none runs].
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) dns: Option<SocketAddr>,
    /// The domain that it answers for.
    #[arg(long, value_name = "DOMAIN", default_value = "longshore.internal")]
    pub(crate) dns_domain: String,
    /// How long an answer may be kept.
    #[arg(long, value_name = "TIME", default_value = "5s")]
    pub(crate) dns_ttl: humantime::Duration,
    /// A server that other questions go to; may be repeated [default: they are refused].
    #[arg(long, value_name = "ADDRESS", action = clap::ArgAction::Append)]
    pub(crate) dns_forward: Vec<SocketAddr>,
}

impl DnsFlags {
    pub(crate) fn settings(&self) -> Result<Option<DnsSettings>, Wrong> {
        let Some(listen) = self.dns else { return Ok(None) };
        let domain = self.dns_domain.trim_end_matches('.');
        let domain = domain.parse().map_err(|_| ("dns-domain", format!("{domain:?} is no domain")))?;
        let is_own = |server: &&SocketAddr| {
            let ip = listen.ip();
            server.port() == listen.port()
                && (server.ip() == ip || ip.is_unspecified() && server.ip().is_loopback())
        };
        if let Some(server) = self.dns_forward.iter().find(is_own) {
            return Err(("dns-forward", format!("{server} is this very server: name another")));
        }
        Ok(Some(DnsSettings { listen, domain, ttl: self.dns_ttl.into(), forward: self.dns_forward.clone() }))
    }
}
