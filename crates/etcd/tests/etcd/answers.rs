//! Endpoints that are not a serving etcd.

use std::process::Stdio;

use longshore_etcd::{Credentials, Error};
use longshore_testkit::{Etcd, TestResult, eventually, free_port};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::process::Command;

use crate::{client_with, put};

/// Returns the error of a first request to this endpoint.
async fn error_at(endpoint: String) -> Result<Error, &'static str> {
    let answer = client_with(vec![endpoint], Credentials::default()).get("k").await;
    answer.err().ok_or("it answers as etcd does")
}

#[tokio::test]
async fn a_web_server_is_not_taken_for_etcd() -> TestResult {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 1024]).await;
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
    });
    let error = error_at(format!("http://{address}")).await?;
    assert!(matches!(error, Error::NotEtcd { .. }), "{error:?}");
    assert!(error.to_string().contains("check host, port and http:// or https://"), "{error}");
    Ok(())
}

#[tokio::test]
async fn http_and_https_mixed_up_is_told_with_what_to_check() -> TestResult {
    let plain = Etcd::here().start().await?;
    let url = plain.endpoints().first().ok_or("no endpoint")?.replace("http://", "https://");
    let error = error_at(url).await?;
    assert!(matches!(error, Error::NotEtcd { .. }), "{error:?}");
    let secure = Etcd::here().tls().start().await?;
    let url = secure.endpoints().first().ok_or("no endpoint")?.replace("https://", "http://");
    let error = error_at(url).await?;
    assert!(error.is_unreachable(), "{error:?}");
    Ok(())
}

#[tokio::test]
async fn etcds_own_proxy_serves_and_says_when_etcd_is_away() -> TestResult {
    let mut etcd = Etcd::here().start().await?;
    let listen = format!("127.0.0.1:{}", free_port()?);
    let mut proxy = Command::new("etcd");
    proxy.args(["grpc-proxy", "start", "--endpoints", &etcd.endpoints().join(",")]);
    proxy.args(["--listen-addr", &listen]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let _running = proxy.kill_on_drop(true).spawn()?;
    let client = client_with(vec![format!("http://{listen}")], Credentials::default());
    eventually("the proxy serves", async || client.txn(put("k", "1")).await.is_ok()).await;
    let lease = client.grant_lease(std::time::Duration::from_secs(30)).await?;
    client.keep_lease_alive(lease).await?;
    let revision = client.list("").await?.revision;
    client.txn(put("k", "2")).await?;
    assert_eq!(client.watch_key("k", revision + 1).next().await?.events.len(), 1);
    etcd.stop(0).await?;
    let error = client.txn(put("k", "3")).await.expect_err("etcd is away");
    assert!(error.is_unreachable() && error.to_string().contains(&listen), "{error}");
    Ok(())
}
