//! DockerMod's `conf.json`.

use std::ffi::OsString;
use std::path::Path;

use longshore_api::from_commented_json;
use longshore_runtime::files::{Guard, read};
use serde_json::{Map, Value};

use super::{MAX_LENGTH, error};
use crate::config_error::{ConfigError, ConfigErrors};

/// The service that opens the port of the API.
const HTTP_SERVICE: &str = "HttpService";
/// Services that are always there, as parts of the agent.
const OWN_SERVICES: [&str; 2] = ["ContainerTrackingService", HTTP_SERVICE];
/// DockerMod's default port of its API.
const REST_PORT: u64 = 8080;
/// Keys that are accepted and have no effect.
const WITHOUT_EFFECT: [&str; 2] = ["main", "announceInterval"];

/// What `conf.json` says.
#[derive(Debug)]
pub(super) struct Conf {
    /// Flags of `run`.
    pub(super) flags: Vec<OsString>,
    /// The name of the cluster.
    pub(super) cluster: Option<String>,
    /// What has no effect.
    pub(super) ignored: Vec<String>,
}

impl Default for Conf {
    /// Returns the settings of an empty file.
    fn default() -> Self {
        Self { flags: vec![flag("rest-service-port", REST_PORT)], cluster: None, ignored: Vec::new() }
    }
}

impl Conf {
    /// Reads the file. Reports every error in it.
    pub(super) fn read(path: &Path) -> Result<Self, ConfigErrors> {
        let text = read(path, MAX_LENGTH, Guard::Writers);
        let text = text.map_err(|cause| one(error(path, None, None, format!("cannot be read: {cause}"))))?;
        let value: Value = from_commented_json(&text)
            .map_err(|cause| one(error(path, Some(cause.line()), None, cause.to_string())))?;
        let Value::Object(fields) = value else {
            return Err(one(error(path, None, None, "expected a JSON object")));
        };
        let mut keys = Keys { path, fields, errors: Vec::new() };
        let conf = keys.conf();
        if keys.errors.is_empty() { Ok(conf) } else { Err(ConfigErrors(keys.errors)) }
    }
}

fn one(error: ConfigError) -> ConfigErrors {
    ConfigErrors(vec![error])
}

fn flag(name: &str, value: impl std::fmt::Display) -> OsString {
    format!("--{name}={value}").into()
}

/// The keys that were not read yet, and the errors so far. A key that is `null` counts as absent.
struct Keys<'a> {
    path: &'a Path,
    fields: Map<String, Value>,
    errors: Vec<ConfigError>,
}

impl Keys<'_> {
    fn conf(&mut self) -> Conf {
        let mut flags = Vec::new();
        let (host, port) = (self.text("dockerHost"), self.port("dockerPort"));
        if host.is_some() || port.is_some() {
            let (host, port) = (host.unwrap_or_else(|| "localhost".to_owned()), port.unwrap_or(5555));
            let host = if host.contains(':') { format!("[{}]", host.trim_matches(['[', ']'])) } else { host };
            flags.push(flag("docker", format!("tcp://{host}:{port}")));
        }
        flags.extend(self.text("hostname").map(|name| flag("node", name)));
        for (key, name) in [
            ("trackingServiceInterval", "resync"),
            ("taskTimeout", "task-timeout"),
            ("newContainerTimeout", "new-container-timeout"),
        ] {
            let expected = "a whole number of milliseconds, at least 100";
            flags.extend(
                self.number(key, 100..=u64::from(u32::MAX), expected).map(|ms| flag(name, format!("{ms}ms"))),
            );
        }
        let rest_port = self.port("restServicePort").unwrap_or(REST_PORT);
        let cluster = self.text("clusterAddress");
        let mut ignored = Vec::new();
        let services = self.services();
        let is = |service: &str, name: &str| service.rsplit('.').next() == Some(name);
        if services.as_ref().is_none_or(|all| all.iter().any(|service| is(service, HTTP_SERVICE))) {
            flags.push(flag("rest-service-port", rest_port));
        }
        ignored.extend(self.fields.keys().filter(|key| !WITHOUT_EFFECT.contains(&key.as_str())).cloned());
        let unknown = |service: &String| !OWN_SERVICES.iter().any(|own| is(service, own));
        let services = services.unwrap_or_default().into_iter().filter(unknown);
        ignored.extend(services.map(|service| format!("services: {service}")));
        Conf { flags, cluster, ignored }
    }

    fn take(&mut self, key: &str) -> Option<Value> {
        self.fields.remove(key).filter(|value| !value.is_null())
    }

    fn refuse(&mut self, key: &str, expected: &str) {
        self.errors.push(error(self.path, None, Some(key), format!("expected {expected}")));
    }

    fn text(&mut self, key: &str) -> Option<String> {
        match self.take(key)? {
            Value::String(text) if !text.trim().is_empty() => Some(text),
            _ => {
                self.refuse(key, "a string that is not empty");
                None
            }
        }
    }

    fn number(&mut self, key: &str, range: std::ops::RangeInclusive<u64>, expected: &str) -> Option<u64> {
        let number = self.take(key)?.as_u64().filter(|number| range.contains(number));
        if number.is_none() {
            self.refuse(key, expected);
        }
        number
    }

    fn port(&mut self, key: &str) -> Option<u64> {
        self.number(key, 1..=65535, "a port from 1 to 65535")
    }

    fn services(&mut self) -> Option<Vec<String>> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let services = match self.take("services")? {
            Value::Array(services) => services.iter().map(text).collect(),
            _ => None,
        };
        if services.is_none() {
            self.refuse("services", "a list of strings");
        }
        services
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Conf, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let path = file.path().display().to_string();
        Conf::read(file.path()).map_err(|errors| errors.to_string().replace(&path, "conf.json"))
    }

    fn flags(text: &str) -> Vec<String> {
        read(text).unwrap().flags.iter().map(|flag| flag.to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn each_key_is_a_flag_of_the_agent() {
        let text = r#"{
            // ours
            "dockerPort": 2375, "hostname": "node1", "trackingServiceInterval": 5000, "taskTimeout": 1000,
            "newContainerTimeout": 60000, "restServicePort": 9090, "announceInterval": 7, "main": "x", "services": null
        }"#;
        let expected = [
            "--docker=tcp://localhost:2375",
            "--node=node1",
            "--resync=5000ms",
            "--task-timeout=1000ms",
            "--new-container-timeout=60000ms",
            "--rest-service-port=9090",
        ];
        assert_eq!(flags(text), expected);
        assert_eq!(flags(r#"{"dockerHost": "::1"}"#)[0], "--docker=tcp://[::1]:5555");
        assert_eq!(flags("{}"), ["--rest-service-port=8080"], "and Docker is where it usually is");
    }

    #[test]
    fn the_api_has_a_port_of_its_own_where_the_service_is_named_or_none_are() {
        let services = |services: &str| flags(&format!("{{\"services\": {services}}}"));
        assert_eq!(services(r#"["com.deblox.docker.services.HttpService"]"#), ["--rest-service-port=8080"]);
        assert_eq!(services(r#"["x.MyHttpService2", "x.ContainerTrackingService"]"#), [""; 0]);
        assert_eq!(services("[]"), [""; 0]);
    }

    #[test]
    fn what_has_no_effect_is_listed_once() {
        let conf = read(r#"{"color": "red", "services": ["a.UiService"], "autoload": true}"#).unwrap();
        assert_eq!(conf.ignored, ["autoload", "color", "services: a.UiService"]);
    }

    #[test]
    fn every_error_is_reported_at_once_with_its_key() {
        let text = r#"{"dockerPort": 0, "taskTimeout": "1s", "hostname": "", "services": [1], "newContainerTimeout": 1}"#;
        let errors = read(text).unwrap_err();
        for part in [
            "conf.json: dockerPort: expected a port from 1 to 65535",
            "conf.json: taskTimeout: expected a whole number of milliseconds, at least 100",
            "conf.json: newContainerTimeout: expected a whole number of milliseconds",
            "conf.json: hostname: expected a string that is not empty",
            "conf.json: services: expected a list of strings",
        ] {
            assert!(errors.contains(part), "{part:?} is not in\n{errors}");
        }
        assert!(read("{\n\"a\": b}").unwrap_err().contains("conf.json:2: expected value"));
        assert!(read("[]").unwrap_err().contains("expected a JSON object"));
        assert!(Conf::read(Path::new("/nonexistent")).unwrap_err().to_string().contains("cannot be read"));
    }
}
