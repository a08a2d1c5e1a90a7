//! The operations of the HTTP interface, as its OpenAPI document describes them.
//!
//! Owns: [`HttpOperation`]. The document is made from the route table, so an operation is here if
//! and only if it is routed.
//!
//! Not here: schemas, which [`types`](crate::types) reads.

use axum::http::Method;
use serde_json::Value;

/// Media type of answers that have a counterpart in GraphQL.
const JSON: &str = "application/json";
/// Media type of feeds, which become subscriptions.
const EVENT_STREAM: &str = "text/event-stream";
/// Ids of operations that describe the HTTP interface itself. GraphQL has introspection for it.
const ABOUT_HTTP: [&str; 2] = ["showAsyncDocument", "showDocument"];

/// The part of a GraphQL schema that an operation is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Query,
    Mutation,
    Feed,
}

/// Place of a parameter in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ParameterPlace {
    Path,
    Query,
}

/// A parameter of a path or a query string.
#[derive(Clone, Debug)]
pub(crate) struct Parameter {
    pub(crate) name: String,
    pub(crate) place: ParameterPlace,
    pub(crate) description: String,
    pub(crate) is_required: bool,
    pub(crate) schema: Value,
}

/// The body of a request.
#[derive(Clone, Debug)]
pub(crate) struct RequestBody {
    pub(crate) is_required: bool,
    pub(crate) schema: Value,
}

/// An operation of the HTTP interface.
#[derive(Clone, Debug)]
pub(crate) struct HttpOperation {
    pub(crate) id: String,
    pub(crate) kind: Kind,
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) summary: String,
    pub(crate) parameters: Vec<Parameter>,
    pub(crate) body: Option<RequestBody>,
    /// Schema of the answer, or `None` for an answer without a body.
    pub(crate) answer: Option<Value>,
    /// Headers of the answer that become fields or extensions.
    pub(crate) answer_headers: Vec<String>,
    /// Codes of rejections.
    pub(crate) rejections: Vec<String>,
    /// Takes `Idempotency-Key`.
    pub(crate) is_keyed: bool,
    /// Takes `If-Match` for a change.
    pub(crate) is_conditional: bool,
    /// Takes `Gesta-Position`.
    pub(crate) is_positioned: bool,
    /// The operation of which this list finds several resources, and its parameter that takes their
    /// ids.
    pub(crate) finds_many: Option<(String, String)>,
}

impl HttpOperation {
    /// Reads the operations of a document that have a counterpart in GraphQL, in the order of their
    /// paths.
    pub(crate) fn of_document(document: &Value) -> Vec<Self> {
        let paths = document["paths"].as_object().into_iter().flatten();
        let of_path = |(path, methods): (&String, &Value)| {
            let methods = methods.as_object().into_iter().flatten();
            let read = methods.filter_map(|(method, it)| Self::read(path, method, it));
            read.collect::<Vec<_>>()
        };
        paths.flat_map(of_path).collect()
    }

    fn read(path: &str, method: &str, operation: &Value) -> Option<Self> {
        let id = operation["operationId"].as_str()?.to_owned();
        let method = Method::from_bytes(method.to_uppercase().as_bytes()).ok()?;
        let (_, success) = operation["responses"]
            .as_object()?
            .iter()
            .find(|(status, _)| status.starts_with('2'))?;
        let content = success["content"].as_object().and_then(|it| it.iter().next());
        let media_type = content.map(|(media_type, _)| media_type.as_str());
        let kind = match media_type {
            Some(EVENT_STREAM) => Kind::Feed,
            None | Some(JSON) if method == Method::GET => Kind::Query,
            None | Some(JSON) => Kind::Mutation,
            // Pages and files.
            Some(_) => return None,
        };
        if ABOUT_HTTP.contains(&id.as_str()) {
            return None;
        }
        let headers = header_names(operation);
        let takes = |name: &str| headers.contains(&name);
        Some(Self {
            summary: text(&operation["summary"]),
            parameters: parameters(operation),
            body: body(operation),
            answer: content.map(|(_, content)| content["schema"].clone()),
            answer_headers: success["headers"]
                .as_object()
                .map(|headers| headers.keys().cloned().collect())
                .unwrap_or_default(),
            rejections: rejections(operation),
            is_keyed: takes("Idempotency-Key"),
            is_conditional: kind == Kind::Mutation && takes("If-Match"),
            is_positioned: takes("Gesta-Position"),
            finds_many: finds_many(operation),
            path: path.to_owned(),
            id,
            kind,
            method,
        })
    }

    /// Returns whether the answer has a header.
    pub(crate) fn answers_with(&self, header: &str) -> bool {
        self.answer_headers.iter().any(|name| name.eq_ignore_ascii_case(header))
    }
}

fn header_names(operation: &Value) -> Vec<&str> {
    let parameters = operation["parameters"].as_array().into_iter().flatten();
    let headers = parameters.filter(|parameter| parameter["in"] == "header");
    headers.filter_map(|header| header["name"].as_str()).collect()
}

fn parameters(operation: &Value) -> Vec<Parameter> {
    let parameters = operation["parameters"].as_array().into_iter().flatten();
    let read = |parameter: &Value| {
        let place = match parameter["in"].as_str()? {
            "path" => ParameterPlace::Path,
            "query" => ParameterPlace::Query,
            _ => return None,
        };
        Some(Parameter {
            name: text(&parameter["name"]),
            place,
            description: text(&parameter["description"]),
            is_required: parameter["required"] == true,
            schema: parameter["schema"].clone(),
        })
    };
    parameters.filter_map(read).collect()
}

fn body(operation: &Value) -> Option<RequestBody> {
    let body = operation.get("requestBody")?;
    let schema = body["content"].get(JSON)?["schema"].clone();
    Some(RequestBody { is_required: body["required"] == true, schema })
}

/// Returns the codes of rejections, which the 422 lists.
fn rejections(operation: &Value) -> Vec<String> {
    let described = operation.pointer("/responses/422/description").and_then(Value::as_str);
    let described = described.unwrap_or_default();
    let listed = described.split("; ").filter_map(|part| part.strip_prefix("rejected: "));
    listed.flat_map(|codes| codes.split(", ")).map(str::to_owned).collect()
}

fn finds_many(operation: &Value) -> Option<(String, String)> {
    let many = operation.get("x-finds-many")?;
    Some((text(&many["operationId"]), text(&many["parameter"])))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
