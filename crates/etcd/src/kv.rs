//! Reading keys, and transactions.

use crate::client::{Call, Client, Repeat};
use crate::error::Error;
use crate::key_range::KeyRange;
use crate::message::{KeyValue, RangeRequest, RangeResponse, TxnRequest, TxnResponse};
use crate::txn::{Txn, TxnResult};

const READ: Call = Call { path: "/etcdserverpb.KV/Range", action: "read", repeat: Repeat::Always };
const WRITE: Call = Call { path: "/etcdserverpb.KV/Txn", action: "write", repeat: Repeat::Unsent };

/// How many keys one request of a listing reads.
const PAGE: i64 = 1000;

/// Keys, all at the same revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// That revision: a watch from the next one on misses nothing.
    pub revision: i64,
    /// The keys in order.
    pub keys: Vec<KeyValue>,
}

impl Client {
    /// Reads a key. The answer includes every change acknowledged so far, to any client.
    ///
    /// # Errors
    /// No endpoint answers, or etcd refuses.
    pub async fn get(&self, key: impl Into<Vec<u8>>) -> Result<Option<KeyValue>, Error> {
        let answer = self.range(&KeyRange::key(key), 0).await?;
        Ok(answer.kvs.into_iter().next())
    }

    /// Reads all keys with this prefix, at one revision.
    ///
    /// # Errors
    /// No endpoint answers, or etcd refuses; [`Error::Compacted`] if etcd's history was compacted between two parts
    /// of a long listing.
    pub async fn list(&self, prefix: impl Into<Vec<u8>>) -> Result<Listing, Error> {
        let mut range = KeyRange::prefix(prefix);
        let mut listing = Listing { revision: 0, keys: Vec::new() };
        loop {
            let answer = self.range(&range, listing.revision).await?;
            if listing.revision == 0 {
                listing.revision = answer.header.map(|header| header.revision).unwrap_or_default();
            }
            let last = answer.kvs.last().map(|last| last.key.clone());
            listing.keys.extend(answer.kvs);
            match last {
                Some(mut next) if answer.more => {
                    next.push(0);
                    range = range.starting_at(next);
                }
                _ => return Ok(listing),
            }
        }
    }

    /// Executes a transaction.
    ///
    /// # Errors
    /// No endpoint answers, or etcd refuses; [`Error::OutcomeUnknown`] if etcd may have executed it and it is not
    /// [idempotent](Txn::idempotent); [`Error::LeaseNotFound`] if a key was put under a lease that has expired.
    pub async fn txn(&self, txn: Txn) -> Result<TxnResult, Error> {
        let repeat = if txn.is_idempotent { Repeat::Always } else { Repeat::Unsent };
        let request: TxnRequest = txn.into();
        let answer: TxnResponse = self.unary(Call { repeat, ..WRITE }, &request).await?;
        Ok(answer.into())
    }

    /// Returns etcd's revision, as agreed by all its members.
    pub(crate) async fn revision(&self) -> Result<i64, Error> {
        let answer = self.range(&KeyRange::key("\0"), 0).await?;
        Ok(answer.header.map(|header| header.revision).unwrap_or_default())
    }

    async fn range(&self, range: &KeyRange, revision: i64) -> Result<RangeResponse, Error> {
        let request =
            RangeRequest { key: range.key.clone(), range_end: range.end.clone(), limit: PAGE, revision };
        match self.unary(READ, &request).await {
            Err(Error::Refused { why, .. }) if why.contains("has been compacted") => {
                Err(Error::Compacted { wanted: revision })
            }
            answer => answer,
        }
    }
}
