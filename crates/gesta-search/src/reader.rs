//! Connections of queries to an index.

use std::{fmt, sync::Arc};

use gesta_store::DatabaseError;

use crate::{Document, IndexDefinition, Search, SearchResults, engine::EngineReader};

/// A connection for queries on an index of a [`SearchStore`](crate::SearchStore).
///
/// ```
/// use gesta_search::{Search, SearchStore};
/// use gesta_store::{CreateReadModel, ReadModelStore, Stage};
///
/// # let directory = tempfile::tempdir().expect("a directory");
/// # let directory = directory.path().join("search");
/// # gesta_store::conformance::block_on(async {
/// let store = SearchStore::tantivy(directory).await?;
/// let orders = store.create_read_model(CreateReadModel::new("o", 1, Stage::Live)).await?;
/// let reader = store.reader(&orders).await?;
/// assert_eq!(reader.search(&Search::new()).await?.total, 0, "no event was applied");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).expect("it searches");
/// ```
pub struct SearchReader {
    engine: Box<dyn EngineReader>,
    /// `None` before the projection has prepared the index.
    definition: Option<Arc<IndexDefinition>>,
}

impl fmt::Debug for SearchReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SearchReader({:?})", self.engine)
    }
}

impl SearchReader {
    pub(crate) async fn begin(engine: Box<dyn EngineReader>) -> Result<Self, DatabaseError> {
        let definition = engine.definition().await?;
        Ok(Self { engine, definition })
    }

    /// Searches the index. It finds everything that was committed before the reader was opened.
    ///
    /// # Errors
    ///
    /// - [`DatabaseError::Rejected`] if the search does not fit the fields of the index.
    /// - [`DatabaseError::Unavailable`] if the engine does not answer; search again later.
    pub async fn search(&self, search: &Search) -> Result<SearchResults, DatabaseError> {
        let Some(definition) = &self.definition else { return Ok(SearchResults::default()) };
        self.engine.search(search.checked(definition)?).await
    }

    /// Returns a document by its id, also an unlisted one. `None` if there is none.
    ///
    /// # Errors
    ///
    /// [`DatabaseError::Unavailable`] if the engine does not answer; ask again later.
    pub async fn get(&self, id: &str) -> Result<Option<Document>, DatabaseError> {
        let found = self.engine.load(&[id.to_owned()]).await?;
        Ok(found.into_iter().flatten().find_map(|stored| stored.document))
    }
}
