//! The API's OpenAPI document: the routes, and what they have in common.

use std::collections::BTreeMap;

use axum::Router;
use longshore_api::{Event, ExecResult, ExecSize, Failure};
use utoipa::openapi::path::{HttpMethod, Operation, Parameter, ParameterIn};
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{ContentBuilder, HeaderBuilder, ObjectBuilder, Ref, RefOr, Type};
use utoipa::{Modify, OpenApi};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{
    Api, cluster, containers, dockermod, events, exec, followers, handlers, health, hosts, images, names,
    orders, output, problems, routes as routing, status,
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Longshore",
        description = "What one agent knows of the containers of all hosts, what it makes of it, and orders to them. Every \
                       error has a JSON body, `{\"error\": \"…\"}`, which names the cause and the next step.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    components(schemas(Failure, Event, ExecResult, ExecSize)),
    security((), ("token" = [])),
    tags(
        (name = "hosts", description = "The Docker hosts."),
        (name = "containers", description = "The containers of all hosts."),
        (name = "images", description = "The images of all hosts."),
        (name = "routes", description = "The routes in force, and which container receives a request."),
        (name = "names", description = "The names that the agent's DNS server answers."),
        (name = "handlers", description = "Scripts, plugins and webhooks, and their deliveries."),
        (name = "problems", description = "What is configured but not done, and why."),
        (name = "events", description = "Events as they happen."),
        (name = "dockermod", description = "DockerMod's API."),
        (name = "agent", description = "The agent itself: status, followers, probes and metrics.")
    ),
    modifiers(&Token)
)]
struct Document;

/// The security scheme: the agent's token, where it has one.
struct Token;

impl Modify for Token {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let mut token = Http::new(HttpAuthScheme::Bearer);
        token.description =
            Some("The token of `--token-file`; an agent without one answers on loopback only.".to_owned());
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(token));
    }
}

/// Returns every route, with the document that describes them.
pub(super) fn documented() -> (Router<Api>, utoipa::openapi::OpenApi) {
    let (router, mut document) = OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(hosts::hosts))
        .routes(routes!(cluster::leave))
        .routes(routes!(cluster::label))
        .routes(routes!(cluster::cluster))
        .routes(routes!(cluster::rotate))
        .routes(routes!(containers::containers, orders::create))
        .routes(routes!(containers::inspect, orders::remove))
        .routes(routes!(orders::start))
        .routes(routes!(orders::stop))
        .routes(routes!(orders::restart))
        .routes(routes!(orders::kill))
        .routes(routes!(orders::pause))
        .routes(routes!(orders::unpause))
        .routes(routes!(output::logs))
        .routes(routes!(output::stats))
        .routes(routes!(exec::exec))
        .routes(routes!(images::images))
        .routes(routes!(images::pull))
        .routes(routes!(routing::routes))
        .routes(routes!(routing::explain))
        .routes(routes!(names::names))
        .routes(routes!(problems::problems))
        .routes(routes!(handlers::handlers))
        .routes(routes!(handlers::failed))
        .routes(routes!(handlers::replay))
        .routes(routes!(handlers::forget))
        .routes(routes!(handlers::test))
        .routes(routes!(events::events))
        .routes(routes!(dockermod::greet, dockermod::act))
        .routes(routes!(status::status))
        .routes(routes!(followers::followers))
        .routes(routes!(health::healthz))
        .routes(routes!(health::readyz))
        .routes(routes!(health::metrics))
        .split_for_parts();
    let shared = shared_responses();
    for item in document.paths.paths.values_mut() {
        for (method, operation) in [
            (HttpMethod::Get, &mut item.get),
            (HttpMethod::Post, &mut item.post),
            (HttpMethod::Delete, &mut item.delete),
        ] {
            if let Some(operation) = operation {
                add_shared(&method, operation, &shared);
            }
        }
    }
    let components = document.components.get_or_insert_default();
    components
        .responses
        .extend(shared.into_iter().map(|shared| (shared.name.to_owned(), shared.response.into())));
    (router, document)
}

/// A response that many operations share.
struct Shared {
    status: &'static str,
    name: &'static str,
    response: Response,
    applies: fn(&HttpMethod, &Operation) -> bool,
}

fn shared_responses() -> Vec<Shared> {
    let is_guarded = |_: &HttpMethod, operation: &Operation| operation.security.is_none();
    let asks_docker = |_: &HttpMethod, operation: &Operation| {
        let mut tags = operation.tags.iter().flatten();
        let is_listed = operation.operation_id.as_deref() == Some("list_containers");
        !is_listed && tags.any(|tag| tag == "containers" || tag == "images")
    };
    let is_guarded_further = |method: &HttpMethod, operation: &Operation| {
        let is_docker = operation.tags.iter().flatten().any(|tag| tag == "containers" || tag == "images");
        *method != HttpMethod::Get
            || is_docker && operation.operation_id.as_deref() != Some("list_containers")
    };
    let is_of_container = |_: &HttpMethod, operation: &Operation| {
        let mut parameters = operation.parameters.iter().flatten();
        let is_tagged = operation.tags.iter().flatten().any(|tag| tag == "containers");
        let is_path = |parameter: &RefOr<Parameter>| matches!(parameter, RefOr::T(parameter) if parameter.parameter_in == ParameterIn::Path);
        is_tagged && parameters.any(is_path)
    };
    let has_body = |_: &HttpMethod, operation: &Operation| operation.request_body.is_some();
    // DockerMod's API reads any body, and says itself what is wrong with it.
    let is_typed = |_: &HttpMethod, operation: &Operation| {
        operation.request_body.is_some() && operation.operation_id.as_deref() != Some("dockermod")
    };
    let has_query = |_: &HttpMethod, operation: &Operation| operation.parameters.is_some();
    let always = |_: &HttpMethod, _: &Operation| true;
    let error = |description: &str| {
        let body = ContentBuilder::new().schema(Some(Ref::from_schema_name("Failure"))).build();
        ResponseBuilder::new().description(description).content("application/json", body)
    };
    let challenge = HeaderBuilder::new()
        .schema(Some(ObjectBuilder::new().schema_type(Type::String).build()))
        .description(Some("How to authenticate: `Bearer`."))
        .build();
    let unauthorized = error("The agent requires a token, and the request has none or a wrong one.");
    let shared = |status, name, response: ResponseBuilder, applies: fn(&HttpMethod, &Operation) -> bool| {
        let response = response.build();
        Shared { status, name, response, applies }
    };
    vec![
        shared("400", "BadRequest", error("A parameter, or the body's JSON, is malformed."), has_query),
        shared("401", "Unauthorized", unauthorized.header("WWW-Authenticate", challenge), is_guarded),
        shared(
            "403",
            "Forbidden",
            error("The request comes from another site, or from a local user who may not use Docker."),
            is_guarded_further,
        ),
        shared("404", "NoSuchContainer", error("There is no such container."), is_of_container),
        shared("405", "MethodNotAllowed", error("The method is not allowed: see `Allow`."), always),
        shared("408", "RequestTimeout", error("The body did not arrive in time."), has_body),
        shared(
            "409",
            "Conflict",
            error("Several containers have this name, or the container's state does not allow it."),
            is_of_container,
        ),
        shared("413", "ContentTooLarge", error("The body is too large."), has_body),
        shared("415", "UnsupportedMediaType", error("The body is not `application/json`."), is_typed),
        shared(
            "421",
            "MisdirectedRequest",
            error("The `Host` is a name other than `localhost`."),
            is_guarded,
        ),
        shared("422", "UnprocessableContent", error("The body's JSON does not match the schema."), is_typed),
        shared("500", "DockerFailed", error("Docker failed."), asks_docker),
        shared("502", "BadGateway", error("The host cannot be reached."), asks_docker),
        shared(
            "503",
            "Unavailable",
            error("Too many connections are open, or the agent is starting."),
            always,
        ),
        shared(
            "504",
            "GatewayTimeout",
            error("The container's host did not answer in time."),
            is_of_container,
        ),
    ]
}

/// Adds the shared responses that apply to the operation's own.
fn add_shared(method: &HttpMethod, operation: &mut Operation, shared: &[Shared]) {
    let applying: BTreeMap<_, _> = shared
        .iter()
        .filter(|shared| (shared.applies)(method, operation))
        .map(|shared| (shared.status.to_owned(), RefOr::Ref(Ref::from_response_name(shared.name))))
        .collect();
    for (status, response) in applying {
        operation.responses.responses.entry(status).or_insert(response);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use oas3::OpenApiV3Spec;
    use oas3::spec::{ObjectOrReference, Response};

    use super::*;

    fn document() -> (serde_json::Value, OpenApiV3Spec) {
        let text = documented().1.to_json().unwrap();
        (serde_json::from_str(&text).unwrap(), oas3::from_json(&text).unwrap())
    }

    /// Collects the values of all `$ref`s in a document.
    fn references(value: &serde_json::Value, found: &mut BTreeSet<String>) {
        match value {
            serde_json::Value::Object(fields) => {
                found.extend(fields.get("$ref").and_then(|target| target.as_str()).map(str::to_owned));
                fields.values().for_each(|value| references(value, found));
            }
            serde_json::Value::Array(values) => values.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }

    fn body_of(response: &Response) -> Option<String> {
        match response.content.get("application/json")?.schema.as_ref()? {
            ObjectOrReference::Ref { ref_path, .. } => Some(ref_path.clone()),
            ObjectOrReference::Object(_) => None,
        }
    }

    #[test]
    fn every_operation_has_a_name_a_tag_and_a_summary_of_its_own() {
        let (_, spec) = document();
        assert_eq!(spec.validate_version().unwrap().minor, 1);
        let tags: BTreeSet<&str> = spec.tags.iter().map(|tag| tag.name.as_str()).collect();
        let mut names = BTreeSet::new();
        for (path, method, operation) in spec.operations() {
            let name = operation.operation_id.as_deref().unwrap_or_default();
            assert!(!name.is_empty() && names.insert(name.to_owned()), "{method} {path}: {name:?}");
            assert!(operation.tags.len() == 1 && tags.contains(&*operation.tags[0]), "{method} {path}");
            assert!(
                operation.summary.as_ref().is_some_and(|summary| summary.ends_with('.')),
                "{method} {path}"
            );
        }
        assert!(names.len() >= 14, "{names:?}");
    }

    #[test]
    fn every_response_is_described_and_every_error_is_json() {
        let (_, spec) = document();
        for (path, method, operation) in spec.operations() {
            let responses = operation.responses(&spec);
            assert_eq!(
                responses.len(),
                operation.responses.as_ref().unwrap().len(),
                "{path}: a reference leads nowhere"
            );
            let is_success = |status: &str| matches!(status, "200" | "201" | "207" | "101");
            assert!(responses.keys().any(|status| is_success(status)), "{method} {path}");
            for (status, response) in responses {
                let described = response.description.as_deref().unwrap_or_default();
                assert!(described.ends_with('.'), "{method} {path} {status}: {described:?}");
                if !is_success(&status) {
                    let body = body_of(&response);
                    assert_eq!(
                        body.as_deref(),
                        Some("#/components/schemas/Failure"),
                        "{method} {path} {status}"
                    );
                }
            }
        }
    }

    #[test]
    fn what_needs_a_token_or_a_body_says_which_errors_follow() {
        let (json, spec) = document();
        assert_eq!(json["components"]["securitySchemes"]["token"]["scheme"], "bearer");
        assert_eq!(
            json["security"],
            serde_json::json!([{}, { "token": [] }]),
            "an agent may have a token or none"
        );
        let statuses = |path: &str, method: axum::http::Method| -> BTreeSet<String> {
            let operation = spec.operation(&method, path).unwrap();
            operation.responses(&spec).into_keys().collect()
        };
        let has =
            |found: &BTreeSet<String>, wanted: &[&str]| wanted.iter().all(|status| found.contains(*status));
        let (get, post) = (axum::http::Method::GET, axum::http::Method::POST);
        let read = statuses("/v1/containers", get.clone());
        assert!(has(&read, &["200", "401", "405", "421", "503"]) && !read.contains("415"), "{read:?}");
        let probe = statuses("/healthz", get);
        assert!(!probe.contains("401") && !probe.contains("421"), "{probe:?}");
        let test = statuses("/v1/handlers/{name}/test", post);
        let wanted =
            ["200", "400", "401", "403", "404", "405", "408", "409", "413", "415", "421", "422", "503"];
        assert!(has(&test, &wanted), "{test:?}");
    }

    #[test]
    fn every_reference_leads_somewhere_and_the_events_have_schemas() {
        let (json, _) = document();
        let mut found = BTreeSet::new();
        references(&json, &mut found);
        for target in &found {
            let pointer = target.strip_prefix('#').unwrap();
            assert!(json.pointer(pointer).is_some(), "{target}");
        }
        for schema in ["Event", "ContainerEvent", "RouteEvent", "Route", "Failure"] {
            assert!(json["components"]["schemas"][schema].is_object(), "{schema}");
        }
        let stream = &json["paths"]["/v1/events"]["get"]["responses"]["200"]["content"]["text/event-stream"];
        assert_eq!(stream["schema"]["$ref"], "#/components/schemas/Event");
        assert_eq!(
            json["components"]["schemas"]["ContainerEvent"]["properties"]["at"]["format"],
            "date-time"
        );
    }
}
