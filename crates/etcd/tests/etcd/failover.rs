//! Endpoints that die, hang, or never existed.

use std::time::{Duration, Instant};

use longshore_etcd::{Compare, Credentials, Error, Op, Txn};
use longshore_testkit::{Etcd, TestResult, eventually, free_port};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::{client, client_with, put};

#[tokio::test]
async fn an_endpoint_where_nobody_listens_is_passed_over() -> TestResult {
    let etcd = Etcd::here().start().await?;
    let mut endpoints = vec![format!("http://127.0.0.1:{}", free_port()?)];
    endpoints.extend(etcd.endpoints());
    let client = client_with(endpoints, Credentials::default());
    let create = Txn::new().when(Compare::absent("k")).then(Op::put("k", "1"));
    assert!(client.txn(create).await?.succeeded, "nothing was sent to the first one");
    Ok(())
}

#[tokio::test]
async fn where_no_endpoint_answers_the_first_ones_cause_is_told() -> TestResult {
    let ports = [free_port()?, free_port()?];
    let endpoints = ports.map(|port| format!("http://127.0.0.1:{port}")).to_vec();
    let error = client_with(endpoints, Credentials::default()).get("k").await.expect_err("nobody is there");
    assert!(error.is_unreachable());
    let text = error.to_string();
    assert!(text.contains(&format!("no connection to http://127.0.0.1:{}: ", ports[0])), "{text}");
    assert!(text.contains("Connection refused"), "{text}");
    let none = client_with(Vec::new(), Credentials::default()).get("k").await.expect_err("no endpoint");
    assert_eq!(none.to_string(), "no etcd endpoint is configured");
    Ok(())
}

#[tokio::test]
async fn a_member_that_dies_is_left_for_another_and_the_lease_lives_on() -> TestResult {
    let mut etcd = Etcd::here().members(3).start().await?;
    let client = client(&etcd);
    let lease = client.grant_lease(Duration::from_secs(60)).await?;
    client.txn(Txn::new().then(Op::put("k", "1").under(lease))).await?;
    etcd.kill(0).await?;
    eventually("another member renews the lease", async || client.keep_lease_alive(lease).await.is_ok())
        .await;
    assert_eq!(client.get("k").await?.ok_or("no key")?.lease, lease);
    client.txn(put("k", "2")).await?;
    Ok(())
}

#[tokio::test]
async fn a_member_that_hangs_is_left_after_the_timeout() -> TestResult {
    let etcd = Etcd::here().members(3).start().await?;
    let client = client(&etcd);
    client.txn(put("k", "1")).await?;
    etcd.freeze(0);
    let began = Instant::now();
    // The two others may have to elect a leader first.
    eventually("another member answers", async || client.txn(put("k", "2")).await.is_ok()).await;
    assert!(began.elapsed() >= Duration::from_secs(5), "the frozen one had its time");
    etcd.thaw(0);
    Ok(())
}

#[tokio::test]
async fn a_change_that_may_have_been_made_is_not_sent_again() -> TestResult {
    let etcd = Etcd::here().start().await?;
    let endpoint = etcd.endpoints().pop().ok_or("no member")?;
    let (mutable, mute) = mutable(&endpoint).await?;
    let client = client_with(vec![mutable, endpoint], Credentials::default());
    client.txn(put("k", "1")).await?;
    mute.send_replace(true);
    let error = client.txn(Txn::new().then(Op::put("l", "1"))).await.expect_err("no answer comes");
    assert!(
        matches!(&error, Error::OutcomeUnknown(cause) if matches!(**cause, Error::TimedOut { .. })),
        "{error:?}"
    );
    assert!(error.is_unreachable());
    let changed = client.get("l").await?.ok_or("etcd received the change, and did not make it")?;
    assert_eq!(changed.version, 1, "it was made once");
    Ok(())
}

/// Returns an endpoint that passes every request on to another, and the answers only until it is muted.
async fn mutable(endpoint: &str) -> std::io::Result<(String, watch::Sender<bool>)> {
    let member = endpoint.trim_start_matches("http://").to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let (mute, is_muted) = watch::channel(false);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let Ok(etcd) = TcpStream::connect(&member).await else { return };
            tokio::spawn(relay(client, etcd, is_muted.clone()));
        }
    });
    Ok((format!("http://{address}"), mute))
}

async fn relay(
    client: TcpStream,
    etcd: TcpStream,
    mut is_muted: watch::Receiver<bool>,
) -> std::io::Result<()> {
    let ((mut questions, mut client), (mut answers, mut etcd)) = (client.into_split(), etcd.into_split());
    let answering = async {
        let mut buffer = Vec::new();
        while answers.read_buf(&mut buffer).await? > 0 && is_muted.wait_for(|muted| !muted).await.is_ok() {
            client.write_all(&buffer).await?;
            buffer.clear();
        }
        client.shutdown().await
    };
    tokio::try_join!(tokio::io::copy(&mut questions, &mut etcd), answering).map(drop)
}

#[tokio::test]
async fn a_member_that_was_restarted_is_connected_to_again() -> TestResult {
    let mut etcd = Etcd::here().start().await?;
    let client = client(&etcd);
    client.txn(put("k", "1")).await?;
    etcd.stop(0).await?;
    assert!(client.get("k").await.expect_err("it is away").is_unreachable());
    etcd.start(0).await?;
    eventually("it answers again", async || client.get("k").await.is_ok()).await;
    Ok(())
}

#[tokio::test]
async fn a_member_without_its_majority_says_so() -> TestResult {
    let mut etcd = Etcd::here().members(3).start().await?;
    let client = client_with(etcd.endpoints().into_iter().take(1).collect(), Credentials::default());
    client.txn(put("k", "1")).await?;
    etcd.kill(1).await?;
    etcd.kill(2).await?;
    eventually("it has lost its leader", async || {
        let error = client.get("k").await.err().map(|error| error.to_string()).unwrap_or_default();
        error.contains("is unavailable: no leader")
    })
    .await;
    Ok(())
}
