//! The loading of one aggregate, as of a moment.
//!
//! Not here: the reads of a decision, which may span several aggregates.

use gesta_store::{EventStore, Position, Revision};

use crate::{
    Aggregate, AsOf, Boundary as _, BoundaryRead, LoadError,
    snapshot::{FoldInto, Snapshots},
};

/// An aggregate's state, with the revision and position of its last event.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Loaded<A> {
    /// The state folded from its events.
    pub state: A,
    /// Revision of the last event within its stream. For an aggregate that reads tags, that is the
    /// stream of whichever event came last.
    pub revision: Revision,
    /// Position of the last event.
    pub position: Position,
}

/// Loads an aggregate; `None` if there were no events.
pub(crate) async fn load<A: Aggregate>(
    store: &dyn EventStore,
    snapshots: &Snapshots,
    id: &A::Id,
    as_of: AsOf,
) -> Result<Option<Loaded<A>>, LoadError> {
    let mut reads = Vec::new();
    A::plan(id, &mut reads)?;
    let mut state = A::start(id);
    let mut last = None;
    for planned in &reads {
        check_moment(planned, as_of)?;
        let fold = &mut FoldInto(&mut state);
        // An aggregate has one read, so the last event is that of the aggregate.
        last = snapshots.read(store, planned, as_of, fold).await?.last;
    }
    Ok(last.map(|(revision, position)| Loaded { state, revision, position }))
}

fn check_moment(read: &BoundaryRead, as_of: AsOf) -> Result<(), LoadError> {
    match (as_of, &read.query) {
        (AsOf::Revision(_), Some(_)) => Err(LoadError::NoRevision { stream: read.stream.clone() }),
        (AsOf::Revision(_) | AsOf::Now | AsOf::Position(_) | AsOf::Time(_), _) => Ok(()),
    }
}
