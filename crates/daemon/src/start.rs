//! The ways in which an agent begins.

/// How an agent begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// By itself.
    Fresh,
    /// Beside an agent that carries the same routes, whose ports it shares; [`crate::Agent::succeed`] ends that.
    Successor,
    /// For a single pass.
    Once,
    /// To see what it would do: nothing is changed anywhere.
    Dry,
}
