//! The store that a clause works on.

use std::{any::Any, fmt, time::Duration};

use crate::{CheckpointStore, ReadModelStore, ReadRows, Rows, SnapshotStore};

/// A store of read models with portable rows, of checkpoints and of snapshots.
///
/// Every type with these traits is one.
///
/// ```
/// use gesta_store::{MemoryReadModels, conformance::read_models::PortableReadModels};
///
/// fn is_portable<S: PortableReadModels>(_: &S) -> bool {
///     true
/// }
///
/// assert!(is_portable(&MemoryReadModels::new()));
/// ```
pub trait PortableReadModels:
    ReadModelStore<Tx: Rows, Reader: ReadRows> + CheckpointStore + SnapshotStore
{
}

impl<S> PortableReadModels for S where
    S: ReadModelStore<Tx: Rows, Reader: ReadRows> + CheckpointStore + SnapshotStore
{
}

/// A store of read models for one clause, and the values that must outlive it.
///
/// ```
/// use gesta_store::{
///     MemoryReadModels,
///     conformance::read_models::{ReadModelFixture, clauses},
/// };
///
/// let store = MemoryReadModels::new();
/// let fixture = ReadModelFixture::new(move || store.clone());
/// let clauses = clauses();
/// let clause = clauses.first().expect("there are clauses");
/// assert_eq!(clause.name, "read_models_are_listed_by_build");
/// clause.check(&fixture);
/// ```
pub struct ReadModelFixture<S> {
    pub(super) connect: Box<dyn Fn() -> S>,
    pub(super) timeout: Duration,
    #[expect(dead_code, reason = "held until it is dropped")]
    kept: Option<Box<dyn Any>>,
}

impl<S: PortableReadModels> ReadModelFixture<S> {
    /// Default time limit of a clause.
    pub const TIMEOUT: Duration = Duration::from_secs(60);

    /// Creates a fixture from a function that returns the same store each time, without any data at
    /// first: as another process opens it, or as a clone if one process uses it.
    #[must_use]
    pub fn new(connect: impl Fn() -> S + 'static) -> Self {
        Self { connect: Box::new(connect), timeout: Self::TIMEOUT, kept: None }
    }

    /// Keeps a value, such as a temporary directory, as long as the fixture.
    #[must_use]
    pub fn keep_alive(self, kept: impl Any) -> Self {
        Self { kept: Some(Box::new(kept)), ..self }
    }

    /// Sets the time limit of the clause, and of each thread that it starts.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }
}

impl<S> fmt::Debug for ReadModelFixture<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadModelFixture").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}
