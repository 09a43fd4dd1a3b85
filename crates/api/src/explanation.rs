use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// A container receives it.
    Routed,
    /// A route matches, but none of its containers takes traffic.
    NoUpstream,
    /// No route matches.
    NoRoute,
    /// A route matches, but its frontend is not open, so nothing listens for the request.
    FrontendClosed,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Routed => "routed",
            Self::NoUpstream => "503: no container of the route takes traffic",
            Self::NoRoute => "404: no route matches",
            Self::FrontendClosed => "not reachable: the frontend is not open",
        })
    }
}

/// Where a request goes, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Explanation {
    /// The frontend that receives the request: `http:80`.
    #[serde(default)]
    pub frontend: String,
    /// What happens to it.
    pub verdict: Verdict,
    /// The route that matches: `http:80 wp1.example.com/`.
    pub route: Option<String>,
    /// Why the route's frontend is not open, if it is not.
    pub frontend_error: Option<String>,
    /// The containers that were considered, those that receive traffic first.
    pub candidates: Vec<Candidate>,
}

/// A container that was considered for a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Candidate {
    /// Its name.
    pub name: String,
    /// Its short id.
    pub id: String,
    /// Whether it receives a share of the traffic.
    pub serves: bool,
    /// Why, or why not.
    pub why: String,
}
