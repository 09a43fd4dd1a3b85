use std::fmt::Debug;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use longshore_model::ContainerId;
use serde_json::value::RawValue;

/// Shows a container whole, as Docker's inspection does.
pub trait Inspect: Debug + Send + Sync {
    /// Returns the container's inspection, or nothing if it is gone or Docker does not answer.
    fn inspect<'a>(&'a self, id: &'a ContainerId) -> BoxFuture<'a, Option<Arc<RawValue>>>;
}
