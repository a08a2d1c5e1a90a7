//! The number of names in a store, counted up to a limit.
//!
//! A count reads the names, so a caller bounds it.

use crate::{EventStore, ListCategories, ListStreams, StoreError};

/// Names that are read together.
const NAMES_PER_READ: usize = 1_000;

/// A number of streams or categories.
///
/// ```
/// use gesta_store::{CountedNames, conformance::block_on, memory::MemoryStore};
///
/// let counted = block_on(CountedNames::of_streams(&MemoryStore::new(), 100))?;
/// assert!(counted.number == 0 && counted.is_all);
/// # Ok::<(), gesta_store::StoreError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CountedNames {
    /// Number of names, at most the limit of the count.
    pub number: usize,
    /// True if there are no further names.
    pub is_all: bool,
}

impl CountedNames {
    /// Counts the streams that [`ListStreams::all`] lists, a page at a time, up to `limit`.
    ///
    /// # Errors
    ///
    /// Any error of [`EventStore::list_streams`].
    pub async fn of_streams(store: &dyn EventStore, limit: usize) -> Result<Self, StoreError> {
        let mut counted = 0;
        let mut after = None;
        loop {
            // One more than is counted tells that there are others.
            let wanted = NAMES_PER_READ.min(limit.saturating_add(1) - counted);
            let list = ListStreams::all().after(after).limit(wanted);
            let names = store.list_streams(list).await?;
            counted += names.len();
            if names.len() < wanted {
                return Ok(Self { number: counted, is_all: true });
            }
            if counted > limit {
                return Ok(Self { number: limit, is_all: false });
            }
            after = names.last().cloned();
        }
    }

    /// Counts the categories, up to `limit`.
    ///
    /// # Errors
    ///
    /// Any error of [`EventStore::list_categories`].
    pub async fn of_categories(store: &dyn EventStore, limit: usize) -> Result<Self, StoreError> {
        let list = ListCategories::all().limit(limit.saturating_add(1));
        let found = store.list_categories(list).await?.len();
        Ok(Self { number: found.min(limit), is_all: found <= limit })
    }
}
