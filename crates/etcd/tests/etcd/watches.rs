//! Watches.

use std::time::Duration;

use longshore_etcd::{Error, Event, KeyRange, Op, Txn, Watch};
use longshore_testkit::{Etcd, TestResult};

use crate::{client, put};

/// Returns the next change, as `key=value` or `-key`.
async fn next(watch: &mut Watch) -> Result<Vec<String>, Error> {
    let batch = watch.next().await?;
    let shown = |event: &Event| {
        let key = String::from_utf8_lossy(event.key()).into_owned();
        match event {
            Event::Put(kv) => format!("{key}={}", String::from_utf8_lossy(&kv.value)),
            Event::Delete { .. } => format!("-{key}"),
        }
    };
    assert_eq!(batch.revision, batch.events.last().map(Event::revision).unwrap_or_default());
    Ok(batch.events.iter().map(shown).collect())
}

#[tokio::test]
async fn a_watch_after_a_listing_gives_each_change_once_and_in_order() -> TestResult {
    let etcd = Etcd::here().start().await?;
    let client = client(&etcd);
    client.txn(put("a/1", "old")).await?;
    let listing = client.list("a/").await?;
    client.txn(put("a/1", "new")).await?;
    let mut watch = client.watch_prefix("a/", listing.revision + 1);
    assert_eq!(next(&mut watch).await?, ["a/1=new"]);
    client.txn(put("b/1", "another's")).await?;
    client.txn(Txn::new().then(Op::put("a/2", "x")).then(Op::delete(KeyRange::key("a/1")))).await?;
    assert_eq!(next(&mut watch).await?, ["a/2=x", "-a/1"]);
    let mut late = client.watch_key("a/2", 0);
    assert!(tokio::time::timeout(Duration::from_millis(300), late.next()).await.is_err(), "nothing changed");
    client.txn(put("a/2", "y")).await?;
    assert_eq!(next(&mut late).await?, ["a/2=y"], "a wait that was dropped lost nothing");
    Ok(())
}

#[tokio::test]
async fn a_watch_goes_on_at_the_next_member_without_a_gap() -> TestResult {
    let mut etcd = Etcd::here().members(3).start().await?;
    let client = client(&etcd);
    client.txn(put("k", "0")).await?;
    let mut watch = client.watch_key("k", 0);
    let writer = crate::client(&etcd);
    let first = tokio::time::timeout(Duration::from_millis(200), watch.next()).await;
    assert!(first.is_err(), "the watch is open, and nothing changed: {first:?}");
    etcd.kill(0).await?;
    for value in ["1", "2", "3"] {
        writer.txn(put("k", value)).await?;
    }
    let mut seen = Vec::new();
    while seen.len() < 3 {
        match next(&mut watch).await {
            Ok(events) => seen.extend(events),
            Err(error) if error.is_unreachable() => tokio::time::sleep(Duration::from_millis(50)).await,
            Err(error) => return Err(error.into()),
        }
    }
    assert_eq!(seen, ["k=1", "k=2", "k=3"]);
    Ok(())
}

#[tokio::test]
async fn a_watch_of_an_etcd_that_lost_its_data_ends_instead_of_waiting_for_ever() -> TestResult {
    let mut etcd = Etcd::here().start().await?;
    let client = client(&etcd);
    for value in ["1", "2", "3", "4"] {
        client.txn(put("k", value)).await?;
    }
    let mut watch = client.watch_key("k", 5);
    assert_eq!(next(&mut watch).await?, ["k=4"]);
    etcd.wipe().await?;
    let error = loop {
        match watch.next().await {
            Err(error) if error.is_unreachable() => tokio::time::sleep(Duration::from_millis(50)).await,
            Err(error) => break error,
            Ok(batch) => panic!("{batch:?}"),
        }
    };
    assert!(matches!(error, Error::HistoryLost { seen: 5, current: 1 }), "{error:?}");
    Ok(())
}
