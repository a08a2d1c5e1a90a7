//! Commands on their way through the pipeline.
//!
//! Owns: [`CommandRequest`], a type-erased command with its context, and one attempt to load and
//! decide it. Invariant: a request can be passed on any number of times.

use std::{
    any::Any,
    collections::HashSet,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use gesta_store::{CausationId, CorrelationId, EventId, RecordedEvent, Revision};

use crate::{
    AnyRejection, Boundary, BoundaryRead, Command, CommandError, CommandId, CommandIdScope,
    CommandPayload, CustomMetadata, Decide, DuplicateEventName, EncodeError, EncodedEvent,
    Existence, InvalidField, State, TenantId, UndecodableEvent, event_names::EventNames,
    snapshot::AnyAggregate,
};

/// A command on its way through the pipeline, as a layer sees it.
///
/// ```
/// use gesta::{CommandRequest, Unauthorized};
/// # use gesta::prelude::*;
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
/// fn only_ann_opens_door_1(request: &CommandRequest) -> Result<(), Unauthorized> {
///     match request.command::<OpenDoor>() {
///         Some(open) if open.door == 1 && request.context.actor.as_deref() != Some("ann") => {
///             Err(Unauthorized::because("only ann opens door 1"))
///         }
///         Some(_) | None => Ok(()),
///     }
/// }
///
/// # gesta::store::conformance::block_on(async {
/// let gesta = gesta::Gesta::at("memory:").authorize(only_ann_opens_door_1).open().await?;
/// assert!(gesta.execute(OpenDoor { door: 1 }).actor("bob").await.is_err());
/// assert!(gesta.execute(OpenDoor { door: 1 }).actor("ann").await.is_ok());
/// # Ok::<(), gesta::OpenError>(())
/// # }).expect("it opens");
/// ```
#[derive(Clone)]
pub struct CommandRequest {
    /// The actor, the ids and the expected revision.
    pub context: CommandContext,
    name: &'static str,
    command: Arc<dyn ErasedCommand>,
    started: StartedFlag,
}

/// A flag set once a command gets its turn. From then on it may have been executed.
#[derive(Clone, Debug, Default)]
pub(super) struct StartedFlag(Arc<AtomicBool>);

impl StartedFlag {
    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The context of a command: actor, ids and expected revision.
///
/// ```
/// use gesta::{CommandContext, CommandId, CommandIdFrom};
///
/// let mut context = CommandContext::new(CommandId::new("request-42")?, CommandIdFrom::Caller);
/// context.actor = Some("ann".to_owned());
/// assert!(context.expected_revision.is_none());
/// # Ok::<(), gesta::InvalidName>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CommandContext {
    /// The command id, by which a retry is recognized.
    pub command_id: CommandId,
    /// Origin of the command id.
    pub command_id_from: CommandIdFrom,
    /// The executions among which the command id is unique.
    pub scope: CommandIdScope,
    /// The actor on whose behalf the command is executed.
    pub actor: Option<String>,
    /// Id of the conversation; `None` starts a new one.
    pub correlation_id: Option<CorrelationId>,
    /// Id of the cause; `None` makes the command itself the cause of its events.
    pub causation_id: Option<CausationId>,
    /// The head of the first aggregate's stream that the caller requires.
    pub expected_revision: Option<Revision>,
    /// Entries for the metadata of each event.
    pub metadata: CustomMetadata,
    /// The tenant of the application. The pipeline sets it, whatever it was before.
    pub tenant: Option<TenantId>,
}

/// Origin of a command id.
///
/// ```
/// use gesta::{CommandContext, CommandId, CommandIdFrom};
///
/// fn may_be_a_repeat(context: &CommandContext) -> bool {
///     context.command_id_from == CommandIdFrom::Caller
/// }
///
/// let id = CommandId::new("request-42")?;
/// assert!(may_be_a_repeat(&CommandContext::new(id, CommandIdFrom::Caller)));
/// # Ok::<(), gesta::InvalidName>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CommandIdFrom {
    /// Supplied by the caller, so the command may be a repeat.
    Caller,
    /// Generated for this execution, so the command is not a repeat.
    Gesta,
}

impl CommandContext {
    /// Creates a context with a command id and nothing else.
    #[must_use]
    pub const fn new(command_id: CommandId, command_id_from: CommandIdFrom) -> Self {
        Self {
            command_id,
            command_id_from,
            scope: CommandIdScope::ActorAndCommand,
            actor: None,
            correlation_id: None,
            causation_id: None,
            expected_revision: None,
            metadata: CustomMetadata::new(),
            tenant: None,
        }
    }
}

impl CommandRequest {
    pub(crate) fn new(context: CommandContext, command: impl Decide) -> Self {
        let started = StartedFlag::default();
        Self { context, name: name_of(&command), command: Arc::new(Typed(command)), started }
    }

    /// Returns the command's name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Returns the command if it has this type.
    #[must_use]
    pub fn command<C: Command>(&self) -> Option<&C> {
        let typed: &dyn Any = self.command.as_ref();
        typed.downcast_ref::<Typed<C>>().map(|typed| &typed.0)
    }

    /// Returns the fields that distinguish a repeat from another use of the same command id.
    ///
    /// # Errors
    /// [`EncodeError`] if the command has no JSON form. Correct its type.
    pub fn payload(&self) -> Result<CommandPayload, EncodeError> {
        self.command.payload()
    }

    /// Returns the id of the command's `ordinal`-th event, from 0.
    ///
    /// The ids derive from the command id within its scope. A layer that changes the actor, the
    /// command id or the scope changes them.
    #[must_use]
    pub fn event_id(&self, ordinal: u64) -> EventId {
        let CommandContext { command_id, scope, actor, .. } = &self.context;
        command_id.event_id_within(scope, actor.as_deref(), self.name, ordinal)
    }

    pub(super) fn started(&self) -> &StartedFlag {
        &self.started
    }

    pub(super) fn set_started(&mut self, started: StartedFlag) {
        self.started = started;
    }

    pub(super) fn erased(&self) -> &dyn ErasedCommand {
        self.command.as_ref()
    }
}

fn name_of<C: Command>(_: &C) -> &'static str {
    C::NAME
}

impl fmt::Debug for CommandRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CommandRequest")
            .field("name", &self.name)
            .field("context", &self.context)
            .finish_non_exhaustive()
    }
}

/// A type-erased command.
pub(super) trait ErasedCommand: Any + Send + Sync {
    fn existence(&self) -> Existence;

    /// Rejects events with names that another type of this program has.
    fn register_events(&self, event_names: &EventNames) -> Result<(), DuplicateEventName>;
    fn validate(&self) -> Result<(), InvalidField>;
    fn payload(&self) -> Result<CommandPayload, EncodeError>;

    /// Starts an attempt to decide the command.
    fn begin(&self) -> Result<Box<dyn DecisionAttempt + '_>, CommandError>;
}

/// One attempt at a decision: reads are folded into a state, then the command decides.
pub(super) trait DecisionAttempt: Send + Sync {
    /// Returns the reads, the first aggregate's first.
    fn reads(&self) -> Vec<BoundaryRead>;

    /// Applies an event of the read at index `read`.
    fn take(&mut self, read: usize, event: &RecordedEvent) -> Result<(), UndecodableEvent>;

    /// Returns the aggregate of the read at index `read`.
    fn aggregate(&mut self, read: usize) -> &mut AnyAggregate;

    /// Decides, and returns the encoded events of each aggregate in the order of the reads.
    fn decide(&self) -> Result<Vec<Vec<EncodedEvent>>, CommandError>;
}

/// A command behind the type-erased trait.
struct Typed<C>(C);

impl<C: Decide> ErasedCommand for Typed<C> {
    fn existence(&self) -> Existence {
        C::EXISTENCE
    }

    fn register_events(&self, event_names: &EventNames) -> Result<(), DuplicateEventName> {
        event_names.add_boundary::<C::On>()
    }

    fn validate(&self) -> Result<(), InvalidField> {
        self.0.validate()
    }

    fn payload(&self) -> Result<CommandPayload, EncodeError> {
        self.0.payload()
    }

    fn begin(&self) -> Result<Box<dyn DecisionAttempt + '_>, CommandError> {
        let id = self.0.id();
        let mut reads = Vec::new();
        // Planned again for each attempt, from the command alone, so an attempt carries no state
        // over.
        C::On::plan(&id, &mut reads)?;
        each_once(&reads)?;
        let state = C::On::start(&id);
        // Without a first aggregate there is no stream to check existence on.
        if C::EXISTENCE != Existence::Either && !C::On::leads(&state) {
            return Err(InvalidField::new("id", "must name an aggregate").into());
        }
        Ok(Box::new(TypedAttempt { command: &self.0, state, reads }))
    }
}

/// Rejects duplicate aggregates: their states would not see each other's events.
fn each_once(reads: &[BoundaryRead]) -> Result<(), InvalidField> {
    if reads.len() < 2 {
        return Ok(());
    }
    let mut streams = HashSet::new();
    match reads.iter().find(|read| !streams.insert(&read.stream)) {
        Some(twice) => {
            Err(InvalidField::new("id", format!("{} is named twice by one command", twice.stream)))
        }
        None => Ok(()),
    }
}

struct TypedAttempt<'c, C: Decide> {
    command: &'c C,
    reads: Vec<BoundaryRead>,
    state: State<C>,
}

impl<C: Decide> DecisionAttempt for TypedAttempt<'_, C> {
    fn reads(&self) -> Vec<BoundaryRead> {
        self.reads.clone()
    }

    fn take(&mut self, read: usize, event: &RecordedEvent) -> Result<(), UndecodableEvent> {
        C::On::take(&mut self.state, read, event).map_err(|error| error.of(event))
    }

    fn aggregate(&mut self, read: usize) -> &mut AnyAggregate {
        C::On::aggregate(&mut self.state, read)
    }

    fn decide(&self) -> Result<Vec<Vec<EncodedEvent>>, CommandError> {
        let decided = self
            .command
            .decide(&self.state)
            .map_err(|rejection| CommandError::Rejected(AnyRejection::new(rejection)))?;
        let mut events = Vec::with_capacity(self.reads.len());
        // Encoded here, where the types are known. Later steps see bytes only.
        C::On::encode(&self.state, &decided, &mut events)?;
        Ok(events)
    }
}
