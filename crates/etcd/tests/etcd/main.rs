//! The client against a real etcd.

mod access;
mod answers;
mod failover;
mod keys;
mod watches;

use std::sync::Arc;
use std::time::Duration;

use longshore_etcd::{Client, Credentials, Op, Settings, Txn};
use longshore_testkit::Etcd;

/// Returns a client of this etcd's members.
fn client(etcd: &Etcd<'_>) -> Client {
    client_with(etcd.endpoints(), Credentials::default())
}

fn client_with(endpoints: Vec<String>, credentials: Credentials) -> Client {
    Client::new(Settings { endpoints, access: Arc::new(credentials), timeout: Duration::from_secs(5) })
}

/// Returns a transaction that writes a key and may be repeated.
fn put(key: &str, value: &str) -> Txn {
    Txn::new().then(Op::put(key, value)).idempotent()
}
