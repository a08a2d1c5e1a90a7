//! Kinds of aggregates whose state the console shows, and the fold of a state without its type.
//!
//! Owns: [`Aggregates`], [`PersonalMembers`]. Invariants: a state is folded by the aggregate itself
//! from its events, as commands find it. Its personal members are those that the application names.
//! Not here: the routes ([`aggregates`](super::aggregates)), the masks
//! ([`personal`](crate::requests::personal)).

use std::{
    fmt::{self, Display},
    future::Future,
    pin::Pin,
    str::FromStr,
};

use gesta::{Aggregate, AsOf, Gesta, Position, Reads, Registry, StreamName, stream_of};
use serde::Serialize;

use crate::Problem;

/// The aggregates whose state the console shows, by category.
#[derive(Debug, Default)]
pub(crate) struct Aggregates(Vec<ShownKind>);

/// The members of a state that hold personal data.
#[derive(Clone, Debug)]
pub(super) enum PersonalMembers {
    /// The events have no personal fields, and no member is named.
    None,
    /// These, whatever the events have.
    Named(Vec<&'static str>),
    /// The events have personal fields, so any member may have their values.
    Any,
}

pub(super) struct ShownKind {
    pub(super) category: &'static str,
    pub(super) personal: PersonalMembers,
    pub(super) load: for<'g> fn(&'g Gesta, &'g str, AsOf) -> StateFuture<'g>,
}

pub(super) type StateFuture<'g> =
    Pin<Box<dyn Future<Output = Result<Folded, Problem>> + Send + 'g>>;

/// A state that was folded, without its type.
pub(super) struct Folded {
    pub(super) stream: StreamName,
    /// The events are those of its own stream, so each state has a revision.
    pub(super) has_revisions: bool,
    /// JSON.
    pub(super) state: Vec<u8>,
    pub(super) position: Position,
}

impl Aggregates {
    /// Adds a kind of aggregates, with the members of its state that hold personal data, if they
    /// are named.
    ///
    /// # Panics
    /// If another one has the same category.
    pub(crate) fn add<A>(&mut self, named: Option<&[&'static str]>)
    where
        A: Aggregate + Serialize,
        A::Id: FromStr<Err: Display>,
    {
        let category = A::CATEGORY;
        assert!(self.find(category).is_none(), "two aggregates have the category `{category}`");
        let events = Registry::of::<A::Event>();
        let has_marks = events.names().any(|name| !events.personal_fields(name).is_empty());
        let personal = match (named, has_marks) {
            (Some(named), _) => PersonalMembers::Named(named.to_vec()),
            (None, true) => PersonalMembers::Any,
            (None, false) => PersonalMembers::None,
        };
        self.0.push(ShownKind {
            category,
            personal,
            load: |gesta, id, as_of| Box::pin(fold::<A>(gesta, id, as_of)),
        });
    }

    /// Returns the categories.
    pub(super) fn categories(&self) -> impl Iterator<Item = &'static str> {
        self.0.iter().map(|shown| shown.category)
    }

    pub(super) fn find(&self, category: &str) -> Option<&ShownKind> {
        self.0.iter().find(|shown| shown.category == category)
    }
}

impl fmt::Debug for ShownKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShownKind").field("category", &self.category).finish_non_exhaustive()
    }
}

async fn fold<A>(gesta: &Gesta, id: &str, as_of: AsOf) -> Result<Folded, Problem>
where
    A: Aggregate + Serialize,
    A::Id: FromStr<Err: Display>,
{
    let id: A::Id = id.parse().map_err(|error: <A::Id as FromStr>::Err| {
        Problem::invalid("id", format!("is not one of `{}`: {error}", A::CATEGORY))
    })?;
    let stream = stream_of::<A>(&id).map_err(|error| Problem::invalid("id", error.to_string()))?;
    let has_revisions = matches!(A::reads(&id), Reads::Stream);
    if let (AsOf::Revision(_), false) = (as_of, has_revisions) {
        let detail = "must be no revision: this aggregate reads several streams, so it has no \
                      revision; use a time or a position";
        return Err(Problem::invalid("asOf", detail));
    }
    let loaded = gesta.load::<A>(&id).as_of(as_of).await?;
    let loaded =
        loaded.ok_or_else(|| Problem::not_found("event of the aggregate at that moment"))?;
    let state = serde_json::to_vec(&loaded.state).map_err(|error| Problem::internal(&error))?;
    Ok(Folded { stream, has_revisions, state, position: loaded.position })
}
