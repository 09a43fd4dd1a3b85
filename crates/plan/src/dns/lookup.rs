//! The records that a name has.

use std::collections::BTreeSet;
use std::net::IpAddr;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::{HINFO, NS, SOA, SRV};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use longshore_model::{NameEntry, NameKey, NamedContainer, NamedPort, Transport};

use super::reply::Response;
use super::{Zone, name};

/// The subject of a question within the domain.
enum Subject<'a> {
    /// The domain itself.
    Apex,
    /// A container or a service.
    Entry(&'a NameEntry),
    /// Some ports of one: `_http._tcp.web`.
    Ports(&'a NameEntry, Service, Transport),
    /// A name that only has others below it.
    Between,
    Absent,
}

/// Which ports a question asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Service {
    Port(u16),
    Http,
}

impl Service {
    fn is(self, port: &NamedPort) -> bool {
        match self {
            Self::Port(number) => port.port == number,
            Self::Http => port.http,
        }
    }
}

/// Answers a question within the domain.
pub(super) fn find(zone: &Zone, response: &mut Response, turn: usize) {
    response.message.metadata.authoritative = true;
    let Some((asked, kind)) = response.query().map(|query| (query.name().clone(), query.query_type())) else {
        return;
    };
    let subject = subject(zone, &asked);
    match &subject {
        Subject::Absent => response.message.metadata.response_code = ResponseCode::NXDomain,
        Subject::Between => {}
        // A minimal answer to ANY: RFC 8482.
        _ if kind == RecordType::ANY => {
            let told = RData::HINFO(HINFO::new("RFC8482".to_owned(), String::new()));
            response.answer(Record::from_rdata(asked, zone.ttl, told));
        }
        Subject::Apex => apex(zone, &asked, kind, response),
        Subject::Entry(entry) => match kind {
            RecordType::A | RecordType::AAAA => {
                let addresses: BTreeSet<IpAddr> =
                    entry.containers().flat_map(|container| container.addresses.iter().copied()).collect();
                let wanted: Vec<IpAddr> = addresses.into_iter().filter(|ip| is_of(*ip, kind)).collect();
                for ip in rotated(&wanted, turn) {
                    response.answer(Record::from_rdata(asked.clone(), zone.ttl, address(*ip)));
                }
            }
            RecordType::SRV => ports(zone, &asked, entry, |_| true, turn, response),
            _ => {}
        },
        Subject::Ports(entry, service, transport) if kind == RecordType::SRV => {
            let wanted = |port: &NamedPort| port.transport == *transport && service.is(port);
            ports(zone, &asked, entry, wanted, turn, response);
        }
        Subject::Ports(..) => {}
    }
    if response.message.answers.is_empty() {
        response.message.authorities.push(soa(zone));
    }
}

fn subject<'a>(zone: &'a Zone, asked: &Name) -> Subject<'a> {
    let below = asked.iter().count().saturating_sub(zone.domain.iter().count());
    let mut labels = Vec::new();
    for label in asked.iter().take(below) {
        let is_ours = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        match std::str::from_utf8(label) {
            Ok(text) if label.iter().all(is_ours) => labels.push(text.to_ascii_lowercase()),
            _ => return Subject::Absent,
        }
    }
    if labels.is_empty() {
        return Subject::Apex;
    }
    let key = |labels: &[String]| NameKey::new(labels.iter().map(String::as_str));
    let whole = key(&labels);
    if let Some(entry) = zone.names.get(&whole) {
        return Subject::Entry(entry);
    }
    if zone.names.has_below(&whole) || zone.node.as_ref().is_some_and(|node| whole.covers(node)) {
        return Subject::Between;
    }
    let has = |entry: &NameEntry, wanted: &dyn Fn(&NamedPort) -> bool| {
        entry.containers().any(|container| container.ports.iter().any(wanted))
    };
    match labels.as_slice() {
        [service, transport, rest @ ..] if self::transport(transport).is_some() => {
            let Some(transport) = self::transport(transport) else { return Subject::Absent };
            let Some(entry) = zone.names.get(&key(rest)) else { return Subject::Absent };
            let Some(service) = self::service(service) else { return Subject::Absent };
            if has(entry, &|port| port.transport == transport && service.is(port)) {
                Subject::Ports(entry, service, transport)
            } else {
                Subject::Absent
            }
        }
        [transport, rest @ ..] => {
            let found = self::transport(transport).zip(zone.names.get(&key(rest)));
            match found {
                Some((transport, entry)) if has(entry, &|port| port.transport == transport) => {
                    Subject::Between
                }
                _ => Subject::Absent,
            }
        }
        [] => Subject::Apex,
    }
}

fn transport(label: &str) -> Option<Transport> {
    match label {
        "_tcp" => Some(Transport::Tcp),
        "_udp" => Some(Transport::Udp),
        _ => None,
    }
}

fn service(label: &str) -> Option<Service> {
    match label.strip_prefix('_')? {
        "http" => Some(Service::Http),
        number => crate::label::port(number).map(Service::Port),
    }
}

fn apex(zone: &Zone, asked: &Name, kind: RecordType, response: &mut Response) {
    match kind {
        RecordType::SOA => {
            let mut own = soa(zone);
            own.name = asked.clone();
            response.answer(own);
        }
        RecordType::NS => {
            let own = RData::NS(NS(zone.domain.clone()));
            response.answer(Record::from_rdata(asked.clone(), zone.ttl, own));
            let glue =
                zone.server.iter().map(|ip| Record::from_rdata(zone.domain.clone(), zone.ttl, address(*ip)));
            response.message.additionals.extend(glue);
        }
        RecordType::A | RecordType::AAAA => {
            for ip in zone.server.iter().filter(|ip| is_of(**ip, kind)) {
                response.answer(Record::from_rdata(asked.clone(), zone.ttl, address(*ip)));
            }
        }
        _ => {}
    }
}

/// Returns an SRV record for each requested port of each container, and the containers' addresses.
fn ports(
    zone: &Zone,
    asked: &Name,
    entry: &NameEntry,
    wanted: impl Fn(&NamedPort) -> bool,
    turn: usize,
    response: &mut Response,
) {
    let having = |container: &&NamedContainer| container.ports.iter().any(&wanted);
    let containers: Vec<_> = entry.containers().map(|container| &**container).filter(having).collect();
    for container in rotated(&containers, turn) {
        let target = name(container.name.as_str());
        for port in container.ports.iter().filter(|port| wanted(port)) {
            let record = RData::SRV(SRV::new(0, 1, port.reached_at, target.clone()));
            response.answer(Record::from_rdata(asked.clone(), zone.ttl, record));
        }
        let addresses =
            container.addresses.iter().map(|ip| Record::from_rdata(target.clone(), zone.ttl, address(*ip)));
        response.message.additionals.extend(addresses);
    }
}

/// Returns all items, starting at another one each turn.
fn rotated<T>(all: &[T], turn: usize) -> impl Iterator<Item = &T> {
    let (before, from) = all.split_at(turn.checked_rem(all.len()).unwrap_or_default());
    from.iter().chain(before)
}

fn is_of(ip: IpAddr, kind: RecordType) -> bool {
    ip.is_ipv4() == (kind == RecordType::A)
}

fn address(ip: IpAddr) -> RData {
    match ip {
        IpAddr::V4(ip) => RData::A(ip.into()),
        IpAddr::V6(ip) => RData::AAAA(ip.into()),
    }
}

fn soa(zone: &Zone) -> Record {
    let nobody = Name::from_labels([b"nobody".as_slice()])
        .and_then(|local| local.append_domain(&zone.domain))
        .unwrap_or_else(|_| zone.domain.clone());
    // There are no zone transfers, so the times are conventional. The last one is how long a negative answer
    // may be cached.
    let soa = SOA::new(zone.domain.clone(), nobody, zone.serial, 3600, 600, 86400, zone.ttl);
    Record::from_rdata(zone.domain.clone(), zone.ttl, RData::SOA(soa))
}
