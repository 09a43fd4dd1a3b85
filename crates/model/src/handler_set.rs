use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::{Handler, Problem};

/// All handlers that are defined.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HandlerSet {
    /// By their names. One whose definition is the same as before is the same value.
    pub handlers: BTreeMap<String, Arc<Handler>>,
    /// Names whose definition is broken at the moment. Where there is a handler of that name, it goes on as it was
    /// read last.
    pub broken: BTreeSet<String>,
    /// What is wrong with the files.
    pub problems: Vec<Problem>,
}
