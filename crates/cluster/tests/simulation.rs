//! Hundreds of cores in virtual time, under a seed: what the members of a cluster promise, with loss, delay, doubled
//! and reordered datagrams, cuts, kills, freezes and restarts.
//!
//! `LONGSHORE_SIM_RUNS=N` runs N seeds of each test instead of a few; `LONGSHORE_SIM_SEED=N` begins with seed N.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout, unreachable_pub)]

mod cluster;

use std::collections::BTreeMap;

use cluster::{Cluster, Link, ms, secs, seeds};
use longshore_cluster::members::MemberState::{Alive, Dead, Left, Restarting, Suspect};
use longshore_cluster::members::{Command, Departure};

#[test]
fn a_cut_off_host_is_suspect_at_once_dead_after_two_seconds_and_whole_again_within_one() {
    for seed in seeds(6) {
        let mut cluster = Cluster::whole(6, seed);
        let host = cluster.pick();
        cluster.isolate(host);
        let cut = cluster.now();
        let others: Vec<usize> = cluster.others(&[host]).collect();
        cluster.until(ms(600), "suspect on all", |cluster| {
            others.iter().all(|other| cluster.state(*other, host) == Some(Suspect))
        });
        cluster.until(cluster.since(cut, ms(700)), "all others suspect there", |cluster| {
            others.iter().all(|other| cluster.state(host, *other) == Some(Suspect))
        });
        cluster.run_until(cut + ms(1_950));
        for other in &others {
            assert_eq!(cluster.state(*other, host), Some(Suspect), "seed {seed}: not dead before its time");
        }
        cluster.until(cluster.since(cut, ms(2_600)), "dead on all", |cluster| {
            others.iter().all(|other| cluster.state(*other, host) == Some(Dead))
        });
        cluster.run(secs(1));
        cluster.heal();
        cluster.until(secs(1), "whole again", Cluster::is_whole);
        cluster.assert_quiet(secs(3));
    }
}

#[test]
fn at_a_hundred_hosts_a_killed_one_is_suspect_within_a_second() {
    for seed in seeds(1) {
        let mut cluster = Cluster::whole(100, seed);
        let host = cluster.pick();
        cluster.kill(host);
        let others: Vec<usize> = cluster.others(&[host]).collect();
        cluster.until(secs(1), "suspect on all", |cluster| {
            others.iter().all(|other| cluster.state(*other, host) == Some(Suspect))
        });
        cluster.until(ms(1_900), "dead on all", |cluster| {
            others.iter().all(|other| cluster.state(*other, host) == Some(Dead))
        });
    }
}

#[test]
fn an_idle_host_of_a_hundred_sends_little_and_raises_no_alarm() {
    for seed in seeds(1) {
        let mut cluster = Cluster::whole(100, seed);
        cluster.run(secs(5));
        let before = cluster.sent_bytes();
        cluster.assert_quiet(secs(5));
        let per_host = (cluster.sent_bytes() - before) / 100 / 5;
        println!("{per_host} bytes per second and host");
        assert!(per_host < 20_000, "{per_host} bytes per second and host");
    }
}

#[test]
fn halves_each_go_on_and_are_whole_again_within_a_second() {
    for (hosts, seed) in seeds(4).map(|seed| (6, seed)).chain(seeds(1).map(|seed| (40, seed))) {
        for length in [ms(1_000), secs(5)] {
            let mut cluster = Cluster::whole(hosts, seed);
            cluster.halve();
            cluster.run(length);
            if length > secs(3) {
                for (from, to) in cluster.pairs() {
                    let expected = if (from < hosts / 2) == (to < hosts / 2) { Alive } else { Dead };
                    assert_eq!(
                        cluster.state(from, to),
                        Some(expected),
                        "seed {seed}: {to} as {from} sees it"
                    );
                }
            }
            cluster.heal();
            cluster.until(secs(1), "whole again", Cluster::is_whole);
            cluster.assert_quiet(secs(3));
        }
    }
}

#[test]
fn a_cut_pair_is_seen_by_the_two_and_nobody_is_suspected() {
    for seed in seeds(4) {
        let mut cluster = Cluster::whole(6, seed);
        cluster.cut(1, 2);
        cluster.until(secs(1), "unreachable from each other", |cluster| {
            cluster.is_unreachable(1, 2) && cluster.is_unreachable(2, 1)
        });
        cluster.assert_quiet(secs(5));
        let unreachable: Vec<_> =
            cluster.pairs().into_iter().filter(|(from, to)| cluster.is_unreachable(*from, *to)).collect();
        assert_eq!(unreachable, [(1, 2), (2, 1)]);
        cluster.heal();
        cluster.until(secs(1), "reachable again", |cluster| {
            !cluster.is_unreachable(1, 2) && !cluster.is_unreachable(2, 1)
        });
    }
}

#[test]
fn a_way_that_is_cut_in_one_direction_is_unreachable_in_both() {
    for seed in seeds(2) {
        let mut cluster = Cluster::whole(6, seed);
        cluster.cut_one_way(1, 2);
        cluster.until(secs(1), "no answer either way", |cluster| {
            cluster.is_unreachable(1, 2) && cluster.is_unreachable(2, 1)
        });
        cluster.assert_quiet(secs(3));
    }
}

#[test]
fn a_frozen_host_doubts_itself_and_not_the_others() {
    for seed in seeds(4) {
        for length in [ms(1_500), secs(5)] {
            let mut cluster = Cluster::whole(6, seed);
            let host = cluster.pick();
            cluster.freeze(host);
            let others: Vec<usize> = cluster.others(&[host]).collect();
            cluster.until(ms(600), "suspect on all", |cluster| {
                others.iter().all(|other| cluster.state(*other, host) == Some(Suspect))
            });
            cluster.run(length - ms(600));
            cluster.watch_alarms();
            cluster.thaw(host);
            cluster.until(secs(1), "whole again", Cluster::is_whole);
            let alarms = cluster.alarms_of(host);
            assert!(alarms.is_empty(), "seed {seed}: the frozen host suspected {alarms:?}");
            cluster.assert_quiet(secs(3));
        }
    }
}

#[test]
fn a_host_that_missed_all_datagrams_of_its_freeze_does_not_hold_itself_for_cut_off() {
    for seed in seeds(4) {
        let mut cluster = Cluster::whole(6, seed);
        let host = cluster.pick();
        cluster.freeze(host);
        cluster.run(secs(5));
        cluster.watch_alarms();
        cluster.thaw_deaf(host);
        cluster.until(secs(1), "whole again", Cluster::is_whole);
        let alarms = cluster.alarms_of(host);
        assert!(alarms.is_empty(), "seed {seed}: the frozen host suspected {alarms:?}");
    }
}

#[test]
fn a_host_whose_thread_is_late_again_and_again_suspects_nobody() {
    for seed in seeds(2) {
        let mut cluster = Cluster::whole(6, seed);
        cluster.watch_alarms();
        for _ in 0..20 {
            cluster.freeze(3);
            cluster.run(ms(200));
            cluster.thaw(3);
            cluster.run(ms(70));
        }
        assert!(cluster.alarms_of(3).is_empty(), "seed {seed}");
    }
}

#[test]
fn with_lossy_slow_and_doubling_links_all_agree_once_quiet() {
    for seed in seeds(4) {
        let link = Link { loss: 0.1, delay: ms(1)..ms(25), doubled: 0.1 };
        let mut cluster = Cluster::new(8, seed, link);
        cluster.join_all();
        cluster.until(secs(3), "whole", Cluster::is_whole);
        cluster.run(secs(20));
        cluster.set_link(Link::default());
        cluster.until(secs(2), "whole", Cluster::is_whole);
    }
}

#[test]
fn without_faults_but_with_one_percent_of_loss_there_is_no_alarm() {
    for seed in seeds(2) {
        let link = Link { loss: 0.01, delay: ms(0)..ms(5), doubled: 0.01 };
        let mut cluster = Cluster::new(6, seed, link);
        cluster.join_all();
        cluster.until(secs(3), "whole", Cluster::is_whole);
        cluster.assert_quiet(secs(60));
    }
}

#[test]
fn whatever_happens_all_agree_once_quiet() {
    for seed in seeds(8) {
        let mut cluster = Cluster::whole(7, seed);
        for _ in 0..12 {
            cluster.something_happens();
            cluster.run_random(3_000);
        }
        cluster.everything_is_well();
        cluster.until(secs(2), "whole", Cluster::is_whole);
        cluster.assert_quiet(secs(5));
    }
}

#[test]
fn a_network_that_was_away_for_everybody_makes_one_cluster_again_without_a_seed() {
    for seed in seeds(3) {
        let mut cluster = Cluster::whole(6, seed);
        cluster.kill(0);
        for host in cluster.others(&[0]).collect::<Vec<_>>() {
            cluster.command(host, Command::Join(Vec::new()));
            cluster.isolate(host);
        }
        cluster.run(secs(5));
        // The switch comes back in parts: pairs first, so that nobody is alone any more.
        cluster.mend(1, 2);
        cluster.mend(3, 4);
        cluster.run(secs(3));
        cluster.heal();
        cluster.until(secs(1), "whole again", Cluster::is_whole);
    }
}

#[test]
fn a_restart_is_no_death_and_gives_up_nothing() {
    for seed in seeds(3) {
        let mut cluster = Cluster::whole(6, seed);
        cluster.command(2, Command::Stop(Departure::Restarting));
        cluster.run(ms(400));
        assert!(cluster.has_stopped(2), "seed {seed}: the goodbye takes a moment only");
        cluster.kill(2);
        let others: Vec<usize> = cluster.others(&[2]).collect();
        let all =
            |cluster: &Cluster, state| others.iter().all(|other| cluster.state(*other, 2) == Some(state));
        assert!(all(&cluster, Restarting), "seed {seed}: {}", cluster.describe());
        cluster.run(secs(10));
        assert!(all(&cluster, Restarting), "seed {seed}: {}", cluster.describe());
        cluster.start(2);
        cluster.until(secs(1), "whole again", Cluster::is_whole);
        cluster.command(2, Command::Stop(Departure::Restarting));
        cluster.run(ms(400));
        cluster.kill(2);
        cluster.run(secs(29));
        assert!(all(&cluster, Restarting), "seed {seed}: {}", cluster.describe());
        cluster.run(secs(2));
        assert!(all(&cluster, Dead), "seed {seed}: {}", cluster.describe());
    }
}

#[test]
fn who_leaves_has_left_and_stays_so_until_it_joins_again() {
    for seed in seeds(3) {
        let mut cluster = Cluster::whole(6, seed);
        cluster.command(4, Command::Stop(Departure::Left));
        cluster.run(ms(400));
        cluster.kill(4);
        let others: Vec<usize> = cluster.others(&[4]).collect();
        let all = |cluster: &Cluster| others.iter().all(|other| cluster.state(*other, 4) == Some(Left));
        assert!(all(&cluster), "seed {seed}: {}", cluster.describe());
        cluster.run(secs(5));
        assert!(all(&cluster), "seed {seed}: {}", cluster.describe());
        cluster.start(4);
        cluster.until(secs(1), "whole again", Cluster::is_whole);
    }
}

#[test]
fn a_quick_restart_shows_as_a_new_run_whatever_the_clock_says() {
    for seed in seeds(3) {
        let mut cluster = Cluster::whole(6, seed);
        let before: BTreeMap<usize, u32> = (0..6).map(|host| (host, cluster.run_of(host, 1))).collect();
        cluster.kill(1);
        cluster.set_clock(1, -3_600);
        cluster.start(1);
        cluster.until(secs(1), "the new run is known", |cluster| {
            cluster.is_whole() && (0..6).all(|host| cluster.run_of(host, 1) > before[&host])
        });
        cluster.assert_quiet(secs(5));
        assert_eq!(cluster.renewals(1), 0, "a clock that was set back makes no renewals");
        cluster.until(secs(5), "the clock is told", |cluster| cluster.clock_ahead(0, 1) <= -3_595);
    }
}

#[test]
fn a_data_directory_from_a_backup_is_overtaken_once() {
    for seed in seeds(3) {
        let mut cluster = Cluster::whole(4, seed);
        for _ in 0..3 {
            cluster.kill(1);
            cluster.start(1);
            cluster.run(secs(1));
        }
        let run = cluster.run_of(0, 1);
        cluster.kill(1);
        cluster.forget_runs(1);
        cluster.start(1);
        cluster.until(secs(2), "it is above its last run", |cluster| {
            cluster.is_whole() && cluster.run_of(0, 1) > run && cluster.saved_run(1) > run
        });
        cluster.assert_quiet(secs(5));
        assert!(!cluster.roster(1).id_in_use_elsewhere);
    }
}

#[test]
fn two_agents_with_one_id_are_told_and_do_not_storm() {
    for seed in seeds(2) {
        let mut cluster = Cluster::whole(4, seed);
        let twin = cluster.add_twin_of(1);
        cluster.run(secs(5));
        let before = cluster.sent_bytes();
        cluster.run(secs(10));
        let per_host = (cluster.sent_bytes() - before) / 5 / 10;
        assert!(per_host < 40_000, "seed {seed}: {per_host} bytes per second and host");
        assert!(cluster.roster(1).id_in_use_elsewhere || cluster.roster(twin).id_in_use_elsewhere);
        for (from, to) in [(0, 2), (2, 3), (3, 0)] {
            assert_eq!(cluster.state(from, to), Some(Alive), "seed {seed}: it harms nobody else");
        }
        cluster.kill(twin);
        cluster.run(secs(5));
        cluster.until(secs(5), "whole again", Cluster::is_whole);
    }
}

#[test]
fn of_two_hosts_with_one_name_the_later_is_refused_on_both() {
    for seed in seeds(2) {
        let mut cluster = Cluster::new(3, seed, Link::default());
        cluster.rename(2, "host-1");
        cluster.join_all();
        cluster.until(secs(2), "whole", Cluster::is_whole);
        for host in 0..3 {
            let problems = cluster.roster(host).problems();
            assert_eq!(problems.len(), 1, "seed {seed}: {problems:?}");
            assert_eq!(problems[0].0, cluster.id(2));
        }
        cluster.kill(2);
        cluster.rename(2, "host-2");
        cluster.start(2);
        cluster.until(secs(1), "whole and without problems", |cluster| {
            cluster.is_whole() && (0..3).all(|host| cluster.roster(host).problems().is_empty())
        });
    }
}

#[test]
fn neither_strangers_nor_neighbours_are_answered_or_admitted() {
    let mut cluster = Cluster::whole(3, 1);
    let stranger = cluster.add_with_secret(9, "c");
    let neighbour = cluster.add_with_secret(1, "another");
    for host in [stranger, neighbour] {
        let sent = cluster.sent_to(host);
        cluster.run(secs(5));
        assert_eq!(cluster.sent_to(host), sent, "not a byte is sent to it");
        assert_eq!(cluster.roster(host).members.len(), 1);
    }
    assert_eq!(cluster.roster(0).members.len(), 3);
}

#[test]
fn what_was_recorded_is_worth_nothing_to_who_replays_it() {
    for seed in seeds(2) {
        let mut cluster = Cluster::whole(4, seed);
        cluster.record();
        cluster.run(secs(3));
        // Yesterday's datagrams, all of them, against hosts that have restarted, and against the same hosts.
        cluster.kill(1);
        cluster.run(secs(4));
        cluster.kill(2);
        cluster.start(2);
        cluster.until(secs(1), "whole but for one", |cluster| {
            [(0, 2), (2, 3), (3, 2), (2, 0)].iter().all(|(from, to)| cluster.state(*from, *to) == Some(Alive))
        });
        cluster.watch_alarms();
        let answered = cluster.replay();
        cluster.run(secs(3));
        for host in [0, 2, 3] {
            assert_ne!(cluster.state(host, 1), Some(Alive), "seed {seed}: a recording does not revive");
        }
        assert!(cluster.alarms().is_empty(), "seed {seed}: {:?}", cluster.alarms());
        assert!(answered > 100, "seed {seed}: {answered} datagrams were replayed");
    }
}

#[test]
fn a_recording_keeps_nobody_alive_for_a_host_that_restarted_and_is_cut_off() {
    for seed in seeds(2) {
        let mut cluster = Cluster::whole(4, seed);
        cluster.record();
        cluster.run(secs(3));
        let mut recorded = cluster.recorded();
        recorded.retain(|(to, _, _)| *to == 2);
        // What it has seen is forgotten with its run: the numbers alone do not tell what is old.
        cluster.kill(2);
        cluster.start(2);
        cluster.until(secs(1), "whole again", Cluster::is_whole);
        cluster.isolate(2);
        assert!(cluster.replay_over(&recorded, secs(6)) > 50, "seed {seed}");
        cluster.until(ms(700), "all others suspect there", |cluster| {
            cluster.others(&[2]).all(|other| cluster.state(2, other) == Some(Suspect))
        });
        cluster.until(ms(2_000), "all others dead there", |cluster| {
            cluster.others(&[2]).all(|other| cluster.state(2, other) == Some(Dead))
        });
    }
}

#[test]
fn five_hundred_hosts_with_loss_and_clocks_apart_notice_a_kill_a_freeze_and_a_half() {
    // In an unoptimized build this takes minutes.
    if std::env::var_os("LONGSHORE_SIM_RUNS").is_none() {
        return;
    }
    for seed in seeds(1) {
        let link = Link { loss: 0.01, delay: ms(0)..ms(5), doubled: 0.01 };
        let mut cluster = Cluster::new(500, seed, link);
        cluster.set_clock(11, 3_600);
        cluster.set_clock(12, -3_600);
        cluster.join_all();
        cluster.until(secs(20), "whole", Cluster::is_whole);
        cluster.run(secs(5));
        let suspects = |cluster: &Cluster, gone: usize| {
            cluster.others(&[gone]).all(|other| matches!(cluster.state(other, gone), Some(Suspect | Dead)))
        };

        cluster.kill(77);
        cluster.until(secs(3), "the killed one is suspect on all", |cluster| suspects(cluster, 77));
        cluster.start(77);
        cluster.until(secs(3), "whole after its start", Cluster::is_whole);

        cluster.freeze(33);
        cluster.until(secs(3), "the frozen one is suspect on all", |cluster| suspects(cluster, 33));
        cluster.run(secs(3));
        cluster.watch_alarms();
        cluster.thaw(33);
        cluster.until(secs(3), "whole after the freeze", Cluster::is_whole);
        assert!(cluster.alarms_of(33).is_empty(), "seed {seed}: the frozen host suspected others");

        cluster.halve();
        cluster.run(secs(5));
        cluster.heal();
        cluster.until(secs(5), "whole again", Cluster::is_whole);
        cluster.set_link(Link::default());
        cluster.run(secs(2));
        cluster.assert_quiet(secs(5));
    }
}
