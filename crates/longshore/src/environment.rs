//! Settings from the environment: `LONGSHORE_CHECK_INTERVAL` is `check-interval`.

use std::ffi::{OsStr, OsString};

use clap::ArgAction;

use crate::config_error::{ConfigError, ConfigErrors, Source};
use crate::given::{Given, settings};

/// Variables of the docker CLI, used if Longshore's own are not set.
const DOCKERS: [(&str, &str); 2] = [("docker", "DOCKER_HOST"), ("docker-cert-path", "DOCKER_CERT_PATH")];

/// Returns the name of a setting's variable.
pub(crate) fn variable(key: &str) -> String {
    format!("LONGSHORE_{}", key.to_uppercase().replace('-', "_"))
}

/// Reads the variables of `command`'s settings through `get`. An empty one counts as unset, as with docker.
/// Multiple values are separated by commas.
pub(crate) fn read(
    command: &clap::Command,
    get: impl Fn(&str) -> Option<OsString>,
) -> Result<Vec<Given>, ConfigErrors> {
    let mut given = Vec::new();
    let mut errors = Vec::new();
    for (key, flag) in settings(command) {
        let dockers = DOCKERS.iter().filter(|(of, _)| *of == key).map(|(_, name)| (*name).to_owned());
        let names = std::iter::once(variable(key)).chain(dockers);
        let set = names.filter_map(|name| Some((get(&name).filter(|value| !value.is_empty())?, name))).next();
        let Some((value, name)) = set else { continue };
        let source = Source::Variable(name);
        match flag.get_action() {
            ArgAction::SetTrue => match truth(&value) {
                Some(true) => given.push(Given::on(command, key, source)),
                Some(false) => {}
                None => {
                    let message = format!("invalid value {value:?}: expected true or false");
                    errors.push(ConfigError::of_key(source, key, message));
                }
            },
            ArgAction::Append => match value.to_str() {
                Some(list) => given.extend(
                    list.split(',')
                        .map(str::trim)
                        .filter(|value| !value.is_empty())
                        .map(|value| Given::with_value(command, key, value.as_ref(), source.clone())),
                ),
                None => errors.push(ConfigError::of_key(source, key, "not valid UTF-8")),
            },
            _ => given.push(Given::with_value(command, key, &value, source)),
        }
    }
    let mut valid = Vec::new();
    for setting in given {
        match setting {
            Ok(setting) => valid.push(setting),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(valid) } else { Err(ConfigErrors(errors)) }
}

fn truth(value: &OsStr) -> Option<bool> {
    match value.to_str()?.to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Some(true),
        "0" | "false" | "no" | "off" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Args;

    fn read_from(variables: &[(&str, &str)]) -> Result<Vec<String>, String> {
        let command = crate::cli::Run::augment_args(clap::Command::new("longshore"));
        let get = |name: &str| {
            let found = variables.iter().find(|(other, _)| *other == name);
            found.map(|(_, value)| OsString::from(*value))
        };
        let shown = |given: Given| given.argument.to_string_lossy().into_owned();
        let given = read(&command, get).map_err(|errors| errors.to_string())?;
        Ok(given.into_iter().map(shown).collect())
    }

    #[test]
    fn every_setting_has_a_variable() {
        let command = crate::cli::Run::augment_args(clap::Command::new("longshore"));
        for (key, flag) in settings(&command) {
            let value = match (flag.get_action(), flag.get_default_values().first()) {
                (ArgAction::SetTrue, _) => "true".to_owned(),
                (_, Some(usual)) => usual.to_string_lossy().into_owned(),
                (_, None) => match key {
                    "bind" | "trusted-proxy" => "192.0.2.1".to_owned(),
                    "dns" | "dns-forward" => "192.0.2.1:53".to_owned(),
                    "workers" => "2".to_owned(),
                    "rest-service-port" => "8080".to_owned(),
                    "cluster" | "advertise" | "join" => "a".to_owned(),
                    "host-label" => "a=b".to_owned(),
                    "balancer" => "none".to_owned(),
                    _ => "/x".to_owned(),
                },
            };
            let given = read_from(&[(&variable(key), &value)]).unwrap();
            let wanted = match flag.get_action() {
                ArgAction::SetTrue => format!("--{key}"),
                _ => format!("--{key}={value}"),
            };
            assert_eq!(given, [wanted], "{}", variable(key));
        }
    }

    #[test]
    fn several_values_have_commas_between_them_and_an_empty_variable_is_unset() {
        let given = read_from(&[
            ("LONGSHORE_BIND", "10.0.0.1, ::1"),
            ("LONGSHORE_INCLUDE_ENV", "off"),
            ("LONGSHORE_NODE", ""),
        ]);
        assert_eq!(given.unwrap(), ["--bind=10.0.0.1", "--bind=::1"]);
    }

    #[test]
    fn dockers_own_variables_count_below_longshores() {
        let (ours, dockers) =
            (("LONGSHORE_DOCKER", "unix:///a.sock"), ("DOCKER_HOST", "tcp://10.0.0.1:2375"));
        assert_eq!(read_from(&[dockers]).unwrap(), ["--docker=tcp://10.0.0.1:2375"]);
        assert_eq!(read_from(&[ours, dockers]).unwrap(), ["--docker=unix:///a.sock"]);
    }

    #[test]
    fn every_invalid_variable_is_named_with_what_is_expected() {
        let errors = read_from(&[
            ("LONGSHORE_BALANCER", "nginx"),
            ("LONGSHORE_WORKERS", "0"),
            ("LONGSHORE_INCLUDE_ENV", "maybe"),
            ("LONGSHORE_LOG", "verbose"),
            ("DOCKER_HOST", "docker"),
        ])
        .unwrap_err();
        for part in [
            "LONGSHORE_BALANCER: invalid value \"nginx\": expected none, built-in or haproxy",
            "LONGSHORE_WORKERS: invalid value \"0\": 0 is not in 1..=256",
            "LONGSHORE_INCLUDE_ENV: invalid value \"maybe\": expected true or false",
            "LONGSHORE_LOG: invalid value \"verbose\": expected one of off, error, warn, info, debug, trace",
            "DOCKER_HOST: invalid value \"docker\": expected unix:///path/to/docker.sock or tcp://host:port",
        ] {
            assert!(errors.contains(part), "{part:?} not in\n{errors}");
        }
    }
}
