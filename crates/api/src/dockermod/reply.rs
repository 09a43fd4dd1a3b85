//! What DockerMod's users read.

use serde_json::{Map, Value, json};

/// Header fields that describe how one answer came over the wire, not what is in it.
const OF_ONE_ANSWER: [&str; 2] = ["content-length", "transfer-encoding"];

/// One reply: a JSON object, and its status.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// The status, which is also in the object where that has one.
    pub status: u16,
    /// The object.
    pub body: Map<String, Value>,
}

/// A host without an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unanswered {
    /// Its name.
    pub host: String,
    /// 503 where it could not be reached, 504 where it did not answer in time, or Docker's own error.
    pub status: u16,
    /// Why.
    pub error: String,
}

impl Reply {
    /// Returns Docker's answer on a host: its status, its headers and its body.
    pub fn of_docker(
        host: &str,
        status: u16,
        headers: impl IntoIterator<Item = (String, String)>,
        body: Option<Value>,
    ) -> Self {
        if status >= 400 {
            return Self::error_of(host, status, message(body));
        }
        let headers = headers.into_iter().map(|(name, value)| (capitalized(&name), Value::String(value)));
        let mut reply: Map<String, Value> = headers.collect();
        let response = body.map_or(Value::String(String::new()), |body| json!({ "Body": body }));
        reply.insert("Response".to_owned(), response);
        reply.insert("dockerInstance".to_owned(), host.into());
        reply.insert("statusCode".to_owned(), status.into());
        Self { status, body: reply }
    }

    /// Returns the reply to a request that a host carried out without asking Docker.
    pub fn done(host: &str) -> Self {
        Self::of_docker(host, 200, [], None)
    }

    /// Returns an error that is not about one host.
    pub fn error(status: u16, error: impl Into<String>) -> Self {
        let (status_field, error_field) = (Value::from(status), Value::String(error.into()));
        let fields = [("statusCode", status_field), ("error", error_field)];
        Self { status, body: fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect() }
    }

    /// Returns an error of one host.
    pub fn error_of(host: &str, status: u16, error: impl Into<String>) -> Self {
        let mut reply = Self::error(status, error);
        reply.body.insert("dockerInstance".to_owned(), host.into());
        reply
    }

    /// Adds the status under its second name, which lists of images have.
    #[must_use]
    pub fn with_response_code(mut self) -> Self {
        self.body.insert("Response-Code".to_owned(), self.status.into());
        self
    }

    /// Returns the reply to a request for several containers, from the replies for each of them.
    pub fn created(replies: Vec<Self>) -> Self {
        let made = replies.iter().filter(|reply| reply.is_success()).count();
        let status = match replies.iter().find(|reply| !reply.is_success()) {
            None => 201,
            Some(_) if made > 0 => 207,
            Some(first) => first.status,
        };
        let containers = replies.into_iter().map(|reply| Value::Object(reply.body)).collect();
        Self { status, body: Map::from_iter([("containers".to_owned(), Value::Array(containers))]) }
    }

    /// Returns the reply to a request for all hosts' lists, from each host's reply. `asked` is the host that
    /// collected them.
    pub fn merged(asked: &str, replies: Vec<Result<Self, Unanswered>>) -> Self {
        let mut merged = Self::error(504, "no host answered");
        let mut items = Vec::new();
        let mut errors = Vec::new();
        let mut each = Vec::new();
        for reply in replies {
            match reply {
                Ok(reply) => {
                    if merged.status != 200 {
                        merged = Self { status: 200, body: headers_of(&reply.body) };
                        merged.body.insert("statusCode".to_owned(), merged.status.into());
                    }
                    items.extend(reply.items());
                    each.push(Value::Object(reply.body));
                }
                Err(Unanswered { host, status, error }) => {
                    errors.push(json!({ "dockerInstance": host, "error": error }));
                    each.push(Value::Object(Self::error_of(&host, status, error).body));
                }
            }
        }
        merged.body.insert("Response".to_owned(), json!({ "Body": items }));
        merged.body.insert("dockerInstance".to_owned(), asked.into());
        merged.body.insert("containers".to_owned(), Value::Array(each));
        if !errors.is_empty() {
            merged.body.insert("errors".to_owned(), Value::Array(errors));
        }
        merged
    }

    /// Returns the status that HTTP carries: one with a body is never sent as 204 or 304, which have none.
    pub fn http_status(&self) -> u16 {
        match self.status {
            204 | 304 => 200,
            status => status,
        }
    }

    fn is_success(&self) -> bool {
        self.status < 400
    }

    /// Returns what a list contains, each item with the host that has it.
    fn items(&self) -> Vec<Value> {
        let host = self.body.get("dockerInstance").cloned().unwrap_or_default();
        let listed = self.body.get("Response").and_then(|response| response.get("Body"));
        let mut items = listed.and_then(Value::as_array).cloned().unwrap_or_default();
        for item in items.iter_mut().filter_map(Value::as_object_mut) {
            item.insert("dockerInstance".to_owned(), host.clone());
        }
        items
    }
}

/// Returns the header fields of a host's reply that also hold for a reply that includes it.
fn headers_of(reply: &Map<String, Value>) -> Map<String, Value> {
    let ours = ["Response", "dockerInstance", "statusCode", "Response-Code"];
    let is_header = |name: &str| {
        !ours.contains(&name) && !OF_ONE_ANSWER.iter().any(|length| name.eq_ignore_ascii_case(length))
    };
    reply
        .iter()
        .filter(|(name, _)| is_header(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// Returns Docker's own words for an error.
fn message(body: Option<Value>) -> String {
    match body {
        Some(Value::Object(mut fields)) => match fields.remove("message") {
            Some(Value::String(message)) => message,
            _ => Value::Object(fields).to_string(),
        },
        Some(Value::String(text)) if !text.trim().is_empty() => text.trim().to_owned(),
        _ => "Docker gave no reason".to_owned(),
    }
}

/// Spells a header's name as DockerMod's document does: `content-type` is `Content-Type`.
fn capitalized(name: &str) -> String {
    let mut at_start = true;
    let spell = |c: char| {
        let spelled = if at_start { c.to_ascii_uppercase() } else { c };
        at_start = c == '-';
        spelled
    };
    name.chars().map(spell).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "unisthlt035.unibet.com";

    fn headers(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn json_headers() -> Vec<(String, String)> {
        headers(&[
            ("content-length", "90"),
            ("content-type", "application/json"),
            ("date", "Tue, 18 Nov 2014 11:43:59 GMT"),
        ])
    }

    fn created(id: &str) -> Reply {
        Reply::of_docker(HOST, 201, json_headers(), Some(json!({ "Id": id, "Warnings": null })))
    }

    /// A reply of DockerMod's document.
    fn printed(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn containers_that_were_created_are_shown_as_in_the_document() {
        let (one, other) = (
            "adda8bf806b8e37c99fb8c477203e950bfcedabaefebd5b2d285f55cbd73da94",
            "dc1fc364cefe5d232b8c632fbc335cdeaab79a4f8fd6eefa57dff2e6185379ba",
        );
        let reply = Reply::created(vec![created(one), created(other)]);
        assert_eq!((reply.status, reply.http_status()), (201, 201));
        let text = r#"{
    "containers": [
        {
            "Content-Length": "90",
            "Content-Type": "application/json",
            "Date": "Tue, 18 Nov 2014 11:43:59 GMT",
            "Response": {
                "Body": {
                    "Id": "adda8bf806b8e37c99fb8c477203e950bfcedabaefebd5b2d285f55cbd73da94",
                    "Warnings": null
                }
            },
            "dockerInstance": "unisthlt035.unibet.com",
            "statusCode": 201
        },
        {
            "Content-Length": "90",
            "Content-Type": "application/json",
            "Date": "Tue, 18 Nov 2014 11:43:59 GMT",
            "Response": {
                "Body": {
                    "Id": "dc1fc364cefe5d232b8c632fbc335cdeaab79a4f8fd6eefa57dff2e6185379ba",
                    "Warnings": null
                }
            },
            "dockerInstance": "unisthlt035.unibet.com",
            "statusCode": 201
        }
    ]
}"#;
        assert_eq!(Value::Object(reply.body), printed(text));
    }

    #[test]
    fn an_answer_without_a_body_is_shown_as_in_the_document() {
        let date = headers(&[("date", "Mon, 17 Nov 2014 15:28:05 GMT")]);
        let reply = Reply::of_docker("app0127.proxmox.swe1.unibet.com", 204, date, None);
        assert_eq!(reply.http_status(), 200, "204 has no body");
        let text = r#"{
    "Date": "Mon, 17 Nov 2014 15:28:05 GMT",
    "Response": "",
    "dockerInstance": "app0127.proxmox.swe1.unibet.com",
    "statusCode": 204
}"#;
        assert_eq!(Value::Object(reply.body), printed(text));
        assert_eq!(Reply::of_docker(HOST, 304, [], None).http_status(), 200);
        let register = json!({ "statusCode": 200, "Response": "", "dockerInstance": HOST });
        assert_eq!(Value::Object(Reply::done(HOST).body), register);
    }

    #[test]
    fn a_list_of_images_is_shown_as_in_the_document() {
        let headers = headers(&[
            ("Content-Type", "application/json"),
            ("Date", "Wed, 12 Nov 2014 09:15:04 GMT"),
            ("Content-Length", "1836"),
        ]);
        let images =
            json!([{ "Created": 1_414_108_504, "RepoTags": ["ubuntu:14.10", "ubuntu:utopic"], "Size": 0 }]);
        let reply = Reply::of_docker("sthmaclt009.local", 200, headers, Some(images)).with_response_code();
        let text = r#"{
  "Response-Code": 200,
  "Content-Type": "application/json",
  "Date": "Wed, 12 Nov 2014 09:15:04 GMT",
  "Content-Length": "1836",
  "Response": {
    "Body": [{
      "Created": 1414108504,
      "RepoTags": ["ubuntu:14.10", "ubuntu:utopic"],
      "Size": 0
    }]
  },
  "dockerInstance": "sthmaclt009.local",
  "statusCode": 200
}"#;
        assert_eq!(Value::Object(reply.body), printed(text));
    }

    #[test]
    fn lists_of_all_hosts_are_merged_and_a_silent_host_is_named() {
        let of = |host: &str, id: &str| {
            let headers =
                headers(&[("Content-Type", "application/json"), ("Content-Length", "20"), ("Date", "today")]);
            Reply::of_docker(host, 200, headers, Some(json!([{ "Id": id }])))
        };
        let error = "no answer within 2.5 s".to_owned();
        let silent = Unanswered { host: "c".to_owned(), status: 504, error: error.clone() };
        let reply = Reply::merged("a", vec![Ok(of("a", "1")), Err(silent), Ok(of("b", "2"))]);
        assert_eq!(reply.status, 200);
        let expected = json!({
            "statusCode": 200,
            "Content-Type": "application/json",
            "Date": "today",
            "dockerInstance": "a",
            "Response": { "Body": [{ "Id": "1", "dockerInstance": "a" }, { "Id": "2", "dockerInstance": "b" }] },
            "errors": [{ "dockerInstance": "c", "error": error }],
            "containers": [
                of("a", "1").body,
                { "dockerInstance": "c", "statusCode": 504, "error": error },
                of("b", "2").body,
            ],
        });
        assert_eq!(Value::Object(reply.body), expected);
    }

    #[test]
    fn errors_are_absent_where_every_host_answered_and_504_is_said_where_none_did() {
        let reply = Reply::merged("a", vec![Ok(Reply::of_docker("a", 200, [], Some(json!([]))))]);
        assert_eq!(reply.body.get("errors"), None);
        assert_eq!(reply.body["Response"], json!({ "Body": [] }));
        let silent = Unanswered { host: "a".to_owned(), status: 503, error: "gone".to_owned() };
        let reply = Reply::merged("a", vec![Err(silent)]);
        assert_eq!((reply.status, &reply.body["statusCode"]), (504, &json!(504)));
        assert_eq!(reply.body["error"], "no host answered");
        assert_eq!(reply.body["errors"][0]["error"], "gone");
    }

    #[test]
    fn a_batch_that_failed_in_part_says_so() {
        let failed = |status| Reply::error_of(HOST, status, "no");
        assert_eq!(Reply::created(vec![failed(409), created("1")]).status, 207);
        let none = Reply::created(vec![failed(404), failed(409)]);
        assert_eq!(none.status, 404);
        assert_eq!(
            none.body["containers"][1],
            json!({ "dockerInstance": HOST, "statusCode": 409, "error": "no" })
        );
    }

    #[test]
    fn dockers_own_error_keeps_its_code_and_words() {
        let said = |body| Reply::of_docker(HOST, 409, json_headers(), body).body;
        let expected = json!({ "statusCode": 409, "error": "it is running", "dockerInstance": HOST });
        assert_eq!(Value::Object(said(Some(json!({ "message": "it is running" })))), expected);
        assert_eq!(Value::Object(said(Some(json!("it is running\n")))), expected);
        assert_eq!(said(None)["error"], "Docker gave no reason");
    }
}
