//! The cluster: which hosts there are, what each of them knows, and how they ask each other.
//!
//! All hosts are equal. A host is the only writer of the facts about itself; its peers follow them as Docker is
//! followed: subscribe, list, then take each change as it comes.
//!
//! Deliberately absent: what should run where (`longshore-plan`), and what any follower does with a peer's facts.

pub mod calls;
pub mod facts;
pub mod identity;
pub mod members;
pub mod peer;
pub mod relay;
pub mod seal;
pub mod secret;
pub mod service;
