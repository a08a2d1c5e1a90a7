//! Routes: a method and a path, with the handler and its documentation.
//!
//! Not here: the table of all routes ([`api`](crate::api)), handlers
//! ([`endpoint`](crate::routing::endpoint)) and declarations
//! ([`declared`](crate::routing::declared)).

use std::sync::Arc;

use axum::{
    http::{Method, StatusCode},
    middleware::{from_fn, from_fn_with_state},
    routing::{MethodFilter, MethodRouter},
};
use serde_json::{Value, json};

use super::{
    endpoint::Endpoint,
    links::{FindsMany, X_FINDS_MANY},
    parts::Content,
};
use crate::{
    GestaState, Operation, Right, Schemas,
    requests::{
        cross_site::is_safe,
        guard::{RouteAccess, check_access},
        unexpected::{UnreadHeaders, no_content, no_parameters, no_unread_headers},
    },
    wire::{
        headers, links::CURSOR, operation::ParameterIn, problem::VALIDATION_FAILED,
        schema::wire_name,
    },
};

/// The area of the routes that every application has.
pub(crate) const BUILT_IN: &str = "operations";

/// The documentation of a route.
pub(super) type Description = Arc<dyn Fn(&mut Operation<'_>) + Send + Sync>;

/// A route of an [`Api`](crate::Api): a method and a path with their handler and documentation.
///
/// Begins with a method, a path and a summary. A handler, or a declaration of a command or query,
/// completes it:
///
/// ```
/// use gesta_http::{ApiRoute, Commands, Created, Problem};
///
/// async fn build_door(commands: Commands) -> Result<Created, Problem> {
///     Err(Problem::not_found("door factory"))
/// }
///
/// let route = ApiRoute::post("/doors", "Builds a door").handle(build_door);
/// assert_eq!(format!("{route:?}"), "POST /doors");
/// ```
pub struct ApiRoute {
    method: Method,
    path: String,
    id: String,
    summary: &'static str,
    area: &'static str,
    rejections: Vec<&'static str>,
    router: MethodRouter<GestaState>,
    has_query_parameters: bool,
    right: Right,
    moment: Option<&'static str>,
    /// Examples of parameters, by name.
    examples: Vec<(String, Value)>,
    finds_many: Option<FindsMany>,
    describe: Description,
}

/// A route without its handler.
#[must_use = "a route needs a handler or a declaration"]
#[derive(Debug)]
pub struct RouteBuilder {
    method: Method,
    filter: MethodFilter,
    path: String,
    summary: &'static str,
}

impl ApiRoute {
    /// Begins a route of `GET` requests.
    pub fn get(path: &str, summary: &'static str) -> RouteBuilder {
        RouteBuilder::new(Method::GET, MethodFilter::GET, path, summary)
    }

    /// Begins a route of `POST` requests.
    pub fn post(path: &str, summary: &'static str) -> RouteBuilder {
        RouteBuilder::new(Method::POST, MethodFilter::POST, path, summary)
    }

    /// Begins a route of `PUT` requests.
    pub fn put(path: &str, summary: &'static str) -> RouteBuilder {
        RouteBuilder::new(Method::PUT, MethodFilter::PUT, path, summary)
    }

    /// Begins a route of `DELETE` requests.
    pub fn delete(path: &str, summary: &'static str) -> RouteBuilder {
        RouteBuilder::new(Method::DELETE, MethodFilter::DELETE, path, summary)
    }

    /// Refuses requests with a query string if the operation has no query parameters.
    pub(crate) fn strict(mut self) -> Self {
        if !self.has_query_parameters {
            // `route_layer` leaves other methods alone: they stay a 405, with or without a query.
            self.router = self.router.route_layer(from_fn(no_parameters));
        }
        self
    }

    /// Sets the tag in the document.
    pub(crate) fn in_area(self, area: &'static str) -> Self {
        Self { area, ..self }
    }

    /// Returns the path and the handler, for the router. The handler is guarded by the rule of its
    /// operation.
    pub(crate) fn into_parts(self, state: &GestaState) -> (String, MethodRouter<GestaState>) {
        let access = RouteAccess::new(state, &self.id, self.right).with_moment(self.moment);
        // The outermost layer of the route: who may not use it learns nothing about its parameters.
        (self.path, self.router.route_layer(from_fn_with_state(access, check_access)))
    }

    /// Sets the kind of the operation, by which rules allow it. By default it is that of the
    /// declaration: for a handler, [`Right::Query`] for `GET` and [`Right::Command`] for others.
    #[must_use]
    pub fn right(self, right: Right) -> Self {
        Self { right, ..self }
    }

    /// Sets the query parameter that asks for an earlier time, which needs [`Right::History`], too.
    #[must_use]
    pub fn moment(self, parameter: &'static str) -> Self {
        Self { moment: Some(parameter), ..self }
    }

    /// Returns the id of the operation.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns the kind of the operation.
    #[must_use]
    pub fn kind(&self) -> Right {
        self.right
    }

    /// Returns whether the route is one that this crate brings, and not one of the application.
    pub(crate) fn is_built_in(&self) -> bool {
        self.area == BUILT_IN
    }

    /// Adds codes of rejections (422) to the documentation.
    #[must_use]
    pub fn rejects(mut self, codes: &[&'static str]) -> Self {
        self.rejections.extend(codes);
        self
    }

    /// Sets the operation id in the document. By default it is the camelCase name of the handler,
    /// the command or the query.
    #[must_use]
    pub fn operation_id(self, id: impl Into<String>) -> Self {
        Self { id: id.into(), ..self }
    }

    /// Sets the example of a parameter in the document, such as the id of a resource in demo data.
    /// By default it is that of the parameter's field or type.
    ///
    /// # Panics
    /// If the operation has no parameter of this name.
    #[must_use]
    pub fn example(mut self, parameter: &str, example: impl Into<Value>) -> Self {
        let example = example.into();
        let mut schemas = Schemas::default();
        let mut operation = Operation::new(&mut schemas);
        (self.describe)(&mut operation);
        let is_known = operation.set_example(parameter, &example);
        assert!(is_known, "the operation {} has no parameter `{parameter}`", self.id);
        self.examples.push((parameter.to_owned(), example));
        self
    }

    /// Declares that this list finds several resources of another operation at once: those whose
    /// ids are the values of a [`Repeated`](crate::Repeated) parameter. Its entries have the id as
    /// a member with the parameter's name. `gesta-graphql` asks it for what many objects
    /// [link](crate::Link) to.
    ///
    /// # Panics
    /// If this operation has no such parameter, or it takes one value only.
    #[must_use]
    pub fn finds_many(self, operation: &str, parameter: &str) -> Self {
        let mut schemas = Schemas::default();
        let mut operation_of_list = Operation::new(&mut schemas);
        (self.describe)(&mut operation_of_list);
        let (id, takes) = (&self.id, operation_of_list.takes_several(parameter));
        assert!(takes, "`{id}` has no query parameter `{parameter}` that may be repeated");
        let (operation, parameter) = (operation.to_owned(), parameter.to_owned());
        Self { finds_many: Some(FindsMany { operation, parameter }), ..self }
    }

    /// Returns the method and the path.
    #[must_use]
    pub fn place(&self) -> (&Method, &str) {
        (&self.method, &self.path)
    }

    /// Returns the route's entry in the document.
    pub(crate) fn operation(&self, schemas: &mut Schemas) -> Value {
        self.described(schemas, |_| {})
    }

    /// Returns the route's entry in the document of an application with an access in force.
    pub(crate) fn guarded_operation(&self, schemas: &mut Schemas) -> Value {
        if self.right == Right::Open {
            return self.operation(schemas);
        }
        let mut described = self.described(schemas, |operation| {
            operation.problem(401, "the request has no credentials, or wrong ones");
            operation.problem(403, "the actor lacks the right: see `right`");
            operation.problem(429, "the actor has sent too many requests");
        });
        if let Some(members) = described.as_object_mut() {
            members.insert("security".to_owned(), json!([{ "bearer": [] }, { "apiKey": [] }]));
            members.insert("x-right".to_owned(), json!(self.right.as_str()));
        }
        described
    }

    fn described(&self, schemas: &mut Schemas, add: impl FnOnce(&mut Operation<'_>)) -> Value {
        let mut operation = Operation::new(schemas);
        (self.describe)(&mut operation);
        // Sent twice, an example with a key takes effect once, and gets the same answer.
        operation.set_example("Idempotency-Key", &json!(format!("try-{}", self.id)));
        for (parameter, example) in &self.examples {
            operation.set_example(parameter, example);
        }
        add(&mut operation);
        // The types do not list the codes of a rejection; the route does.
        if !self.rejections.is_empty() {
            operation.problem(422, &format!("rejected: {}", self.rejections.join(", ")));
        }
        if !is_safe(&self.method) {
            operation.problem(403, "a page of an origin that is not allowed sent the request");
        }
        if operation.names(ParameterIn::Query).contains(&CURSOR) {
            describe_links(&mut operation);
        }
        // Last, because it adds a header to all responses described so far.
        describe_correlation(&mut operation);
        let mut operation = operation.into_json();
        if let Some(members) = operation.as_object_mut() {
            members.insert("operationId".to_owned(), json!(self.id));
            members.insert("summary".to_owned(), json!(self.summary));
            members.insert("tags".to_owned(), json!([self.area]));
            if let Some(many) = &self.finds_many {
                members.insert(X_FINDS_MANY.to_owned(), many.to_json());
            }
        }
        operation
    }
}

impl RouteBuilder {
    fn new(method: Method, filter: MethodFilter, path: &str, summary: &'static str) -> Self {
        Self { method, filter, path: path.to_owned(), summary }
    }

    /// Completes the route with a handler, whose arguments and response document it.
    pub fn handle<E: Endpoint<A>, A: 'static>(self, endpoint: E) -> ApiRoute {
        let router = endpoint.on(self.filter);
        self.finish(operation_id::<E>(), E::content(), router, Arc::new(E::describe))
    }

    pub(super) fn filter(&self) -> MethodFilter {
        self.filter
    }

    /// Returns the name of the path's first parameter, or an empty text.
    pub(super) fn parameter(&self) -> Arc<str> {
        let name = self.path.split_once('{').and_then(|(_, rest)| rest.split_once('}'));
        name.map_or_else(Arc::default, |(name, _)| name.into())
    }

    pub(super) fn finish(
        self,
        id: String,
        content: Content,
        router: MethodRouter<GestaState>,
        describe: Description,
    ) -> ApiRoute {
        let Self { method, path, summary, .. } = self;
        let (parameters, headers) = parameter_names(&describe);
        let has_query_parameters = !parameters.is_empty();
        let router = match content {
            Content::Read => router,
            Content::Refused => without_content(router, &parameters),
        };
        // A read is not changed by a key, and without an entity tag it has nothing to compare.
        let router = if is_safe(&method) { router } else { without_headers(router, &headers) };
        let (area, rejections) = (BUILT_IN, Vec::new());
        let right = if is_safe(&method) { Right::Query } else { Right::Command };
        ApiRoute {
            method,
            path,
            id,
            summary,
            area,
            rejections,
            router,
            has_query_parameters,
            right,
            moment: None,
            examples: Vec::new(),
            finds_many: None,
            describe,
        }
    }
}

/// Adds the refusal of bodies to the router of a route that reads none.
fn without_content(
    router: MethodRouter<GestaState>,
    parameters: &[String],
) -> MethodRouter<GestaState> {
    let parameters: Arc<str> = parameters.join(", ").into();
    router.route_layer(from_fn(move |request, next| {
        no_content(Arc::clone(&parameters), request, next)
    }))
}

/// Adds the refusal of conditions and keys to the router of a route that does not read them.
fn without_headers(router: MethodRouter<GestaState>, read: &[String]) -> MethodRouter<GestaState> {
    let unread = UnreadHeaders::besides(read);
    router.route_layer(from_fn(move |request, next| no_unread_headers(unread, request, next)))
}

/// Returns the names of a route's query parameters, and those of its headers.
fn parameter_names(describe: &Description) -> (Vec<String>, Vec<String>) {
    // The documentation is the only list of parameters that a route has.
    let mut schemas = Schemas::default();
    let mut operation = Operation::new(&mut schemas);
    describe(&mut operation);
    let names = |location| operation.names(location).into_iter().map(str::to_owned).collect();
    (names(ParameterIn::Query), names(ParameterIn::Header))
}

impl std::fmt::Debug for ApiRoute {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

fn describe_links(operation: &mut Operation<'_>) {
    let about = "URLs of the next (`next`), the previous (`prev`) and the first (`first`) page \
                 (RFC 8288); each is absent if there is no such page.";
    let schema = json!({ "type": "string" });
    operation.answer_header(StatusCode::OK, "Link", about, schema);
}

fn describe_correlation(operation: &mut Operation<'_>) {
    let name = "X-Correlation-Id";
    let schema = headers::token_schema();
    let about = "Id of the conversation that the request belongs to; recorded with its events.";
    operation.header(name, about, schema.clone());
    operation.problem(400, VALIDATION_FAILED);
    operation.problem(417, "the Expect header has a value other than 100-continue");
    let about = "The request's correlation id, or a new one if it had none.";
    operation.header_of_every_answer(name, about, &schema);
}

/// Returns the operation id of a handler: `createUser` for `create_user`.
fn operation_id<E>() -> String {
    let path = std::any::type_name::<E>();
    wire_name(path.rsplit("::").next().unwrap_or(path))
}
