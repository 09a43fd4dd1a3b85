use std::collections::BTreeMap;
use std::sync::Arc;

use crate::{Handler, Origin, Problem};

/// All defined handlers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HandlerSet {
    /// By name. A handler whose definition did not change keeps the same value.
    pub handlers: BTreeMap<String, Arc<Handler>>,
    /// Handlers whose definition is currently invalid, by name. A handler of that name keeps its last valid
    /// definition.
    pub broken: BTreeMap<String, BrokenHandler>,
    /// Problems with the files.
    pub problems: Vec<Problem>,
}

/// A handler with an invalid definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokenHandler {
    /// Where it is defined, with the line of the first error.
    pub origin: Origin,
    /// The first error.
    pub error: String,
}
