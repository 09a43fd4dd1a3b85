use std::collections::BTreeMap;
use std::sync::Arc;

use crate::{Handler, Origin, Problem};

/// All handlers that are defined.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HandlerSet {
    /// By their names. One whose definition is the same as before is the same value.
    pub handlers: BTreeMap<String, Arc<Handler>>,
    /// Those whose definition is broken at the moment, by their names. A handler of that name keeps its last valid
    /// definition.
    pub broken: BTreeMap<String, BrokenHandler>,
    /// What is wrong with the files.
    pub problems: Vec<Problem>,
}

/// A handler whose definition is not valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokenHandler {
    /// Where it is defined, with the line of the first error.
    pub origin: Origin,
    /// The first error.
    pub error: String,
}
