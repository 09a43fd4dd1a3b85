use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, TryStreamExt, stream};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use longshore_model::{
    Call, CallError, ContainerCall, ContainerId, ContainerOrder, ExecRequest, HostId, Input, LogsRequest,
    NewContainer, Output, PullPolicy,
};
use longshore_runtime::{CallPeers, Execute, OutputStream, Reply, Session};
use longshore_wire::call::{CallRow, Frame};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_rustls::TlsStream;
use tokio_util::task::AbortOnDropHandle;

use super::*;
use crate::facts::OwnFacts;
use crate::identity::Identity;
use crate::peer::{Body, Members, PeerHandler, connect, serve};

const RING: [[u8; 32]; 1] = [[7; 32]];
const LIMIT: Duration = Duration::from_secs(20);
const NEAR: HostId = HostId::from_u128(1);
const FAR: HostId = HostId::from_u128(2);

/// What a host would do, counted.
#[derive(Debug, Default)]
struct Counted {
    created: AtomicUsize,
    /// Pieces of output that were taken.
    pieces: AtomicUsize,
    /// Pieces of input that arrived.
    input: AtomicUsize,
    /// Calls that are under way.
    running: AtomicUsize,
}

struct Running(Arc<Counted>);

impl Running {
    fn new(counted: &Arc<Counted>) -> Self {
        counted.running.fetch_add(1, SeqCst);
        Self(Arc::clone(counted))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, SeqCst);
    }
}

#[derive(Clone, Debug)]
struct Own(Arc<Counted>);

impl Own {
    async fn done(self, call: Call) -> Result<Reply, CallError> {
        let counted = Arc::clone(&self.0);
        match call {
            Call::CreateContainer(_) => {
                let number = counted.created.fetch_add(1, SeqCst) + 1;
                Ok(Reply::Json(format!("{{\"Id\":\"{number}\"}}").into()))
            }
            // A large one.
            Call::ListImages => Ok(Reply::Json(Bytes::from(vec![b'1'; 5 << 20]))),
            // Never answered.
            Call::ListContainers => {
                let _running = Running::new(&counted);
                std::future::pending().await
            }
            Call::Container { call, .. } => match call {
                ContainerCall::Order(ContainerOrder::Start) => Ok(Reply::Already),
                ContainerCall::Order(_) => {
                    Err(CallError::Docker { status: 409, message: "Container c is not running".to_owned() })
                }
                ContainerCall::Logs(_) => Ok(Reply::Stream(endless(&counted))),
                ContainerCall::Stats { .. } => {
                    let pieces =
                        [Ok(Output::Json("{}".into())), Err(CallError::Broken("Docker ended".to_owned()))];
                    Ok(Reply::Stream(stream::iter(pieces).boxed()))
                }
                ContainerCall::Exec(ExecRequest { command, .. }) => {
                    Ok(Reply::Session(session(counted, &command)))
                }
                ContainerCall::Inspect => Ok(Reply::Done),
            },
            Call::PullImage { .. } | Call::Agent(_) => Ok(Reply::Done),
        }
    }
}

impl Execute for Own {
    fn execute(&self, call: Call, limit: Duration) -> BoxFuture<'_, Result<Reply, CallError>> {
        let done = self.clone().done(call);
        async move { timeout(limit, done).await.unwrap_or(Err(CallError::Timeout(limit))) }.boxed()
    }
}

/// Output that never ends, in pieces of 64 KiB.
fn endless(counted: &Arc<Counted>) -> OutputStream {
    let running = Running::new(counted);
    stream::repeat_with(move || {
        running.0.pieces.fetch_add(1, SeqCst);
        Ok(Output::Stdout(Bytes::from_static(&[b'x'; 64 << 10])))
    })
    .boxed()
}

/// `cat` writes its input, and exits with the number of its pieces; any other command reads nothing.
fn session(counted: Arc<Counted>, command: &[String]) -> Session {
    let (input, mut received) = mpsc::channel::<Input>(1);
    let (write, mut written) = mpsc::channel(1);
    let is_cat = command == ["cat"];
    let running = Running::new(&counted);
    tokio::spawn(async move {
        let _running = running;
        if !is_cat {
            return write.closed().await;
        }
        while let Some(Input::Stdin(piece)) = received.recv().await {
            counted.input.fetch_add(1, SeqCst);
            if write.send(Output::Stdout(piece)).await.is_err() {
                return;
            }
        }
        let pieces = i64::try_from(counted.input.load(SeqCst)).unwrap_or_default();
        let _ = write.send(Output::Exited(pieces)).await;
    });
    let output = stream::poll_fn(move |context| written.poll_recv(context)).map(Ok).boxed();
    Session { output, input }
}

struct Handler(CallServer);

impl PeerHandler for Handler {
    async fn call(&self, from: HostId, call: Request<Incoming>) -> Response<Body> {
        self.0.answer(from, call).await
    }

    async fn relay(&self, _: HostId, _: TlsStream<TcpStream>) {}
}

/// The host that is called, and a way to it that can be cut.
struct Far {
    counted: Arc<Counted>,
    address: SocketAddr,
    /// Connections that were opened.
    opened: Arc<AtomicUsize>,
    cuts: watch::Sender<()>,
    _tasks: [AbortOnDropHandle<()>; 2],
}

impl Far {
    async fn start() -> Self {
        let counted = Arc::new(Counted::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = listener.local_addr().unwrap();
        let identity = Identity::new(FAR, &RING).unwrap();
        let handler = Handler(CallServer::new(Arc::new(Own(Arc::clone(&counted))), 1));
        let (_, nobody) = watch::channel(Members::new());
        let served = tokio::spawn(serve(listener, identity, OwnFacts::new(FAR, 1), handler, nobody));
        let way = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = way.local_addr().unwrap();
        let (cuts, cut) = watch::channel(());
        let opened = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&opened);
        let carried = tokio::spawn(async move {
            loop {
                let (mut near, _) = way.accept().await.unwrap();
                count.fetch_add(1, SeqCst);
                let mut cut = cut.clone();
                cut.mark_unchanged();
                tokio::spawn(async move {
                    let mut far = TcpStream::connect(target).await.unwrap();
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                        _ = cut.changed() => {}
                    }
                });
            }
        });
        let tasks = [AbortOnDropHandle::new(served), AbortOnDropHandle::new(carried)];
        Self { counted, address, opened, cuts, _tasks: tasks }
    }

    fn place(&self) -> PeerPlace {
        PeerPlace { name: "far".to_owned(), address: self.address, run: 1, is_cut: false, lost: None }
    }

    fn pool(&self) -> PeerCalls {
        let pool = PeerCalls::new(Identity::new(NEAR, &RING).unwrap(), 7);
        pool.set(BTreeMap::from([(FAR, self.place())]));
        pool
    }

    async fn until(&self, what: &str, check: impl Fn(&Counted) -> bool) {
        let checked = async {
            while !check(&self.counted) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(LIMIT, checked).await.unwrap_or_else(|_| panic!("{what}: {:?}", self.counted));
    }
}

fn of(call: impl Into<ContainerCall>) -> Call {
    Call::Container { id: ContainerId::new("c"), call: call.into() }
}

fn logs() -> Call {
    let request = LogsRequest {
        stdout: true,
        stderr: true,
        follow: true,
        tail: None,
        since: None,
        until: None,
        timestamps: false,
    };
    of(ContainerCall::Logs(request))
}

fn exec(command: &str) -> Call {
    of(ContainerCall::Exec(ExecRequest {
        command: vec![command.to_owned()],
        stdin: true,
        ..ExecRequest::default()
    }))
}

fn create() -> Call {
    let body = Bytes::from_static(b"{\"Image\":\"a\"}");
    Call::CreateContainer(NewContainer { body, name: None, pull: PullPolicy::Never })
}

async fn output(pool: &PeerCalls) -> OutputStream {
    match pool.call(FAR, logs(), LIMIT).await.unwrap() {
        Reply::Stream(output) => output,
        other => panic!("{other:?}"),
    }
}

async fn cat(pool: &PeerCalls, command: &str) -> Session {
    match pool.call(FAR, exec(command), LIMIT).await.unwrap() {
        Reply::Session(session) => session,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn every_kind_of_reply_and_dockers_own_errors_arrive_as_they_are() {
    let far = Far::start().await;
    let pool = far.pool();
    let order = async |order: ContainerOrder| pool.call(FAR, of(order), LIMIT).await;
    assert!(matches!(order(ContainerOrder::Start).await, Ok(Reply::Already)));
    let refused = order(ContainerOrder::Pause).await.unwrap_err();
    assert_eq!(refused, CallError::Docker { status: 409, message: "Container c is not running".to_owned() });
    assert!(matches!(pool.call(FAR, of(ContainerCall::Inspect), LIMIT).await, Ok(Reply::Done)));
    let Ok(Reply::Json(json)) = pool.call(FAR, Call::ListImages, LIMIT).await else { panic!("no list") };
    assert_eq!(json.len(), 5 << 20);
    let stats = of(ContainerCall::Stats { follow: true });
    let Ok(Reply::Stream(stats)) = pool.call(FAR, stats, LIMIT).await else { panic!("no stream") };
    let pieces: Vec<_> = stats.collect().await;
    let broken = CallError::Broken("Docker ended".to_owned());
    assert_eq!(pieces, [Ok(Output::Json("{}".into())), Err(broken)]);
    let session = cat(&pool, "cat").await;
    for line in ["a\n", "b\n"] {
        session.input.send(Input::Stdin(line.into())).await.unwrap();
    }
    session.input.send(Input::End).await.unwrap();
    let written: Vec<Output> = session.output.try_collect().await.unwrap();
    assert_eq!(written, [Output::Stdout("a\n".into()), Output::Stdout("b\n".into()), Output::Exited(2)]);
    assert_eq!(far.opened.load(SeqCst), 2, "all but the session share a connection");
}

#[tokio::test]
async fn output_that_nobody_takes_waits_at_its_source_and_holds_up_nobody_else() {
    let far = Far::start().await;
    let pool = far.pool();
    // More than a connection's share of streams, none of them read: only one piece each.
    let mut streams = Vec::new();
    for _ in 0..100 {
        let mut output = output(&pool).await;
        output.next().await.unwrap().unwrap();
        streams.push(output);
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let taken = far.counted.pieces.load(SeqCst);
    // What is on its way, the peer's send buffer, and one frame: far below what an endless source would write.
    assert!(taken <= streams.len() * 12, "{taken} pieces of 64 KiB left their source");
    assert!(matches!(pool.call(FAR, Call::ListImages, LIMIT).await, Ok(Reply::Json(_))));
    drop(streams);
    far.until("dropped streams end at their source", |counted| counted.running.load(SeqCst) == 0).await;
}

#[tokio::test]
async fn input_that_nobody_reads_waits_at_its_sender_and_holds_up_nobody_else() {
    let far = Far::start().await;
    let pool = far.pool();
    let session = cat(&pool, "sleep").await;
    let mut sent = 0;
    let piece = Bytes::from_static(&[b'x'; 64 << 10]);
    while timeout(Duration::from_millis(300), session.input.send(Input::Stdin(piece.clone()))).await.is_ok() {
        sent += 1;
        assert!(sent < 200, "it is gathered somewhere");
    }
    let other = cat(&pool, "cat").await;
    other.input.send(Input::Stdin("a".into())).await.unwrap();
    other.input.send(Input::End).await.unwrap();
    let written: Vec<Output> = other.output.try_collect().await.unwrap();
    assert_eq!(written, [Output::Stdout("a".into()), Output::Exited(1)]);
    drop(session);
    far.until("a dropped session ends", |counted| counted.running.load(SeqCst) == 0).await;
}

#[tokio::test]
async fn a_caller_that_goes_away_or_waits_too_long_ends_its_call_at_the_far_side() {
    let far = Far::start().await;
    let pool = far.pool();
    let waiting = tokio::spawn({
        let pool = pool.clone();
        async move { pool.call(FAR, Call::ListContainers, LIMIT).await }
    });
    far.until("the call arrives", |counted| counted.running.load(SeqCst) == 1).await;
    waiting.abort();
    far.until("it ends", |counted| counted.running.load(SeqCst) == 0).await;
    let limit = Duration::from_millis(200);
    let late = pool.call(FAR, Call::ListContainers, limit).await.unwrap_err();
    assert_eq!(late, CallError::Timeout(limit));
    far.until("it ends", |counted| counted.running.load(SeqCst) == 0).await;
}

#[tokio::test]
async fn a_broken_connection_is_replaced() {
    let far = Far::start().await;
    let pool = far.pool();
    let mut output = output(&pool).await;
    output.next().await.unwrap().unwrap();
    far.cuts.send_replace(());
    let ended: Vec<_> = timeout(LIMIT, output.collect()).await.unwrap();
    assert!(matches!(ended.last(), Some(Err(CallError::Broken(_)))), "{:?}", ended.last());
    assert!(matches!(pool.call(FAR, Call::ListImages, LIMIT).await, Ok(Reply::Json(_))));
    assert_eq!(far.opened.load(SeqCst), 2);
}

#[tokio::test]
async fn a_create_whose_reply_was_lost_is_repeated_and_creates_once() {
    let far = Far::start().await;
    let pool = far.pool();
    for created in 1..=20 {
        assert!(matches!(pool.call(FAR, of(ContainerOrder::Start), LIMIT).await, Ok(Reply::Already)));
        // At any moment of the call.
        let cut = async {
            tokio::time::sleep(Duration::from_micros(created * 40)).await;
            far.cuts.send_replace(());
        };
        let (reply, ()) = tokio::join!(pool.call(FAR, create(), LIMIT), cut);
        let Ok(Reply::Json(json)) = reply else { panic!("{reply:?}") };
        assert_eq!(json, format!("{{\"Id\":\"{created}\"}}"));
    }
    assert_eq!(far.counted.created.load(SeqCst), 20);
}

#[tokio::test]
async fn an_order_that_another_run_of_the_agent_may_have_got_is_not_carried_out_again() {
    let far = Far::start().await;
    let row = CallRow::new(&create(), LIMIT).unwrap().with_key("7-0");
    let ask = async |row: &CallRow| {
        let peer = connect(&Identity::new(NEAR, &RING).unwrap(), FAR, far.address).await.unwrap();
        let body = Full::new(row.encode()).map_err(|never| match never {}).boxed_unsync();
        let reply =
            peer.call(Request::post(format!("https://{FAR}{PATH}")).body(body).unwrap()).await.unwrap();
        String::from_utf8_lossy(&reply.into_body().collect().await.unwrap().to_bytes()).into_owned()
    };
    let refused = ask(&row.repeated(0)).await;
    assert!(refused.contains("its agent was replaced"), "{refused}");
    assert_eq!(far.counted.created.load(SeqCst), 0);
    for row in [row.clone(), row.repeated(1)] {
        assert!(ask(&row).await.contains("Id"));
        assert_eq!(far.counted.created.load(SeqCst), 1);
    }
}

#[tokio::test]
async fn a_peer_that_is_lost_ends_what_was_under_way_and_is_named() {
    let far = Far::start().await;
    let pool = far.pool();
    let mut output = output(&pool).await;
    let waiting = tokio::spawn({
        let pool = pool.clone();
        async move { pool.call(FAR, Call::ListContainers, LIMIT).await }
    });
    far.until("both arrive", |counted| counted.running.load(SeqCst) == 2).await;
    let lost = PeerPlace { lost: Some("it is dead".to_owned()), ..far.place() };
    pool.set(BTreeMap::from([(FAR, lost)]));
    let dead = CallError::Unreachable { host: "far".to_owned(), why: "it is dead".to_owned() };
    assert_eq!(waiting.await.unwrap().unwrap_err(), dead);
    while let Some(piece) = timeout(LIMIT, output.next()).await.unwrap() {
        if let Err(error) = piece {
            assert_eq!(error, dead);
        }
    }
    assert_eq!(pool.call(FAR, create(), LIMIT).await.unwrap_err(), dead);
    pool.set(BTreeMap::new());
    assert!(matches!(pool.call(FAR, create(), LIMIT).await, Err(CallError::UnknownHost(_))));
    pool.set(BTreeMap::from([(FAR, far.place())]));
    assert!(matches!(pool.call(FAR, create(), LIMIT).await, Ok(Reply::Json(_))));
}

#[tokio::test]
async fn many_calls_at_once_do_not_wait_for_each_other() {
    let far = Far::start().await;
    let pool = far.pool();
    let mut streams = Vec::new();
    for _ in 0..300 {
        streams.push(output(&pool).await);
    }
    assert!(matches!(pool.call(FAR, of(ContainerOrder::Start), LIMIT).await, Ok(Reply::Already)));
    assert_eq!(far.opened.load(SeqCst), 3, "a connection has a bounded number of calls");
}

#[tokio::test]
async fn nobody_answers_at_its_address() {
    let pool = PeerCalls::new(Identity::new(NEAR, &RING).unwrap(), 7);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let place = PeerPlace { name: "far".to_owned(), address, run: 1, is_cut: false, lost: None };
    pool.set(BTreeMap::from([(FAR, place)]));
    let error = pool.call(FAR, create(), LIMIT).await.unwrap_err();
    assert!(
        matches!(&error, CallError::Unreachable { host, why } if host == "far" && why.contains("refused")),
        "{error}"
    );
}
