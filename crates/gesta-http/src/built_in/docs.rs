//! The OpenAPI document, a page (Swagger UI) to try it, and the AsyncAPI document.
//!
//! Invariant: the page loads nothing from other servers; its files are part of the program.

use axum::{
    extract::FromRequestParts,
    http::{HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::swagger_ui;
use crate::{ApiRoute, Asset, Describe, Operation, PathOf, Problem, RequestFields, Right, Schema};

/// Returns the routes of the page and the document.
pub(crate) fn routes() -> [ApiRoute; 4] {
    [
        ApiRoute::get("/openapi.json", "Returns the OpenAPI document")
            .handle(show_document)
            .right(Right::Open),
        ApiRoute::get("/asyncapi.json", "Returns the AsyncAPI document of the feeds")
            .handle(show_async_document)
            .right(Right::Open),
        ApiRoute::get("/docs", "Shows a page for trying the API")
            .handle(show_page)
            .right(Right::Open),
        ApiRoute::get("/docs/{file}", "Returns a file of that page")
            .handle(show_file)
            .right(Right::Open),
    ]
}

/// The OpenAPI document, a request extension set by the router.
#[derive(Clone, Debug)]
pub(crate) struct Document(Asset);

impl Document {
    /// Writes the document, once for all requests.
    pub(crate) fn new(document: &Value) -> Self {
        Self(written(document))
    }
}

fn written(document: &Value) -> Asset {
    let json = serde_json::to_vec(document).expect("a document has a JSON form");
    Asset::new("application/json", json)
}

impl<S: Send + Sync> FromRequestParts<S> for Document {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        // Absent only in a router that was not built by `Api::router`.
        parts.extensions.get().cloned().ok_or_else(|| Problem::not_found("document"))
    }
}

impl Describe for Document {
    fn describe(_: &mut Operation<'_>) {}
}

/// The AsyncAPI document, a request extension set by the router.
#[derive(Clone, Debug)]
pub(crate) struct AsyncDocument(Asset);

impl AsyncDocument {
    /// Writes the document, once for all requests.
    pub(crate) fn new(document: &Value) -> Self {
        Self(written(document))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for AsyncDocument {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        // Absent only in a router that was not built by `Api::router`.
        parts.extensions.get().cloned().ok_or_else(|| Problem::not_found("document"))
    }
}

impl Describe for AsyncDocument {
    fn describe(_: &mut Operation<'_>) {}
}

async fn show_async_document(document: AsyncDocument) -> AsyncDocumentResponse {
    AsyncDocumentResponse(document.0)
}

#[derive(Debug)]
struct AsyncDocumentResponse(Asset);

impl IntoResponse for AsyncDocumentResponse {
    fn into_response(self) -> Response {
        self.0.into_response()
    }
}

impl Describe for AsyncDocumentResponse {
    fn describe(operation: &mut Operation<'_>) {
        let members =
            ["asyncapi", "info", "defaultContentType", "channels", "operations", "components"];
        operation.answers_with(
            StatusCode::OK,
            "AsyncAPI 3.0",
            "application/json",
            document_schema(&members),
        );
        describe_tag(operation);
    }
}

/// Returns the schema of a document with these members.
fn document_schema(members: &[&str]) -> Value {
    let properties: Map<_, _> =
        members.iter().map(|member| ((*member).to_owned(), json!({}))).collect();
    json!({
        "type": "object",
        "properties": properties,
        "required": members,
        "additionalProperties": false,
    })
}

async fn show_document(document: Document) -> DocumentResponse {
    DocumentResponse(document.0)
}

#[derive(Debug)]
struct DocumentResponse(Asset);

impl IntoResponse for DocumentResponse {
    fn into_response(self) -> Response {
        self.0.into_response()
    }
}

impl Describe for DocumentResponse {
    fn describe(operation: &mut Operation<'_>) {
        let schema =
            document_schema(&["openapi", "info", "servers", "tags", "paths", "components"]);
        operation.answers_with(StatusCode::OK, "OpenAPI 3.1", "application/json", schema);
        describe_tag(operation);
    }
}

/// Adds the entity tag of a file, and the response to a browser that has it.
fn describe_tag(operation: &mut Operation<'_>) {
    operation.answers_nothing(StatusCode::NOT_MODIFIED, "the cached response is current");
    for status in [StatusCode::OK, StatusCode::NOT_MODIFIED] {
        let tag = json!({ "type": "string", "pattern": "^W/\"[0-9a-f]{32}\"$" });
        operation.answer_header(status, "ETag", "Entity tag of the content.", tag);
    }
}

// The paths are relative: the routes may be nested under a prefix.
const PAGE: &str = r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Try the API</title>
<link rel="stylesheet" href="docs/swagger-ui.css">
</head>
<body>
<div id="interface"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"#;

const START: &str = r##"SwaggerUIBundle({
  url: "openapi.json", dom_id: "#interface", deepLinking: true, tryItOutEnabled: true,
  defaultModelsExpandDepth: 0,
});
"##;

/// Restricts the page to this server, even if the document has links to others.
const POLICY: &str =
    // Swagger UI sets `style` attributes and has its icons in `data:` URLs.
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; object-src 'none'";

async fn show_page() -> Page {
    Page
}

#[derive(Debug)]
struct Page;

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        let policy = HeaderValue::from_static(POLICY);
        let headers = [(header::CONTENT_SECURITY_POLICY, policy)];
        (headers, Asset::new("text/html; charset=utf-8", PAGE)).into_response()
    }
}

impl Describe for Page {
    fn describe(operation: &mut Operation<'_>) {
        let schema = json!({ "type": "string" });
        operation.answers_with(StatusCode::OK, "the page", "text/html", schema);
        describe_tag(operation);
    }
}

/// The path of a file of the page.
#[derive(RequestFields, Clone, Debug)]
struct FilePath {
    /// Name of the file.
    file: FileName,
}

/// A file of the page.
#[derive(Deserialize, Schema, Clone, Copy, Debug)]
enum FileName {
    // The first one is the example in the document.
    #[serde(rename = "start.js")]
    Start,
    #[serde(rename = "swagger-ui.css")]
    Style,
    #[serde(rename = "swagger-ui-bundle.js")]
    Bundle,
}

async fn show_file(path: PathOf<FilePath>) -> Result<File, Problem> {
    // A closed list of embedded files: no path reaches the file system.
    Ok(File(match path.file {
        FileName::Style => swagger_ui::style(),
        FileName::Bundle => swagger_ui::bundle(),
        FileName::Start => Asset::new(swagger_ui::SCRIPT, START),
    }))
}

#[derive(Debug)]
struct File(Asset);

impl IntoResponse for File {
    fn into_response(self) -> Response {
        self.0.into_response()
    }
}

impl Describe for File {
    fn describe(operation: &mut Operation<'_>) {
        operation.answers_with(StatusCode::OK, "the file", "*/*", json!({}));
        describe_tag(operation);
        operation.problem(404, "the file does not exist");
    }
}
