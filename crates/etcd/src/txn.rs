//! Transactions: if all comparisons hold, one list of operations is executed, else another, either one atomically.

use crate::key_range::KeyRange;
use crate::lease::LeaseId;
use crate::message::{
    Comparison, DeleteRangeRequest, KeyValue, Operand, PutRequest, RangeRequest, Relation, Request,
    RequestOp, Response, Target, TxnRequest, TxnResponse,
};

/// A transaction.
#[derive(Clone, Debug, Default)]
pub struct Txn {
    compare: Vec<Compare>,
    then: Vec<Op>,
    otherwise: Vec<Op>,
    pub(crate) is_idempotent: bool,
}

impl Txn {
    /// Creates a transaction without comparisons and operations.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a comparison. All must hold.
    #[must_use]
    pub fn when(mut self, compare: Compare) -> Self {
        self.compare.push(compare);
        self
    }

    /// Adds an operation for when all comparisons hold.
    #[must_use]
    pub fn then(mut self, op: Op) -> Self {
        self.then.push(op);
        self
    }

    /// Adds an operation for when a comparison does not hold.
    #[must_use]
    pub fn otherwise(mut self, op: Op) -> Self {
        self.otherwise.push(op);
        self
    }

    /// Declares that executing this transaction twice does no harm. It is then sent to the next endpoint if the
    /// answer to the first attempt was lost.
    #[must_use]
    pub fn idempotent(mut self) -> Self {
        self.is_idempotent = true;
        self
    }
}

/// How a key's property compares with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// It is equal.
    Equal,
    /// It is not equal.
    NotEqual,
    /// It is greater.
    Greater,
    /// It is less.
    Less,
}

/// A comparison. For a key that does not exist, all numbers are 0.
#[derive(Clone, Debug, PartialEq)]
pub struct Compare(Comparison);

impl Compare {
    fn new(key: impl Into<Vec<u8>>, order: Order, target: Target, operand: Operand) -> Self {
        let result = match order {
            Order::Equal => Relation::Equal,
            Order::NotEqual => Relation::NotEqual,
            Order::Greater => Relation::Greater,
            Order::Less => Relation::Less,
        };
        let (result, target) = (result.into(), target.into());
        Self(Comparison { result, target, key: key.into(), operand: Some(operand) })
    }

    /// Holds if the key does not exist.
    pub fn absent(key: impl Into<Vec<u8>>) -> Self {
        Self::create_revision(key, Order::Equal, 0)
    }

    /// Compares the revision at which the key was last written.
    pub fn mod_revision(key: impl Into<Vec<u8>>, order: Order, revision: i64) -> Self {
        Self::new(key, order, Target::Mod, Operand::ModRevision(revision))
    }

    /// Compares the revision at which the key was created.
    pub fn create_revision(key: impl Into<Vec<u8>>, order: Order, revision: i64) -> Self {
        Self::new(key, order, Target::Create, Operand::CreateRevision(revision))
    }

    /// Compares how often the key was written since it was created.
    pub fn version(key: impl Into<Vec<u8>>, order: Order, version: i64) -> Self {
        Self::new(key, order, Target::Version, Operand::Version(version))
    }

    /// Compares the value. Never holds for a key that does not exist.
    pub fn value(key: impl Into<Vec<u8>>, order: Order, value: impl Into<Vec<u8>>) -> Self {
        Self::new(key, order, Target::Value, Operand::Value(value.into()))
    }

    /// Compares the lease that the key is under.
    pub fn lease(key: impl Into<Vec<u8>>, order: Order, lease: LeaseId) -> Self {
        Self::new(key, order, Target::Lease, Operand::Lease(lease))
    }
}

/// An operation of a transaction.
#[derive(Clone, Debug, PartialEq)]
pub struct Op(Request);

impl Op {
    /// Reads keys.
    pub fn get(range: KeyRange) -> Self {
        let KeyRange { key, end } = range;
        Self(Request::Range(RangeRequest { key, range_end: end, limit: 0, revision: 0 }))
    }

    /// Writes a key.
    pub fn put(key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Self {
        Self(Request::Put(PutRequest { key: key.into(), value: value.into(), lease: 0 }))
    }

    /// Puts the written key under a lease. Has no effect on an operation that writes no key.
    #[must_use]
    pub fn under(mut self, lease: LeaseId) -> Self {
        if let Request::Put(put) = &mut self.0 {
            put.lease = lease;
        }
        self
    }

    /// Deletes keys.
    pub fn delete(range: KeyRange) -> Self {
        let KeyRange { key, end } = range;
        Self(Request::DeleteRange(DeleteRangeRequest { key, range_end: end }))
    }

    /// Executes a nested transaction.
    pub fn txn(txn: Txn) -> Self {
        Self(Request::Txn(txn.into()))
    }
}

/// The result of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxnResult {
    /// True if all comparisons held.
    pub succeeded: bool,
    /// etcd's revision after it.
    pub revision: i64,
    /// The result of each operation of the chosen list, in order.
    pub results: Vec<OpResult>,
}

/// The result of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpResult {
    /// The keys that were read.
    Get(Vec<KeyValue>),
    /// The key was written.
    Put,
    /// How many keys were deleted.
    Delete(i64),
    /// The result of a nested transaction.
    Txn(TxnResult),
}

impl From<Txn> for TxnRequest {
    fn from(txn: Txn) -> Self {
        let ops = |ops: Vec<Op>| ops.into_iter().map(|op| RequestOp { request: Some(op.0) }).collect();
        Self {
            compare: txn.compare.into_iter().map(|compare| compare.0).collect(),
            success: ops(txn.then),
            failure: ops(txn.otherwise),
        }
    }
}

impl From<TxnResponse> for TxnResult {
    fn from(answer: TxnResponse) -> Self {
        let result = |response| match response {
            Response::Range(range) => OpResult::Get(range.kvs),
            Response::Put(_) => OpResult::Put,
            Response::DeleteRange(delete) => OpResult::Delete(delete.deleted),
            Response::Txn(txn) => OpResult::Txn(txn.into()),
        };
        Self {
            succeeded: answer.succeeded,
            revision: answer.header.map(|header| header.revision).unwrap_or_default(),
            results: answer.responses.into_iter().filter_map(|op| op.response).map(result).collect(),
        }
    }
}
