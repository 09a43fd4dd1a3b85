use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// A container answers it.
    Routed,
    /// There is a route, and no container behind it takes traffic.
    NoUpstream,
    /// No route covers it.
    NoRoute,
    /// There is a route, and its frontend is not open: nothing listens for the request.
    FrontendClosed,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Routed => "routed",
            Self::NoUpstream => "503: no container of the route takes traffic",
            Self::NoRoute => "404: no route covers it",
            Self::FrontendClosed => "not reachable: the frontend is not open",
        })
    }
}

/// Where a request goes, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Explanation {
    /// The frontend that the request comes in at: `http:80`.
    #[serde(default)]
    pub frontend: String,
    /// What becomes of it.
    pub verdict: Verdict,
    /// The route that it takes: `http:80 wp1.example.com/`.
    pub route: Option<String>,
    /// Why the route's frontend is not open, where it is not.
    pub frontend_error: Option<String>,
    /// The containers that have to do with it: those that serve first.
    pub candidates: Vec<Candidate>,
}

/// A container that has to do with a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Candidate {
    /// Its name.
    pub name: String,
    /// Its short id.
    pub id: String,
    /// It takes a share of the traffic.
    pub serves: bool,
    /// Why, or why not.
    pub why: String,
}
