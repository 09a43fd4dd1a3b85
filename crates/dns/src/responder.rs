use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use hickory_proto::op::ResponseCode;
use longshore_model::Transport;
use longshore_plan::dns::{self, Answer, Forward, Reply};
use metrics::Counter;

use super::forward::Forwarder;
use crate::zones::Zones;

/// Answers requests from either transport.
pub(super) struct Responder {
    zones: Zones,
    /// Empty if nothing is forwarded, and until forwarding is set up.
    forwarder: Arc<OnceLock<Forwarder>>,
    /// Advances with every request, to rotate replicas.
    turn: AtomicUsize,
    counters: Counters,
}

impl Responder {
    pub(super) fn new(zones: Zones, forwarder: Arc<OnceLock<Forwarder>>) -> Self {
        Self { zones, forwarder, turn: AtomicUsize::new(0), counters: Counters::new() }
    }

    /// Decides the reply to a request; a request to forward is passed to [`Responder::forward`].
    pub(super) fn answer(&self, request: &[u8], transport: Transport, asker: IpAddr) -> Reply {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let zone = self.zones.load();
        let reply = match zone.for_asker(asker) {
            Some(zone) => dns::answer(&zone, request, transport, turn),
            None => dns::answer(&zone, request, transport, turn),
        };
        if let Reply::Answer(answer) = &reply {
            self.counters.of(answer.code).increment(1);
        }
        reply
    }

    /// Forwards a question to other servers.
    pub(super) async fn forward(&self, forward: Forward) -> Answer {
        let answer = match self.forwarder.get() {
            Some(forwarder) => forwarder.ask(forward).await,
            None => forward.answered(ResponseCode::ServFail, Vec::new(), Vec::new()),
        };
        self.counters.of(answer.code).increment(1);
        answer
    }
}

/// One counter for each outcome of a request.
struct Counters(Vec<(ResponseCode, Counter)>, Counter);

impl Counters {
    fn new() -> Self {
        let counter =
            |rcode: &'static str| metrics::counter!("longshore_dns_queries_total", "rcode" => rcode);
        let known = [
            (ResponseCode::NoError, "noerror"),
            (ResponseCode::FormErr, "formerr"),
            (ResponseCode::ServFail, "servfail"),
            (ResponseCode::NXDomain, "nxdomain"),
            (ResponseCode::NotImp, "notimp"),
            (ResponseCode::Refused, "refused"),
            (ResponseCode::BADVERS, "badvers"),
        ];
        Self(known.map(|(code, name)| (code, counter(name))).to_vec(), counter("other"))
    }

    fn of(&self, code: ResponseCode) -> &Counter {
        self.0.iter().find(|(known, _)| *known == code).map_or(&self.1, |(_, counter)| counter)
    }
}
