//! The OpenAPI document, made from the table of endpoints.
//!
//! Invariant: each endpoint has one operation; each schema that one names exists.

use serde_json::{Map, Value, json};

use super::{
    endpoint::{Endpoint, Given, Verb},
    parameters::{Parameter, ParameterForm, ParameterIn},
    problem::{PROBLEM_JSON, ProblemCode},
    schemas::{components, reference},
};

/// Statuses of problems of every endpoint.
const PROBLEMS_OF_ALL: [u16; 6] = [400, 401, 403, 405, 500, 503];

const ABOUT: &str = "Appends, reads, queries and subscriptions of an event store. Positions and \
    revisions are numbers below 2^53. Unknown fields and parameters are refused. Unsuccessful \
    answers are problem documents (RFC 9457); branch on their `code`.";

const ABOUT_EVENT_STREAM: &str = "Server-sent events. One without a name has an `Event` as its \
    data and its place as `id`. `caught-up`: further events are new. `checkpoint`: nothing is \
    selected up to its `id`. `problem`: a `Problem`, after which the stream ends.";

const ABOUT_SOCKET: &str = "A WebSocket with JSON texts, for up to 20 subscriptions. The client sends {\"subscribe\": {\"id\", \
    \"stream\" or a selection, \"after\"}} and {\"unsubscribe\": {\"id\"}}; the server sends \
    frames with the `id` and one of `subscribed`, `event`, `caughtUp`, `checkpoint`, `problem` \
    (which ends the subscription) and `unsubscribed`.";

/// Returns the document.
pub(super) fn document(endpoints: &[Endpoint]) -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for endpoint in endpoints {
        let path = paths.entry(endpoint.path).or_insert_with(|| json!({}));
        if let Value::Object(operations) = path {
            operations.insert(method(endpoint.verb).to_owned(), operation(endpoint));
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Gesta",
            "version": env!("CARGO_PKG_VERSION"),
            "description": ABOUT,
        },
        "paths": paths,
        "components": {
            "schemas": components(),
            "securitySchemes": {
                "basic": { "type": "http", "scheme": "basic" },
                "bearer": { "type": "http", "scheme": "bearer" },
            },
        },
        // A server without users takes requests without credentials.
        "security": [{ "basic": [] }, { "bearer": [] }, {}],
    })
}

/// Returns the name of a method, as the document has it.
pub(super) const fn method(verb: Verb) -> &'static str {
    match verb {
        Verb::Get => "get",
        Verb::Put => "put",
        Verb::Post => "post",
        Verb::Delete => "delete",
    }
}

fn operation(endpoint: &Endpoint) -> Value {
    let mut operation = json!({
        "summary": endpoint.about,
        "parameters": endpoint.parameters.iter().map(parameter).collect::<Vec<_>>(),
        "responses": responses(endpoint),
    });
    if let (Some(body), Value::Object(members)) = (endpoint.takes, &mut operation) {
        let content = json!({ "application/json": { "schema": reference(body.schema) } });
        members.insert("requestBody".to_owned(), json!({ "required": true, "content": content }));
    }
    operation
}

fn parameter(parameter: &Parameter) -> Value {
    let place = match parameter.place {
        ParameterIn::Path => "path",
        ParameterIn::Query => "query",
        ParameterIn::Header => "header",
    };
    let mut json = json!({
        "name": parameter.name,
        "in": place,
        "required": parameter.place == ParameterIn::Path,
        "description": parameter.about,
        "schema": parameter.schema(),
    });
    if let (ParameterForm::Texts, Value::Object(members)) = (parameter.form, &mut json) {
        members.insert("explode".to_owned(), true.into());
    }
    json
}

fn responses(endpoint: &Endpoint) -> Value {
    let (status, description, media_type, schema) = match endpoint.gives {
        Given::Json(name) => ("200", "Done", "application/json", reference(name)),
        Given::Nothing => ("204", "Done", "", json!({})),
        Given::EventStream => {
            ("200", ABOUT_EVENT_STREAM, "text/event-stream", json!({ "type": "string" }))
        }
        Given::Document(media_type) => ("200", "The description", media_type, json!({})),
        Given::Socket => ("101", ABOUT_SOCKET, "", json!({})),
    };
    let mut answer = json!({ "description": description });
    if let (false, Value::Object(members)) = (media_type.is_empty(), &mut answer) {
        members.insert("content".to_owned(), json!({ media_type: { "schema": schema } }));
    }
    let mut responses = Map::new();
    responses.insert(status.to_owned(), answer);
    for status in statuses(endpoint) {
        let codes = ProblemCode::ALL.iter().filter(|code| code.facts().0 == status);
        let codes: Vec<_> = codes.map(|code| format!("`{}`", code.facts().1)).collect();
        let problem = json!({
            "description": codes.join(", "),
            "content": { PROBLEM_JSON: { "schema": reference("Problem") } },
        });
        responses.insert(status.to_string(), problem);
    }
    Value::Object(responses)
}

fn statuses(endpoint: &Endpoint) -> impl Iterator<Item = u16> {
    PROBLEMS_OF_ALL.iter().chain(endpoint.problems).copied()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::native::table::ENDPOINTS;

    fn references<'j>(json: &'j Value, found: &mut HashSet<&'j str>) {
        match json {
            Value::Object(members) => {
                if let Some(Value::String(name)) = members.get("$ref") {
                    found.insert(name.rsplit('/').next().unwrap());
                }
                members.values().for_each(|value| references(value, found));
            }
            Value::Array(values) => values.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }

    #[test]
    fn every_schema_is_there_and_used() {
        let document = document(ENDPOINTS);
        let mut used = HashSet::new();
        references(&document, &mut used);
        let schemas = document["components"]["schemas"].as_object().unwrap();
        let known: HashSet<_> = schemas.keys().map(String::as_str).collect();
        assert_eq!(used, known);
    }

    #[test]
    fn every_status_of_a_problem_has_a_code_and_every_parameter_of_a_path_is_in_it() {
        for endpoint in ENDPOINTS {
            for status in statuses(endpoint) {
                let is_known = ProblemCode::ALL.iter().any(|code| code.facts().0 == status);
                assert!(is_known, "{} {status}", endpoint.path);
            }
            let in_path = endpoint.path.matches('{').count();
            let of_path = endpoint.parameters.iter().filter(|one| one.place == ParameterIn::Path);
            for parameter in of_path.clone() {
                assert!(endpoint.path.contains(&format!("{{{}}}", parameter.name)));
            }
            assert_eq!(of_path.count(), in_path, "{}", endpoint.path);
            let names: HashSet<_> = endpoint.parameters.iter().map(|one| one.name).collect();
            assert_eq!(names.len(), endpoint.parameters.len(), "{}", endpoint.path);
        }
    }
}
