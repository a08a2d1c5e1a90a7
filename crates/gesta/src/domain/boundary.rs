//! Consistency boundaries: the aggregates that one command decides on.
//!
//! Owns: [`Boundary`], implemented for an aggregate, for tuples of up to four, for a `Vec` or an
//! `Option` of one kind, and for [`Ref`], a part that is only read. Invariant: the reads of a
//! boundary keep their order, and each event is folded into the aggregate whose read delivered it.
//! Not here: reading and appending.

use std::{any::Any, marker::PhantomData};

use gesta_store::{EventQuery, InvalidName, RecordedEvent, StreamName};

use super::aggregate::is_category;
use crate::{
    Aggregate, DecodeError, EncodeError, EncodedEvent, EventSet, Events, Reads, Registry,
    event::{decode_each, is_of_a_category},
    stream_of,
};

/// The aggregates that a command decides on: one, a tuple such as `(Order, Account)`, a `Vec` of
/// one kind with any number of ids, an `Option` of one, or a tuple of these. Parts that get no
/// events are a [`Ref`].
///
/// Implemented for all of these; an application implements [`Aggregate`].
///
/// ```
/// use gesta::{Boundary, prelude::*};
/// # #[derive(Event, Serialize, Deserialize, Clone)]
/// # #[event(name = "door-opened")]
/// # struct DoorOpened;
/// # #[derive(EventSet, Clone)]
/// # enum DoorEvent {
/// #     Opened(DoorOpened),
/// # }
/// # #[derive(Default)]
/// # struct Door(u32);
/// # impl Aggregate for Door {
/// #     const CATEGORY: &'static str = "door";
/// #     type Id = u32;
/// #     type Event = DoorEvent;
/// #     fn evolve(&mut self, _: &DoorEvent) { self.0 += 1 }
/// # }
///
/// type Hall = (Door, Vec<Door>);
/// let (front, others) = Hall::after((vec![DoorOpened.into()], vec![vec![], vec![]]));
/// assert_eq!((front.0, others.len()), (1, 2));
/// ```
#[doc(alias("DCB", "optimistic concurrency"))]
pub trait Boundary: Send + Sync + 'static {
    /// The ids of its aggregates.
    type Id: Clone + Send + Sync + 'static;
    /// The states of its aggregates.
    type State: Send + Sync + 'static;
    /// The events of its aggregates, as given in tests.
    type History: Default + Send;
    /// The events decided for its aggregates.
    type Decided: Send + Sync + 'static;
    /// `true` if each aggregate's category can begin a stream's name. Derived commands check it
    /// when they are compiled.
    #[doc(hidden)]
    const HAS_VALID_CATEGORIES: bool;

    /// Adds one read for each aggregate, in order.
    ///
    /// # Errors
    /// [`InvalidName`] if an id forms no valid stream name, or a tag is invalid.
    fn plan(id: &Self::Id, reads: &mut Vec<BoundaryRead>) -> Result<(), InvalidName>;

    /// Returns the state before any event.
    fn start(id: &Self::Id) -> Self::State;

    /// Applies an event delivered by the read at index `read`.
    ///
    /// # Errors
    /// [`DecodeError`] if the event does not decode.
    fn take(state: &mut Self::State, read: usize, event: &RecordedEvent)
    -> Result<(), DecodeError>;

    /// Returns the aggregate of the read at index `read`.
    fn aggregate(state: &mut Self::State, read: usize) -> &mut (dyn Any + Send + Sync);

    /// Calls `each` with the category and the events of each aggregate.
    #[doc(hidden)]
    fn events(each: &mut dyn FnMut(&'static str, Registry));

    /// Returns the number of reads of a state.
    fn width(state: &Self::State) -> usize;

    /// Returns whether there is a first aggregate, to which existence and expected revision apply.
    fn leads(state: &Self::State) -> bool {
        Self::width(state) > 0
    }

    /// Returns the state after a history.
    fn after(history: Self::History) -> Self::State;

    /// Encodes the events of each aggregate, in the order of the reads.
    ///
    /// # Errors
    /// [`EncodeError`] if an event does not encode, or the decision omits aggregates.
    fn encode(
        state: &Self::State,
        decided: &Self::Decided,
        events: &mut Vec<Vec<EncodedEvent>>,
    ) -> Result<(), EncodeError>;
}

/// One read of a boundary.
///
/// ```
/// use gesta::{BoundaryRead, StreamName};
///
/// let read = BoundaryRead { stream: StreamName::new("door-1")?, query: None };
/// assert!(read.query.is_none(), "it reads its own stream");
/// # Ok::<(), gesta::InvalidName>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundaryRead {
    /// The aggregate's own stream, to which its events are appended.
    pub stream: StreamName,
    /// Query to read instead of the stream, for an aggregate that selects its events.
    pub query: Option<EventQuery>,
}

impl<A: Aggregate> Boundary for A {
    type Id = A::Id;
    type State = A;
    type History = Vec<A::Event>;
    type Decided = Events<A::Event>;
    const HAS_VALID_CATEGORIES: bool = is_category(A::CATEGORY);

    fn plan(id: &A::Id, reads: &mut Vec<BoundaryRead>) -> Result<(), InvalidName> {
        let query = match A::reads(id) {
            Reads::Stream => None,
            Reads::Selected(selection) => Some(selection.query()?),
        };
        reads.push(BoundaryRead { stream: stream_of::<A>(id)?, query });
        Ok(())
    }

    fn start(_: &A::Id) -> A {
        A::default()
    }

    fn take(state: &mut A, _: usize, event: &RecordedEvent) -> Result<(), DecodeError> {
        // A query may find events of the same names in categories outside the set.
        let category = event.stream.category();
        let own = category.is_some_and(|category| category.as_str() == A::CATEGORY);
        if !own && !is_of_a_category::<A::Event>(event) {
            return Ok(());
        }
        decode_each(event, &mut |event| state.evolve(&event))
    }

    fn aggregate(state: &mut A, _: usize) -> &mut (dyn Any + Send + Sync) {
        state
    }

    fn events(each: &mut dyn FnMut(&'static str, Registry)) {
        each(A::CATEGORY, Registry::of::<A::Event>());
    }

    fn width(_: &A) -> usize {
        1
    }

    fn after(history: Vec<A::Event>) -> A {
        let mut state = A::default();
        for event in &history {
            state.evolve(event);
        }
        state
    }

    fn encode(
        _: &A,
        decided: &Events<A::Event>,
        events: &mut Vec<Vec<EncodedEvent>>,
    ) -> Result<(), EncodeError> {
        let encoded: Result<Vec<_>, _> = decided.as_slice().iter().map(EventSet::encode).collect();
        events.push(encoded?);
        Ok(())
    }
}

/// A part of a boundary that is read and gets no events.
///
/// The decision depends on it, as on any other part: an append has the condition that it has not
/// changed. The decision returns `()` for it.
///
/// ```
/// use gesta::{Boundary, Ref, prelude::*, testing::given};
/// # #[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
/// # #[event(name = "door-opened")]
/// # struct DoorOpened;
/// # #[derive(EventSet, Clone, Debug, PartialEq)]
/// # enum DoorEvent {
/// #     Opened(DoorOpened),
/// # }
/// # #[derive(Default)]
/// # struct Door { open: bool }
/// # impl Aggregate for Door {
/// #     const CATEGORY: &'static str = "door";
/// #     type Id = u32;
/// #     type Event = DoorEvent;
/// #     fn evolve(&mut self, _: &DoorEvent) { self.open = true }
/// # }
///
/// /// Opens a door if the door before it is open.
/// #[derive(Command, Serialize, Deserialize)]
/// #[command(name = "open-next", on = (Door, Ref<Door>), either)]
/// struct OpenNext {
///     #[command(id)]
///     door: u32,
///     #[command(id)]
///     before: u32,
/// }
///
/// impl Decide for OpenNext {
///     type Rejection = std::convert::Infallible;
///
///     fn decide(&self, (_, before): &(Door, Door)) -> Decision<Self> {
///         let opened = if before.open { DoorOpened.into() } else { Events::none() };
///         Ok((opened, ()))
///     }
/// }
///
/// let (door, before) = <(Door, Ref<Door>)>::after((vec![], vec![DoorOpened.into()]));
/// assert_eq!((door.open, before.open), (false, true));
///
/// let next = || OpenNext { door: 2, before: 1 };
/// given::<(Door, Ref<Door>)>((vec![], vec![])).when(next()).then((Events::none(), ()));
/// given::<(Door, Ref<Door>)>((vec![], vec![DoorOpened.into()]))
///     .when(next())
///     .then((DoorOpened.into(), ()));
/// ```
#[derive(Debug)]
pub struct Ref<B>(PhantomData<fn() -> B>);

impl<B: Boundary> Boundary for Ref<B> {
    type Id = B::Id;
    type State = B::State;
    type History = B::History;
    type Decided = ();
    const HAS_VALID_CATEGORIES: bool = B::HAS_VALID_CATEGORIES;

    fn plan(id: &B::Id, reads: &mut Vec<BoundaryRead>) -> Result<(), InvalidName> {
        B::plan(id, reads)
    }

    fn start(id: &B::Id) -> B::State {
        B::start(id)
    }

    fn take(state: &mut B::State, read: usize, event: &RecordedEvent) -> Result<(), DecodeError> {
        B::take(state, read, event)
    }

    fn aggregate(state: &mut B::State, read: usize) -> &mut (dyn Any + Send + Sync) {
        B::aggregate(state, read)
    }

    fn events(each: &mut dyn FnMut(&'static str, Registry)) {
        B::events(each);
    }

    fn width(state: &B::State) -> usize {
        B::width(state)
    }

    fn leads(state: &B::State) -> bool {
        B::leads(state)
    }

    fn after(history: B::History) -> B::State {
        B::after(history)
    }

    fn encode(
        state: &B::State,
        (): &(),
        events: &mut Vec<Vec<EncodedEvent>>,
    ) -> Result<(), EncodeError> {
        events.resize_with(events.len() + B::width(state), Vec::new);
        Ok(())
    }
}

impl<A: Aggregate> Boundary for Option<A> {
    type Id = Option<A::Id>;
    type State = Option<A>;
    type History = Option<Vec<A::Event>>;
    type Decided = Option<Events<A::Event>>;
    const HAS_VALID_CATEGORIES: bool = A::HAS_VALID_CATEGORIES;

    fn plan(id: &Option<A::Id>, reads: &mut Vec<BoundaryRead>) -> Result<(), InvalidName> {
        id.as_ref().map_or(Ok(()), |id| A::plan(id, reads))
    }

    fn start(id: &Option<A::Id>) -> Option<A> {
        id.as_ref().map(A::start)
    }

    fn take(state: &mut Option<A>, _: usize, event: &RecordedEvent) -> Result<(), DecodeError> {
        A::take(state.as_mut().expect("a read belongs to an aggregate"), 0, event)
    }

    fn aggregate(state: &mut Option<A>, _: usize) -> &mut (dyn Any + Send + Sync) {
        state.as_mut().expect("a read belongs to an aggregate")
    }

    fn events(each: &mut dyn FnMut(&'static str, Registry)) {
        A::events(each);
    }

    fn width(state: &Option<A>) -> usize {
        usize::from(state.is_some())
    }

    fn after(history: Option<Vec<A::Event>>) -> Option<A> {
        history.map(A::after)
    }

    fn encode(
        state: &Option<A>,
        decided: &Option<Events<A::Event>>,
        events: &mut Vec<Vec<EncodedEvent>>,
    ) -> Result<(), EncodeError> {
        match (state, decided) {
            (Some(state), Some(decided)) => A::encode(state, decided, events),
            (None, None) => Ok(()),
            (Some(_), None) => Err(EncodeError::NotForEach { aggregates: 1, decided: 0 }),
            (None, Some(_)) => Err(EncodeError::NotForEach { aggregates: 0, decided: 1 }),
        }
    }
}

impl<A: Aggregate> Boundary for Vec<A> {
    type Id = Vec<A::Id>;
    type State = Vec<A>;
    type History = Vec<Vec<A::Event>>;
    type Decided = Vec<Events<A::Event>>;
    const HAS_VALID_CATEGORIES: bool = A::HAS_VALID_CATEGORIES;

    fn plan(ids: &Vec<A::Id>, reads: &mut Vec<BoundaryRead>) -> Result<(), InvalidName> {
        ids.iter().try_for_each(|id| A::plan(id, reads))
    }

    fn start(ids: &Vec<A::Id>) -> Vec<A> {
        ids.iter().map(A::start).collect()
    }

    fn take(state: &mut Vec<A>, read: usize, event: &RecordedEvent) -> Result<(), DecodeError> {
        let one = state.get_mut(read).expect("a read belongs to an aggregate");
        A::take(one, 0, event)
    }

    fn aggregate(state: &mut Vec<A>, read: usize) -> &mut (dyn Any + Send + Sync) {
        state.get_mut(read).expect("a read belongs to an aggregate")
    }

    fn events(each: &mut dyn FnMut(&'static str, Registry)) {
        A::events(each);
    }

    fn width(state: &Vec<A>) -> usize {
        state.len()
    }

    fn after(history: Vec<Vec<A::Event>>) -> Vec<A> {
        history.into_iter().map(A::after).collect()
    }

    fn encode(
        state: &Vec<A>,
        decided: &Vec<Events<A::Event>>,
        events: &mut Vec<Vec<EncodedEvent>>,
    ) -> Result<(), EncodeError> {
        let (aggregates, answers) = (state.len(), decided.len());
        // Zipping alone would silently drop the events of surplus aggregates.
        if aggregates != answers {
            return Err(EncodeError::NotForEach { aggregates, decided: answers });
        }
        let mut pairs = state.iter().zip(decided);
        pairs.try_for_each(|(one, decided)| A::encode(one, decided, events))
    }
}

macro_rules! tuple_boundary {
    ($($part:ident $index:tt),+) => {
        impl<$($part: Boundary),+> Boundary for ($($part,)+) {
            type Id = ($($part::Id,)+);
            type State = ($($part::State,)+);
            type History = ($($part::History,)+);
            type Decided = ($($part::Decided,)+);
            const HAS_VALID_CATEGORIES: bool = $($part::HAS_VALID_CATEGORIES)&&+;

            fn plan(
                id: &Self::Id,
                reads: &mut Vec<BoundaryRead>,
            ) -> Result<(), InvalidName> {
                $($part::plan(&id.$index, reads)?;)+
                Ok(())
            }

            fn start(id: &Self::Id) -> Self::State {
                ($($part::start(&id.$index),)+)
            }

            fn take(
                state: &mut Self::State,
                mut read: usize,
                event: &RecordedEvent,
            ) -> Result<(), DecodeError> {
                $(
                    let width = $part::width(&state.$index);
                    if read < width {
                        return $part::take(&mut state.$index, read, event);
                    }
                    read -= width;
                )+
                unreachable!("read {read} is past the last aggregate")
            }

            fn aggregate(
                state: &mut Self::State,
                mut read: usize,
            ) -> &mut (dyn Any + Send + Sync) {
                $(
                    let width = $part::width(&state.$index);
                    if read < width {
                        return $part::aggregate(&mut state.$index, read);
                    }
                    read -= width;
                )+
                unreachable!("read {read} is past the last aggregate")
            }

            fn events(each: &mut dyn FnMut(&'static str, Registry)) {
                $($part::events(each);)+
            }

            fn width(state: &Self::State) -> usize {
                0 $(+ $part::width(&state.$index))+
            }

            fn leads(state: &Self::State) -> bool {
                let mut parts = [$($part::leads(&state.$index)),+].into_iter();
                parts.next().unwrap_or_default()
            }

            fn after(history: Self::History) -> Self::State {
                ($($part::after(history.$index),)+)
            }

            fn encode(
                state: &Self::State,
                decided: &Self::Decided,
                events: &mut Vec<Vec<EncodedEvent>>,
            ) -> Result<(), EncodeError> {
                $($part::encode(&state.$index, &decided.$index, events)?;)+
                Ok(())
            }
        }
    };
}
tuple_boundary!(A 0, B 1);
tuple_boundary!(A 0, B 1, C 2);
tuple_boundary!(A 0, B 1, C 2, D 3);
