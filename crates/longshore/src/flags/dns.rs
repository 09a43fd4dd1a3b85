use std::net::SocketAddr;

use clap::Args;
use longshore_daemon::config::DnsSettings;

use super::Invalid;
use crate::cli::values;

/// The DNS server.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "DNS")]
pub(crate) struct DnsFlags {
    /// Address of the DNS server, such as 127.0.0.1:7053 [default: no DNS server].
    #[arg(long, value_name = "ADDRESS", value_parser = values::socket)]
    pub(crate) dns: Option<SocketAddr>,
    /// Domain that it answers for.
    #[arg(long, value_name = "DOMAIN", default_value = "longshore.internal")]
    pub(crate) dns_domain: String,
    /// Time to live of its answers.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = values::duration)]
    pub(crate) dns_ttl: humantime::Duration,
    /// Server that other queries are forwarded to; repeatable [default: other queries are refused].
    #[arg(long, value_name = "ADDRESS", action = clap::ArgAction::Append, value_parser = values::socket)]
    pub(crate) dns_forward: Vec<SocketAddr>,
}

impl DnsFlags {
    pub(crate) fn settings(&self) -> Result<Option<DnsSettings>, Vec<Invalid>> {
        let Some(listen) = self.dns else { return Ok(None) };
        let mut invalid = Vec::new();
        let domain = self.dns_domain.trim_end_matches('.').parse();
        if domain.is_err() {
            let message =
                format!("invalid domain {:?}: expected a name such as example.com", self.dns_domain);
            invalid.push(("dns-domain", message));
        }
        let is_own = |server: &&SocketAddr| {
            let ip = listen.ip();
            server.port() == listen.port()
                && (server.ip() == ip || ip.is_unspecified() && server.ip().is_loopback())
        };
        if let Some(server) = self.dns_forward.iter().find(is_own) {
            invalid.push(("dns-forward", format!("{server} is this DNS server itself: name another one")));
        }
        match domain {
            Ok(domain) if invalid.is_empty() => Ok(Some(DnsSettings {
                listen,
                domain,
                ttl: self.dns_ttl.into(),
                forward: self.dns_forward.clone(),
            })),
            _ => Err(invalid),
        }
    }
}
