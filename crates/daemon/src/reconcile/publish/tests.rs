//! A publisher against a real etcd on the loopback, without Docker.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use longshore_model::{Container, Endpoint, HostId, RunState};
use longshore_runtime::Problems;
use longshore_runtime::state::Reader;
use tokio_util::sync::CancellationToken;

use super::*;
use longshore_docker::DockerClient;

use crate::config::{DockerAddress, DockerSettings};

/// An etcd that ends with the test.
struct Server {
    child: Child,
    url: String,
    dir: tempfile::TempDir,
}

impl Server {
    fn start() -> Self {
        let url = || {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            format!("http://{}", listener.local_addr().unwrap())
        };
        let (client, peer) = (url(), url());
        let dir = tempfile::tempdir().unwrap();
        let child = Command::new("etcd")
            .args(["--name", "m0", "--data-dir"])
            .arg(dir.path().join("etcd"))
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("m0={peer}")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("etcd is installed by `cargo xtask setup`");
        Self { child, url: client, dir }
    }

    fn job(&self) -> PublishJob {
        PublishJob {
            endpoints: vec![self.url.clone()],
            prefix: None,
            skydns: None,
            env: false,
            lease: Duration::from_secs(30),
            user: None,
            password_file: None,
            ca: None,
            identity: None,
        }
    }

    /// Returns a publisher of the host with this name, without Docker.
    fn publisher(&self, node: &str) -> Publisher {
        let address = DockerAddress::Unix(self.dir.path().join("none.sock"));
        let docker = DockerSettings { address, cert_path: None, include_env: false };
        let context = FollowerContext {
            node: node.to_owned(),
            world: Reader::default(),
            problems: Problems::default(),
            statuses: longshore_runtime::StatusBoard::default(),
            stop: CancellationToken::new(),
            unsettled: tokio::sync::watch::Sender::default(),
        };
        Publisher::new(
            &context,
            DockerClient::new(docker).inspections().clone(),
            self.dir.path(),
            None,
            Some("a/handler"),
            &self.job(),
        )
    }

    fn etcd(&self) -> Etcd {
        Etcd::new(&self.job())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until etcd serves, and returns the lease.
async fn held(publisher: &mut Publisher) -> LeaseId {
    for _ in 0..400 {
        if let Ok(lease) = publisher.hold().await {
            return lease;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("etcd does not serve");
}

async fn keys(server: &Server, lease: LeaseId) -> Option<Vec<String>> {
    let found = server.etcd().attached(lease).await.unwrap();
    found.map(|(_, keys)| keys.into_iter().collect())
}

fn put(key: &str) -> KeyChange {
    KeyChange::Put { key: key.to_owned(), value: "{}".to_owned(), container: ContainerId::new("a") }
}

#[tokio::test]
async fn a_publisher_that_is_withdrawn_takes_its_keys_and_its_lease_with_it() {
    let server = Server::start();
    let mut publisher = server.publisher("h1");
    let lease = held(&mut publisher).await;
    publisher.apply(lease, vec![put("/longshore/containers/h1/a"), put("/skydns/x")]).await.unwrap();
    assert_eq!(keys(&server, lease).await.unwrap().len(), 2);
    publisher.withdraw().await;
    assert_eq!(keys(&server, lease).await, None);
    assert_ne!(held(&mut server.publisher("h1")).await, lease, "it is remembered no more");
}

#[tokio::test]
async fn a_lease_is_taken_over_by_the_same_host_only() {
    let server = Server::start();
    let mut publisher = server.publisher("h1");
    let lease = held(&mut publisher).await;
    drop(publisher);
    assert_eq!(held(&mut server.publisher("h1")).await, lease);
    let mut copy = server.publisher("a-copy-of-h1");
    assert_ne!(held(&mut copy).await, lease);
    let own = held(&mut copy).await;
    copy.withdraw().await;
    assert_eq!((keys(&server, own).await, keys(&server, lease).await), (None, Some(Vec::new())));
}

#[tokio::test]
async fn a_key_that_somebody_else_wrote_since_is_not_deleted() {
    let server = Server::start();
    let mut publisher = server.publisher("h1");
    let lease = held(&mut publisher).await;
    publisher.apply(lease, vec![put("a"), put("b")]).await.unwrap();
    let etcd = server.etcd();
    let strangers = etcd.grant(Duration::from_secs(30)).await.unwrap();
    etcd.apply(strangers, vec![put("a")], |_| {}).await.unwrap();
    let delete = |key: &str| KeyChange::Delete { key: key.to_owned() };
    publisher.apply(lease, vec![delete("a"), delete("b")]).await.unwrap();
    assert_eq!(keys(&server, lease).await.unwrap(), Vec::<String>::new());
    assert_eq!(keys(&server, strangers).await.unwrap(), ["a"]);
}

#[tokio::test]
async fn many_changes_go_in_as_many_transactions_as_etcd_takes() {
    let server = Server::start();
    let mut publisher = server.publisher("h1");
    let lease = held(&mut publisher).await;
    let changes: Vec<_> = (0..350).map(|n| put(&format!("k{n}"))).collect();
    publisher.apply(lease, changes).await.unwrap();
    assert_eq!((keys(&server, lease).await.unwrap().len(), publisher.ledger.len()), (350, 350));
    let gone = (0..350).map(|n| KeyChange::Delete { key: format!("k{n}") }).collect();
    publisher.apply(lease, gone).await.unwrap();
    assert_eq!(keys(&server, lease).await.unwrap().len(), 0);
}

#[tokio::test]
async fn a_change_of_networks_has_no_container_inspected() {
    let server = Server::start();
    let mut publisher = server.publisher("h1");
    let lease = held(&mut publisher).await;
    let me = HostId::from_u128(1);
    let mut world = World::new(me, Host::default());
    let passed = publisher.pass(&world, &BTreeSet::from([Change::All])).await;
    assert_eq!(passed.reached, Reached::All);
    // Docker is not there, so every inspection fails.
    let id = ContainerId::new("a".repeat(64));
    let container = Container { state: RunState::Running, ..Container::new(id.clone(), "web", "i") };
    world.put_container(me, Arc::new(container));
    let passed = publisher.pass(&world, &BTreeSet::from([Change::Networks(me)])).await;
    assert_eq!((passed.reached, passed.problems), (Reached::All, Vec::new()));
    let changed = Change::Container(longshore_model::ContainerRef::new(me, id));
    let passed = publisher.pass(&world, &BTreeSet::from([changed])).await;
    assert_eq!(passed.reached, Reached::Part);
    assert_eq!(keys(&server, lease).await, Some(Vec::new()));
}

#[tokio::test]
async fn a_container_that_docker_does_not_show_is_a_problem_and_keeps_its_keys() {
    let server = Server::start();
    let mut before = server.publisher("h1");
    let lease = held(&mut before).await;
    let key = format!("/longshore/containers/h1/{}", "a".repeat(64));
    before.apply(lease, vec![put(&key), put("/longshore/containers/h1/left")]).await.unwrap();
    drop(before);
    let mut publisher = server.publisher("h1");
    let endpoint = Endpoint { network_id: "n".to_owned(), ipv4: None, ipv6: None };
    let container = Container {
        state: RunState::Running,
        networks: BTreeMap::from([("bridge".to_owned(), endpoint)]),
        ..Container::new(ContainerId::new("a".repeat(64)), "web", "i")
    };
    let mut world = World::new(HostId::from_u128(1), Host::default());
    world.put_container(world.me(), Arc::new(container));
    let passed = publisher.pass(&world, &BTreeSet::from([Change::All])).await;
    assert_eq!(passed.reached, Reached::Part);
    let [problem] = passed.problems.as_slice() else { panic!("{:?}", passed.problems) };
    assert!(
        problem.to_string().contains("container web (aaaaaaaaaaaa): Docker does not show it"),
        "{problem}"
    );
    assert_eq!(keys(&server, lease).await.unwrap().len(), 2, "nothing is taken away on a guess");
    world.put_host(world.me(), Host::default());
    let passed = publisher.pass(&world, &BTreeSet::from([Change::All])).await;
    assert_eq!((passed.reached, passed.problems), (Reached::All, Vec::new()));
    assert_eq!(keys(&server, lease).await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn containers_of_other_hosts_are_theirs_to_publish() {
    let server = Server::start();
    let mut publisher = server.publisher("h1");
    let lease = held(&mut publisher).await;
    let (me, far) = (HostId::from_u128(1), HostId::from_u128(2));
    let mut world = World::new(me, Host::default());
    world.put_host(far, Host::default());
    let id = ContainerId::new("b".repeat(64));
    let container = Container { state: RunState::Running, ..Container::new(id.clone(), "web", "i") };
    world.put_container(far, Arc::new(container));
    let one = Change::Container(longshore_model::ContainerRef::new(far, id));
    for change in [Change::All, Change::Host(far), one] {
        let passed = publisher.pass(&world, &BTreeSet::from([change.clone()])).await;
        assert_eq!((passed.reached, passed.problems), (Reached::All, Vec::new()), "{change:?}");
        assert_eq!(keys(&server, lease).await, Some(Vec::new()), "{change:?}");
    }
}
