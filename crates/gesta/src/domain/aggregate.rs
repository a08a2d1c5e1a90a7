//! Aggregates: state and rules of one consistency boundary.
//!
//! Owns: [`Aggregate`]. Invariant: no access to time, randomness or a store. Not here: the events
//! that a decision reads ([`Reads`]), boundaries of several aggregates
//! ([`Boundary`](crate::Boundary)).

use std::fmt::Display;

use gesta_store::{InvalidName, StreamName};

use super::Reads;
use crate::EventSet;

/// The state and rules of one consistency boundary.
///
/// Each aggregate has its own stream, named `category-id`. Its state is folded from the events of
/// that stream by [`evolve`](Self::evolve), unless [`reads`](Self::reads) selects events of
/// other streams.
///
/// ```
/// use gesta::prelude::*;
///
/// #[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
/// #[event(name = "door-opened")]
/// struct DoorOpened;
///
/// #[derive(EventSet, Clone, Debug, PartialEq)]
/// enum DoorEvent {
///     Opened(DoorOpened),
/// }
///
/// #[derive(Default)]
/// struct Door {
///     opened: u32,
/// }
///
/// impl Aggregate for Door {
///     const CATEGORY: &'static str = "door";
///     type Id = u32;
///     type Event = DoorEvent;
///
///     fn evolve(&mut self, event: &DoorEvent) {
///         match event {
///             DoorEvent::Opened(_) => self.opened += 1,
///         }
///     }
/// }
///
/// let mut door = Door::default();
/// door.evolve(&DoorOpened.into());
/// assert_eq!(door.opened, 1);
/// ```
///
/// The category of a stream ends at the first `-` of its name, so a category with a `-` does not
/// compile:
///
/// ```compile_fail
/// # use gesta::prelude::*;
/// # #[derive(Event, Serialize, Deserialize, Clone)]
/// # #[event(name = "door-opened")]
/// # struct DoorOpened;
/// # #[derive(EventSet, Clone)]
/// # enum DoorEvent {
/// #     Opened(DoorOpened),
/// # }
/// #[derive(Default)]
/// struct Door;
///
/// impl Aggregate for Door {
///     const CATEGORY: &'static str = "front-door";
///     type Id = u32;
///     type Event = DoorEvent;
///
///     fn evolve(&mut self, _: &DoorEvent) {}
/// }
///
/// gesta::stream_of::<Door>(&1);
/// ```
#[doc(alias = "decider")]
pub trait Aggregate: Default + Send + Sync + 'static {
    /// The category of its streams: the part of their names before the first `-`. Stable: renaming
    /// it makes existing streams unreachable.
    const CATEGORY: &'static str;
    /// The aggregate's identifier. Its `Display` form is the rest of the stream's name.
    type Id: Display + Clone + Send + Sync + 'static;
    /// The events that it understands.
    type Event: EventSet;

    /// Applies one event. Called once for each event of the boundary, in the order of positions.
    fn evolve(&mut self, event: &Self::Event);

    /// Returns the events that a decision depends on. Defaults to the aggregate's own stream.
    #[must_use]
    fn reads(_id: &Self::Id) -> Reads<Self::Event> {
        Reads::Stream
    }
}

/// Returns the name of an aggregate's stream.
///
/// ```
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
/// assert_eq!(gesta::stream_of::<Door>(&7)?.as_str(), "door-7");
/// # Ok::<(), gesta::InvalidName>(())
/// ```
///
/// # Errors
/// [`InvalidName`] if the id makes the name too long or contains a zero byte.
pub fn stream_of<A: Aggregate>(id: &A::Id) -> Result<StreamName, InvalidName> {
    StreamName::new(format!("{}-{id}", CheckedCategory::<A>::TEXT))
}

/// Checks at compile time that the category of a stream name parses back to `CATEGORY`.
struct CheckedCategory<A>(A);

impl<A: Aggregate> CheckedCategory<A> {
    const TEXT: &'static str = {
        assert!(
            is_category(A::CATEGORY),
            "CATEGORY must be non-empty and contain neither `-` nor `$`"
        );
        A::CATEGORY
    };
}

pub(crate) const fn is_category(text: &str) -> bool {
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        if matches!(byte, b'-' | b'$' | 0) {
            return false;
        }
        rest = after;
    }
    !text.is_empty()
}
