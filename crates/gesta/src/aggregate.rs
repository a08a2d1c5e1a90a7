//! Aggregates: state and rules of one consistency boundary.
//!
//! Owns: [`Aggregate`], and [`Reads`], how far a boundary reaches. Always holds: nothing here knows
//! time, chance or a store. Not here: several aggregates at once ([`Boundary`](crate::Boundary)).

use std::fmt::Display;

use gesta_store::{InvalidName, StreamName, Tag};

use crate::EventSet;

/// The state and rules of one consistency boundary.
///
/// Each aggregate has a stream of its own, `category-id`. What it decides upon is folded from that
/// stream's events by [`evolve`](Self::evolve), unless [`reads`](Self::reads) widens it.
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
/// A category ends at the first `-` of a stream's name, so one with a `-` does not compile:
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
    /// What stands before the first `-` of its streams' names.
    const CATEGORY: &'static str;
    /// What tells one from another; its text is the rest of the stream's name.
    type Id: Display + Clone + Send + Sync + 'static;
    /// The events that it understands.
    type Event: EventSet;

    /// Takes in one event. Every event of the boundary comes by, in order, once.
    fn evolve(&mut self, event: &Self::Event);

    /// What a decision depends on: its own stream, unless more is said here.
    #[must_use]
    fn reads(_id: &Self::Id) -> Reads {
        Reads::Stream
    }
}

/// The name of an aggregate's stream.
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
/// [`InvalidName`] when the id makes the name too long, or has a zero byte.
pub fn stream_of<A: Aggregate>(id: &A::Id) -> Result<StreamName, InvalidName> {
    StreamName::new(format!("{}-{id}", CheckedCategory::<A>::TEXT))
}

/// A category that a stream's name gives back.
struct CheckedCategory<A>(A);

impl<A: Aggregate> CheckedCategory<A> {
    const TEXT: &'static str = {
        assert!(is_category(A::CATEGORY), "a CATEGORY is not empty and has neither `-` nor `$`");
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

/// What a decision about an aggregate depends on.
///
/// ```
/// use gesta::{AnyTag, Reads};
///
/// let reads = Reads::tagged("email", "ann@example.org");
/// assert_eq!(reads, Reads::Tagged(AnyTag::of("email", "ann@example.org")));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reads {
    /// The aggregate's own stream.
    Stream,
    /// Events of its set with any of these tags, in whatever stream. What is decided is still
    /// appended to its own stream.
    Tagged(AnyTag),
}

impl Reads {
    /// Events of the aggregate's set with this tag.
    #[must_use]
    pub fn tagged(key: &str, value: impl Display) -> Self {
        Self::Tagged(AnyTag::of(key, value))
    }
}

/// One tag or several, any of which is meant. A text that is no tag is reported when the tags are
/// used: the command that led here is then invalid.
///
/// ```
/// use gesta::{AnyTag, prelude::*};
///
/// let tags = AnyTag::of("email", "ann@example.org").or("user", 7);
/// assert_eq!(tags.tags()?, [Tag::of("email", "ann@example.org")?, Tag::of("user", "7")?]);
/// assert!(AnyTag::of("email", "x".repeat(300)).tags().is_err());
/// # Ok::<(), gesta::InvalidName>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnyTag(Result<Vec<Tag>, InvalidName>);

impl AnyTag {
    /// The tag `key:value`.
    #[must_use]
    pub fn of(key: &str, value: impl Display) -> Self {
        Self(Tag::of(key, &value.to_string()).map(|tag| vec![tag]))
    }

    /// Or this tag.
    #[must_use]
    pub fn or(self, key: &str, value: impl Display) -> Self {
        let tags = self.0.and_then(|mut tags| {
            tags.push(Tag::of(key, &value.to_string())?);
            Ok(tags)
        });
        Self(tags)
    }

    /// The tags; at least one.
    ///
    /// # Errors
    /// [`InvalidName`] of the first text that is no tag.
    pub fn tags(&self) -> Result<&[Tag], InvalidName> {
        self.0.as_deref().map_err(Clone::clone)
    }
}
