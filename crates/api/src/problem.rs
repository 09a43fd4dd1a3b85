use longshore_model as model;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Something that is configured but not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// What it concerns, for people: `container wp1 (0123456789ab)`, `frontend http:80`.
    pub subject: String,
    /// The container's id, if it concerns one.
    pub container: Option<String>,
    /// The label or setting at fault, if there is one.
    pub key: Option<String>,
    /// What is wrong, and the consequence.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl From<&model::Problem> for Problem {
    fn from(problem: &model::Problem) -> Self {
        let container = match &problem.subject {
            model::Subject::Container { id, .. } => Some(id.as_str().to_owned()),
            _ => None,
        };
        Self {
            subject: problem.subject.to_string(),
            container,
            key: problem.key.clone(),
            message: problem.message.clone(),
            hint: problem.hint.clone(),
        }
    }
}
