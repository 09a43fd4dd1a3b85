//! TLS and users.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use longshore_etcd::{
    Access, AccessError, Client, Credentials, Error, Identity, Settings, User, Watch, WatchBatch,
};
use longshore_testkit::{Etcd, TestResult, eventually};

use crate::{client, client_with, put};

fn user(name: &str, password: &str) -> Credentials {
    let user = User { name: name.to_owned(), password: password.to_owned() };
    Credentials { user: Some(user), ..Credentials::default() }
}

#[tokio::test]
async fn tls_wants_the_authority_and_a_certificate_of_the_client() -> TestResult {
    let etcd = Etcd::here().tls().start().await?;
    let file = |name| std::fs::read(etcd.file(name));
    let identity = Identity { certificate: file("client.pem")?, key: file("client-key.pem")? };
    let trusted = Credentials { ca: Some(file("ca.pem")?), identity: Some(identity), user: None };
    client_with(etcd.endpoints(), trusted.clone()).txn(put("k", "1")).await?;
    let without_scheme = etcd.endpoints().iter().map(|url| url.replace("https://", "")).collect();
    client_with(without_scheme, trusted.clone()).txn(put("k", "2")).await?;

    let anonymous = Credentials { identity: None, ..trusted.clone() };
    let error = client_with(etcd.endpoints(), anonymous).get("k").await.expect_err("no certificate");
    assert!(error.is_unreachable(), "{error}");
    let stranger = Credentials { ca: None, ..trusted };
    let error = client_with(etcd.endpoints(), stranger).get("k").await.expect_err("an unknown authority");
    assert!(error.to_string().contains("UnknownIssuer"), "{error}");
    Ok(())
}

#[tokio::test]
async fn a_user_may_do_what_its_role_says() -> TestResult {
    let mut etcd = Etcd::here().start().await?;
    etcd.want_users("rootpw", "ann", "annpw", &["a/"]).await?;
    let ann = client_with(etcd.endpoints(), user("ann", "annpw"));
    ann.txn(put("a/1", "1")).await?;
    let error = ann.txn(put("b/1", "1")).await.expect_err("another's key");
    assert!(error.to_string().contains("refuses to write: permission denied"), "{error}");
    let error = ann.watch_prefix("b/", 0).next().await.expect_err("another's keys");
    assert!(error.to_string().contains("refuses to watch: permission denied"), "{error}");
    let wrong = client_with(etcd.endpoints(), user("ann", "guess")).get("a/1").await.expect_err("a guess");
    assert!(wrong.to_string().contains("refuses to log in: authentication failed"), "{wrong}");
    assert!(!format!("{wrong:?}").contains("guess"));
    let nobody = client(&etcd).get("a/1").await.expect_err("nobody");
    assert!(matches!(nobody, Error::Refused { .. }), "{nobody:?}");
    Ok(())
}

#[tokio::test]
async fn a_user_of_an_etcd_without_users_is_let_in_and_logs_in_once_there_are() -> TestResult {
    let mut etcd = Etcd::here().start().await?;
    let ann = client_with(etcd.endpoints(), user("ann", "annpw"));
    ann.txn(put("a/1", "1")).await?;
    etcd.want_users("rootpw", "ann", "annpw", &["a/"]).await?;
    ann.txn(put("a/1", "2")).await?;
    Ok(())
}

#[tokio::test]
async fn a_token_that_etcd_forgot_or_outdated_is_renewed() -> TestResult {
    let mut etcd = Etcd::here().start().await?;
    etcd.want_users("rootpw", "ann", "annpw", &["a/"]).await?;
    let ann = client_with(etcd.endpoints(), user("ann", "annpw"));
    ann.txn(put("a/1", "1")).await?;
    etcd.ctl(&["user", "add", "bob:bobpw"]).await?;
    ann.txn(put("a/1", "2")).await?;
    let revision = ann.list("a/").await?.revision;
    let mut watch = ann.watch_prefix("a/", revision + 1);
    let early = tokio::time::timeout(Duration::from_millis(200), watch.next()).await;
    assert!(early.is_err(), "nothing changed: {early:?}");
    etcd.stop(0).await?;
    etcd.start(0).await?;
    eventually("it logs in again", async || ann.txn(put("a/1", "3")).await.is_ok()).await;
    let batch = watch_on(&mut watch).await?;
    assert_eq!(batch.events.len(), 1, "so does the watch: {batch:?}");
    Ok(())
}

/// Returns the next changes, once etcd serves again.
async fn watch_on(watch: &mut Watch) -> Result<WatchBatch, Error> {
    loop {
        match watch.next().await {
            Err(error) if error.is_unreachable() => tokio::time::sleep(Duration::from_millis(50)).await,
            answer => return answer,
        }
    }
}

/// A password file that is rotated.
struct Rotated(Mutex<Credentials>);

impl Access for Rotated {
    fn load(&self) -> BoxFuture<'_, Result<Credentials, AccessError>> {
        let loaded = self.0.lock().map(|credentials| credentials.clone());
        Box::pin(std::future::ready(loaded.map_err(|_| "poisoned".into())))
    }
}

#[tokio::test]
async fn a_changed_password_is_picked_up() -> TestResult {
    let mut etcd = Etcd::here().start().await?;
    etcd.want_users("rootpw", "ann", "annpw", &["a/"]).await?;
    let access = Arc::new(Rotated(Mutex::new(user("ann", "annpw"))));
    let (endpoints, timeout) = (etcd.endpoints(), Duration::from_secs(5));
    let ann = Client::new(Settings { endpoints, access: access.clone(), timeout });
    ann.txn(put("a/1", "1")).await?;
    etcd.ctl(&["user", "delete", "ann"]).await?;
    etcd.ctl(&["user", "add", "ann:newpw"]).await?;
    etcd.ctl(&["user", "grant-role", "ann", "publisher"]).await?;
    assert!(matches!(ann.txn(put("a/1", "2")).await, Err(Error::Refused { .. })));
    *access.0.lock().map_err(|_| "poisoned")? = user("ann", "newpw");
    ann.txn(put("a/1", "2")).await?;
    Ok(())
}
