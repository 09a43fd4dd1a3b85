//! What one pass of a follower came to.

use longshore_model::Problem;
use tokio::time::Instant;

/// How far a pass came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reached {
    /// All that can be as it should be is.
    #[default]
    All,
    /// Something failed that may work later: the same changes come again, after a back-off. What changes meanwhile
    /// comes at once.
    Part,
    /// Nothing can be done now: the outside is away. No pass is made until the back-off is over.
    Nothing,
}

/// What a pass came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// What is not as it should be, all of it: it replaces what the last pass said.
    pub problems: Vec<Problem>,
    /// How far it came.
    pub reached: Reached,
    /// When a pass is due though nothing changes; that pass may get no changes.
    pub due: Option<Instant>,
    /// Something that was begun goes on, and may make another pass necessary. The agent's single pass waits for it.
    pub busy: bool,
}
