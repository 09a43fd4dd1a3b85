//! DNS, from a request's bytes to an answer's.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may stop at the first thing that is not as expected"
)]

mod worlds;

use std::net::IpAddr;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, RecordType};
use longshore_model::{Container, Endpoint, Health, Transport};
use longshore_plan::dns::{Reply, Zone, ZoneParts, answer};
use longshore_plan::{NamePlan, NameSettings};
use proptest::prelude::*;
use worlds::{container, world};

fn zone_of(containers: impl IntoIterator<Item = Container>, forwards: bool) -> Zone {
    let settings = NameSettings {
        domain: "l.test".parse().unwrap(),
        node: Some("host1".parse().unwrap()),
        host: vec![IpAddr::from([192, 0, 2, 7])],
        asker: longshore_plan::Asker::Here,
    };
    let plan = NamePlan::of(&world(containers, &[]), settings.clone());
    Zone::new(&plan, ZoneParts { server: settings.host, ttl: 5, serial: 42, forwards })
}

fn replica(n: u8) -> Container {
    let mut one = container(n, &[("longshore.service", "shop"), ("longshore.http.80", "")]);
    one.networks.insert(
        "six".to_owned(),
        Endpoint {
            network_id: "six".to_owned(),
            ipv4: None,
            ipv6: Some(format!("fd00::{n:x}").parse().unwrap()),
        },
    );
    one.exposed = vec![(53, Transport::Udp)];
    one
}

fn zone() -> Zone {
    let none = Container { network_mode: "none".to_owned(), networks: [].into(), ..container(9, &[]) };
    let sick = Container { health: Health::Unhealthy, ..container(8, &[("longshore.service", "sick")]) };
    zone_of([replica(1), replica(2), none, sick], false)
}

fn request(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

fn send(zone: &Zone, request: &Message, transport: Transport, turn: usize) -> (Message, usize) {
    match answer(zone, &request.to_vec().unwrap(), transport, turn) {
        Reply::Answer(answer) => {
            let message = Message::from_vec(&answer.bytes).unwrap();
            assert_eq!(message.metadata.id, request.metadata.id);
            assert_eq!(message.metadata.message_type, MessageType::Response);
            (message, answer.bytes.len())
        }
        other => panic!("{other:?}"),
    }
}

/// Returns an answer as text: its code, its authority flag, then each record without its class.
fn ask(zone: &Zone, name: &str, kind: RecordType) -> String {
    let (message, _) = send(zone, &request(name, kind), Transport::Tcp, 0);
    let mut lines = vec![format!(
        "{:?}{}",
        message.metadata.response_code,
        if message.metadata.authoritative { " aa" } else { "" }
    )];
    for (mark, records) in
        [("", &message.answers), ("auth ", &message.authorities), ("more ", &message.additionals)]
    {
        lines.extend(
            records.iter().map(|r| format!("{mark}{} {} {} {}", r.name, r.ttl, r.record_type(), r.data)),
        );
    }
    lines.join("\n")
}

#[test]
fn a_container_has_its_addresses_by_family() {
    insta::assert_snapshot!(ask(&zone(), "c1.host1.l.test.", RecordType::A), @"
    NoError aa
    c1.host1.l.test. 5 A 172.17.0.1
    ");
    insta::assert_snapshot!(ask(&zone(), "C1.Host1.L.TEST.", RecordType::AAAA), @"
    NoError aa
    C1.Host1.L.TEST. 5 AAAA fd00::1
    ");
}

#[test]
fn what_is_there_without_such_records_is_no_absence() {
    let soa = "auth l.test. 5 SOA l.test. nobody.l.test. 42 3600 600 86400 5";
    for (name, kind) in [
        ("c1.host1.l.test.", RecordType::TXT),
        ("c9.host1.l.test.", RecordType::A),
        ("host1.l.test.", RecordType::A),
        ("_tcp.c1.host1.l.test.", RecordType::SRV),
        ("_80._tcp.c1.host1.l.test.", RecordType::A),
        ("sick.l.test.", RecordType::A),
        ("l.test.", RecordType::AAAA),
    ] {
        assert_eq!(ask(&zone(), name, kind), format!("NoError aa\n{soa}"), "{name} {kind}");
    }
    for name in [
        "c3.host1.l.test.",
        "x.c1.host1.l.test.",
        "host2.l.test.",
        "nothing.l.test.",
        "_81._tcp.c1.host1.l.test.",
        "_80._udp.c1.host1.l.test.",
        "_080._tcp.c1.host1.l.test.",
        "_https._tcp.shop.l.test.",
        "_http._tcp.sick.l.test.",
        "_udp.sick.l.test.",
        "*.l.test.",
        "*.host1.l.test.",
        "c1\\.host1.l.test.",
    ] {
        assert_eq!(ask(&zone(), name, RecordType::SRV), format!("NXDomain aa\n{soa}"), "{name}");
    }
}

#[test]
fn srv_records_name_ports_and_bring_the_addresses() {
    insta::assert_snapshot!(ask(&zone(), "c1.host1.l.test.", RecordType::SRV), @"
    NoError aa
    c1.host1.l.test. 5 SRV 0 1 53 c1.host1.l.test.
    c1.host1.l.test. 5 SRV 0 1 80 c1.host1.l.test.
    more c1.host1.l.test. 5 A 172.17.0.1
    more c1.host1.l.test. 5 AAAA fd00::1
    ");
    insta::assert_snapshot!(ask(&zone(), "_http._tcp.shop.l.test.", RecordType::SRV), @"
    NoError aa
    _http._tcp.shop.l.test. 5 SRV 0 1 80 c1.host1.l.test.
    _http._tcp.shop.l.test. 5 SRV 0 1 80 c2.host1.l.test.
    more c1.host1.l.test. 5 A 172.17.0.1
    more c1.host1.l.test. 5 AAAA fd00::1
    more c2.host1.l.test. 5 A 172.17.0.2
    more c2.host1.l.test. 5 AAAA fd00::2
    ");
    insta::assert_snapshot!(ask(&zone(), "_53._udp.c2.host1.l.test.", RecordType::SRV), @"
    NoError aa
    _53._udp.c2.host1.l.test. 5 SRV 0 1 53 c2.host1.l.test.
    more c2.host1.l.test. 5 A 172.17.0.2
    more c2.host1.l.test. 5 AAAA fd00::2
    ");
}

#[test]
fn the_domain_itself_has_its_server() {
    insta::assert_snapshot!(ask(&zone(), "l.test.", RecordType::NS), @"
    NoError aa
    l.test. 5 NS l.test.
    more l.test. 5 A 192.0.2.7
    ");
    insta::assert_snapshot!(ask(&zone(), "l.test.", RecordType::A), @"
    NoError aa
    l.test. 5 A 192.0.2.7
    ");
    insta::assert_snapshot!(ask(&zone(), "L.test.", RecordType::SOA), @"
    NoError aa
    L.test. 5 SOA l.test. nobody.l.test. 42 3600 600 86400 5
    ");
    insta::assert_snapshot!(ask(&zone(), "shop.l.test.", RecordType::ANY), @"
    NoError aa
    shop.l.test. 5 HINFO RFC8482 
    ");
}

#[test]
fn replicas_take_turns() {
    let first = |turn| {
        let (message, _) = send(&zone(), &request("shop.l.test.", RecordType::A), Transport::Udp, turn);
        assert_eq!(message.answers.len(), 2);
        message.answers[0].data.to_string()
    };
    assert_eq!(
        [first(0), first(1), first(2), first(usize::MAX)],
        ["172.17.0.1", "172.17.0.2", "172.17.0.1", "172.17.0.2"]
    );
}

#[test]
fn what_is_not_for_this_server_is_refused() {
    let code = |message: &Message| send(&zone(), message, Transport::Udp, 0).0.metadata.response_code;
    assert_eq!(code(&request("example.com.", RecordType::A)), ResponseCode::Refused);
    assert_eq!(code(&request("xl.test.", RecordType::A)), ResponseCode::Refused);
    assert_eq!(code(&request("l.test.", RecordType::AXFR)), ResponseCode::Refused);
    assert_eq!(code(&request("l.test.", RecordType::IXFR)), ResponseCode::Refused);
    let mut chaos = request("version.bind.", RecordType::TXT);
    chaos.queries[0].set_query_class(DNSClass::CH);
    assert_eq!(code(&chaos), ResponseCode::Refused);
    let mut update = request("l.test.", RecordType::SOA);
    for op_code in [OpCode::Update, OpCode::Notify, OpCode::Status, OpCode::Unknown(9)] {
        update.metadata.op_code = op_code;
        assert_eq!(code(&update), ResponseCode::NotImp, "{op_code:?}");
    }
    let mut two = request("l.test.", RecordType::A);
    two.add_query(two.queries[0].clone());
    assert_eq!(code(&two), ResponseCode::FormErr);
    let mut newer = request("l.test.", RecordType::A);
    newer.edns = Some(Edns::new());
    newer.edns.as_mut().unwrap().set_version(1);
    let (message, _) = send(&zone(), &newer, Transport::Udp, 0);
    assert_eq!(message.edns.as_ref().map(|edns| (edns.version(), edns.rcode_high())), Some((0, 1)));
    assert_eq!(u16::from(message.metadata.response_code), u16::from(ResponseCode::BADVERS));
}

#[test]
fn other_domains_are_forwarded_where_that_is_told_and_asked() {
    let zone = zone_of([replica(1)], true);
    let bytes = |message: &Message| message.to_vec().unwrap();
    let mut outside = request("example.com.", RecordType::A);
    let Reply::Forward(forward) = answer(&zone, &bytes(&outside), Transport::Udp, 0) else {
        panic!("it is forwarded")
    };
    assert_eq!(forward.query(), &outside.queries[0]);
    let told = forward.answered(ResponseCode::NoError, send_records(&zone), Vec::new());
    let message = Message::from_vec(&told.bytes).unwrap();
    assert!(message.metadata.recursion_available && !message.metadata.authoritative);
    assert_eq!((message.metadata.id, message.answers.len()), (7, 1));
    outside.metadata.recursion_desired = false;
    let (refused, _) = send(&zone, &outside, Transport::Udp, 0);
    assert_eq!(refused.metadata.response_code, ResponseCode::Refused);
    let (own, _) = send(&zone, &request("c7.host1.l.test.", RecordType::A), Transport::Udp, 0);
    assert_eq!(own.metadata.response_code, ResponseCode::NXDomain, "the domain's own absence is known here");
}

fn send_records(zone: &Zone) -> Vec<hickory_proto::rr::Record> {
    send(zone, &request("c1.host1.l.test.", RecordType::A), Transport::Tcp, 0).0.answers
}

#[test]
fn an_answer_that_is_too_long_is_cut_over_udp_and_whole_over_tcp() {
    let zone = zone_of((1..=100).map(replica), false);
    let plain = request("shop.l.test.", RecordType::A);
    let (cut, length) = send(&zone, &plain, Transport::Udp, 0);
    assert!(cut.metadata.truncation && cut.answers.is_empty() && length <= 512, "{length}");
    let (whole, _) = send(&zone, &plain, Transport::Tcp, 0);
    assert!(!whole.metadata.truncation);
    assert_eq!(whole.answers.len(), 100);

    let few = zone_of((1..=40).map(replica), false);
    let mut large = plain;
    large.edns = Some(Edns::new());
    large.edns.as_mut().unwrap().set_max_payload(4096).set_dnssec_ok(true);
    let (fits, length) = send(&few, &large, Transport::Udp, 0);
    assert!(!fits.metadata.truncation && fits.answers.len() == 40 && length > 512, "{length}");
    let edns = fits.edns.unwrap();
    assert!(edns.max_payload() == 1232 && edns.flags().dnssec_ok);
    let (cut, length) = send(&zone, &large, Transport::Udp, 0);
    assert!(cut.metadata.truncation && length <= 1232 && cut.edns.is_some(), "{length}");

    let srv = request("_http._tcp.shop.l.test.", RecordType::SRV);
    let (lean, length) = send(&zone_of((1..=8).map(replica), false), &srv, Transport::Udp, 0);
    assert!(
        !lean.metadata.truncation && lean.answers.len() == 8 && length <= 512,
        "addresses beside go first"
    );
    assert!(lean.additionals.is_empty());
}

#[test]
fn an_answer_that_is_too_long_for_tcp_says_so() {
    let many = |n| Container { exposed: (1..=200).map(|p| (p, Transport::Tcp)).collect(), ..replica(n) };
    let zone = zone_of((1..=100).map(many), false);
    let (cut, length) = send(&zone, &request("shop.l.test.", RecordType::SRV), Transport::Tcp, 0);
    assert!(cut.metadata.truncation && cut.answers.len() > 1000 && length <= 65_535, "{length}");
}

#[test]
fn what_is_no_request_gets_nothing() {
    let mut response = request("l.test.", RecordType::A);
    response.metadata.message_type = MessageType::Response;
    for bytes in [Vec::new(), vec![0; 5], vec![0; 11], response.to_vec().unwrap()] {
        assert!(matches!(answer(&zone(), &bytes, Transport::Udp, 0), Reply::Nothing), "{bytes:?}");
    }
    let bare = [0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    let Reply::Answer(answer) = answer(&zone(), &bare, Transport::Udp, 0) else { panic!("it is answered") };
    assert_eq!(answer.code, ResponseCode::FormErr);
    assert_eq!(Message::from_vec(&answer.bytes).unwrap().metadata.id, 7);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn no_bytes_do_harm(noise in prop::collection::vec(any::<u8>(), 0..80), at in 0..60usize, udp in any::<bool>()) {
        let mut bytes = request("_http._tcp.shop.l.test.", RecordType::SRV).to_vec().unwrap();
        for (place, byte) in noise.iter().enumerate() {
            match bytes.get_mut(at + place) {
                Some(old) => *old = *byte,
                None => bytes.push(*byte),
            }
        }
        let transport = if udp { Transport::Udp } else { Transport::Tcp };
        for request in [&bytes, &noise] {
            if let Reply::Answer(answer) = answer(&zone(), request, transport, at) {
                prop_assert!(Message::from_vec(&answer.bytes).is_ok());
                prop_assert!(!udp || answer.bytes.len() <= 1232);
            }
        }
    }
}

#[test]
fn a_name_is_answered_in_the_clients_own_letters() {
    let (message, _) = send(&zone(), &request("c1.HOST1.l.Test.", RecordType::A), Transport::Udp, 0);
    assert_eq!(message.answers[0].name.to_string(), "c1.HOST1.l.Test.");
    assert!(matches!(&message.answers[0].data, RData::A(a) if a.0.octets() == [172, 17, 0, 1]));
}
