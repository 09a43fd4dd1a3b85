//! Events that are still needed, and the inspections of their containers.

use std::collections::BTreeMap;
use std::sync::Arc;

use longshore_model::{ContainerFacts, ContainerId, Occurrence};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::OnceCell;

/// A container's inspection, made once for all who want it.
pub(super) type Shown = Arc<OnceCell<Option<Arc<RawValue>>>>;

/// An event that somebody still needs.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) occurrence: Arc<Occurrence>,
    /// What every handler is shown of the container.
    pub(super) inspection: Shown,
    /// Deliveries that are not over, failed ones among them.
    pub(super) users: usize,
}

impl Held {
    pub(super) fn new(occurrence: Arc<Occurrence>) -> Self {
        Self { occurrence, inspection: Arc::default(), users: 0 }
    }
}

/// The last inspection of a container.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// Counts looks in the order in which they began; zero for an earlier agent's.
    pub(super) look: u64,
    pub(super) inspection: Arc<RawValue>,
    /// The command of its health check, as Docker names it in events.
    pub(super) health_check: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Inspection {
    config: Option<Config>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Config {
    healthcheck: Option<HealthCheck>,
    shell: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HealthCheck {
    test: Option<Vec<String>>,
}

impl Seen {
    pub(super) fn new(look: u64, inspection: Arc<RawValue>) -> Self {
        let config = serde_json::from_str::<Inspection>(inspection.get()).ok().and_then(|all| all.config);
        let health_check = config.and_then(|config| {
            let test = config.healthcheck?.test?;
            let (how, command) = test.split_first()?;
            match how.as_str() {
                "CMD" => Some(command.join(" ")),
                "CMD-SHELL" => {
                    let shell = config.shell.unwrap_or_else(|| vec!["/bin/sh".to_owned(), "-c".to_owned()]);
                    Some(format!("{} {}", shell.join(" "), command.join(" ")))
                }
                _ => None,
            }
        });
        Self { look, inspection, health_check }
    }
}

/// The last inspections, by container.
pub(super) type Sights = BTreeMap<ContainerId, Seen>;

/// An inspection without the values of the container's environment, for who may not see them.
pub(super) fn without_values(inspection: &RawValue) -> Option<Arc<RawValue>> {
    let mut inspection: serde_json::Value = serde_json::from_str(inspection.get()).ok()?;
    let variables = inspection.pointer_mut("/Config/Env").and_then(serde_json::Value::as_array_mut);
    for variable in variables.into_iter().flatten() {
        let name = variable.as_str().and_then(|pair| pair.split('=').next()).unwrap_or_default();
        *variable = format!("{name}=…").into();
    }
    serde_json::value::to_raw_value(&inspection).ok().map(Arc::from)
}

/// What can be shown of a container that Docker shows no more, in the shape of an inspection.
pub(super) fn outline(facts: &ContainerFacts) -> Option<Arc<RawValue>> {
    let outline = serde_json::json!({
        "Id": facts.id,
        "Name": format!("/{}", facts.name),
        "Config": { "Image": facts.image, "Labels": facts.labels },
    });
    serde_json::value::to_raw_value(&outline).ok().map(Arc::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Arc<RawValue> {
        Arc::from(RawValue::from_string(text.to_owned()).unwrap())
    }

    #[test]
    fn the_command_of_a_health_check_is_read_as_docker_names_it() {
        let check =
            |test: &str| Seen::new(0, raw(&format!(r#"{{"Config":{{"Healthcheck":{{"Test":{test}}}}}}}"#)));
        assert_eq!(check(r#"["CMD","/probe","-q"]"#).health_check.as_deref(), Some("/probe -q"));
        assert_eq!(check(r#"["CMD-SHELL","a && b"]"#).health_check.as_deref(), Some("/bin/sh -c a && b"));
        assert_eq!(check(r#"["NONE"]"#).health_check, None);
        assert_eq!(Seen::new(0, raw("7")).health_check, None);
    }

    #[test]
    fn an_inspection_is_shown_without_the_values_of_its_environment() {
        let inspection = raw(r#"{"Id":"ab","Config":{"Env":["PASSWORD=hunter2","EMPTY"],"Image":"db"}}"#);
        let shown = without_values(&inspection).unwrap();
        assert_eq!(shown.get(), r#"{"Config":{"Env":["PASSWORD=…","EMPTY=…"],"Image":"db"},"Id":"ab"}"#);
    }
}
