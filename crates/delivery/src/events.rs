//! Events that are still needed, and the facts of their containers.

use std::sync::Arc;

use longshore_model::HandlerEvent;
use serde::Deserialize;
use serde_json::value::RawValue;

/// An event that is still to be delivered.
#[derive(Clone, Debug)]
pub(crate) struct PendingEvent {
    pub(crate) event: Arc<HandlerEvent>,
    /// Deliveries that are not finished, including failed ones.
    pub(crate) deliveries: usize,
}

impl PendingEvent {
    pub(crate) fn new(event: Arc<HandlerEvent>) -> Self {
        Self { event, deliveries: 0 }
    }
}

/// The last inspection of a container.
#[derive(Clone, Debug)]
pub(crate) struct LastInspection {
    /// Counts inspections in the order in which they began; zero for one of an earlier agent.
    pub(crate) number: u64,
    pub(crate) text: Arc<RawValue>,
    /// The command of the health check, as Docker names it in events.
    pub(crate) health_check: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Inspected {
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

impl LastInspection {
    pub(crate) fn new(number: u64, text: Arc<RawValue>) -> Self {
        let config = serde_json::from_str::<Inspected>(text.get()).ok().and_then(|all| all.config);
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
        Self { number, text, health_check }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Arc<RawValue> {
        Arc::from(RawValue::from_string(text.to_owned()).unwrap())
    }

    #[test]
    fn the_command_of_a_health_check_is_read_as_docker_names_it() {
        let check = |test: &str| {
            LastInspection::new(0, raw(&format!(r#"{{"Config":{{"Healthcheck":{{"Test":{test}}}}}}}"#)))
        };
        assert_eq!(check(r#"["CMD","/probe","-q"]"#).health_check.as_deref(), Some("/probe -q"));
        assert_eq!(check(r#"["CMD-SHELL","a && b"]"#).health_check.as_deref(), Some("/bin/sh -c a && b"));
        assert_eq!(check(r#"["NONE"]"#).health_check, None);
        assert_eq!(LastInspection::new(0, raw("7")).health_check, None);
    }
}
