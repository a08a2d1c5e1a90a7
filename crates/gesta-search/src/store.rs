//! The store of search read models, which projections fill and queries read.
//!
//! Owns: [`SearchStore`], and the order of transactions on one read model. Not here: how documents
//! are kept and found (`engine`, `embedded`, `opensearch`).

use std::{
    collections::HashMap,
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use gesta_store::{
    CreateReadModel, DatabaseError, DeadLetter, ReadModel, ReadModelId, ReadModelStore,
};
use tokio::sync::Mutex as Turn;

use crate::{
    OpenError, SearchReader, SearchTx, SearchUrl,
    embedded::Embedded,
    engine::{LiveBefore, SearchEngine},
    opensearch::OpenSearch,
    state::BuildState,
};

/// Read models of documents for full-text search, behind the URL of an engine.
///
/// A projection on [`SearchTx`] fills an index, and queries on [`SearchReader`] search it. The
/// framework runs it as any other projection: in batches, with a checkpoint, dead letters and
/// rebuilds. A rebuild fills an index of its own, and a switch makes it the one that answers.
///
/// Cheap to clone; clones share the store. Futures need no runtime: the store has threads of its
/// own.
///
/// # Guarantees
///
/// - In Tantivy, documents and checkpoint change in one commit, and a [`SearchReader`] sees one
///   moment.
/// - In OpenSearch and Elasticsearch, documents are written first and the checkpoint after them. A
///   crash in between repeats events, and a document ignores writes that are not newer than it is.
///   So each event takes effect once on documents that depend on their own events. Each search of a
///   reader sees its own moment.
/// - What a transaction has committed is found by every search that begins later.
///
/// # Examples
///
/// ```
/// use gesta_search::{Document, IndexDefinition, Search, SearchStore, TextField};
/// use gesta_store::{CreateReadModel, Position, ReadModelStore, ReadModelTx, Stage};
///
/// # let directory = tempfile::tempdir().expect("a directory");
/// # let directory = directory.path().join("search");
/// # gesta_store::conformance::block_on(async {
/// let store = SearchStore::tantivy(directory).await?;
/// let products = store.create_read_model(CreateReadModel::new("p", 1, Stage::Live)).await?;
/// let mut tx = store.begin(&products).await?;
/// tx.define(IndexDefinition::new().text("name", TextField::new()))?;
/// let lantern = Document::new("22423").text("name", "White hanging lantern");
/// tx.put(lantern, Position::new(7))?;
/// tx.commit().await?;
///
/// let reader = store.reader(&products).await?;
/// let found = reader.search(&Search::new().text("lantren")).await?;
/// assert_eq!(found.total, 1, "found in spite of a typo");
/// store.close().await;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).expect("it is found");
/// ```
#[derive(Clone)]
pub struct SearchStore {
    core: Arc<Core>,
}

struct Core {
    engine: Arc<dyn SearchEngine>,
    /// One transaction at a time on each read model.
    turns: Mutex<HashMap<ReadModelId, Arc<Turn<()>>>>,
    url: SearchUrl,
}

impl SearchStore {
    /// Opens the store behind a URL: `tantivy:DIRECTORY`, `opensearch://HOST:PORT` or
    /// `elasticsearch://HOST:PORT`; see [`SearchUrl`].
    ///
    /// # Errors
    ///
    /// [`OpenError`]: a wrong URL, a directory that another process has open, or a server that
    /// does not answer or refuses.
    pub async fn open(url: &str) -> Result<Self, OpenError> {
        Self::open_url(url.parse()?).await
    }

    /// Opens the store of a directory, with Tantivy. Creates the directory if it does not exist.
    ///
    /// # Errors
    ///
    /// The same as [`open`](Self::open).
    pub async fn tantivy(directory: impl Into<PathBuf>) -> Result<Self, OpenError> {
        Self::open_url(SearchUrl::directory(directory)).await
    }

    /// Opens the store behind a URL that was read before.
    ///
    /// # Errors
    ///
    /// The same as [`open`](Self::open).
    pub async fn open_url(url: SearchUrl) -> Result<Self, OpenError> {
        let engine: Arc<dyn SearchEngine> = match url.as_directory() {
            Some(directory) => Arc::new(Embedded::open(directory.to_owned()).await?),
            None => Arc::new(OpenSearch::connect(&url).await?),
        };
        Ok(Self { core: Arc::new(Core { engine, turns: Mutex::default(), url }) })
    }

    /// Asks the engine for its name and version, such as `OpenSearch 2.19.6`.
    ///
    /// # Errors
    ///
    /// [`DatabaseError::Unavailable`] if the server does not answer, with the reason.
    pub async fn engine_version(&self) -> Result<String, DatabaseError> {
        self.core.engine.version().await
    }

    /// Closes the store for all clones. Close the application first, so that its projections end.
    ///
    /// Later calls return [`DatabaseError::Unavailable`]. Close a directory before it is opened
    /// again: without it, the last handle lets go of the directory in the background.
    pub async fn close(self) {
        if let Err(error) = self.core.engine.close().await {
            tracing::warn!(%error, "the search store was not closed in an orderly way");
        }
    }

    fn turn(&self, read_model: &ReadModelId) -> Arc<Turn<()>> {
        let mut turns = self.core.turns.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(turns.entry(read_model.clone()).or_default())
    }
}

impl fmt::Debug for SearchStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SearchStore({})", self.core.url)
    }
}

impl ReadModelStore for SearchStore {
    type Tx = SearchTx;
    type Reader = SearchReader;

    fn place(&self) -> String {
        self.core.url.to_string()
    }

    async fn troubles(&self) -> Vec<String> {
        self.core.engine.troubles().await.unwrap_or_else(|error| vec![error.to_string()])
    }

    async fn list_read_models(&self, projection: &str) -> Result<Vec<ReadModel>, DatabaseError> {
        let mut listed = Vec::new();
        for build in self.core.engine.list(projection).await? {
            let state = match self.core.engine.state(&build.id).await {
                Ok(state) => state,
                // Dropped in the meantime.
                Err(DatabaseError::Missing { .. }) => continue,
                // Opening the read model returns the error.
                Err(DatabaseError::Corrupt { .. }) => Default::default(),
                Err(error) => return Err(error),
            };
            let checkpoint = BuildState::parse(state.text.as_deref()).ok();
            let checkpoint = checkpoint.and_then(|state| state.checkpoint);
            let model = ReadModel::new(build.id, build.version, build.stage);
            listed.push(model.checkpoint(checkpoint));
        }
        Ok(listed)
    }

    async fn create_read_model(
        &self,
        create: CreateReadModel<'_>,
    ) -> Result<ReadModelId, DatabaseError> {
        self.core.engine.create(create).await
    }

    async fn switch_to(&self, read_model: &ReadModelId) -> Result<(), DatabaseError> {
        self.core.engine.switch(read_model, LiveBefore::Dropped).await
    }

    async fn switch_keeping(&self, read_model: &ReadModelId) -> Result<(), DatabaseError> {
        self.core.engine.switch(read_model, LiveBefore::Retired).await
    }

    async fn resume(&self, read_model: &ReadModelId) -> Result<(), DatabaseError> {
        self.core.engine.resume(read_model).await
    }

    async fn quarantine(&self, read_model: &ReadModelId) -> Result<Option<String>, DatabaseError> {
        self.core.engine.quarantine(read_model).await
    }

    async fn drop_read_model(&self, read_model: &ReadModelId) -> Result<(), DatabaseError> {
        self.core.engine.drop_build(read_model).await
    }

    async fn begin(&self, read_model: &ReadModelId) -> Result<SearchTx, DatabaseError> {
        let turn = self.turn(read_model).lock_owned().await;
        let stored = self.core.engine.state(read_model).await?;
        SearchTx::begin(Arc::clone(&self.core.engine), read_model.clone(), stored, turn)
    }

    async fn reader(&self, read_model: &ReadModelId) -> Result<SearchReader, DatabaseError> {
        SearchReader::begin(self.core.engine.reader(read_model).await?).await
    }

    async fn dead_letters(
        &self,
        read_model: &ReadModelId,
    ) -> Result<Vec<DeadLetter>, DatabaseError> {
        let stored = self.core.engine.state(read_model).await?;
        let state = BuildState::parse(stored.text.as_deref())?;
        Ok(state.dead_letters.into_values().collect())
    }
}
