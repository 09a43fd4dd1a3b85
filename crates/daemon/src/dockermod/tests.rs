use std::collections::BTreeMap;
use std::sync::Mutex;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{StreamExt, stream};
use longshore_model::{Container, ContainerId, HostId, HostInfo, Network, RunState};
use longshore_runtime::state::{DockerObservation, Observation, State, Writer};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::*;

/// The hosts of a cluster, which answer from memory. The first one is asked.
#[derive(Debug)]
struct Fake {
    members: Mutex<Vec<Member>>,
    calls: Mutex<Vec<(String, Call, Duration)>>,
    /// Hosts that do not answer, and what is known about it.
    silent: BTreeMap<HostId, CallError>,
    /// Images that the hosts have.
    images: Mutex<Vec<String>>,
    observations: mpsc::UnboundedSender<Observation>,
    /// Containers that were drained, and those that were resumed.
    drained: Mutex<Vec<(ContainerRef, Option<Duration>)>>,
}

impl Fake {
    fn answer(&self, host: HostId, call: Call) -> Result<CallReply, CallError> {
        if let Some(error) = self.silent.get(&host) {
            return Err(error.clone());
        }
        let json = |value: Value| Ok(CallReply::Json(Bytes::from(value.to_string())));
        match call {
            Call::CreateContainer(new) => {
                let body: Value = serde_json::from_slice(&new.body).unwrap();
                let image = body["Image"].as_str().unwrap_or_default().to_owned();
                if !self.images.lock().unwrap().contains(&image) {
                    let message = format!("No such image: {image}:latest");
                    return Err(CallError::Docker { status: 404, message });
                }
                let number = self.calls.lock().unwrap().len();
                let id = ContainerId::new(format!("{number:064}"));
                let created = Container::new(id.clone(), format!("c{number}"), image);
                self.show(host, created);
                json(json!({ "Id": id.as_str(), "Warnings": [] }))
            }
            Call::PullImage { image } if image == "nowhere" => {
                Err(CallError::Docker { status: 404, message: "pull access denied for nowhere".to_owned() })
            }
            Call::PullImage { image } => {
                self.images.lock().unwrap().push(image);
                Ok(CallReply::Stream(stream::iter([]).boxed()))
            }
            Call::ListContainers => json(json!([{ "Id": host.to_string() }])),
            Call::ListImages => json(json!([{ "Id": "sha256:1" }])),
            Call::Container { call: ContainerCall::Inspect, id } => {
                let timeout = if id.as_str().starts_with('a') { json!(30) } else { json!(null) };
                json(json!({ "Id": id.as_str(), "Config": { "StopTimeout": timeout } }))
            }
            Call::Container { call: ContainerCall::Order(ContainerOrder::Stop { .. }), id }
                if id.as_str().starts_with('b') =>
            {
                Err(CallError::Docker { status: 500, message: "cannot stop it".to_owned() })
            }
            Call::Container { call: ContainerCall::Order(ContainerOrder::Start), .. } => {
                Ok(CallReply::Already)
            }
            Call::Container { .. } | Call::Agent(_) => Ok(CallReply::Done),
        }
    }

    fn show(&self, host: HostId, container: Container) {
        let observation = DockerObservation::Inspected {
            id: container.id.clone(),
            container: Some(Box::new(container)),
            resync: false,
        };
        self.observations.send(Observation::Docker(host, observation)).unwrap();
    }
}

impl Hosts for Fake {
    fn members(&self) -> Vec<Member> {
        self.members.lock().unwrap().clone()
    }

    fn call(&self, host: HostId, call: Call, limit: Duration) -> BoxFuture<'_, Result<CallReply, CallError>> {
        let name = self.members().into_iter().find(|member| member.id == host).unwrap().name;
        self.calls.lock().unwrap().push((name, call.clone(), limit));
        Box::pin(async move { self.answer(host, call) })
    }

    fn drain(&self, container: ContainerRef, limit: Duration) -> BoxFuture<'_, Result<(), CallError>> {
        self.drained.lock().unwrap().push((container, Some(limit)));
        Box::pin(async { Ok(()) })
    }

    fn resume(&self, container: ContainerRef) -> BoxFuture<'_, ()> {
        self.drained.lock().unwrap().push((container, None));
        Box::pin(async {})
    }

    fn register(&self, host: HostId, registered: bool, _: Duration) -> BoxFuture<'_, Result<(), CallError>> {
        let mut members = self.members.lock().unwrap();
        members.iter_mut().find(|member| member.id == host).unwrap().registered = registered;
        Box::pin(async { Ok(()) })
    }
}

struct Cluster {
    fake: Arc<Fake>,
    dockermod: DockerMod,
    _dir: tempfile::TempDir,
    _writer: AbortOnDropHandle<()>,
}

fn id(number: u128) -> HostId {
    HostId::from_u128(number)
}

/// Hosts `h1`, `h2`, …; `h1` is asked. It has the containers `web` (a…a, running) and `ab` (b…b).
async fn cluster(hosts: u128, silent: &[(u128, CallError)]) -> Cluster {
    let (observations, observed) = mpsc::unbounded_channel();
    let (told, _) = mpsc::unbounded_channel();
    let (writer, world, _docker) = Writer::new(State::new(id(1), HostInfo::default()), told);
    let writer = AbortOnDropHandle::new(tokio::spawn(writer.run(observed)));
    let mut web = Container::new(ContainerId::new("a".repeat(64)), "web", "image");
    web.state = RunState::Running;
    let other = Container::new(ContainerId::new("b".repeat(64)), "ab", "image");
    let networks: Vec<(String, Network)> = Vec::new();
    let listed = DockerObservation::Listed { containers: vec![web, other], networks };
    observations.send(Observation::Docker(id(1), listed)).unwrap();
    world.subscribe().next().await;
    let member =
        |number| Member { id: id(number), name: format!("h{number}"), alive: true, registered: true };
    let fake = Arc::new(Fake {
        members: Mutex::new((1..=hosts).map(member).collect()),
        calls: Mutex::default(),
        silent: silent.iter().map(|(number, error)| (id(*number), error.clone())).collect(),
        images: Mutex::new(vec!["here".to_owned()]),
        observations,
        drained: Mutex::default(),
    });
    let dir = tempfile::tempdir().unwrap();
    let settings = DockerModSettings { templates: dir.path().to_owned(), ..DockerModSettings::default() };
    let dockermod = DockerMod::new(Arc::clone(&fake) as Arc<dyn Hosts>, world, &settings);
    Cluster { fake, dockermod, _dir: dir, _writer: writer }
}

impl Cluster {
    async fn ask(&self, request: Value) -> (u16, Value) {
        let reply = self.dockermod.answer(request.to_string().as_bytes()).await;
        (reply.status, Value::Object(reply.body))
    }

    fn calls(&self) -> Vec<(String, Call, Duration)> {
        std::mem::take(&mut *self.fake.calls.lock().unwrap())
    }
}

fn create(more: &Value) -> Value {
    let mut request = json!({ "action": "create-container", "image": "here" });
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    request
}

#[tokio::test]
async fn a_container_is_created_where_the_fewest_run_and_can_be_addressed_at_once() {
    let cluster = cluster(1, &[]).await;
    let (status, reply) = cluster.ask(create(&json!({}))).await;
    assert_eq!((status, &reply["statusCode"], &reply["dockerInstance"]), (201, &json!(201), &json!("h1")));
    let id = reply["Response"]["Body"]["Id"].as_str().unwrap();
    assert_eq!(reply["Content-Type"], "application/json");
    let (status, _) = cluster.ask(json!({ "action": "inspect-container", "id": &id[..64] })).await;
    assert_eq!(status, 200, "World shows it before the reply");
}

#[tokio::test]
async fn a_batch_is_spread_evenly_over_the_live_registered_hosts() {
    let cluster = cluster(4, &[]).await;
    cluster.fake.members.lock().unwrap()[3].alive = false;
    assert_eq!(cluster.ask(json!({ "action": "unregister", "hostname": "H3" })).await.0, 200);
    let (status, reply) = cluster.ask(create(&json!({ "instances": 5 }))).await;
    assert_eq!((status, reply["containers"].as_array().unwrap().len()), (201, 5));
    let calls = cluster.calls();
    let on = |name: &str| calls.iter().filter(|(host, ..)| host == name).count();
    // h1 runs a container, h2 none.
    assert_eq!((on("h1"), on("h2"), on("h3"), on("h4")), (2, 3, 0, 0));
    assert!(calls.iter().all(|(.., limit)| *limit == Duration::from_secs(15)));
}

#[tokio::test]
async fn a_missing_image_is_pulled_once_for_a_batch_unless_that_is_not_wanted() {
    let cluster = cluster(1, &[]).await;
    let (status, reply) = cluster.ask(create(&json!({ "image": "far", "pull": false }))).await;
    assert_eq!((status, &reply["error"]), (404, &json!("No such image: far:latest")));
    let (status, _) = cluster.ask(create(&json!({ "image": "far", "instances": 3 }))).await;
    assert_eq!(status, 201);
    let pulls = cluster.calls().into_iter().filter(|(_, call, _)| matches!(call, Call::PullImage { .. }));
    assert_eq!(pulls.count(), 1);
    let (status, reply) = cluster.ask(create(&json!({ "image": "nowhere", "instances": 2 }))).await;
    assert_eq!((status, reply["containers"].as_array().unwrap().len()), (404, 2));
    assert_eq!(reply["containers"][1]["error"], "pull access denied for nowhere");
}

#[tokio::test]
async fn a_batch_that_fails_on_one_host_says_what_was_made_and_what_was_not() {
    let silent = CallError::Unreachable { host: "h2".to_owned(), why: "no route".to_owned() };
    let cluster = cluster(2, &[(2, silent)]).await;
    let (status, reply) = cluster.ask(create(&json!({ "instances": 4 }))).await;
    assert_eq!(status, 207);
    let containers = reply["containers"].as_array().unwrap();
    let failed: Vec<_> = containers.iter().filter(|reply| reply["statusCode"] == 503).collect();
    assert_eq!((containers.len(), failed.len()), (4, 2));
    assert!(failed[0]["error"].as_str().unwrap().contains("h2"), "{failed:?}");
}

#[tokio::test]
async fn no_live_host_is_said_and_a_named_one_must_be_registered() {
    let cluster = cluster(2, &[]).await;
    for host in ["h1", "h2"] {
        let (status, reply) = cluster.ask(json!({ "action": "unregister", "hostname": host })).await;
        assert_eq!(
            (status, reply),
            (200, json!({ "statusCode": 200, "Response": "", "dockerInstance": host }))
        );
    }
    assert_eq!(cluster.ask(create(&json!({}))).await.0, 503);
    assert_eq!(cluster.ask(create(&json!({ "hostname": "h2" }))).await.0, 503);
    assert_eq!(cluster.ask(json!({ "action": "register", "hostname": "h2" })).await.0, 200);
    let (_, reply) = cluster.ask(create(&json!({ "hostname": "h2" }))).await;
    assert_eq!(reply["dockerInstance"], "h2");
    let (status, reply) = cluster.ask(json!({ "action": "register", "hostname": "h9" })).await;
    assert_eq!((status, &reply["error"]), (404, &json!("unknown host \"h9\": the hosts are h1, h2")));
}

#[tokio::test]
async fn a_template_is_sent_whole_and_goes_before_an_image() {
    let cluster = cluster(1, &[]).await;
    let text = "{\"Image\": \"here\", \"X\": 1 /* ours */}";
    std::fs::write(cluster._dir.path().join("web.json"), text).unwrap();
    assert_eq!(cluster.ask(create(&json!({ "template": "web", "image": "other" }))).await.0, 201);
    let Some((_, Call::CreateContainer(new), _)) = cluster.calls().pop() else { panic!("a creation") };
    assert_eq!(serde_json::from_slice::<Value>(&new.body).unwrap(), json!({ "Image": "here", "X": 1 }));
    for (name, status) in [("wob", 404), ("../web", 400)] {
        assert_eq!(cluster.ask(create(&json!({ "template": name }))).await.0, status, "{name}");
    }
}

#[tokio::test]
async fn a_container_is_found_by_id_prefix_and_name_and_an_ambiguous_one_is_refused() {
    let cluster = cluster(1, &[]).await;
    let start = async |id: &str| cluster.ask(json!({ "action": "start-container", "id": id })).await;
    for id in [&"a".repeat(64), "aa", "web", "ab"] {
        assert_eq!(start(id).await.0, 304, "{id}");
    }
    assert_eq!(start("zz").await.0, 404);
    cluster.fake.show(id(1), Container::new(ContainerId::new("aaa0"), "third", "image"));
    for _ in 0..100 {
        if start("aaa0").await.0 == 304 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let (status, reply) = start("aaa").await;
    let error = reply["error"].as_str().unwrap();
    assert!(status == 409 && error.contains("(web) on h1") && error.contains("(third) on h1"), "{error}");
}

#[tokio::test]
async fn a_stop_has_the_time_that_the_request_the_container_or_docker_gives_it() {
    let cluster = cluster(1, &[]).await;
    let limit = async |request: Value| {
        let (status, _) = cluster.ask(request).await;
        assert_eq!(status, 204);
        let (_, call, limit) = cluster.calls().pop().unwrap();
        (call, limit)
    };
    let call = |name: &str, order: ContainerOrder| Call::Container {
        id: ContainerId::new(name.repeat(64)),
        call: order.into(),
    };
    let millis = Duration::from_millis;
    assert_eq!(
        limit(json!({ "action": "stop-container", "id": "web", "timeout": 3 })).await,
        (call("a", ContainerOrder::Stop { timeout: Some(3) }), millis(5500))
    );
    assert_eq!(
        limit(json!({ "action": "stop-container", "id": "web" })).await,
        (call("a", ContainerOrder::Stop { timeout: None }), millis(32500))
    );
    assert_eq!(
        limit(json!({ "action": "restart-container", "id": "ab" })).await,
        (call("b", ContainerOrder::Restart { timeout: None }), millis(12500))
    );
    assert_eq!(
        limit(json!({ "action": "delete-container", "id": "ab", "force": true })).await,
        (call("b", ContainerOrder::Remove { force: true, volumes: false }), millis(2500))
    );
}

#[tokio::test]
async fn a_shutdown_drains_before_it_stops_and_a_failed_one_brings_the_container_back() {
    let cluster = cluster(1, &[]).await;
    let shutdown = async |id: &str, timeout: u32| {
        cluster.ask(json!({ "action": "shutdown-container", "id": id, "timeout": timeout })).await.0
    };
    assert_eq!(shutdown("web", 8).await, 204);
    let Some((_, Call::Container { call, .. }, limit)) = cluster.calls().pop() else { panic!("a call") };
    assert_eq!(call, ContainerOrder::Stop { timeout: Some(8) }.into());
    assert!(limit <= Duration::from_millis(10_500), "{limit:?}");
    assert_eq!(shutdown("ab", 0).await, 500);
    let container = |letter: &str| ContainerRef::new(id(1), ContainerId::new(letter.repeat(64)));
    let drained = std::mem::take(&mut *cluster.fake.drained.lock().unwrap());
    let expected = [
        (container("a"), Some(Duration::from_secs(4))),
        (container("b"), Some(Duration::ZERO)),
        (container("b"), None),
    ];
    assert_eq!(drained, expected);
}

#[tokio::test]
async fn lists_are_the_asked_hosts_or_a_named_ones_or_all_of_them() {
    let silent = CallError::Timeout(Duration::from_millis(2500));
    let cluster = cluster(3, &[(3, silent)]).await;
    let list = async |more: Value| {
        let mut request = json!({ "action": "list-containers" });
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        cluster.ask(request).await
    };
    assert_eq!(list(json!({})).await.1["dockerInstance"], "h1");
    assert_eq!(list(json!({ "hostname": "h2", "all": true })).await.1["dockerInstance"], "h2");
    let (status, reply) = list(json!({ "hostname": "h3" })).await;
    assert_eq!((status, &reply["error"]), (504, &json!("h3: no answer within 2.5s")));
    let (status, reply) = list(json!({ "all": true })).await;
    assert_eq!((status, reply["Response"]["Body"].as_array().unwrap().len()), (200, 2));
    assert_eq!(reply["errors"], json!([{ "dockerInstance": "h3", "error": "h3: no answer within 2.5s" }]));
    let (_, images) = cluster.ask(json!({ "action": "list-images" })).await;
    assert_eq!((&images["Response-Code"], &images["statusCode"]), (&json!(200), &json!(200)));
}

#[tokio::test]
async fn before_the_first_listing_only_what_needs_no_container_is_answered() {
    let (told, _) = mpsc::unbounded_channel();
    let (_writer, world, _docker) = Writer::new(State::new(id(1), HostInfo::default()), told);
    let mut cluster = cluster(1, &[]).await;
    cluster.dockermod.world = world;
    assert_eq!(cluster.ask(create(&json!({}))).await.0, 503);
    assert_eq!(cluster.ask(json!({ "action": "start-container", "id": "web" })).await.0, 503);
    assert_eq!(cluster.ask(json!({ "action": "list-images" })).await.0, 503);
    assert_eq!(cluster.ask(json!({ "action": "list-images", "hostname": "h1" })).await.0, 200);
}
