//! An application whose parts fail on demand.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use gesta::{
    Begin, Clock, EffectContext, EffectError, FailurePolicy, Reactor, ReactorSetup, RecordedAt,
    Role, Sleep, SystemClock,
    prelude::*,
    store::{
        Append, Appended, Capabilities, EventStore, ExpectedRevision, Head, ListCategories,
        ListStreams, MemoryReadModels, Pages, ReadAll, ReadStream, Rows, StoreError, StoreFuture,
        StreamDescription, Subscribe, Subscription, memory::MemoryStore,
    },
};
use tokio::sync::watch;

use crate::{DoorEvent, OpenDoor};

/// Time that a slow append takes.
const SLOW: Duration = Duration::from_millis(1_500);

/// The door that the process manager opens besides another one.
pub(crate) const SIDE_DOOR: u8 = 99;

/// The space that the store says it takes.
pub(crate) const STORED_BYTES: u64 = 4_096;

/// The faults. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults(Arc<Switches>);

#[derive(Debug, Default)]
pub(crate) struct Switches {
    /// Appends to doors are refused.
    pub(crate) refuses_appends: AtomicBool,
    /// Appends to doors take [`SLOW`].
    pub(crate) appends_slowly: AtomicBool,
    /// Another program opens a door right before each append to it.
    pub(crate) has_intruder: AtomicBool,
    /// The store does not answer where its head is.
    pub(crate) is_headless: AtomicBool,
    /// The store never answers where its head is.
    pub(crate) is_silent: AtomicBool,
    /// Both projections cannot apply events.
    pub(crate) projections_fail: AtomicBool,
    /// The effects of the reactor fail for ever.
    pub(crate) effects_fail: AtomicBool,
    /// The effects of the reactor fail, and may be attempted again.
    pub(crate) effects_are_refused: AtomicBool,
    /// Reactions of the process manager panic.
    pub(crate) reactions_panic: AtomicBool,
    /// The process manager opens [`SIDE_DOOR`] as well.
    pub(crate) opens_side_door: AtomicBool,
    /// Timers of the process manager have an hour instead of a minute.
    pub(crate) timers_are_long: AtomicBool,
    /// Projections wait.
    projections_wait: watch::Sender<bool>,
    /// Time by which the clock is ahead, in seconds.
    ahead_seconds: AtomicU64,
}

impl std::ops::Deref for Faults {
    type Target = Switches;

    fn deref(&self) -> &Switches {
        &self.0
    }
}

impl Switches {
    pub(crate) fn hold_projections(&self, wait: bool) {
        self.projections_wait.send_replace(wait);
    }

    pub(crate) fn advance_clock(&self, by: Duration) {
        self.ahead_seconds.fetch_add(by.as_secs(), Ordering::SeqCst);
    }
}

fn is_set(switch: &AtomicBool) -> bool {
    switch.load(Ordering::SeqCst)
}

/// The system clock, which can be put forward, for the application and its store.
#[derive(Debug)]
struct FastClock(Faults);

impl FastClock {
    fn recorded_at(&self) -> RecordedAt {
        let since = self.now().duration_since(UNIX_EPOCH).unwrap();
        RecordedAt::from_micros(since.as_micros().try_into().unwrap())
    }
}

impl Clock for FastClock {
    fn now(&self) -> SystemTime {
        SystemClock.now() + Duration::from_secs(self.0.ahead_seconds.load(Ordering::SeqCst))
    }

    fn sleep(&self, duration: Duration) -> Sleep {
        SystemClock.sleep(duration)
    }
}

/// A store in memory with faults.
#[derive(Debug)]
struct FaultyStore {
    store: MemoryStore,
    faults: Faults,
}

impl FaultyStore {
    async fn append_with_faults(&self, append: Append) -> Result<Appended, StoreError> {
        let is_of_door = append.streams.iter().any(|it| it.stream.as_str().starts_with("door-"));
        if is_of_door && is_set(&self.faults.refuses_appends) {
            return Err(StoreError::unreachable("the line is dead"));
        }
        if is_of_door && is_set(&self.faults.appends_slowly) {
            tokio::time::sleep(SLOW).await;
        }
        if is_of_door && is_set(&self.faults.has_intruder) {
            self.store.append(by_another(&append)).await?;
        }
        self.store.append(append).await
    }
}

/// Returns the append that another program makes to the same stream.
fn by_another(append: &Append) -> Append {
    let part = &append.streams[0];
    let events = part.events.iter().cloned().map(|mut event| {
        event.id = EventId::random();
        event
    });
    Append::to(part.stream.clone(), ExpectedRevision::Any, events)
}

impl EventStore for FaultyStore {
    fn append(&self, append: Append) -> StoreFuture<'_, Appended> {
        Box::pin(self.append_with_faults(append))
    }

    fn find_append(&self, first_event: EventId) -> StoreFuture<'_, Option<Appended>> {
        self.store.find_append(first_event)
    }

    fn read_stream(&self, read: ReadStream) -> Pages {
        self.store.read_stream(read)
    }

    fn read_all(&self, read: ReadAll) -> Pages {
        self.store.read_all(read)
    }

    fn subscribe(&self, subscribe: Subscribe) -> Subscription {
        self.store.subscribe(subscribe)
    }

    fn describe_stream(&self, stream: &StreamName) -> StoreFuture<'_, StreamDescription> {
        self.store.describe_stream(stream)
    }

    fn list_streams(&self, list: ListStreams) -> StoreFuture<'_, Vec<StreamName>> {
        self.store.list_streams(list)
    }

    fn list_categories(
        &self,
        list: ListCategories,
    ) -> StoreFuture<'_, Vec<gesta::store::Category>> {
        self.store.list_categories(list)
    }

    fn head(&self) -> StoreFuture<'_, Head> {
        if is_set(&self.faults.is_silent) {
            return Box::pin(std::future::pending());
        }
        if is_set(&self.faults.is_headless) {
            return Box::pin(async { Err(StoreError::unreachable("no answer")) });
        }
        self.store.head()
    }

    fn stored_bytes(&self) -> StoreFuture<'_, Option<u64>> {
        Box::pin(async { Ok(Some(STORED_BYTES)) })
    }

    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }
}

async fn apply(faults: &Faults) -> Result<(), ApplyError> {
    let mut waits = faults.projections_wait.subscribe();
    drop(waits.wait_for(|waits| !waits).await);
    if is_set(&faults.projections_fail) {
        return Err(ApplyError::because("the wall is full"));
    }
    Ok(())
}

/// A projection that sets aside what fails.
pub(crate) struct Openings(Faults);

impl Projection for Openings {
    const NAME: &'static str = "openings";
    type Event = DoorEvent;
}

impl<Tx: Rows> Apply<Tx> for Openings {
    async fn apply(&self, _: &mut Tx, _: &[Recorded<DoorEvent>]) -> Result<(), ApplyError> {
        apply(&self.0).await
    }
}

/// A projection that halts at what fails.
pub(crate) struct StrictOpenings(Faults);

impl Projection for StrictOpenings {
    const NAME: &'static str = "strict-openings";
    const FAILURE_POLICY: FailurePolicy = FailurePolicy::Halt;
    type Event = DoorEvent;
}

impl<Tx: Rows> Apply<Tx> for StrictOpenings {
    async fn apply(&self, _: &mut Tx, _: &[Recorded<DoorEvent>]) -> Result<(), ApplyError> {
        apply(&self.0).await
    }
}

/// Looks after a door a minute, or an hour, after it was opened.
#[derive(Clone)]
struct Porter(Faults);

impl ProcessManager for Porter {
    const NAME: &'static str = "porter";
    type Event = DoorEvent;
    type Timer = ();
    type Commands = (OpenDoor,);

    fn route(event: &Recorded<DoorEvent>) -> Routing {
        Routing::start(&event.stream)
    }

    fn evolve(&mut self, _: &Input<Self>) {}

    fn react(&self, input: &Input<Self>, _: RecordedAt) -> Effects<Self> {
        assert!(!is_set(&self.0.reactions_panic), "the porter fell asleep");
        match input {
            // Also for the side door itself: whoever sets it unsets it before that one opens.
            Input::Event(_) if is_set(&self.0.opens_side_door) => {
                Effects::none().send(OpenDoor { door: SIDE_DOOR })
            }
            Input::Event(_) => {
                let minutes = if is_set(&self.0.timers_are_long) { 60 } else { 1 };
                Effects::none().after(Duration::from_secs(60 * minutes), ())
            }
            _ => Effects::none().end(),
        }
    }
}

/// Rings when a door is opened.
struct Bell(Faults);

impl Reactor for Bell {
    const NAME: &'static str = "bell";
    type Event = DoorEvent;

    async fn react(&self, _: &Recorded<DoorEvent>, _: &EffectContext) -> Result<(), EffectError> {
        if is_set(&self.0.effects_fail) {
            return Err(EffectError::permanent("the bell is broken"));
        }
        if is_set(&self.0.effects_are_refused) {
            let soon = Duration::from_millis(500);
            return Err(EffectError::message("the bell is busy").retry_after(soon));
        }
        Ok(())
    }
}

/// Opens the application on a new store.
pub(crate) async fn open(faults: &Faults, role: Role) -> Gesta {
    let models = MemoryReadModels::new();
    let clock = FastClock(faults.clone());
    let store = MemoryStore::with_clock(move || clock.recorded_at());
    let store = FaultyStore { store, faults: faults.clone() };
    let bell = ReactorSetup::of(Bell(faults.clone()), Begin::AtTheStart).attempts(1_000);
    let builder = Gesta::on(Arc::new(store)).clock(FastClock(faults.clone())).role(role);
    let builder = builder
        .project(Openings(faults.clone()), &models)
        .project(StrictOpenings(faults.clone()), &models)
        .process_with(Porter(faults.clone()))
        .react_set_up(bell);
    builder.open().await.unwrap()
}
