//! Names, queried over UDP and TCP as any client does.

#![allow(clippy::expect_used, reason = "a test may stop at the first thing that is not as expected")]

use std::net::IpAddr;
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use longshore_testkit::bollard::models::{Ipam, IpamConfig, NetworkCreateRequest};
use longshore_testkit::{
    Agent, AgentBuilder, ContainerSpec, Host, Lab, TestError, TestResult, eventually, images,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::engines::problems_of;

const SERVER: &str = "127.0.0.1:7053";

fn with_dns(host: &Host) -> AgentBuilder {
    Agent::on(host).flags(&["--dns", SERVER, "--balancer", "none"])
}

fn query(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(4711, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).expect("a name"), kind));
    message.edns = Some(Edns::new());
    message
}

async fn over_udp(server: &str, request: Vec<u8>) -> std::io::Result<Vec<u8>> {
    let socket = UdpSocket::bind("0.0.0.0:0").await?;
    socket.connect(server).await?;
    socket.send(&request).await?;
    let mut answer = vec![0; 65_535];
    let length = tokio::time::timeout(Duration::from_secs(6), socket.recv(&mut answer)).await??;
    answer.truncate(length);
    Ok(answer)
}

async fn over_tcp(server: &str, request: Vec<u8>) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    stream.write_u16(request.len() as u16).await?;
    stream.write_all(&request).await?;
    let asked = async {
        let mut answer = vec![0; usize::from(stream.read_u16().await?)];
        stream.read_exact(&mut answer).await?;
        Ok(answer)
    };
    tokio::time::timeout(Duration::from_secs(6), asked).await?
}

/// Asks over both, which must give the same answer.
async fn ask(host: &Host, name: &str, kind: RecordType) -> Result<Message, TestError> {
    ask_of(host, SERVER, name, kind).await
}

pub(crate) async fn ask_of(
    host: &Host,
    server: &str,
    name: &str,
    kind: RecordType,
) -> Result<Message, TestError> {
    let request = query(name, kind).to_vec()?;
    let server = server.to_owned();
    let both = host.inside(async move {
        Ok::<_, std::io::Error>((
            over_udp(&server, request.clone()).await?,
            over_tcp(&server, request).await?,
        ))
    });
    let (udp, tcp) = both.await??;
    let (udp, tcp) = (Message::from_vec(&udp)?, Message::from_vec(&tcp)?);
    if udp.metadata.response_code != tcp.metadata.response_code || udp.answers.len() != tcp.answers.len() {
        return Err(format!("UDP and TCP disagree: {udp} and {tcp}").into());
    }
    Ok(udp)
}

/// Returns the addresses of a name, in order, or the code if it has none.
async fn addresses(host: &Host, name: &str) -> Result<Vec<IpAddr>, String> {
    let told = |error: TestError| format!("{error:?}");
    let mut found = Vec::new();
    for kind in [RecordType::A, RecordType::AAAA] {
        let message = ask(host, name, kind).await.map_err(told)?;
        if message.metadata.response_code != ResponseCode::NoError {
            return Err(format!("{:?}", message.metadata.response_code));
        }
        found.extend(message.answers.iter().filter_map(|record| record.data.ip_addr()));
    }
    found.sort();
    Ok(found)
}

/// Waits until a name has exactly these addresses.
async fn leads_to(host: &Host, name: &str, wanted: &[IpAddr]) {
    let mut wanted = wanted.to_vec();
    wanted.sort();
    eventually(&format!("{name} leads to {wanted:?}"), async || {
        addresses(host, name).await.as_ref() == Ok(&wanted)
    })
    .await;
}

async fn is_gone(host: &Host, name: &str) {
    eventually(&format!("{name} is gone"), async || {
        addresses(host, name).await == Err("NXDomain".to_owned())
    })
    .await;
}

fn own_name(host: &Host, container: &str) -> String {
    format!("{container}.{}.longshore.internal.", host.name)
}

fn ip(container: &longshore_testkit::Container) -> IpAddr {
    container.ip.expect("it has an address")
}

#[tokio::test]
async fn a_container_has_its_name_from_its_start_to_its_end() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let agent = with_dns(host).start().await?;
    let mut web = host.create(ContainerSpec::server()).await?;
    let name = own_name(host, &web.name);
    is_gone(host, &name).await;
    web.start().await?;
    leads_to(host, &name, &[ip(&web)]).await;
    leads_to(host, &name.to_uppercase(), &[ip(&web)]).await;
    let answer = ask(host, &name, RecordType::A).await?;
    assert!(answer.metadata.authoritative && !answer.metadata.recursion_available);
    assert_eq!(answer.answers[0].ttl, 5);
    web.rename(&format!("{}-renamed", web.name)).await?;
    let renamed = own_name(host, &web.name);
    leads_to(host, &renamed, &[ip(&web)]).await;
    is_gone(host, &name).await;
    web.kill().await?;
    is_gone(host, &renamed).await;
    assert!(agent.metric("longshore_dns_queries_total").await?.is_some_and(|asked| asked > 4.0));
    let metrics = agent.get("/metrics").await?.text();
    assert!(metrics.contains("longshore_dns_queries_total{rcode=\"nxdomain\"}"), "{metrics}");
    Ok(())
}

#[tokio::test]
async fn a_stop_signal_takes_the_name_away_at_once() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let _agent = with_dns(host).start().await?;
    let web = host.run(ContainerSpec::server().ignores_term().label("longshore.service", "slow")).await?;
    let name = own_name(host, &web.name);
    leads_to(host, &name, &[ip(&web)]).await;
    let gone = async {
        is_gone(host, &name).await;
        is_gone(host, "slow.longshore.internal.").await;
        web.runs().await
    };
    let (stopped, runs) = tokio::join!(web.stop(5), gone);
    stopped?;
    assert!(runs?, "the names went before the container did");
    Ok(())
}

#[tokio::test]
async fn a_service_leads_to_its_healthy_containers_in_turns() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let agent = with_dns(host).start().await?;
    let shop = || ContainerSpec::server().label("longshore.service", "Shop");
    let always = host.run(shop()).await?;
    let checked = host.run(shop().unhealthy().health_check(Duration::from_millis(200))).await?;
    let name = "shop.longshore.internal.";
    leads_to(host, name, &[ip(&always)]).await;
    leads_to(host, &own_name(host, &checked.name), &[ip(&checked)]).await;
    host.post(format!("http://{}/health/pass", ip(&checked))).send().await?;
    leads_to(host, name, &[ip(&always), ip(&checked)]).await;
    let mut first = std::collections::BTreeSet::new();
    for _ in 0..4 {
        let request = query(name, RecordType::A).to_vec()?;
        let answer = host.inside(async move { over_udp(SERVER, request).await }).await??;
        first.extend(Message::from_vec(&answer)?.answers.first().and_then(|record| record.data.ip_addr()));
    }
    assert_eq!(first.len(), 2, "each is the first at times");
    host.post(format!("http://{}/health/fail", ip(&checked))).send().await?;
    leads_to(host, name, &[ip(&always)]).await;
    let names = agent.cli(&["names"]).await?;
    assert!(names.starts_with("NAME") && names.contains("shop.longshore.internal"), "{names}");
    assert!(names.contains(&format!("({}.{}.longshore.internal)", checked.name, host.name)), "{names}");
    let json: serde_json::Value = serde_json::from_str(&agent.cli(&["names", "--json"]).await?)?;
    assert_eq!(json, agent.api("/v1/names").await?);
    let service = json.as_array().and_then(|names| names.iter().find(|n| n["kind"] == "service"));
    assert_eq!(service.map(|s| s["addresses"].clone()), Some(serde_json::json!([ip(&always).to_string()])));
    let document = agent.api("/openapi.json").await?;
    assert!(document["paths"]["/v1/names"]["get"].is_object());
    Ok(())
}

#[tokio::test]
async fn what_is_there_without_addresses_is_no_absence() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let _agent = with_dns(host).start().await?;
    let none = host.run(ContainerSpec::server().network("none")).await?;
    let on_host = host.run(ContainerSpec::server().network("host").http_on(&[8098])).await?;
    leads_to(host, &own_name(host, &none.name), &[]).await;
    leads_to(host, &own_name(host, &on_host.name), &[host.address]).await;
    for name in [own_name(host, &none.name), format!("{}.longshore.internal.", host.name)] {
        let answer = ask(host, &name, RecordType::A).await?;
        assert_eq!(answer.metadata.response_code, ResponseCode::NoError, "{name}");
        assert!(answer.authorities.iter().any(|r| matches!(r.data, RData::SOA(_))), "{name}: {answer:?}");
    }
    let absent = ask(host, "nobody.longshore.internal.", RecordType::A).await?;
    assert_eq!(absent.metadata.response_code, ResponseCode::NXDomain);
    assert!(absent.authorities.iter().any(|r| matches!(r.data, RData::SOA(_))), "{absent:?}");
    Ok(())
}

#[tokio::test]
async fn srv_records_name_the_ports_of_labels_and_images() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let _agent = with_dns(host).start().await?;
    let spec = ContainerSpec::server()
        .http_on(&[8080])
        .label("longshore.http.8080.host", "s.test")
        .label("longshore.service", "shop")
        .publish_udp(0, 5353);
    let web = host.run(spec).await?;
    let own = own_name(host, &web.name);
    leads_to(host, &own, &[ip(&web)]).await;
    for (name, wanted) in [
        (own.clone(), vec![80, 5353, 8080]),
        ("_http._tcp.shop.longshore.internal.".to_owned(), vec![8080]),
        (format!("_5353._udp.{own}"), vec![5353]),
    ] {
        let answer = ask(host, &name, RecordType::SRV).await?;
        let mut ports: Vec<u16> = Vec::new();
        for record in &answer.answers {
            let RData::SRV(srv) = &record.data else { panic!("{record:?}") };
            assert_eq!(srv.target.to_string(), own);
            ports.push(srv.port);
        }
        ports.sort_unstable();
        assert_eq!(ports, wanted, "{name}");
        let beside: Vec<_> = answer.additionals.iter().filter_map(|record| record.data.ip_addr()).collect();
        assert_eq!(beside, [ip(&web)], "{name}");
    }
    Ok(())
}

#[tokio::test]
async fn a_container_on_an_ipv6_network_has_an_aaaa_record() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let _agent = with_dns(host).start().await?;
    let subnet = IpamConfig { subnet: Some("fd00:77::/64".to_owned()), ..Default::default() };
    let request = NetworkCreateRequest {
        name: "six".to_owned(),
        driver: Some("bridge".to_owned()),
        enable_ipv6: Some(true),
        ipam: Some(Ipam { config: Some(vec![subnet]), ..Default::default() }),
        ..Default::default()
    };
    host.docker().create_network(request).await?;
    let web = host.run(ContainerSpec::server().network("six")).await?;
    let name = own_name(host, &web.name);
    eventually("it has both addresses", async || {
        addresses(host, &name).await.is_ok_and(|found| found.len() == 2 && found[1].is_ipv6())
    })
    .await;
    let answer = ask(host, &name, RecordType::AAAA).await?;
    assert!(answer.answers[0].data.to_string().starts_with("fd00:77::"), "{answer:?}");
    Ok(())
}

#[tokio::test]
async fn other_domains_are_refused_unless_servers_are_named_for_them() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let other = |api: &str, listen: &str, forward: &[&str]| {
        let flags = ["--balancer", "none", "--dns", listen, "--dns-domain", "other.test"];
        Agent::on(host).listen(api).flags(&flags).flags(forward)
    };
    let upstream = "127.0.0.1:7153";
    let mut second = other("127.0.0.1:7061", upstream, &[]).start().await?;
    let web = host.run(ContainerSpec::server().label("longshore.service", "web")).await?;
    let agent = with_dns(host).start().await?;
    let refused = ask(host, "web.other.test.", RecordType::A).await?;
    assert_eq!(refused.metadata.response_code, ResponseCode::Refused);
    drop(agent);
    let _agent = with_dns(host).flags(&["--dns-forward", upstream]).start().await?;
    leads_to(host, "web.longshore.internal.", &[ip(&web)]).await;
    leads_to(host, "web.other.test.", &[ip(&web)]).await;
    let told = ask(host, "web.other.test.", RecordType::A).await?;
    assert!(!told.metadata.authoritative && told.metadata.recursion_available);
    let absent = ask(host, "nobody.other.test.", RecordType::A).await?;
    assert_eq!(absent.metadata.response_code, ResponseCode::NXDomain);
    assert!(absent.authorities.iter().any(|r| matches!(r.data, RData::SOA(_))), "{absent:?}");
    let empty = ask(host, "web.other.test.", RecordType::TXT).await?;
    assert_eq!((empty.metadata.response_code, empty.answers.len()), (ResponseCode::NoError, 0));
    second.sigterm();
    second.ended_within(Duration::from_secs(10)).await?;
    let failed = ask(host, "web.other.test.", RecordType::A).await?;
    assert_eq!(failed.metadata.response_code, ResponseCode::ServFail);
    leads_to(host, "web.longshore.internal.", &[ip(&web)]).await;
    Ok(())
}

#[tokio::test]
async fn a_server_that_says_nothing_becomes_a_failure_and_holds_up_nobody() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let (silent, _queue) = host
        .inside(async {
            let socket = UdpSocket::bind("127.0.0.1:7153").await?;
            Ok::<_, std::io::Error>((socket, tokio::net::TcpListener::bind("127.0.0.1:7153").await?))
        })
        .await??;
    let _agent = with_dns(host).flags(&["--dns-forward", "127.0.0.1:7153"]).start().await?;
    let web = host.run(ContainerSpec::server()).await?;
    leads_to(host, &own_name(host, &web.name), &[ip(&web)]).await;
    let slow = ask(host, "example.com.", RecordType::A);
    let meanwhile = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let began = std::time::Instant::now();
        let found = addresses(host, &own_name(host, &web.name)).await;
        (found, began.elapsed())
    };
    let (slow, (found, took)) = tokio::join!(slow, meanwhile);
    assert_eq!(slow?.metadata.response_code, ResponseCode::ServFail);
    assert_eq!(found, Ok(vec![ip(&web)]));
    assert!(took < Duration::from_secs(1), "{took:?}");
    drop(silent);
    Ok(())
}

#[tokio::test]
async fn rubbish_and_silence_are_survived() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let agent = with_dns(host).start().await?;
    let web = host.run(ContainerSpec::server()).await?;
    let name = own_name(host, &web.name);
    leads_to(host, &name, &[ip(&web)]).await;
    let valid = query(&name, RecordType::A).to_vec()?;
    let silent = host
        .inside(async move {
            let mut state = 0x9E37_79B9_7F4A_7C15_u64;
            let mut noise = move |length: usize| -> Vec<u8> {
                let next = || {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    (state >> 32) as u8
                };
                std::iter::repeat_with(next).take(length).collect()
            };
            let socket = UdpSocket::bind("127.0.0.1:0").await?;
            socket.connect(SERVER).await?;
            for n in 0..5000 {
                let mut datagram = noise(n % 600);
                if n % 2 == 0 {
                    // Half valid: a real request with a part replaced.
                    let at = n % valid.len();
                    let mut request = valid.clone();
                    request.splice(at.., datagram.drain(..).take(40));
                    datagram = request;
                }
                socket.send(&datagram).await?;
                if n % 64 == 0 {
                    tokio::task::yield_now().await;
                }
            }
            socket.send(&noise(65_000)).await?;
            for length in [0_usize, 1, 11, 12, 65_535] {
                let mut stream = TcpStream::connect(SERVER).await?;
                // The server may stop reading early.
                let _ = stream.write_u16(length as u16).await;
                let _ = stream.write_all(&noise(length)).await;
                let _ = tokio::time::timeout(Duration::from_millis(300), stream.read_to_end(&mut Vec::new()))
                    .await;
            }
            let mut silent = Vec::new();
            for n in 0..200_u16 {
                let mut stream = TcpStream::connect(SERVER).await?;
                if n % 2 == 0 {
                    // A length without the rest.
                    stream.write_u16(60_000).await?;
                }
                silent.push(stream);
            }
            Ok::<_, std::io::Error>(silent)
        })
        .await??;
    let request = query(&name, RecordType::A).to_vec()?;
    let answer = host.inside(async move { over_udp(SERVER, request).await }).await??;
    assert_eq!(Message::from_vec(&answer)?.answers.len(), 1, "UDP goes on whoever holds connections");
    leads_to(host, &name, &[ip(&web)]).await;
    drop(silent);
    leads_to(host, &name, &[ip(&web)]).await;
    assert_eq!(agent.get("/readyz").await?.status, 200);
    Ok(())
}

#[tokio::test]
async fn a_port_that_is_taken_is_a_problem_until_it_is_free() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let holder = host.inside(async { UdpSocket::bind(SERVER).await }).await??;
    let agent = with_dns(host).start().await?;
    eventually("the problem is told", async || {
        agent.cli(&["problems"]).await.is_ok_and(|told| told.contains("DNS at 127.0.0.1:7053"))
    })
    .await;
    let web = host.run(ContainerSpec::server()).await?;
    drop(holder);
    leads_to(host, &own_name(host, &web.name), &[ip(&web)]).await;
    eventually("the problem is gone", async || {
        agent.cli(&["problems"]).await.is_ok_and(|told| told == "no problems\n")
    })
    .await;
    Ok(())
}

#[tokio::test]
async fn a_bad_service_label_costs_the_service_only() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let agent = with_dns(host).start().await?;
    let web = host.run(ContainerSpec::server().label("longshore.service", "no good")).await?;
    leads_to(host, &own_name(host, &web.name), &[ip(&web)]).await;
    let told = problems_of(&agent, &web.id).await;
    assert!(
        told.len() == 1 && told[0].starts_with("longshore.service: invalid service name \"no good\""),
        "{told:?}"
    );
    Ok(())
}

/// Repeats one question, one client after another, until stopped; counts in `asked` and returns the wrong
/// answers.
async fn keep_asking<F>(
    ask: impl Fn(Vec<u8>) -> F,
    name: String,
    ip: IpAddr,
    asked: watch::Sender<u32>,
    stop: CancellationToken,
) -> Vec<String>
where
    F: Future<Output = std::io::Result<Vec<u8>>>,
{
    let request = query(&name, RecordType::A).to_vec().expect("a request");
    let mut wrong = Vec::new();
    while !stop.is_cancelled() {
        let answer = ask(request.clone()).await.map(|answer| Message::from_vec(&answer));
        match answer {
            Ok(Ok(answer)) if answer.answers.iter().map(|record| record.data.ip_addr()).eq([Some(ip)]) => {}
            other => wrong.push(format!("{other:?}")),
        }
        asked.send_modify(|count| *count += 1);
    }
    wrong
}

/// SIGUSR2: with the built-in balancer a successor starts next to the agent; with the others the process is
/// replaced.
async fn replaced_while_asked(balancer: &str) -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let agent = Agent::on(host).balancer(balancer).flags(&["--dns", SERVER]).start().await?;
    let web = host.run(ContainerSpec::server()).await?;
    let name = own_name(host, &web.name);
    leads_to(host, &name, &[ip(&web)]).await;
    let (stop, (asked, mut counted)) = (CancellationToken::new(), watch::channel(0));
    let over_udp = keep_asking(|q| over_udp(SERVER, q), name.clone(), ip(&web), asked.clone(), stop.clone());
    let over_tcp = keep_asking(|q| over_tcp(SERVER, q), name.clone(), ip(&web), asked, stop.clone());
    let askers = async { host.inside(async { tokio::join!(over_udp, over_tcp) }).await };
    let replaced = async {
        agent.sigusr2();
        eventually("another agent answers", async || {
            let log = agent.log();
            ["agent started", "answering DNS"].iter().all(|words| log.matches(words).count() == 2)
        })
        .await;
        let so_far = *counted.borrow();
        let _ = counted.wait_for(|count| *count > so_far + 200).await;
        stop.cancel();
    };
    let (wrong, ()) = tokio::join!(askers, replaced);
    assert_eq!(wrong?, (vec![], vec![]), "{}", agent.log());
    Ok(())
}

#[tokio::test]
async fn a_successor_takes_over_without_an_unanswered_question() -> TestResult {
    replaced_while_asked("built-in").await
}

#[tokio::test]
async fn an_agent_that_begins_again_beside_haproxy_leaves_no_question_unanswered() -> TestResult {
    replaced_while_asked("haproxy").await
}

#[tokio::test]
async fn an_agent_that_begins_again_without_a_balancer_leaves_no_question_unanswered() -> TestResult {
    replaced_while_asked("none").await
}

#[tokio::test]
async fn a_single_pass_opens_no_port() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    for pass in ["--once", "--dry-run"] {
        let mut agent = Agent::on(host).flags(&["--dns", SERVER, pass]).spawn()?;
        assert!(agent.ended_within(Duration::from_secs(20)).await?.success(), "{}", agent.log());
        assert!(!agent.log().contains("DNS"), "{}", agent.log());
    }
    let agent = Agent::on(host).start().await?;
    let refused = agent.get("/v1/names").await?;
    assert_eq!(refused.status, 404);
    assert!(refused.text().contains("--dns"), "{}", refused.text());
    Ok(())
}

#[tokio::test]
async fn a_container_asks_by_dockers_own_option() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let web = host.run(ContainerSpec::server().label("longshore.service", "shop")).await?;
    let networks = web.inspect().await?.network_settings.and_then(|settings| settings.networks);
    let gateway = networks.and_then(|networks| networks.get("bridge")?.gateway.clone());
    let gateway = gateway.ok_or("the bridge has no address")?;
    let server = format!("{gateway}:53");
    let _agent = Agent::on(host).flags(&["--dns", &server, "--balancer", "none"]).start().await?;
    eventually("the service has its container", async || {
        let answer = ask_of(host, &server, "shop.longshore.internal.", RecordType::A).await;
        answer.is_ok_and(|answer| answer.answers.len() == 1)
    })
    .await;
    let (docker, line) = (host.docker_host(), "nslookup shop.longshore.internal");
    let asked =
        ["docker", "--host", &docker, "run", "--rm", "--dns", &gateway, images::BUSYBOX, "sh", "-c", line];
    let told = host.exec_in_namespace(&asked).await?;
    assert!(told.contains(&ip(&web).to_string()), "{told}");
    Ok(())
}

#[tokio::test]
async fn a_server_that_would_ask_itself_is_a_mistake() -> TestResult {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_longshore"));
    command.args(["run", "--dns", "0.0.0.0:7053", "--dns-forward", SERVER]);
    let output = command.output().await?;
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("dns-forward") && told.contains("is this DNS server itself"), "{told}");
    Ok(())
}
