use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use hickory_proto::op::{DnsRequestOptions, ResponseCode};
use hickory_resolver::config::{NameServerConfig, ResolverOpts, ServerOrderingStrategy};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, DnsHandle, NetError};
use hickory_resolver::{NameServerPool, PoolContext, TlsConfig};
use longshore_plan::dns::{Answer, Forward};
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Maximum number of questions forwarded at once.
const MAX_QUESTIONS: usize = 256;
/// How long an upstream server may take: clients retry after five seconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(4);

/// Forwards questions to other servers.
pub(super) struct Forwarder {
    servers: NameServerPool<TokioRuntimeProvider>,
    room: Semaphore,
}

impl Forwarder {
    /// Creates a forwarder to these servers; `tls` applies to those reached over TLS.
    pub(super) fn new(servers: &[SocketAddr], tls: TlsConfig) -> Self {
        let mut options = ResolverOpts::default();
        options.timeout = ANSWER_TIMEOUT;
        options.server_ordering_strategy = ServerOrderingStrategy::UserProvidedOrder;
        options.max_active_requests = MAX_QUESTIONS;
        let context = Arc::new(PoolContext::new(options, tls));
        let configs = servers.iter().map(|server| {
            let mut config = NameServerConfig::udp_and_tcp(server.ip());
            for connection in &mut config.connections {
                connection.port = server.port();
            }
            config
        });
        let servers = NameServerPool::from_config(configs, context, TokioRuntimeProvider::default());
        Self { servers, room: Semaphore::new(MAX_QUESTIONS) }
    }

    /// Returns the servers' answer, or a failure if none answers or too many questions are already open.
    pub(super) async fn ask(&self, forward: Forward) -> Answer {
        let failed = |forward: Forward| forward.answered(ResponseCode::ServFail, Vec::new(), Vec::new());
        let Ok(_room) = self.room.try_acquire() else { return failed(forward) };
        let mut options = DnsRequestOptions::default();
        options.edns_set_dnssec_ok = forward.dnssec_ok();
        let mut answers = self.servers.lookup(forward.query().clone(), options);
        match timeout(ANSWER_TIMEOUT, answers.next()).await {
            Ok(Some(Ok(response))) => {
                let message = response.into_message();
                forward.answered(message.metadata.response_code, message.answers, message.authorities)
            }
            Ok(Some(Err(NetError::Dns(DnsError::NoRecordsFound(none))))) => {
                let authorities = match (none.authorities, none.soa) {
                    (Some(authorities), _) => authorities.to_vec(),
                    (None, Some(soa)) => vec![soa.into_record_of_rdata()],
                    (None, None) => Vec::new(),
                };
                forward.answered(none.response_code, Vec::new(), authorities)
            }
            Ok(Some(Err(NetError::Dns(DnsError::ResponseCode(code))))) => {
                forward.answered(code, Vec::new(), Vec::new())
            }
            Ok(Some(Err(error))) => {
                tracing::debug!(question = %forward.query(), %error, "no server answers");
                failed(forward)
            }
            Ok(None) | Err(_) => failed(forward),
        }
    }
}
