//! Loading an aggregate, now or as of an earlier moment.

use std::{
    future::{Future, IntoFuture},
    marker::PhantomData,
    pin::Pin,
};

use crate::{Aggregate, AsOf, Gesta, LoadError, Loaded, loaded::load};

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
        let (store, snapshots) = (self.gesta.store().as_ref(), self.gesta.snapshots());
        load(store, snapshots, &self.id, self.as_of).await
    }
}

impl<'g, A: Aggregate> IntoFuture for Load<'g, A> {
    type Output = Result<Option<Loaded<A>>, LoadError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'g>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}
