//! Executing a command: its options, and the entry into the pipeline.

use std::{
    future::{Future, IntoFuture},
    pin::Pin,
};

use gesta_store::{CausationId, CorrelationId, InvalidName, Revision};
use serde::Serialize;
use tower::ServiceExt as _;
use uuid::{Builder as UuidBuilder, Uuid};

use crate::{
    CommandContext, CommandError, CommandId, CommandIdFrom, CommandIdScope, CommandRequest,
    CustomMetadata, Decide, ExecuteError, Gesta, InvalidField, InvalidMetadata, Receipt,
    command_id,
};

/// A pending command, executed when awaited.
///
/// ```
/// use gesta::prelude::*;
/// # #[derive(Event, Serialize, Deserialize, Clone)]
/// # #[event(name = "door-opened")]
/// # struct DoorOpened;
/// # #[derive(EventSet, Clone)]
/// # enum DoorEvent {
/// #     Opened(DoorOpened),
/// # }
/// # #[derive(Default)]
/// # struct Door;
/// # impl Aggregate for Door {
/// #     const CATEGORY: &'static str = "door";
/// #     type Id = u32;
/// #     type Event = DoorEvent;
/// #     fn evolve(&mut self, _: &DoorEvent) {}
/// # }
/// # #[derive(Command, Serialize, Deserialize)]
/// # #[command(name = "open-door", on = Door, either)]
/// # struct OpenDoor {
/// #     #[command(id)]
/// #     door: u32,
/// # }
/// # impl Decide for OpenDoor {
/// #     type Rejection = std::convert::Infallible;
/// #     fn decide(&self, _: &Door) -> Decision<Self> { Ok(DoorOpened.into()) }
/// # }
///
/// # gesta::store::conformance::block_on(async {
/// let gesta = gesta::Gesta::at("memory:").open().await?;
/// let open = || {
///     let open = gesta.execute(OpenDoor { door: 7 }).command_id("request-42");
///     open.actor("ann").metadata("tenant", "school")
/// };
/// let receipt = open().await?;
/// let again = open().await?;
/// assert_eq!(again.position, receipt.position, "the same request has one result");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).expect("the door opens");
/// ```
#[derive(Debug)]
#[must_use = "nothing is executed until it is awaited"]
pub struct Execute<'g, C> {
    gesta: &'g Gesta,
    command: C,
    command_id: Option<String>,
    scope: CommandIdScope,
    actor: Option<String>,
    correlation_id: Option<String>,
    causation_id: Option<String>,
    expected_revision: Option<Revision>,
    metadata: Result<CustomMetadata, InvalidMetadata>,
}

impl Gesta {
    /// Executes a command when the returned value is awaited.
    pub fn execute<C: Decide>(&self, command: C) -> Execute<'_, C> {
        Execute::new(self, command)
    }
}

impl<'g, C: Decide> Execute<'g, C> {
    fn new(gesta: &'g Gesta, command: C) -> Self {
        Self {
            gesta,
            command,
            command_id: None,
            scope: CommandIdScope::default(),
            actor: None,
            correlation_id: None,
            causation_id: None,
            expected_revision: None,
            metadata: Ok(CustomMetadata::new()),
        }
    }

    /// Sets the command id, by which a retry is recognized. Without one, each execution is a
    /// separate command with a generated id.
    ///
    /// The id is unique among this actor's executions of this command, unless
    /// [`scope`](Self::scope) says otherwise.
    pub fn command_id(self, id: impl Into<String>) -> Self {
        Self { command_id: Some(id.into()), ..self }
    }

    /// Sets the executions among which the command id is unique.
    pub fn scope(self, scope: CommandIdScope) -> Self {
        Self { scope, ..self }
    }

    /// Sets the actor on whose behalf the command is executed.
    pub fn actor(self, actor: impl Into<String>) -> Self {
        Self { actor: Some(actor.into()), ..self }
    }

    /// Sets the correlation id. Without one, the command starts a new conversation.
    pub fn correlation_id(self, id: impl Into<String>) -> Self {
        Self { correlation_id: Some(id.into()), ..self }
    }

    /// Sets the causation id: the id of the event or command that caused this one.
    pub fn causation_id(self, id: impl Into<String>) -> Self {
        Self { causation_id: Some(id.into()), ..self }
    }

    /// Requires the first aggregate's stream to be at this revision.
    pub fn expect_revision(self, revision: Revision) -> Self {
        Self { expected_revision: Some(revision), ..self }
    }

    /// Adds an entry to the metadata of each event: a tenant, a trace context, anything with a JSON
    /// form.
    ///
    /// Entries do not distinguish commands: a retry with other entries is a repeat, whose events
    /// keep the entries of the first execution. A process passes on the entries that
    /// [`ProcessManager::PASSED_ON`](crate::ProcessManager::PASSED_ON) names. A key of the
    /// framework fails as [`Invalid`](ExecuteError::Invalid).
    pub fn metadata(self, key: impl Into<String>, value: impl Serialize) -> Self {
        let metadata = self.metadata.and_then(|mut metadata| {
            metadata.insert(key, value)?;
            Ok(metadata)
        });
        Self { metadata, ..self }
    }

    fn request(self) -> Result<(&'g Gesta, CommandRequest), InvalidField> {
        let (command_id, command_id_from) = match self.command_id {
            Some(id) => (checked("command id", CommandId::new(id))?, CommandIdFrom::Caller),
            None => (fresh_id(self.gesta), CommandIdFrom::Gesta),
        };
        if let Some(actor) = &self.actor {
            // Metadata has no type of its own for the actor, so its limits are checked here.
            checked("actor", command_id::check("actor", actor))?;
        }
        let metadata = self.metadata.map_err(|error| InvalidField::new(error.key, error.reason))?;
        let correlation_id = self.correlation_id.map(CorrelationId::new).transpose();
        let causation_id = self.causation_id.map(CausationId::new).transpose();
        let context = CommandContext {
            scope: self.scope,
            actor: self.actor,
            correlation_id: checked("correlation id", correlation_id)?,
            causation_id: checked("causation id", causation_id)?,
            expected_revision: self.expected_revision,
            metadata,
            ..CommandContext::new(command_id, command_id_from)
        };
        Ok((self.gesta, CommandRequest::new(context, self.command)))
    }
}

fn checked<T>(field: &str, value: Result<T, InvalidName>) -> Result<T, InvalidField> {
    value.map_err(|error| InvalidField::new(field, error.to_string()))
}

/// Generates an id that sorts by time (UUID version 7, RFC 9562).
fn fresh_id(gesta: &Gesta) -> CommandId {
    let since_1970 = gesta.clock().now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let millis = u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX);
    // 80 random bits; the UUID's version and variant replace some of them.
    let chance = (u128::from(gesta.rng().next_u64()) << 64) | u128::from(gesta.rng().next_u64());
    let mut random = [0; 10];
    random.iter_mut().zip(chance.to_be_bytes()).for_each(|(to, from)| *to = from);
    let id: Uuid = UuidBuilder::from_unix_timestamp_millis(millis, &random).into_uuid();
    CommandId::new(id.to_string()).expect("a UUID's text is a command id")
}

impl<'g, C: Decide> IntoFuture for Execute<'g, C> {
    type Output = Result<Receipt, ExecuteError<C::Rejection>>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'g>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let (gesta, request) = self.request()?;
            // Checked when it runs, not when it was built.
            if gesta.is_closed() {
                return Err(ExecuteError::Closed);
            }
            gesta.role().check_commands().map_err(ExecuteError::OtherRole)?;
            let outcome = gesta.pipeline().oneshot(request).await;
            outcome.map_err(|error| CommandError::from_pipeline(error).typed())
        })
    }
}
