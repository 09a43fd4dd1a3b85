//! How an agent starts.

/// How an agent starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// By itself, until it is stopped.
    Fresh,
    /// Beside an agent that carries the same routes, whose ports it shares, until [`crate::Agent::succeed`] takes over.
    Successor,
    /// For a single pass.
    Once,
    /// To show what it would do: nothing is changed anywhere.
    Dry,
}

impl Start {
    /// Returns whether the agent continues to serve clients and other hosts, instead of ending after one pass.
    pub(crate) fn serves(self) -> bool {
        matches!(self, Self::Fresh | Self::Successor)
    }
}
