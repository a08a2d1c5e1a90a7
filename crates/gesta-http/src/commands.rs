//! Commands over HTTP: the extractors that execute them, and the responses of accepted ones.
//!
//! Owns: [`Commands`], [`UpdateCommands`], [`EdgeValues`], [`Created`] and [`Updated`].
//!
//! Invariants:
//! - A retried request with the same `Idempotency-Key` gives the same commands, with the same new
//!   ids: both are derived from the key.
//! - The response to a change carries the revision that the change led to.
//!
//! Not here: command ids ([`keys`](crate::requests::keys)) and conditional requests
//! ([`preconditions`]).

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use axum::{
    Json,
    extract::{FromRef, FromRequestParts},
    http::{StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use gesta::{
    Boundary, Command, CommandIdScope, CorrelationId, Decide, EventId, ExecuteError, Gesta,
    Position, Receipt, RecordedWhen, Revision, StreamName, store::StoreError,
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    Describe, GestaState, Operation, Problem,
    requests::{
        keys::Key,
        preconditions::{self, Preconditions, condition_schema, etag_schema},
        trace_context::{TRACE_PARENT, TRACE_STATE, TraceContext},
    },
    wire::{
        cursor::invalid_name,
        headers::{self, POSITION, RECORDED},
        problem::{RESOURCE_NOT_FOUND, VALIDATION_FAILED},
    },
};

/// An extractor that executes the commands of a request.
///
/// For requests that create a resource, or that change several. A request that changes one
/// existing resource takes [`UpdateCommands`]. Works in every router whose state has a
/// [`GestaState`] (axum's `FromRef`).
///
/// The metadata of the commands' events have a trace context: the entries `traceparent` and
/// `tracestate`, from the headers of these names (W3C Trace Context), and in a program that exports
/// spans, with the span of the append in place of the caller's. Headers of another form are
/// ignored, as the standard says; a long `tracestate` is shortened to 512 characters. Processes
/// pass the context on to their commands.
#[derive(Clone, Debug)]
pub struct Commands {
    state: GestaState,
    key: Option<Key>,
    actor: String,
    correlation_id: Option<CorrelationId>,
    trace: Option<TraceContext>,
    conditions: Preconditions,
    /// Number of commands given so far; the ordinal of the next one, part of its command id.
    given: Arc<AtomicU64>,
}

/// An extractor that executes the command of a request on one existing resource, subject to
/// `If-Match`.
#[derive(Clone, Debug)]
pub struct UpdateCommands(Commands);

impl<S> FromRequestParts<S> for Commands
where
    GestaState: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let state = GestaState::from_ref(state);
        let actor = state.request_actor(parts)?;
        Ok(Self {
            // Scoped to the actor, so the actor comes first.
            key: Key::of(parts, &actor, state.gesta()).await?,
            actor,
            correlation_id: parts.extensions.get().cloned(),
            trace: TraceContext::of(&parts.headers),
            conditions: Preconditions::of(&parts.headers)?,
            state,
            given: Arc::default(),
        })
    }
}

impl<S> FromRequestParts<S> for UpdateCommands
where
    GestaState: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        Commands::from_request_parts(parts, state).await.map(Self)
    }
}

impl Commands {
    /// Returns the application.
    #[must_use]
    pub fn gesta(&self) -> &Gesta {
        self.state.gesta()
    }

    /// Returns the values of a command that the edge fills in.
    #[must_use]
    pub fn edge(&self) -> EdgeValues<'_> {
        EdgeValues { commands: self }
    }

    /// Executes a command.
    ///
    /// A request with `If-Match` fails with 412: its condition has no single resource to apply to.
    ///
    /// # Errors
    /// The [`Problem`] to answer with.
    pub async fn execute<C: Decide>(&self, command: C) -> Result<Receipt, Problem> {
        self.conditions.check_creation()?;
        Ok(self.give(command, None).await?)
    }

    /// Executes a command that creates the resource `id` of the collection at the path
    /// `collection`.
    ///
    /// # Errors
    /// The [`Problem`] to answer with.
    pub async fn create<C: Decide>(
        &self,
        command: C,
        id: impl ToString,
        collection: &str,
    ) -> Result<Created, Problem> {
        let stream = first_stream(&command)?;
        self.create_as(command, stream, id.to_string(), collection).await
    }

    /// Executes a command that creates a resource, whose id is that of the command's first stream.
    pub(crate) async fn create_in<C: Decide>(
        &self,
        command: C,
        collection: &str,
    ) -> Result<Created, Problem> {
        let stream = first_stream(&command)?;
        // A category has no `-`, so the rest is the id.
        let id = stream.as_str().split_once('-').map_or(stream.as_str(), |(_, id)| id).to_owned();
        self.create_as(command, stream, id, collection).await
    }

    async fn create_as<C: Decide>(
        &self,
        command: C,
        stream: StreamName,
        id: String,
        collection: &str,
    ) -> Result<Created, Problem> {
        self.conditions.check_creation()?;
        let receipt = match self.give(command, None).await {
            // With `If-None-Match: *` an existing resource is a failed condition (412), not a
            // conflict (409).
            Err(ExecuteError::AlreadyExists { stream })
                if self.conditions.wants_nothing_there() =>
            {
                let detail = format!("`If-None-Match: *` failed: {stream} already exists");
                return Err(preconditions::failed(&detail));
            }
            given => given?,
        };
        Ok(Created {
            location: format!("{collection}/{}", segment(&id)),
            id,
            revision: receipt.revision_of(&stream),
            position: receipt.position,
            recorded: receipt.recorded,
        })
    }

    async fn give<C: Decide>(
        &self,
        command: C,
        expected: Option<Revision>,
    ) -> Result<Receipt, ExecuteError<C::Rejection>> {
        let mut execute = self.gesta().execute(command).actor(self.actor.clone());
        // A retry gives its commands in the same order, so each gets the same ordinal and id.
        if let Some(key) = &self.key {
            // Relaxed: only the count matters, and no other memory depends on it.
            let ordinal = self.given.fetch_add(1, Ordering::Relaxed);
            execute = execute.command_id(key.command_id(C::NAME, ordinal));
            // The key has its scope in it.
            execute = execute.scope(CommandIdScope::Store);
            execute = execute.causation_id(key.as_str());
        }
        if let Some(id) = &self.correlation_id {
            execute = execute.correlation_id(id.as_str());
        }
        if let Some(TraceContext { parent, state }) = &self.trace {
            execute = execute.metadata(TRACE_PARENT, parent);
            if let Some(state) = state {
                execute = execute.metadata(TRACE_STATE, state);
            }
        }
        if let Some(revision) = expected {
            execute = execute.expect_revision(revision);
        }
        execute.await
    }
}

impl UpdateCommands {
    /// Returns the application.
    #[must_use]
    pub fn gesta(&self) -> &Gesta {
        self.0.gesta()
    }

    /// Returns the values of a command that the edge fills in.
    #[must_use]
    pub fn edge(&self) -> EdgeValues<'_> {
        self.0.edge()
    }

    /// Executes a command on an existing resource, at the revision that `If-Match` names.
    ///
    /// # Errors
    /// The [`Problem`] to answer with.
    pub async fn execute<C: Decide>(&self, command: C) -> Result<Updated, Problem> {
        let stream = first_stream(&command)?;
        let Self(commands) = self;
        let expected = commands.conditions.check_change(commands.gesta(), &stream).await?;
        let receipt = match commands.give(command, expected).await {
            // With `If-Match` a missing or deleted resource is a failed condition, not a 404.
            Err(ExecuteError::NotFound { stream })
                if commands.conditions.wants_something_there() =>
            {
                return Err(nonexistent(&stream));
            }
            Err(ExecuteError::Store(StoreError::Deleted { stream: gone })) if gone == stream => {
                return Err(match commands.conditions.wants_something_there() {
                    true => nonexistent(&gone),
                    false => StoreError::Deleted { stream: gone }.into(),
                });
            }
            given => given?,
        };
        // A command without events appended nothing; it was then decided at the expected revision.
        let known = receipt.head_of(&stream).or(expected);
        let revision = match known {
            Some(revision) => revision,
            None => head(commands.gesta(), &stream).await?,
        };
        let Receipt { position, recorded, .. } = receipt;
        Ok(Updated { revision, etag: known, position, recorded })
    }
}

/// The values of a command that the edge fills in, because a decision must give the same result
/// when it is repeated: the current time and new ids.
#[derive(Clone, Copy, Debug)]
pub struct EdgeValues<'c> {
    commands: &'c Commands,
}

impl EdgeValues<'_> {
    /// Returns the application's current time.
    #[must_use]
    pub fn now(self) -> SystemTime {
        self.commands.gesta().clock().now()
    }

    /// Returns the given time, or the application's current time.
    ///
    /// # Errors
    /// A problem (500) if the application's clock shows a time that `T` cannot express.
    pub fn or_now<T>(self, given: Option<impl Into<T>>) -> Result<T, Problem>
    where
        T: TryFrom<SystemTime>,
    {
        match given {
            Some(given) => Ok(given.into()),
            None => T::try_from(self.now()).map_err(|_| Problem::internal(&UnusableClock)),
        }
    }

    /// Returns an id for a new resource: the same one if the request is retried with its
    /// `Idempotency-Key`, a random one if it has none.
    #[must_use]
    pub fn new_id(self) -> Uuid {
        match &self.commands.key {
            Some(key) => key.new_id(),
            None => EventId::random().as_uuid(),
        }
    }

    /// Returns the given id, or a [new one](Self::new_id).
    pub fn or_new_id<T: From<Uuid>>(self, given: Option<impl Into<T>>) -> T {
        given.map_or_else(|| self.new_id().into(), Into::into)
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the application's clock shows a time that the command cannot have; set the clock")]
struct UnusableClock;

fn nonexistent(stream: &StreamName) -> Problem {
    preconditions::failed(&format!("`If-Match` failed: {stream} does not exist"))
}

/// Returns the first stream of a command's boundary: revisions in requests and responses are its.
fn first_stream<C: Command>(command: &C) -> Result<StreamName, Problem> {
    let mut reads = Vec::new();
    C::On::plan(&command.id(), &mut reads).map_err(|error| invalid_name("id", &error))?;
    let first = reads.into_iter().next().map(|read| read.stream);
    first.ok_or_else(|| Problem::invalid("id", "must name at least one stream"))
}

async fn head(gesta: &Gesta, stream: &StreamName) -> Result<Revision, StoreError> {
    let known = gesta.store().describe_stream(stream).await?;
    Ok(known.head.unwrap_or(Revision::FIRST))
}

/// Percent-encodes a text as one segment of a path.
///
/// ```
/// assert_eq!(gesta_http::segment("a/b c"), "a%2Fb%20c");
/// ```
#[must_use]
pub fn segment(text: &str) -> String {
    let mut segment = String::with_capacity(text.len());
    for byte in text.bytes() {
        // `unreserved` characters (RFC 3986, section 2.3). Anything else could end the segment or
        // the path.
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            segment.push(char::from(byte));
        } else {
            segment.push_str(&format!("%{byte:02X}"));
        }
    }
    segment
}

/// The response to a creation: 201, with the new id in the body and its path in `Location`.
#[derive(Clone, Debug)]
pub struct Created {
    id: String,
    location: String,
    revision: Option<Revision>,
    position: Position,
    recorded: RecordedWhen,
}

/// The response to a change: 200, with the resource's revision.
///
/// A command without events gets the same response.
#[derive(Clone, Debug)]
pub struct Updated {
    revision: Revision,
    /// `None` if the revision was read after the decision: a later change could be included.
    etag: Option<Revision>,
    position: Position,
    recorded: RecordedWhen,
}

impl IntoResponse for Created {
    fn into_response(self) -> Response {
        let body = Json(json!({ "id": self.id }));
        let mut response = (StatusCode::CREATED, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::LOCATION, headers::value(&self.location));
        headers.insert(POSITION, headers::value(&self.position.to_string()));
        headers.insert(RECORDED, headers::recorded(self.recorded));
        // Absent if the command appended nothing to the resource's stream.
        if let Some(revision) = self.revision {
            headers.insert(header::ETAG, headers::etag(revision));
        }
        response
    }
}

impl IntoResponse for Updated {
    fn into_response(self) -> Response {
        let mut response = Json(json!({ "revision": self.revision.number() })).into_response();
        let headers = response.headers_mut();
        headers.insert(POSITION, headers::value(&self.position.to_string()));
        headers.insert(RECORDED, headers::recorded(self.recorded));
        if let Some(revision) = self.etag {
            headers.insert(header::ETAG, headers::etag(revision));
        }
        response
    }
}

/// Description of the conflicts that every command can end with.
const CONFLICT: &str = "the resource already exists (`already-exists`), its stream is tombstoned \
                        (`tombstoned`), every attempt lost to a concurrent change (`conflict`), or \
                        the Idempotency-Key belongs to another command (`command-id-reused`)";

impl Describe for Commands {
    fn describe(operation: &mut Operation<'_>) {
        let description = "Makes retries of a request safe: the command takes effect once, and \
                           every retry gets the same answer. Scoped to the actor and the \
                           operation. Surrounding double quotes are not part of the key.";
        operation.header("Idempotency-Key", description, headers::key_schema());
        let description = "Fails with 412 if the resource exists (`*`), or if its current ETag is \
                           in this list.";
        operation.header("If-None-Match", description, condition_schema());
        operation.problem(412, "a condition in the request's headers failed");
        operation.problem(400, VALIDATION_FAILED);
        operation.problem(409, CONFLICT);
    }
}

impl Describe for UpdateCommands {
    fn describe(operation: &mut Operation<'_>) {
        Commands::describe(operation);
        let description = "Fails with 412 unless the resource exists (`*`), or its current ETag \
                           is in this list.";
        operation.header("If-Match", description, condition_schema());
        operation.problem(404, RESOURCE_NOT_FOUND);
        operation.problem(412, "If-Match does not list the current revision of the resource");
    }
}

impl Describe for Created {
    fn describe(operation: &mut Operation<'_>) {
        let schema = operation.schemas().component("Created", |_| created_schema());
        let status = StatusCode::CREATED;
        operation.answers_with(status, "created", "application/json", schema);
        let place = json!({ "type": "string", "format": "uri-reference" });
        operation.answer_header(status, "Location", "Path of the new resource.", place);
        describe_revision(operation, status);
    }
}

fn created_schema() -> Value {
    json!({
        "type": "object",
        "description": "A created resource.",
        "properties": { "id": { "type": "string", "description": "Id of the new resource." } },
        "required": ["id"],
        "additionalProperties": false,
    })
}

impl Describe for Updated {
    fn describe(operation: &mut Operation<'_>) {
        let schema = operation.schemas().component("Changed", |_| changed_schema());
        operation.answers_with(
            StatusCode::OK,
            "the change has been made, by this request or an earlier attempt",
            "application/json",
            schema,
        );
        describe_revision(operation, StatusCode::OK);
    }
}

fn changed_schema() -> Value {
    json!({
        "type": "object",
        "description": "A changed resource.",
        "properties": {
            "revision": { "type": "integer", "minimum": 0, "description": "Revision of the resource." },
        },
        "required": ["revision"],
        "additionalProperties": false,
    })
}

fn describe_revision(operation: &mut Operation<'_>, status: StatusCode) {
    operation.answer_header(
        status,
        "ETag",
        "Entity tag of the revision, for If-Match.",
        etag_schema(),
    );
    let description = "Position of the change. A query that sends it back sees the change.";
    operation.answer_header(status, "Gesta-Position", description, headers::position_schema());
    let description = "`earlier` if an earlier attempt with the same Idempotency-Key made the \
                       change, and `now` if this request did.";
    operation.answer_header(status, "Gesta-Recorded", description, headers::recorded_schema());
}
