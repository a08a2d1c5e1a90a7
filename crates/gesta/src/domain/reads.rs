//! The events that a decision depends on.
//!
//! Owns: [`Reads`] and [`Selection`]. Invariant: a selection names only events of its set, and keys
//! with values of their type. Not here: reading them.

use std::{
    fmt::{self, Display},
    marker::PhantomData,
};

use gesta_store::{EventQuery, EventType, InvalidName, QueryItem, Tag};

use crate::{Event, EventSet, HasEvent, TagKey};

/// The events that a decision about an aggregate depends on.
///
/// ```
/// use gesta::{Reads, Selection, TagKey, prelude::*};
/// # #[derive(Event, Serialize, Deserialize, Clone)]
/// # #[event(name = "student-enrolled")]
/// # struct StudentEnrolled;
/// # #[derive(EventSet, Clone)]
/// # enum EnrolmentEvent {
/// #     Enrolled(StudentEnrolled),
/// # }
///
/// const COURSE: TagKey<u32> = TagKey::new("course");
///
/// #[derive(Default)]
/// struct Enrolment { students: u32 }
///
/// impl Aggregate for Enrolment {
///     const CATEGORY: &'static str = "enrolment";
///     type Id = u32;
///     type Event = EnrolmentEvent;
///
///     fn evolve(&mut self, _: &EnrolmentEvent) { self.students += 1 }
///
///     fn reads(course: &u32) -> Reads<EnrolmentEvent> {
///         Selection::tagged(COURSE, course).into()
///     }
/// }
///
/// assert!(matches!(Enrolment::reads(&7), Reads::Selected(_)));
/// ```
///
/// See [`Selection`] for more of them.
pub enum Reads<S> {
    /// The aggregate's own stream.
    Stream,
    /// Events of the aggregate's set in any stream. New events are still appended to the
    /// aggregate's own stream.
    Selected(Selection<S>),
}

/// A selection of events of a set, in any stream: by tags, by type, or both.
///
/// A value that does not fit into a tag is reported by [`query`](Self::query), so that a command
/// with it fails as invalid.
///
/// ```
/// use gesta::{Reads, Selection, TagKey, prelude::*};
///
/// const COURSE: TagKey<str> = TagKey::new("course");
/// const STUDENT: TagKey<str> = TagKey::new("student");
///
/// #[derive(Event, Serialize, Deserialize, Clone)]
/// #[event(name = "course-planned")]
/// struct CoursePlanned {
///     #[event(tag = COURSE)]
///     course: String,
///     seats: u32,
/// }
///
/// #[derive(Event, Serialize, Deserialize, Clone)]
/// #[event(name = "student-enrolled")]
/// struct StudentEnrolled {
///     #[event(tag = COURSE)]
///     course: String,
///     #[event(tag = STUDENT)]
///     student: String,
/// }
///
/// #[derive(EventSet, Clone)]
/// enum EnrolmentEvent {
///     Planned(CoursePlanned),
///     Enrolled(StudentEnrolled),
/// }
///
/// // Everything about a course:
/// let course = Selection::<EnrolmentEvent>::tagged(COURSE, "algebra");
/// // A student in a course:
/// let both = Selection::<EnrolmentEvent>::tagged(COURSE, "algebra").and(STUDENT, "ann");
/// // Everything about a course, and each enrolment of a student:
/// let either = course.or(Selection::of::<StudentEnrolled>().and(STUDENT, "ann"));
/// assert_eq!(either.query()?.items().len(), 2);
/// // By type alone:
/// let all = Selection::<EnrolmentEvent>::of::<CoursePlanned>();
/// assert!(all.query()?.items()[0].tags().is_empty());
/// # Ok::<(), gesta::InvalidName>(())
/// ```
pub struct Selection<S> {
    alternatives: Result<Vec<Alternative>, InvalidName>,
    set: PhantomData<fn() -> S>,
}

/// Events with all of the tags, and of the type if there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Alternative {
    event_type: Option<&'static str>,
    tags: Vec<Tag>,
}

impl<S: EventSet> Selection<S> {
    /// Selects every event of the set.
    #[must_use]
    pub fn every() -> Self {
        Self::one(Alternative { event_type: None, tags: Vec::new() })
    }

    /// Selects the events of one type.
    #[must_use]
    pub fn of<E: Event>() -> Self
    where
        S: HasEvent<E>,
    {
        Self::one(Alternative { event_type: Some(E::NAME), tags: Vec::new() })
    }

    /// Selects the events of the set with a tag.
    #[must_use]
    pub fn tagged<V: Display + ?Sized>(key: TagKey<V>, value: &V) -> Self {
        Self::every().and(key, value)
    }

    fn one(alternative: Alternative) -> Self {
        Self { alternatives: Ok(vec![alternative]), set: PhantomData }
    }

    /// Keeps the events that also have this tag.
    #[must_use]
    pub fn and<V: Display + ?Sized>(self, key: TagKey<V>, value: &V) -> Self {
        let alternatives = self.alternatives.and_then(|mut alternatives| {
            let tag = key.tag(value)?;
            alternatives.iter_mut().for_each(|one| one.tags.push(tag.clone()));
            Ok(alternatives)
        });
        Self { alternatives, ..self }
    }

    /// Adds the events of another selection.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        let alternatives = self.alternatives.and_then(|mut alternatives| {
            alternatives.extend(other.alternatives?);
            Ok(alternatives)
        });
        Self { alternatives, ..self }
    }

    /// Returns the query that stores answer.
    ///
    /// # Errors
    /// [`InvalidName`] for the first value that does not fit into a tag, or for the name of a
    /// hand-written event that is invalid.
    pub fn query(&self) -> Result<EventQuery, InvalidName> {
        let alternatives = self.alternatives.as_ref().map_err(Clone::clone)?;
        let of_set = S::event_types()?;
        let mut query = None::<EventQuery>;
        for Alternative { event_type, tags } in alternatives {
            let types = match event_type {
                Some(name) => vec![EventType::new(*name)?],
                None => of_set.clone(),
            };
            let item = QueryItem::every().of_types(types).tagged(tags.iter().cloned());
            query = Some(match query {
                None => EventQuery::of(item),
                Some(query) => query.or(item),
            });
        }
        Ok(query.expect("a selection has at least one alternative"))
    }
}

impl<S> From<Selection<S>> for Reads<S> {
    fn from(selection: Selection<S>) -> Self {
        Self::Selected(selection)
    }
}

// Derives would require the same of the set.

impl<S> Clone for Selection<S> {
    fn clone(&self) -> Self {
        Self { alternatives: self.alternatives.clone(), set: PhantomData }
    }
}

impl<S> PartialEq for Selection<S> {
    fn eq(&self, other: &Self) -> bool {
        self.alternatives == other.alternatives
    }
}

impl<S> Eq for Selection<S> {}

impl<S> fmt::Debug for Selection<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Selection").field(&self.alternatives).finish()
    }
}

impl<S> fmt::Debug for Reads<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stream => f.write_str("Stream"),
            Self::Selected(selection) => f.debug_tuple("Selected").field(selection).finish(),
        }
    }
}
