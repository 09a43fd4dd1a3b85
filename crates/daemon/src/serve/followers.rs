use std::time::SystemTime;

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;
use longshore_api::{CurrentPass, Follower, LastPass, NextPass, PassCause, PassReached};
use longshore_runtime::{Cause, FollowerStatus, Reached};

use super::Api;

/// Lists what follows the containers, with the outcome of each last pass.
#[utoipa::path(
    get,
    path = "/v1/followers",
    operation_id = "list_followers",
    tag = "agent",
    responses((status = 200, description = "The followers, by name and handler.", body = Vec<Follower>))
)]
pub(super) async fn followers(State(api): State<Api>) -> Json<Vec<Follower>> {
    Json(api.statuses.all().into_iter().map(follower).collect())
}

fn follower(status: FollowerStatus) -> Follower {
    Follower {
        name: status.name.to_owned(),
        handler: status.handler,
        current: status.current.map(|pass| CurrentPass { at: time(pass.at), cause: cause(pass.cause) }),
        last: status.last.map(|pass| LastPass {
            at: time(pass.at),
            cause: cause(pass.cause),
            took_ms: u64::try_from(pass.took.as_millis()).unwrap_or(u64::MAX),
            reached: match pass.reached {
                Reached::All => PassReached::All,
                Reached::Part => PassReached::Part,
                Reached::Nothing => PassReached::Nothing,
            },
            problems: pass.problems,
        }),
        next: status.next.map(|pass| NextPass { at: time(pass.at), cause: cause(pass.cause) }),
        passes: status.passes,
    }
}

fn cause(cause: Cause) -> PassCause {
    match cause {
        Cause::First => PassCause::First,
        Cause::Changes => PassCause::Changes,
        Cause::Retry => PassCause::Retry,
        Cause::Due => PassCause::Due,
        Cause::Disturbed => PassCause::Disturbed,
    }
}

fn time(at: SystemTime) -> String {
    Timestamp::try_from(at).unwrap_or_default().to_string()
}
