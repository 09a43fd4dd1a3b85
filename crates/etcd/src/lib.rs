//! A client for etcd's v3 API: keys, transactions, leases and watches, over gRPC.
//!
//! A [`Client`] talks to one endpoint at a time, for as long as it answers. If an endpoint cannot be reached, does
//! not answer in time or has lost its leader, the client switches to the next in the list, within the same call if
//! that cannot apply a change twice. [`Access`] supplies what each new connection needs (certificates, user,
//! password), and a token that etcd no longer accepts is renewed.
//!
//! ```no_run
//! # async fn shown() -> Result<(), longshore_etcd::Error> {
//! use std::sync::Arc;
//! use std::time::Duration;
//! use longshore_etcd::{Client, Compare, Credentials, Op, Settings, Txn};
//!
//! let client = Client::new(Settings {
//!     endpoints: vec!["http://10.0.0.2:2379".into(), "http://10.0.0.3:2379".into()],
//!     access: Arc::new(Credentials::default()),
//!     timeout: Duration::from_secs(3),
//! });
//! let lease = client.grant_lease(Duration::from_secs(15)).await?;
//! let create = Txn::new().when(Compare::absent("leader")).then(Op::put("leader", "h1").under(lease));
//! let is_leader = client.txn(create).await?.succeeded;
//!
//! let listing = client.list("services/").await?;
//! let mut watch = client.watch_prefix("services/", listing.revision + 1);
//! loop {
//!     for event in watch.next().await?.events { /* … */ }
//! }
//! # }
//! ```
//!
//! The messages are declared in Rust, in `message.rs`, so nothing is generated and no `protoc` is needed.
//! Deliberately absent: retries over time (a caller knows how long to wait), and anything specific to Longshore.

mod client;
mod connection;
mod error;
mod key_range;
mod kv;
mod lease;
mod message;
mod settings;
mod txn;
mod watch;

pub use client::Client;
pub use error::Error;
pub use key_range::KeyRange;
pub use kv::Listing;
pub use lease::{LeaseId, LeaseStatus};
pub use message::KeyValue;
pub use settings::{Access, AccessError, Credentials, Identity, Settings, User};
pub use txn::{Compare, Op, OpResult, Order, Txn, TxnResult};
pub use watch::{Event, Watch, WatchBatch};
