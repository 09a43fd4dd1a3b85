//! What DockerMod's users ask for.

use serde_json::{Map, Value};

use crate::from_commented_json;

/// The most containers that one request may create.
const MAX_INSTANCES: u64 = 1000;
/// The longest time that a request may give a container to stop, in seconds.
const MAX_TIMEOUT: u64 = 24 * 3600;

/// The names of all actions, in the order of DockerMod's document.
const ACTIONS: [&str; 12] = [
    "register",
    "unregister",
    "create-container",
    "create-raw-container",
    "start-container",
    "stop-container",
    "restart-container",
    "shutdown-container",
    "delete-container",
    "inspect-container",
    "list-containers",
    "list-images",
];

/// A request to DockerMod's API.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// The only host that may carry it out, by name.
    pub hostname: Option<String>,
    /// What to do.
    pub action: Action,
}

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Let a host take new containers.
    Register {
        /// Its name.
        hostname: String,
    },
    /// Let a host take no new containers.
    Unregister {
        /// Its name.
        hostname: String,
    },
    /// Create containers.
    Create(Create),
    /// Do something with one container.
    Container {
        /// Its id, the beginning of its id, or its name.
        id: String,
        /// What to do with it.
        order: Order,
    },
    /// List what a host has.
    List {
        /// What to list.
        of: Resource,
        /// Whether all hosts are asked.
        all: bool,
    },
}

/// Containers to create.
#[derive(Clone, Debug, PartialEq)]
pub struct Create {
    /// What they are created from.
    pub source: Source,
    /// How many, and that the reply is a list.
    pub instances: Option<usize>,
    /// Whether a missing image is pulled.
    pub pull: bool,
}

/// What a container is created from.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// A template, by name.
    Template(String),
    /// A body of Docker's create request.
    Body(Map<String, Value>),
}

/// What to do with a container. Times are in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Start it.
    Start,
    /// Stop it, gracefully.
    Stop {
        /// How long it may take.
        timeout: Option<u32>,
    },
    /// Stop and start it.
    Restart {
        /// How long its stop may take.
        timeout: Option<u32>,
    },
    /// Take it out of the routes, drain it, and stop it.
    Shutdown {
        /// How long its stop may take.
        timeout: Option<u32>,
    },
    /// Delete it.
    Delete {
        /// Whether it may be running.
        force: bool,
    },
    /// Show it.
    Inspect,
}

/// What a host can list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// Containers, running or not.
    Containers,
    /// Images.
    Images,
}

/// Why a request cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The body is not JSON.
    #[error("the body is not JSON: {0}")]
    NotJson(String),
    /// The body is JSON of another kind.
    #[error("the body must be a JSON object such as {{\"action\": \"list-containers\"}}")]
    NotAnObject,
    /// A field is missing.
    #[error("missing field: {0}")]
    Missing(&'static str),
    /// A field has a value of the wrong kind.
    #[error("invalid field {field}: expected {expected}")]
    Invalid {
        /// Its name.
        field: &'static str,
        /// What it must be.
        expected: &'static str,
    },
    /// The action is not one of DockerMod's.
    #[error("unknown action {0:?}: expected one of {actions}", actions = ACTIONS.join(", "))]
    UnknownAction(String),
}

impl Request {
    /// Reads a request's body, which may contain comments.
    ///
    /// # Errors
    /// If it is not a request; the error names the field.
    pub fn parse(body: &[u8]) -> Result<Self, RequestError> {
        let text = std::str::from_utf8(body).map_err(|error| RequestError::NotJson(error.to_string()))?;
        let value: Value =
            from_commented_json(text).map_err(|error| RequestError::NotJson(error.to_string()))?;
        let Value::Object(fields) = value else { return Err(RequestError::NotAnObject) };
        Fields(fields).request()
    }
}

/// The fields of a request. A field that is `null` counts as absent.
struct Fields(Map<String, Value>);

impl Fields {
    fn request(mut self) -> Result<Request, RequestError> {
        let name = self.required_text("action")?;
        let hostname = self.text("hostname")?;
        let host = || hostname.clone().ok_or(RequestError::Missing("hostname"));
        let action = match name.as_str() {
            "register" => Action::Register { hostname: host()? },
            "unregister" => Action::Unregister { hostname: host()? },
            "create-container" => Action::Create(self.create()?),
            "create-raw-container" => Action::Create(self.create_raw()?),
            "start-container" => self.container(Order::Start)?,
            "stop-container" => {
                let timeout = self.timeout()?;
                self.container(Order::Stop { timeout })?
            }
            "restart-container" => {
                let timeout = self.timeout()?;
                self.container(Order::Restart { timeout })?
            }
            "shutdown-container" => {
                let timeout = self.timeout()?;
                self.container(Order::Shutdown { timeout })?
            }
            "delete-container" => {
                let force = self.truth("force")?.unwrap_or(false);
                self.container(Order::Delete { force })?
            }
            "inspect-container" => self.container(Order::Inspect)?,
            "list-containers" => self.list(Resource::Containers)?,
            "list-images" => self.list(Resource::Images)?,
            _ => return Err(RequestError::UnknownAction(name)),
        };
        Ok(Request { hostname, action })
    }

    fn create(&mut self) -> Result<Create, RequestError> {
        let (template, image) = (self.text("template")?, self.text("image")?);
        let command = self.command()?;
        let source = match (template, image) {
            (Some(template), _) => Source::Template(template),
            (None, Some(image)) => {
                let command = command.map(|command| ("Cmd".to_owned(), command));
                Source::Body(
                    [("Image".to_owned(), Value::String(image))].into_iter().chain(command).collect(),
                )
            }
            (None, None) => return Err(RequestError::Missing("template or image")),
        };
        self.create_from(source)
    }

    fn create_raw(&mut self) -> Result<Create, RequestError> {
        match self.take("body") {
            Some(Value::Object(body)) => self.create_from(Source::Body(body)),
            Some(_) => Err(RequestError::Invalid { field: "body", expected: "an object" }),
            None => Err(RequestError::Missing("body")),
        }
    }

    fn create_from(&mut self, source: Source) -> Result<Create, RequestError> {
        let (instances, pull) = (self.instances()?, self.truth("pull")?.unwrap_or(true));
        Ok(Create { source, instances, pull })
    }

    fn container(&mut self, order: Order) -> Result<Action, RequestError> {
        Ok(Action::Container { id: self.required_text("id")?, order })
    }

    fn list(&mut self, of: Resource) -> Result<Action, RequestError> {
        Ok(Action::List { of, all: self.truth("all")?.unwrap_or(false) })
    }

    fn take(&mut self, field: &str) -> Option<Value> {
        self.0.remove(field).filter(|value| !value.is_null())
    }

    fn text(&mut self, field: &'static str) -> Result<Option<String>, RequestError> {
        match self.take(field) {
            None => Ok(None),
            Some(Value::String(text)) if !text.is_empty() => Ok(Some(text)),
            Some(_) => Err(RequestError::Invalid { field, expected: "a string that is not empty" }),
        }
    }

    fn required_text(&mut self, field: &'static str) -> Result<String, RequestError> {
        self.text(field)?.ok_or(RequestError::Missing(field))
    }

    fn truth(&mut self, field: &'static str) -> Result<Option<bool>, RequestError> {
        match self.take(field) {
            None => Ok(None),
            Some(Value::Bool(truth)) => Ok(Some(truth)),
            Some(_) => Err(RequestError::Invalid { field, expected: "true or false" }),
        }
    }

    fn command(&mut self) -> Result<Option<Value>, RequestError> {
        match self.take("Cmd") {
            None => Ok(None),
            Some(Value::Array(words)) if words.iter().all(Value::is_string) => Ok(Some(Value::Array(words))),
            Some(_) => Err(RequestError::Invalid { field: "Cmd", expected: "a list of strings" }),
        }
    }

    /// Returns the number of instances: DockerMod took 0 as 1.
    fn instances(&mut self) -> Result<Option<usize>, RequestError> {
        let Some(value) = self.take("instances") else { return Ok(None) };
        let number = value.as_u64().filter(|number| *number <= MAX_INSTANCES);
        let number = number.and_then(|number| usize::try_from(number.max(1)).ok());
        let expected = "a whole number from 1 to 1000";
        number.map(Some).ok_or(RequestError::Invalid { field: "instances", expected })
    }

    fn timeout(&mut self) -> Result<Option<u32>, RequestError> {
        let Some(value) = self.take("timeout") else { return Ok(None) };
        let seconds = value.as_u64().filter(|seconds| *seconds <= MAX_TIMEOUT);
        let expected = "a whole number of seconds from 0 to 86400";
        let seconds = seconds.and_then(|seconds| u32::try_from(seconds).ok());
        seconds.map(Some).ok_or(RequestError::Invalid { field: "timeout", expected })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(body: &str) -> Result<Request, RequestError> {
        Request::parse(body.as_bytes())
    }

    fn action(body: &str) -> Action {
        let request = parse(body).unwrap();
        assert_eq!(request.hostname, None);
        request.action
    }

    fn body(value: Value) -> Source {
        let Value::Object(body) = value else { panic!("an object") };
        Source::Body(body)
    }

    /// The requests of DockerMod's document, as it has them.
    #[test]
    fn the_documents_requests_are_understood() {
        let id = "b276fbefc5c5d852a3c34a2999d8b26cb473e1a96ff611fe67f65f9cf635c70f";
        let container = |order| Action::Container { id: id.to_owned(), order };
        let create = |source, instances| Action::Create(Create { source, instances, pull: true });
        let test = || Source::Template("test".to_owned());
        assert_eq!(
            action(r#"{"action": "create-container", "template": "test", "instances": 4}"#),
            create(test(), Some(4))
        );
        assert_eq!(
            action(r#"{"action": "create-container", "image": "ubuntu"}"#),
            create(body(json!({"Image": "ubuntu"})), None)
        );
        assert_eq!(
            action(
                "{\n    \"action\": \"create-container\",\n    \"template\": \"sometemplatename\",\n    \"image\": \"ubuntu\",\n    \"instances\": 2\n}"
            ),
            create(Source::Template("sometemplatename".to_owned()), Some(2))
        );
        assert_eq!(
            action(r#"{"action": "start-container", "id": "b276fbe"}"#),
            Action::Container { id: "b276fbe".to_owned(), order: Order::Start }
        );
        assert_eq!(action(r#"{"action": "list-images"}"#), Action::List { of: Resource::Images, all: false });
        assert_eq!(
            action("{\n  \"action\": \"list-containers\",\n  \"all\": true // query entire cluster\n}"),
            Action::List { of: Resource::Containers, all: true }
        );
        for (name, order) in [
            ("inspect-container", Order::Inspect),
            ("delete-container", Order::Delete { force: false }),
            ("stop-container", Order::Stop { timeout: None }),
            ("restart-container", Order::Restart { timeout: None }),
            ("shutdown-container", Order::Shutdown { timeout: None }),
        ] {
            assert_eq!(action(&format!(r#"{{"action": "{name}", "id": "{id}"}}"#)), container(order));
        }
        let hostname = || "sthmaclt009.local".to_owned();
        let register =
            parse("{\n  \"action\": \"register\",\n  \"hostname\": \"sthmaclt009.local\"\n}").unwrap();
        assert_eq!(register.action, Action::Register { hostname: hostname() });
        let unregister = parse(r#"{"action": "unregister", "hostname": "sthmaclt009.local"}"#).unwrap();
        assert_eq!(unregister.action, Action::Unregister { hostname: hostname() });
    }

    #[test]
    fn a_raw_body_and_a_command_go_to_docker_as_they_are() {
        let raw =
            r#"{"action": "create-raw-container", "body": {"Image": "a", "X": [1, null]}, "pull": false}"#;
        let source = body(json!({"Image": "a", "X": [1, null]}));
        assert_eq!(action(raw), Action::Create(Create { source, instances: None, pull: false }));
        let command = r#"{"action": "create-container", "image": "a", "Cmd": ["sh", "-c", "x"]}"#;
        let source = body(json!({"Image": "a", "Cmd": ["sh", "-c", "x"]}));
        assert_eq!(action(command), Action::Create(Create { source, instances: None, pull: true }));
    }

    #[test]
    fn any_request_may_name_its_host() {
        for body in [
            r#"{"action": "list-images", "hostname": "a"}"#,
            r#"{"action": "create-container", "image": "x", "hostname": "a"}"#,
            r#"{"action": "start-container", "id": "x", "hostname": "a"}"#,
        ] {
            assert_eq!(parse(body).unwrap().hostname.as_deref(), Some("a"), "{body}");
        }
    }

    #[test]
    fn null_counts_as_absent_and_zero_instances_as_one() {
        let created = |body: &str| match action(body) {
            Action::Create(create) => create.instances,
            other => panic!("{other:?}"),
        };
        let with = |instances: &str| {
            format!(r#"{{"action": "create-container", "image": "a", "instances": {instances}}}"#)
        };
        assert_eq!(created(&with("null")), None);
        assert_eq!(created(&with("0")), Some(1));
        assert_eq!(created(&with("1000")), Some(1000));
        let order = |body: &str| match action(body) {
            Action::Container { order, .. } => order,
            other => panic!("{other:?}"),
        };
        let stop = order(r#"{"action": "stop-container", "id": "a", "timeout": 0}"#);
        assert_eq!(stop, Order::Stop { timeout: Some(0) });
        let delete = order(r#"{"action": "delete-container", "id": "a", "force": true}"#);
        assert_eq!(delete, Order::Delete { force: true });
    }

    #[test]
    fn an_error_names_the_field_and_what_is_expected() {
        for (body, expected) in [
            ("", "the body is not JSON: EOF"),
            (
                "{\"action\": \"create-container\", \"image\": ubuntu}",
                "the body is not JSON: expected value at line 1",
            ),
            ("[]", "the body must be a JSON object"),
            ("{}", "missing field: action"),
            (r#"{"action": 1}"#, "invalid field action: expected a string"),
            (r#"{"action": "reboot"}"#, "unknown action \"reboot\": expected one of register, unregister, "),
            (r#"{"action": "register"}"#, "missing field: hostname"),
            (r#"{"action": "unregister", "hostname": ""}"#, "invalid field hostname: "),
            (r#"{"action": "create-container"}"#, "missing field: template or image"),
            (
                r#"{"action": "create-container", "image": "a", "Cmd": "sh"}"#,
                "invalid field Cmd: expected a list of strings",
            ),
            (
                r#"{"action": "create-container", "image": "a", "instances": 1001}"#,
                "invalid field instances: expected a whole number from 1 to 1000",
            ),
            (r#"{"action": "create-container", "image": "a", "instances": -1}"#, "invalid field instances: "),
            (
                r#"{"action": "create-container", "image": "a", "instances": 1.5}"#,
                "invalid field instances: ",
            ),
            (
                r#"{"action": "create-container", "image": "a", "instances": "2"}"#,
                "invalid field instances: ",
            ),
            (
                r#"{"action": "create-container", "image": "a", "pull": "no"}"#,
                "invalid field pull: expected true or false",
            ),
            (r#"{"action": "create-raw-container"}"#, "missing field: body"),
            (r#"{"action": "create-raw-container", "body": []}"#, "invalid field body: expected an object"),
            (r#"{"action": "start-container"}"#, "missing field: id"),
            (r#"{"action": "start-container", "id": 7}"#, "invalid field id: "),
            (r#"{"action": "stop-container", "id": "a", "timeout": -1}"#, "invalid field timeout: "),
            (r#"{"action": "list-containers", "all": 1}"#, "invalid field all: expected true or false"),
        ] {
            let error = parse(body).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{body}: {error}");
        }
        assert!(matches!(Request::parse(b"\xff"), Err(RequestError::NotJson(_))));
    }
}
