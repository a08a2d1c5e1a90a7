//! Loading an aggregate, now or as of an earlier moment.

use std::{
    future::{Future, IntoFuture},
    marker::PhantomData,
    pin::Pin,
};

use gesta_store::{Position, Revision};

use crate::{Aggregate, AsOf, Boundary, BoundaryRead, Gesta, LoadError, snapshot::FoldInto};

/// An aggregate's state, with the revision and position of its last event.
///
/// ```
/// use gesta::{Loaded, Position, Revision};
///
/// let door = Loaded { state: "open", revision: Revision::FIRST, position: Position::new(7) };
/// assert_eq!(door.revision.next(), Revision::new(1), "where its next event will be");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded<A> {
    /// The state folded from its events.
    pub state: A,
    /// Revision of the last event within its stream. For an aggregate that reads tags, that is the
    /// stream of whichever event came last.
    pub revision: Revision,
    /// Position of the last event.
    pub position: Position,
}

/// A pending load, run when awaited. Yields `None` if there were no events.
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
/// # struct Door { opened: u32 }
/// # impl Aggregate for Door {
/// #     const CATEGORY: &'static str = "door";
/// #     type Id = u32;
/// #     type Event = DoorEvent;
/// #     fn evolve(&mut self, _: &DoorEvent) { self.opened += 1 }
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
/// gesta.execute(OpenDoor { door: 7 }).await?;
/// gesta.execute(OpenDoor { door: 7 }).await?;
///
/// let door = gesta.load::<Door>(&7).await?.expect("it was opened");
/// assert_eq!((door.state.opened, door.revision), (2, Revision::new(1)));
/// let before = gesta.load::<Door>(&7).as_of(Revision::FIRST).await?.expect("it was opened");
/// assert_eq!(before.state.opened, 1);
/// assert!(gesta.load::<Door>(&8).await?.is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).expect("the door opens");
/// ```
#[must_use = "nothing is loaded until it is awaited"]
#[derive(Debug)]
pub struct Load<'g, A: Aggregate> {
    gesta: &'g Gesta,
    id: A::Id,
    as_of: AsOf,
    aggregate: PhantomData<fn() -> A>,
}

impl Gesta {
    /// Loads an aggregate when the returned value is awaited.
    pub fn load<A: Aggregate>(&self, id: &A::Id) -> Load<'_, A> {
        Load::new(self, id.clone())
    }
}

impl<'g, A: Aggregate> Load<'g, A> {
    fn new(gesta: &'g Gesta, id: A::Id) -> Self {
        Self { gesta, id, as_of: AsOf::Now, aggregate: PhantomData }
    }

    /// Loads the state as of a revision, a position or a time.
    pub fn as_of(self, moment: impl Into<AsOf>) -> Self {
        Self { as_of: moment.into(), ..self }
    }

    async fn run(self) -> Result<Option<Loaded<A>>, LoadError> {
        let mut reads = Vec::new();
        A::plan(&self.id, &mut reads)?;
        let mut state = A::start(&self.id);
        let mut last = None;
        for planned in &reads {
            check_moment(planned, self.as_of)?;
            let (store, fold) = (self.gesta.store().as_ref(), &mut FoldInto(&mut state));
            // An aggregate has one read, so the last event is that of the aggregate.
            last = self.gesta.snapshots().read(store, planned, self.as_of, fold).await?.last;
        }
        Ok(last.map(|(revision, position)| Loaded { state, revision, position }))
    }
}

fn check_moment(read: &BoundaryRead, as_of: AsOf) -> Result<(), LoadError> {
    match (as_of, &read.query) {
        (AsOf::Revision(_), Some(_)) => Err(LoadError::NoRevision { stream: read.stream.clone() }),
        (AsOf::Revision(_) | AsOf::Now | AsOf::Position(_) | AsOf::Time(_), _) => Ok(()),
    }
}

impl<'g, A: Aggregate> IntoFuture for Load<'g, A> {
    type Output = Result<Option<Loaded<A>>, LoadError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'g>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}
