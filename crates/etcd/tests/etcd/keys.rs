//! Keys, transactions and leases.

use std::time::Duration;

use longshore_etcd::{Client, Compare, Error, KeyRange, Op, OpResult, Order, Txn};
use longshore_testkit::{Etcd, TestResult, eventually};

use crate::{client, put};

async fn names(client: &Client, prefix: &str) -> Result<Vec<String>, Error> {
    let listing = client.list(prefix).await?;
    Ok(listing.keys.iter().map(|kv| String::from_utf8_lossy(&kv.key).into_owned()).collect())
}

#[tokio::test]
async fn a_key_is_read_as_it_was_written_and_listed_with_its_like() -> TestResult {
    let etcd = Etcd::here().start().await?;
    let client = client(&etcd);
    assert_eq!(client.get("a/1").await?, None);
    client.txn(put("a/1", "one")).await?;
    client.txn(put("a/2", "two")).await?;
    client.txn(put("b/1", "else")).await?;
    let kv = client.get("a/1").await?.ok_or("no key")?;
    assert_eq!((kv.key.as_slice(), kv.value.as_slice(), kv.version), (&b"a/1"[..], &b"one"[..], 1));
    assert_eq!(names(&client, "a/").await?, ["a/1", "a/2"]);
    assert_eq!(names(&client, "").await?, ["a/1", "a/2", "b/1"]);
    let binary = [0_u8, 255, 10];
    client.txn(Txn::new().then(Op::put(binary, binary))).await?;
    assert_eq!(client.get(binary).await?.ok_or("no key")?.value, binary);
    Ok(())
}

#[tokio::test]
async fn a_listing_of_many_keys_is_whole_and_of_one_revision() -> TestResult {
    let etcd = Etcd::here().start().await?;
    let client = client(&etcd);
    for batch in 0..25 {
        let ops = (0..100).map(|n| Op::put(format!("k/{:04}", batch * 100 + n), "v"));
        client.txn(ops.fold(Txn::new(), Txn::then)).await?;
    }
    let listing = client.list("k/").await?;
    assert_eq!((listing.keys.len(), listing.revision), (2500, 26));
    assert!(listing.keys.is_sorted_by(|a, b| a.key < b.key));
    Ok(())
}

#[tokio::test]
async fn a_transaction_takes_one_branch_or_the_other_as_a_whole() -> TestResult {
    let etcd = Etcd::here().start().await?;
    let client = client(&etcd);
    let create = || {
        let txn = Txn::new().when(Compare::absent("k")).then(Op::put("k", "1"));
        txn.otherwise(Op::get(KeyRange::key("k")))
    };
    let created = client.txn(create()).await?;
    assert!(created.succeeded && created.results == [OpResult::Put], "{created:?}");
    let refused = client.txn(create()).await?;
    let [OpResult::Get(found)] = refused.results.as_slice() else { panic!("{refused:?}") };
    assert!(!refused.succeeded && found[0].value == b"1");

    let swap = |revision| {
        let txn = Txn::new().when(Compare::mod_revision("k", Order::Equal, revision));
        txn.then(Op::put("k", "2")).then(Op::put("l", "2"))
    };
    assert!(!client.txn(swap(created.revision - 1)).await?.succeeded);
    assert_eq!(client.get("l").await?, None);
    assert!(client.txn(swap(created.revision)).await?.succeeded);

    let is = |compare| async { Ok::<_, Error>(client.txn(Txn::new().when(compare)).await?.succeeded) };
    assert!(is(Compare::value("k", Order::Equal, "2")).await?);
    assert!(is(Compare::version("k", Order::Equal, 2)).await?);
    assert!(is(Compare::version("k", Order::Greater, 1)).await?);
    assert!(is(Compare::version("k", Order::Less, 3)).await?);
    assert!(is(Compare::lease("k", Order::Equal, 0)).await?);
    assert!(!is(Compare::value("k", Order::NotEqual, "2")).await?);
    assert!(!is(Compare::value("none", Order::Equal, "")).await?);

    let inner = Txn::new()
        .when(Compare::absent("l"))
        .then(Op::put("l", "3"))
        .otherwise(Op::delete(KeyRange::prefix("")));
    let outer = client.txn(Txn::new().then(Op::txn(inner))).await?;
    let [OpResult::Txn(inner)] = outer.results.as_slice() else { panic!("{outer:?}") };
    assert_eq!((inner.succeeded, inner.results.as_slice()), (false, &[OpResult::Delete(2)][..]));
    Ok(())
}

#[tokio::test]
async fn keys_live_as_long_as_their_lease() -> TestResult {
    let etcd = Etcd::here().start().await?;
    let client = client(&etcd);
    let kept = client.grant_lease(Duration::from_millis(29_500)).await?;
    client.txn(Txn::new().then(Op::put("a", "1").under(kept)).then(Op::put("b", "1").under(kept))).await?;
    let mut status = client.lease_status(kept).await?.ok_or("no lease")?;
    // etcd lists them in no order.
    status.keys.sort();
    assert_eq!((status.granted, status.keys), (Duration::from_secs(30), vec![b"a".to_vec(), b"b".to_vec()]));
    assert!(status.remaining <= status.granted);
    assert_eq!(client.keep_lease_alive(kept).await?, Duration::from_secs(30));
    assert_eq!(client.get("a").await?.ok_or("no key")?.lease, kept);
    client.revoke_lease(kept).await?;
    assert_eq!(names(&client, "").await?, [""; 0]);
    assert_eq!(client.lease_status(kept).await?, None);
    assert!(matches!(client.keep_lease_alive(kept).await, Err(Error::LeaseNotFound)));
    client.revoke_lease(kept).await?;
    let under_none = Txn::new().then(Op::put("a", "1").under(kept));
    assert!(matches!(client.txn(under_none).await, Err(Error::LeaseNotFound)));

    let left = client.grant_lease(Duration::from_secs(1)).await?;
    client.txn(Txn::new().then(Op::put("a", "1").under(left))).await?;
    eventually("the key goes with the lease that nobody renews", async || {
        client.get("a").await.is_ok_and(|key| key.is_none())
    })
    .await;
    Ok(())
}

#[tokio::test]
async fn an_old_revision_that_was_compacted_is_told_as_such() -> TestResult {
    let etcd = Etcd::here().start().await?;
    let client = client(&etcd);
    for value in ["1", "2", "3"] {
        client.txn(put("k", value)).await?;
    }
    etcd.ctl(&["compact", "4"]).await?;
    let error = client.watch_key("k", 2).next().await.expect_err("the history is gone");
    assert!(matches!(error, Error::Compacted { wanted: 2 }), "{error:?}");
    assert_eq!(error.to_string(), "etcd has compacted its history beyond revision 2");
    Ok(())
}
