//! The result of one pass of a follower.

use longshore_model::Problem;
use tokio::time::Instant;

/// How far a pass came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reached {
    /// Everything that can be converged is.
    #[default]
    All,
    /// Something failed that may work later: the same changes come again after a back-off. New changes come at once.
    Part,
    /// Nothing can be done now: the outside is away. The next pass waits for the back-off.
    Nothing,
}

/// The result of a pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// All current problems; they replace those of the last pass.
    pub problems: Vec<Problem>,
    /// How far it came.
    pub reached: Reached,
    /// When a pass is due without a change; that pass may get no changes.
    pub due: Option<Instant>,
    /// Whether work is still in progress that may require another pass. The agent's single pass waits for it.
    pub busy: bool,
}
