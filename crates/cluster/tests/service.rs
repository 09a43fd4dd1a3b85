//! Agents' memberships with real sockets, on this machine.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use longshore_cluster::members::{Departure, MemberState, Roster, Settings};
use longshore_cluster::secret::{Keyring, Secret};
use longshore_cluster::service::{Service, ServiceConfig, ServiceError};
use longshore_model::HostId;
use tokio::sync::watch;

fn free_address() -> SocketAddr {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

struct Agent {
    config: ServiceConfig,
    _dir: tempfile::TempDir,
}

impl Agent {
    fn new(number: u128, join: Option<SocketAddr>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = ServiceConfig {
            cluster: "c".to_owned(),
            host: HostId::from_u128(number),
            name: format!("host-{number}").parse().unwrap(),
            advertise: free_address(),
            join: join.iter().map(|address| address.to_string().parse().unwrap()).collect(),
            multicast: false,
            remembered: Vec::new(),
            keyring: Keyring::new(Secret::new([1; 32])),
            data_dir: dir.path().to_owned(),
            settings: Settings::default(),
        };
        Self { config, _dir: dir }
    }

    fn start(&self) -> Service {
        Service::start(self.config.clone()).unwrap()
    }
}

async fn until(service: &Service, what: &str, holds: impl Fn(&Roster) -> bool) -> Arc<Roster> {
    let mut roster: watch::Receiver<Arc<Roster>> = service.roster();
    let wait = roster.wait_for(|roster| holds(roster));
    match tokio::time::timeout(Duration::from_secs(20), wait).await {
        Ok(roster) => Arc::clone(&roster.unwrap()),
        Err(_) => panic!("not {what}"),
    }
}

fn state(roster: &Roster, host: u128) -> Option<MemberState> {
    roster.get(HostId::from_u128(host)).map(|member| member.state)
}

#[tokio::test]
async fn three_agents_find_each_other_and_notice_what_becomes_of_them() {
    use MemberState::{Alive, Dead, Left, Restarting};
    let first = Agent::new(1, None);
    let seed = Some(first.config.advertise);
    let (second, third) = (Agent::new(2, seed), Agent::new(3, seed));
    let (one, two, three) = (first.start(), second.start(), third.start());
    for service in [&one, &two, &three] {
        let all = |roster: &Roster| roster.members.iter().filter(|member| member.state == Alive).count() == 3;
        until(service, "whole", all).await;
    }
    three.stop(Departure::Restarting).await;
    until(&one, "informed about the restart", |roster| state(roster, 3) == Some(Restarting)).await;
    let three = third.start();
    let back = until(&two, "back in a new run", |roster| {
        roster.get(HostId::from_u128(3)).is_some_and(|member| member.state == Alive && member.epoch.run == 2)
    });
    back.await;
    three.stop(Departure::Left).await;
    until(&one, "informed about the leave", |roster| state(roster, 3) == Some(Left)).await;
    drop(two);
    until(&one, "dead without a goodbye", |roster| state(roster, 2) == Some(Dead)).await;
}

#[tokio::test]
async fn a_secret_is_replaced_on_a_live_cluster() {
    let first = Agent::new(1, None);
    let second = Agent::new(2, Some(first.config.advertise));
    let (one, two) = (first.start(), second.start());
    until(&one, "whole", |roster| state(roster, 2) == Some(MemberState::Alive)).await;
    let ring = |bytes: &[u8]| -> Keyring {
        let lines: Vec<String> =
            bytes.iter().map(|byte| Secret::new([*byte; 32]).text().to_string()).collect();
        lines.join("\n").parse().unwrap()
    };
    let mut roster = one.roster();
    roster.mark_unchanged();
    for bytes in [&[1, 2][..], &[2, 1], &[2]] {
        for service in [&one, &two] {
            service.set_keyring(ring(bytes));
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!(!roster.has_changed().unwrap(), "{:?}", roster.borrow());
}

#[tokio::test]
async fn an_address_in_use_is_told() {
    let agent = Agent::new(1, None);
    let _taken = agent.start();
    let error = Service::start(agent.config.clone()).unwrap_err();
    assert!(matches!(error, ServiceError::Bind(address, _) if address == agent.config.advertise), "{error}");
}
