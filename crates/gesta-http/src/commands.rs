//! Commands as requests: what a request says about its command, and what an accepted one answers.
//!
//! Owns: [`Commands`] and [`UpdateCommands`], [`Created`] and [`Updated`]. Always holds: a request with
//! an `Idempotency-Key` that comes again is the same command, so new ids come from the key; what
//! is answered about a change names the revision that it led to. Not here: what commands do; what
//! a key is ([`keys`](crate::keys)); what a condition is ([`preconditions`](crate::preconditions)).

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use axum::{
    Json,
    extract::FromRequestParts,
    http::{StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use gesta::{
    Boundary, Command, CorrelationId, Decide, EventId, ExecuteError, Gesta, Position, Receipt,
    Revision, StreamName, store::StoreError,
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    Describe, GestaState, Operation, Problem,
    cursor::invalid_name,
    headers::{self, POSITION},
    keys::Key,
    preconditions::{self, Preconditions, condition_schema, etag_schema},
};

/// Executes the commands of a request that creates something, or that touches several things.
#[derive(Clone, Debug)]
pub struct Commands {
    state: GestaState,
    key: Option<Key>,
    actor: String,
    correlation_id: Option<CorrelationId>,
    conditions: Preconditions,
    /// The commands that the request has given so far: each has an id of its own.
    given: Arc<AtomicU64>,
}

/// Executes the command of a request that changes something which is there; `If-Match` says at
/// which revision.
#[derive(Clone, Debug)]
pub struct UpdateCommands(Commands);

impl FromRequestParts<GestaState> for Commands {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &GestaState) -> Result<Self, Problem> {
        let actor = state.request_actor(parts)?;
        Ok(Self {
            key: Key::of(parts, &actor, state.gesta()).await?,
            actor,
            correlation_id: parts.extensions.get().cloned(),
            conditions: Preconditions::of(&parts.headers)?,
            state: state.clone(),
            given: Arc::default(),
        })
    }
}

impl FromRequestParts<GestaState> for UpdateCommands {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &GestaState) -> Result<Self, Problem> {
        Commands::from_request_parts(parts, state).await.map(Self)
    }
}

impl Commands {
    /// The application.
    #[must_use]
    pub fn gesta(&self) -> &Gesta {
        self.state.gesta()
    }

    /// The time, for commands that say when.
    #[must_use]
    pub fn now(&self) -> SystemTime {
        self.gesta().clock().now()
    }

    /// An id for something new: the same one when the request comes again.
    #[must_use]
    pub fn new_id(&self) -> Uuid {
        match &self.key {
            Some(key) => key.new_id(),
            None => EventId::random().as_uuid(),
        }
    }

    /// Executes a command.
    ///
    /// # Errors
    /// The [`Problem`] to answer with.
    pub async fn execute<C: Decide>(&self, command: C) -> Result<Receipt, Problem> {
        self.conditions.check_creation()?;
        Ok(self.give(command, None).await?)
    }

    /// Executes a command that creates something, found at this path from now on.
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
        self.conditions.check_creation()?;
        let receipt = match self.give(command, None).await {
            Err(ExecuteError::AlreadyExists { stream })
                if self.conditions.wants_nothing_there() =>
            {
                let detail = format!("If-None-Match: {stream} exists already");
                return Err(preconditions::failed(&detail));
            }
            given => given?,
        };
        let id = id.to_string();
        Ok(Created {
            location: format!("{collection}/{}", segment(&id)),
            id,
            revision: receipt.revision_of(&stream),
            position: receipt.position,
        })
    }

    async fn give<C: Decide>(
        &self,
        command: C,
        expected: Option<Revision>,
    ) -> Result<Receipt, ExecuteError<C::Rejection>> {
        let mut execute = self.gesta().execute(command).actor(self.actor.clone());
        if let Some(key) = &self.key {
            let ordinal = self.given.fetch_add(1, Ordering::Relaxed);
            execute = execute.command_id(key.command_id(C::NAME, ordinal));
            execute = execute.causation_id(key.as_str());
        }
        if let Some(id) = &self.correlation_id {
            execute = execute.correlation_id(id.as_str());
        }
        if let Some(revision) = expected {
            execute = execute.expect_revision(revision);
        }
        execute.await
    }
}

impl UpdateCommands {
    /// The application.
    #[must_use]
    pub fn gesta(&self) -> &Gesta {
        self.0.gesta()
    }

    /// The time, for commands that say when.
    #[must_use]
    pub fn now(&self) -> SystemTime {
        self.0.now()
    }

    /// Executes a command on something that is there.
    ///
    /// # Errors
    /// The [`Problem`] to answer with.
    pub async fn execute<C: Decide>(&self, command: C) -> Result<Updated, Problem> {
        let stream = first_stream(&command)?;
        let Self(commands) = self;
        let expected = commands.conditions.check_change(commands.gesta(), &stream).await?;
        let receipt = match commands.give(command, expected).await {
            Err(ExecuteError::NotFound { stream })
                if commands.conditions.wants_something_there() =>
            {
                let detail = format!("If-Match: {stream} does not exist");
                return Err(preconditions::failed(&detail));
            }
            Err(ExecuteError::Store(StoreError::Deleted { stream: gone })) if gone == stream => {
                return Err(match commands.conditions.wants_something_there() {
                    true => preconditions::failed(&format!("If-Match: {gone} does not exist")),
                    false => StoreError::Deleted { stream: gone }.into(),
                });
            }
            given => given?,
        };
        // Known from the append, or from what a change that changes nothing was judged at.
        let known = receipt.head_of(&stream).or(expected);
        let revision = match known {
            Some(revision) => revision,
            None => head(commands.gesta(), &stream).await?,
        };
        Ok(Updated { revision, etag: known, position: receipt.position })
    }
}

/// The stream that a command's revisions are of.
fn first_stream<C: Command>(command: &C) -> Result<StreamName, Problem> {
    let mut reads = Vec::new();
    C::On::plan(&command.id(), &mut reads).map_err(|error| invalid_name("id", &error))?;
    let first = reads.into_iter().next().map(|read| read.stream);
    first.ok_or_else(|| Problem::invalid("id", "names nothing"))
}

async fn head(gesta: &Gesta, stream: &StreamName) -> Result<Revision, StoreError> {
    let known = gesta.store().describe_stream(stream).await?;
    Ok(known.head.unwrap_or(Revision::FIRST))
}

/// A text as one segment of a path.
///
/// ```
/// assert_eq!(gesta_http::segment("a/b c"), "a%2Fb%20c");
/// ```
#[must_use]
pub fn segment(text: &str) -> String {
    let mut segment = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            segment.push(char::from(byte));
        } else {
            segment.push_str(&format!("%{byte:02X}"));
        }
    }
    segment
}

/// Something is there now: 201, with its id, and where it is.
#[derive(Clone, Debug)]
pub struct Created {
    id: String,
    location: String,
    revision: Option<Revision>,
    position: Position,
}

/// Something has changed, or is as it was wanted already: 200, with its revision.
#[derive(Clone, Debug)]
pub struct Updated {
    revision: Revision,
    /// None where others may have changed it since it was judged.
    etag: Option<Revision>,
    position: Position,
}

impl IntoResponse for Created {
    fn into_response(self) -> Response {
        let body = Json(json!({ "id": self.id }));
        let mut response = (StatusCode::CREATED, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::LOCATION, headers::value(&self.location));
        headers.insert(POSITION, headers::value(&self.position.to_string()));
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
        if let Some(revision) = self.etag {
            headers.insert(header::ETAG, headers::etag(revision));
        }
        response
    }
}

/// Why nothing of what a request wants is done, whatever its command.
const CONFLICT: &str = "it exists already, its stream is tombstoned, others were faster each time \
                        that it was tried, or the Idempotency-Key was used for another command";

impl Describe for Commands {
    fn describe(operation: &mut Operation<'_>) {
        let description = "Makes a request that comes again the same command: it takes effect \
                           once, and is answered alike. It counts within the actor and the \
                           operation; a key in double quotes is the key inside them.";
        operation.header("Idempotency-Key", description, headers::token_schema());
        let description = "Only if nothing is there yet (*), or it is at none of these ETags.";
        operation.header("If-None-Match", description, condition_schema());
        operation.problem(412, "a condition of the request does not hold");
        operation.problem(400, "the field that is named makes no sense");
        operation.problem(409, CONFLICT);
    }
}

impl Describe for UpdateCommands {
    fn describe(operation: &mut Operation<'_>) {
        Commands::describe(operation);
        let description = "Only if it is there (*), or at the revision of one of these ETags.";
        operation.header("If-Match", description, condition_schema());
        operation.problem(404, "there is no such thing");
        operation.problem(412, "it is not at a revision of If-Match");
    }
}

impl Describe for Created {
    fn describe(operation: &mut Operation<'_>) {
        let schema = operation.schemas().component("Created", |_| created_schema());
        let status = StatusCode::CREATED;
        operation.answers_with(status, "it is there now", "application/json", schema);
        let place = json!({ "type": "string", "format": "uri-reference" });
        operation.answer_header(status, "Location", "Where it is.", place);
        describe_place(operation, status);
    }
}

fn created_schema() -> Value {
    json!({
        "type": "object",
        "description": "What was created.",
        "properties": { "id": { "type": "string", "description": "Under which id." } },
        "required": ["id"],
        "additionalProperties": false,
    })
}

impl Describe for Updated {
    fn describe(operation: &mut Operation<'_>) {
        let schema = operation.schemas().component("Changed", |_| changed_schema());
        operation.answers_with(StatusCode::OK, "it is as wanted", "application/json", schema);
        describe_place(operation, StatusCode::OK);
    }
}

fn changed_schema() -> Value {
    json!({
        "type": "object",
        "description": "What has changed.",
        "properties": {
            "revision": { "type": "integer", "minimum": 0, "description": "Where it is now." },
        },
        "required": ["revision"],
        "additionalProperties": false,
    })
}

fn describe_place(operation: &mut Operation<'_>, status: StatusCode) {
    operation.answer_header(status, "ETag", "Its revision, for If-Match.", etag_schema());
    let description = "Ask with it, and the answer has seen this change.";
    operation.answer_header(status, "Gesta-Position", description, headers::position_schema());
}
