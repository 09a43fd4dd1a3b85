//! Arbitrary datagrams at a membership: as they come from strangers, and sealed as by a host of the cluster that has
//! lost its mind. None may panic, hang, or make the host forget itself; a stranger's is never answered.
#![no_main]

use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use longshore_cluster::members::{At, Config, Core, Output, Settings};
use longshore_cluster::seal::{Kind, Sealer};
use longshore_cluster::secret::{Keyring, Secret};
use longshore_model::HostId;
use rand::SeedableRng;
use rand::rngs::StdRng;

const KINDS: [Kind; 6] = [Kind::Hello, Kind::Welcome, Kind::Ready, Kind::Packet, Kind::Ping, Kind::Pong];
const MAX_DATAGRAMS: usize = 64;

fuzz_target!(|bytes: &[u8]| {
    let (seed, ring, me) = ([7; 32], Keyring::new(Secret::new([1; 32])), HostId::from_u128(1));
    let start = Instant::now();
    let mut at = At { now: start, unix: 0 };
    let config = Config {
        cluster: "c".to_owned(),
        host: me,
        name: "host-1".parse().unwrap(),
        address: "10.0.0.1:7052".parse().unwrap(),
        run: 1,
        keyring: ring.clone(),
        remembered: Vec::new(),
        settings: Settings::default(),
    };
    let mut core = Core::new(config, seed, at);
    // The cookie is the first that the core draws.
    let cookie = Sealer::new(&ring, "c", me, 1, &mut StdRng::from_seed(seed)).cookie();
    let mut nonces = StdRng::from_seed([9; 32]);
    let mut sealer = Sealer::new(&ring, "c", HostId::from_u128(2), 1, &mut nonces);
    let from = "10.0.0.2:7052".parse().unwrap();
    let mut rest = bytes;
    for _ in 0..MAX_DATAGRAMS {
        let Some(([how, length, wait], after)) = rest.split_first_chunk::<3>() else { break };
        let (payload, after) = after.split_at(usize::from(*length).min(after.len()));
        rest = after;
        at.now += Duration::from_millis(u64::from(*wait));
        if how & 0x80 != 0 {
            core.take_outputs();
            core.receive(at, from, payload);
            let is_answered = core.take_outputs().iter().any(|output| matches!(output, Output::Send { .. }));
            assert!(!is_answered, "a stranger is answered");
        } else {
            let kind = KINDS[usize::from(*how) % KINDS.len()];
            let datagram = sealer.seal(kind, cookie, 0, payload, &mut nonces).unwrap();
            core.receive(at, from, &datagram);
        }
        core.tick(at);
        core.take_outputs();
        assert!(core.next_tick() > at.now);
    }
    assert!(core.roster().get(me).is_some());
});
