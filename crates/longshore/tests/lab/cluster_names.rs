//! Names of containers on other hosts.

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{RData, RecordType};
use longshore_testkit::{AgentBuilder, ContainerSpec, Host, Lab, TestResult, eventually};

use crate::cluster::{member, secret, sees};
use crate::dns::ask_of;

fn with_dns(builder: AgentBuilder) -> AgentBuilder {
    builder.flags(&["--dns", "0.0.0.0:7053", "--balancer", "none"])
}

/// Returns the addresses of a name, then the ports of its SRV records, as one host's server tells another host.
async fn told(asker: &Host, server: &Host, name: &str) -> String {
    let at = format!("{}:7053", server.address);
    let mut parts = Vec::new();
    for kind in [RecordType::A, RecordType::SRV] {
        let Ok(message) = ask_of(asker, &at, name, kind).await else { return "no answer".to_owned() };
        if message.metadata.response_code != ResponseCode::NoError {
            return format!("{:?}", message.metadata.response_code);
        }
        parts.extend(message.answers.iter().filter_map(|record| match &record.data {
            RData::A(ip) => Some(ip.to_string()),
            RData::SRV(srv) => Some(srv.port.to_string()),
            _ => None,
        }));
    }
    parts.sort();
    parts.join(" ")
}

async fn answers(asker: &Host, server: &Host, name: &str, expected: &str) {
    let told = async || told(asker, server, name).await;
    eventually(&format!("{} is told {expected} of {name}", asker.name), async || told().await == expected)
        .await;
}

#[tokio::test]
async fn a_name_is_answered_with_an_address_that_works_for_who_asks() -> TestResult {
    let lab = Lab::up(2).await?;
    let dir = tempfile::tempdir()?;
    let [one, two] = [lab.host(0), lab.host(1)];
    let secret = secret(one, dir.path(), "secret").await?;
    let first = with_dns(member(one, &secret, None)).start().await?;
    let second = with_dns(member(two, &secret, Some(one))).start().await?;
    let both = format!("{}=alive {}=alive", one.name, two.name);
    sees(&first, &both).await;
    sees(&second, &both).await;
    let port = two.free_port().await?;
    let spec = || ContainerSpec::server().http_on(&[80]).label("longshore.http.80.host", "web.test");
    let published = two.run(spec().publish(port, 80).label("longshore.service", "shop")).await?;
    let inside = two.run(spec().label("longshore.service", "shop")).await?;
    let name = |container: &longshore_testkit::Container| {
        format!("{}.{}.longshore.internal.", container.name, two.name)
    };
    let ip =
        |container: &longshore_testkit::Container| container.ip.map(|ip| ip.to_string()).unwrap_or_default();

    // On its own host, at its own address.
    answers(two, two, &name(&published), &format!("{} 80", ip(&published))).await;
    answers(two, two, &name(&inside), &format!("{} 80", ip(&inside))).await;
    // On another host, and from another host, at the port that its host publishes, or not at all.
    for server in [one, two] {
        let mut expected = [two.address.to_string(), port.to_string()];
        expected.sort();
        let expected = expected.join(" ");
        answers(one, server, &name(&published), &expected).await;
        answers(one, server, "shop.longshore.internal.", &expected).await;
        answers(one, server, &name(&inside), "NXDomain").await;
    }
    two.cut().await?;
    answers(one, one, &name(&published), "NXDomain").await;
    two.heal().await?;
    Ok(())
}
