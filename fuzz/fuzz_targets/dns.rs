//! Arbitrary DNS requests: none may panic, and every answer must be readable by a client and no longer than its
//! transport allows.
#![no_main]

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use hickory_proto::op::{Message, MessageType, ResponseCode};
use libfuzzer_sys::fuzz_target;
use longshore_model::{Container, ContainerId, Endpoint, Health, Host, HostId, RunState, Transport, World};
use longshore_plan::dns::{Reply, Zone, ZoneParts, answer};
use longshore_plan::{NamePlan, NameSettings};

static ZONES: LazyLock<[Zone; 2]> = LazyLock::new(|| [zone(false), zone(true)]);

// The first byte selects the transport and whether other names are forwarded; the second, which replica's turn it is.
fuzz_target!(|input: &[u8]| {
    let [way, turn, request @ ..] = input else { return };
    let transport = if way & 1 == 0 { Transport::Udp } else { Transport::Tcp };
    let zone = &ZONES[usize::from(way >> 1 & 1)];
    let answered = match answer(zone, request, transport, usize::from(*turn)) {
        Reply::Nothing => return,
        Reply::Answer(answer) => answer,
        Reply::Forward(forward) => forward.answered(ResponseCode::ServFail, Vec::new(), Vec::new()),
    };
    let limit = if transport == Transport::Udp { 1232 } else { 65_535 };
    assert!(answered.bytes.len() <= limit, "{}", answered.bytes.len());
    let message = Message::from_vec(&answered.bytes).expect("an answer can be read");
    assert_eq!(message.metadata.message_type, MessageType::Response);
    assert_eq!(Some(message.metadata.id.to_be_bytes().as_slice()), request.get(..2));
});

fn zone(forwards: bool) -> Zone {
    let settings = NameSettings {
        domain: "l.test".parse().expect("a domain"),
        node: "host1".parse().ok(),
        host: vec![IpAddr::from([192, 0, 2, 7])],
        asker: longshore_plan::Asker::Here,
    };
    let mut world = World::new(HostId::from_u128(1), Host::default());
    for n in 1..=60 {
        let container = container(n);
        world.put_container(world.me(), Arc::new(container));
    }
    let plan = NamePlan::of(&world, settings.clone());
    Zone::new(&plan, ZoneParts { server: settings.host, ttl: 5, serial: 1, forwards })
}

fn container(n: u8) -> Container {
    let endpoint = Endpoint {
        network_id: "bridge".to_owned(),
        ipv4: Some([172, 17, 0, n].into()),
        ipv6: format!("fd00::{n:x}").parse().ok(),
    };
    Container {
        labels: BTreeMap::from([
            ("longshore.service".to_owned(), "shop".to_owned()),
            ("longshore.http.80".to_owned(), String::new()),
        ]),
        state: RunState::Running,
        health: Health::Healthy,
        networks: BTreeMap::from([("bridge".to_owned(), endpoint)]),
        exposed: vec![(53, Transport::Udp)],
        ..Container::new(ContainerId::new(format!("{n:064x}")), format!("c{n}"), "image")
    }
}
