//! The route table, from which the router and the OpenAPI document are built.
//!
//! Invariant: an operation is in the document if and only if it is routed. A WebSocket is no
//! operation: OpenAPI cannot describe it.

use std::{fmt::Display, mem, str::FromStr, sync::Arc};

use axum::{
    Extension, Router,
    http::{HeaderMap, Method, Uri},
    response::IntoResponse as _,
    routing::MethodRouter,
};
use gesta::{Aggregate, Registry};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::{
    Access, ApiRoute, DescribedSocket, GestaState, HttpRules, InvalidRules, Link, Problem, Right,
    RouteAccess, Schemas,
    built_in::{
        console,
        docs::{self, AsyncDocument, Document},
        feed::{self, described::async_document},
        health, metrics, processes,
        program::{Program, ProgramParts},
        projections, reactors,
        states::Aggregates,
    },
    requests::personal::PersonalData,
    routing::{
        links::{add_links, check_links},
        route::BUILT_IN,
    },
    wire::{event_schemas::EventSchemas, headers, shared_problems::share_problems},
};

/// The route table of an application.
///
/// ```
/// use gesta_http::Api;
///
/// let document = Api::new("Doors", "1.0").operated_under("/v1").document();
/// assert_eq!(document["openapi"], "3.1.0");
/// assert!(document["paths"]["/v1/projections"]["get"].is_object());
/// ```
#[derive(Debug)]
pub struct Api {
    title: &'static str,
    version: &'static str,
    description: &'static str,
    /// Tags of the document, in the order in which it shows them.
    areas: Vec<Area>,
    servers: Vec<Value>,
    events: EventSchemas,
    /// Personal fields of all events that a registry told.
    personal: PersonalData,
    /// Path prefix of the feed, if there is one.
    feed: Option<String>,
    routes: Vec<ApiRoute>,
    /// Paths of WebSockets with their handlers.
    sockets: Vec<(String, MethodRouter<GestaState>)>,
    /// WebSockets whose routes are elsewhere.
    described: Vec<DescribedSocket>,
    links: Vec<Link>,
    environment: Option<String>,
    /// Path prefix of the operator's routes and the events that the program knows, for the console.
    console: Option<(String, Registry)>,
    /// Aggregates whose state the console shows.
    aggregates: Aggregates,
}

/// A tag of the document.
#[derive(Debug)]
struct Area {
    name: &'static str,
    description: &'static str,
}

/// Description of the area of the built-in routes.
const ABOUT_BUILT_IN: &str =
    "Health, metrics, documentation, the feed of events, and the operator's routes";

impl Api {
    /// Creates a table with the routes of every application: the OpenAPI document, a page to try
    /// it, and health.
    ///
    /// These routes ignore query strings, which probes and browsers add at will.
    #[must_use]
    pub fn new(title: &'static str, version: &'static str) -> Self {
        let mut routes = Vec::from(docs::routes());
        routes.extend(health::routes());
        Self {
            title,
            version,
            description: "",
            areas: Vec::new(),
            servers: Vec::new(),
            events: EventSchemas::default(),
            personal: PersonalData::default(),
            feed: None,
            routes,
            sockets: Vec::new(),
            described: Vec::new(),
            links: Vec::new(),
            environment: None,
            console: None,
            aggregates: Aggregates::default(),
        }
    }

    /// Sets the description of the application in the documents, as CommonMark.
    #[must_use]
    pub fn description(self, description: &'static str) -> Self {
        Self { description, ..self }
    }

    /// Adds a server to the OpenAPI document. By default there is one: the server that the
    /// document comes from.
    #[must_use]
    pub fn server(mut self, url: &str, description: &str) -> Self {
        self.servers.push(json!({ "url": url, "description": description }));
        self
    }

    /// Describes an area of routes in the document.
    #[must_use]
    pub fn area(mut self, name: &'static str, description: &'static str) -> Self {
        match self.areas.iter_mut().find(|area| area.name == name) {
            Some(known) => known.description = description,
            None => self.areas.push(Area { name, description }),
        }
        self
    }

    /// Adds the JSON schemas of all versions of these events to both documents, as components such
    /// as `event.order-placed.v1`, with the registry's examples. Their personal fields are masked
    /// for operators without [`Right::Personal`].
    ///
    /// ```
    /// use gesta::{Registry, prelude::*};
    /// use gesta_http::Api;
    ///
    /// #[derive(Event, Serialize, Deserialize, Clone)]
    /// #[event(name = "door-opened")]
    /// struct DoorOpened {
    ///     key: String,
    /// }
    ///
    /// #[derive(EventSet, Clone)]
    /// enum DoorEvent {
    ///     Opened(DoorOpened),
    /// }
    ///
    /// let doors = Api::new("Doors", "1.0").operated_under("/v1");
    /// let doors = doors.events(&Registry::of::<DoorEvent>());
    /// let schema = &doors.document()["components"]["schemas"]["event.door-opened.v1"];
    /// assert_eq!(schema["properties"]["key"]["type"], "string");
    /// assert_eq!(doors.async_document()["channels"]["events"]["address"], "/v1/events");
    /// ```
    #[must_use]
    pub fn events(self, registry: &Registry) -> Self {
        let personal = self.personal.and(registry);
        Self { events: EventSchemas::of(registry), personal, ..self }
    }

    /// Returns the AsyncAPI 3.0 document of the feed of events, and of the described sockets.
    ///
    /// # Panics
    /// If two described sockets have the same name.
    #[must_use]
    pub fn async_document(&self) -> Value {
        let mut document = async_document(&self.info(), self.feed.as_deref(), &self.events);
        self.described.iter().for_each(|socket| socket.add_to(&mut document));
        document
    }

    /// Adds a WebSocket, whose route is elsewhere, to the AsyncAPI document.
    #[must_use]
    pub fn describe_socket(mut self, socket: DescribedSocket) -> Self {
        self.described.push(socket);
        self
    }

    /// Sets the example of a parameter of an operation, such as one of the operator's; otherwise as
    /// [`ApiRoute::example`].
    ///
    /// # Panics
    /// If there is no such operation, or it has no such parameter.
    #[must_use]
    pub fn example(self, operation: &str, parameter: &str, example: impl Into<Value>) -> Self {
        let example = example.into();
        assert!(
            self.routes.iter().any(|route| route.id() == operation),
            "there is no operation `{operation}`"
        );
        let set = |route: ApiRoute| match route.id() == operation {
            true => route.example(parameter, example.clone()),
            false => route,
        };
        Self { routes: self.routes.into_iter().map(set).collect(), ..self }
    }

    /// Adds the event feed, also as a WebSocket, and the operator's routes for projections, process
    /// managers and reactors, under a path prefix, and the metrics for Prometheus at `/metrics`.
    #[must_use]
    pub fn operated_under(mut self, prefix: &str) -> Self {
        let routes = projections::routes(prefix).into_iter();
        let routes = routes.chain(processes::routes(prefix)).chain(reactors::routes(prefix));
        let routes = routes.chain([feed::route(prefix)]);
        // Operators change things by hand, where a misspelt parameter must not be ignored.
        self.routes.extend(routes.map(ApiRoute::strict));
        // Not strict: a scrape may have parameters, as Prometheus allows to configure.
        self.routes.push(metrics::route());
        self.sockets.push(feed::socket_route(prefix));
        self.feed = Some(prefix.to_owned());
        self
    }

    /// Adds the web console at `/console/`, and what it needs besides the routes of
    /// [`operated_under`](Self::operated_under): under the same prefix, stored events as they are
    /// ([`Right::Inspect`]), event types of a registry, and timers by their times. Browsers that
    /// ask [`router`](Self::router) for `/` are led there.
    ///
    /// ```
    /// use gesta::Registry;
    /// use gesta_http::Api;
    ///
    /// let doors = Api::new("Doors", "1.0").operated_under("/v1").console("/v1", Registry::new());
    /// assert!(doors.document()["paths"]["/v1/all"]["get"].is_object());
    /// ```
    #[must_use]
    pub fn console(mut self, prefix: &str, events: Registry) -> Self {
        self.routes.push(console::route());
        self.routes.extend(console::operator_routes(prefix).map(ApiRoute::strict));
        self.personal = self.personal.and(&events);
        self.console = Some((prefix.to_owned(), events));
        self
    }

    /// Shows the state of these aggregates in the [`console`](Self::console), now and at each
    /// earlier moment ([`Right::Inspect`]). Their state is serialized for it, and never stored.
    ///
    /// ```
    /// use gesta::{Registry, prelude::*};
    /// use gesta_http::Api;
    ///
    /// # #[derive(Event, Serialize, Deserialize, Clone)]
    /// # #[event(name = "door-opened")]
    /// # struct DoorOpened;
    /// # #[derive(EventSet, Clone)]
    /// # enum DoorEvent {
    /// #     Opened(DoorOpened),
    /// # }
    /// #[derive(Default, Serialize)]
    /// struct Door {
    ///     opened: u32,
    /// }
    /// # impl Aggregate for Door {
    /// #     const CATEGORY: &'static str = "door";
    /// #     type Id = u32;
    /// #     type Event = DoorEvent;
    /// #     fn evolve(&mut self, _: &DoorEvent) { self.opened += 1 }
    /// # }
    ///
    /// let doors = Api::new("Doors", "1.0").operated_under("/v1");
    /// let doors = doors.console("/v1", Registry::of::<DoorEvent>()).aggregate::<Door>();
    /// assert!(doors.document()["paths"]["/v1/aggregates/{category}/{id}"]["get"].is_object());
    /// ```
    ///
    /// # Panics
    /// If an aggregate of the same category is shown.
    #[must_use]
    pub fn aggregate<A>(mut self) -> Self
    where
        A: Aggregate + Serialize,
        A::Id: FromStr<Err: Display>,
    {
        self.aggregates.add::<A>(None);
        self
    }

    /// Shows the state of these aggregates like [`aggregate`](Self::aggregate), with these members
    /// of it masked for callers without [`Right::Personal`].
    ///
    /// Each name is that of a member of the state as JSON, and its value is masked whole. A state
    /// without one of them is masked as a whole, so that a member that gets another name is not
    /// shown by mistake. An empty list says that the state has no personal data although its events
    /// have some. By [`aggregate`](Self::aggregate) alone, states of events with
    /// `#[event(personal)]` are refused to these callers.
    ///
    /// ```
    /// use gesta::{Registry, prelude::*};
    /// use gesta_http::Api;
    ///
    /// # #[derive(Event, Serialize, Deserialize, Clone)]
    /// # #[event(name = "user-joined")]
    /// # struct UserJoined {
    /// #     #[event(personal)]
    /// #     email: String,
    /// # }
    /// # #[derive(EventSet, Clone)]
    /// # enum UserEvent {
    /// #     Joined(UserJoined),
    /// # }
    /// #[derive(Default, Serialize)]
    /// struct User {
    ///     email: String,
    ///     welcomed: bool,
    /// }
    /// # impl Aggregate for User {
    /// #     const CATEGORY: &'static str = "user";
    /// #     type Id = u32;
    /// #     type Event = UserEvent;
    /// #     fn evolve(&mut self, _: &UserEvent) {}
    /// # }
    ///
    /// let users = Api::new("Users", "1.0").operated_under("/v1");
    /// let users = users.console("/v1", Registry::of::<UserEvent>());
    /// let users = users.aggregate_with_personal::<User>(&["email"]);
    /// assert!(users.document()["paths"]["/v1/aggregates/{category}/{id}"]["get"].is_object());
    /// ```
    ///
    /// # Panics
    /// If an aggregate of the same category is shown.
    #[must_use]
    pub fn aggregate_with_personal<A>(mut self, members: &[&'static str]) -> Self
    where
        A: Aggregate + Serialize,
        A::Id: FromStr<Err: Display>,
    {
        self.aggregates.add::<A>(Some(members));
        self
    }

    /// Sets the name of the environment, such as `production`, which the console shows.
    #[must_use]
    pub fn environment(self, name: impl Into<String>) -> Self {
        Self { environment: Some(name.into()), ..self }
    }

    /// Adds routes; `area` is their tag in the document. The document shows the areas in the order
    /// in which they are added, and the built-in routes after them.
    #[must_use]
    pub fn with(mut self, area: &'static str, routes: impl IntoIterator<Item = ApiRoute>) -> Self {
        if !self.areas.iter().any(|known| known.name == area) {
            self.areas.push(Area { name: area, description: "" });
        }
        self.routes.extend(routes.into_iter().map(|route| route.in_area(area).strict()));
        self
    }

    /// Adds a link from the objects of a type to what another operation finds. It is in the OpenAPI
    /// document, in each answer with such an object. [`router`](Self::router) checks it.
    #[must_use]
    pub fn link(mut self, link: Link) -> Self {
        self.links.push(link);
        self
    }

    /// Returns all links.
    #[must_use]
    pub fn links(&self) -> &[Link] {
        &self.links
    }

    /// Returns all routes.
    #[must_use]
    pub fn routes(&self) -> &[ApiRoute] {
        &self.routes
    }

    /// Returns the OpenAPI 3.1 document.
    #[must_use]
    pub fn document(&self) -> Value {
        self.document_of(ApiRoute::operation)
    }

    /// Returns the document with credentials, and the refusals of requests without them.
    fn document_with_access(&self) -> Value {
        let mut document = self.document_of(ApiRoute::guarded_operation);
        if let Some(Value::Object(components)) = document.get_mut("components") {
            let key = headers::API_KEY;
            let schemes = json!({
                "bearer": { "type": "http", "scheme": "bearer" },
                "apiKey": { "type": "apiKey", "in": "header", "name": key.as_str() },
            });
            components.insert("securitySchemes".to_owned(), schemes);
        }
        document
    }

    fn document_of(&self, operation: fn(&ApiRoute, &mut Schemas) -> Value) -> Value {
        let mut schemas = Schemas::default();
        let mut paths = Map::new();
        for route in &self.routes {
            let operation = operation(route, &mut schemas);
            let (method, path) = route.place();
            let path = paths.entry(path).or_insert_with(|| json!({}));
            if let Some(methods) = path.as_object_mut() {
                methods.insert(method.as_str().to_lowercase(), operation);
            }
        }
        let mut components = match schemas.into_json() {
            Value::Object(components) => components,
            _ => Map::new(),
        };
        add_links(&self.links, &mut paths, &components);
        self.events.add_to(&mut components);
        let problems = share_problems(&mut paths);
        json!({
            "openapi": "3.1.0",
            "info": self.info(),
            "servers": self.document_servers(),
            "tags": self.tags(),
            "paths": paths,
            "components": { "schemas": components, "responses": problems },
        })
    }

    /// Returns the title, the version and the description, as both documents have them.
    fn info(&self) -> Value {
        let mut info = json!({ "title": self.title, "version": self.version });
        if let (false, Some(members)) = (self.description.is_empty(), info.as_object_mut()) {
            members.insert("description".to_owned(), json!(self.description));
        }
        info
    }

    fn document_servers(&self) -> Value {
        if self.servers.is_empty() {
            // Relative to the document, which may be nested under a prefix.
            return json!([{ "url": ".", "description": "The server of this document" }]);
        }
        json!(self.servers)
    }

    /// Returns the areas in order: those of the application, then the built-in one.
    fn tags(&self) -> Value {
        let (own, built_in): (Vec<_>, Vec<_>) =
            self.areas.iter().partition(|area| area.name != BUILT_IN);
        let about = built_in.first().map_or(ABOUT_BUILT_IN, |area| area.description);
        let own = own.into_iter().map(|area| (area.name, area.description));
        let tags = own.chain([(BUILT_IN, about)]).map(|(name, description)| {
            let mut tag = json!({ "name": name });
            if let (false, Some(members)) = (description.is_empty(), tag.as_object_mut()) {
                members.insert("description".to_owned(), json!(description));
            }
            tag
        });
        tags.collect()
    }

    /// Builds the router, for an application that has no other routes: unknown paths and methods
    /// are answered with problems.
    ///
    /// # Panics
    /// If two routes have the same method and path, the rules of the state's [`Access`] do not fit
    /// the routes ([`check_access`](Self::check_access)), or a [`Link`] or a list that
    /// [finds several](ApiRoute::finds_many) does not.
    pub fn router(self, state: GestaState) -> Router {
        let rules = HttpRules::new(&state);
        let has_console = self.console.is_some();
        self.plain_routes(&state)
            .fallback(async move |method: Method, uri: Uri, head: HeaderMap| {
                match console::root(&uri, &head).filter(|_| has_console) {
                    Some(to_console) => to_console,
                    None => no_such_route(&method, &uri).into_response(),
                }
            })
            .method_not_allowed_fallback(method_not_allowed)
            .layer(rules)
            .with_state(state)
    }

    /// Builds a router of these routes alone, to nest into or merge with the application's own
    /// router, whatever its state.
    ///
    /// ```
    /// use axum::{Router, extract::State, routing::get};
    /// use gesta::Gesta;
    /// use gesta_http::{Api, GestaState};
    ///
    /// async fn motto(State(motto): State<&'static str>) -> &'static str {
    ///     motto
    /// }
    ///
    /// # tokio::runtime::Runtime::new().expect("a runtime").block_on(async {
    /// let state = GestaState::new(Gesta::at("memory:").open().await?);
    /// let router: Router = Router::new()
    ///     .route("/motto", get(motto))
    ///     .nest("/doors", Api::new("Doors", "1.0").nested(state))
    ///     .with_state("open");
    /// # drop(router);
    /// # Ok::<(), gesta::OpenError>(())
    /// # }).expect("a memory store opens");
    /// ```
    ///
    /// # Panics
    /// As [`router`](Self::router).
    pub fn nested<S>(self, state: GestaState) -> Router<S> {
        let rules = HttpRules::new(&state);
        self.plain_routes(&state).layer(rules).with_state(state)
    }

    /// Compares the rules of an access with the routes: every operation that a rule names is one
    /// of a route, and every route is covered by a rule.
    ///
    /// # Errors
    /// [`InvalidRules`] with the operations to correct.
    pub fn check_access(&self, access: &Access) -> Result<(), InvalidRules> {
        let operations: Vec<_> =
            self.routes.iter().map(|route| (route.id(), route.kind())).collect();
        access.rules().check(&operations, access.has_ownership())
    }

    /// Takes what the console needs to know, if there is one.
    fn program(&mut self) -> Option<Program> {
        let (prefix, events) = self.console.take()?;
        let operations = self.routes.iter().filter(|route| route.is_built_in());
        let operations = operations.filter(|route| route.kind() != Right::Open);
        Some(Program(Arc::new(ProgramParts {
            name: self.title,
            version: self.version,
            environment: self.environment.take(),
            prefix,
            operations: operations.map(|route| (route.id().to_owned(), route.kind())).collect(),
            events,
            aggregates: mem::take(&mut self.aggregates),
        })))
    }

    fn plain_routes(mut self, state: &GestaState) -> Router<GestaState> {
        if let Some(access) = state.access_in_force()
            && let Err(invalid) = self.check_access(access)
        {
            panic!("the rules of the access do not fit the routes: {invalid}");
        }
        // Built once, and shared by all responses.
        let document = match state.access_in_force() {
            Some(_) => self.document_with_access(),
            None => self.document(),
        };
        check_links(&self.links, &document);
        let document = Document::new(&document);
        let async_document = AsyncDocument::new(&self.async_document());
        let mut router = Router::new();
        let program = self.program();
        if program.is_some() {
            router = console::with_files(router);
        }
        // axum panics on a duplicate method and path.
        for route in self.routes {
            let (path, handler) = route.into_parts(state);
            router = router.route(&path, handler);
        }
        let rule = RouteAccess::new(state, feed::OPERATION, Right::Feed);
        for (path, handler) in self.sockets {
            router = router.route(&path, handler.layer(rule.clone()));
        }
        if let Some(program) = program {
            router = router.layer(Extension(program));
        }
        let router = router.layer(Extension(self.personal));
        router.layer(Extension(document)).layer(Extension(async_document))
    }
}

fn no_such_route(method: &Method, uri: &Uri) -> Problem {
    // Only `Api::router` has this fallback, and every `Api` has these two routes.
    let detail = format!(
        "no route matches `{method} {}`; /docs shows the routes in a browser, /openapi.json lists \
         them for programs",
        uri.path()
    );
    Problem::new(axum::http::StatusCode::NOT_FOUND, "no-such-route", detail)
}

async fn method_not_allowed(method: Method, uri: Uri) -> Problem {
    let detail =
        format!("`{}` does not support {method}; the Allow header lists its methods", uri.path());
    Problem::new(axum::http::StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", detail)
}
