//! The seam to an engine: what a search engine has to do so that projections can fill it.
//!
//! Owns: [`SearchEngine`], and the values that cross it. An engine keeps *builds*: each is an index
//! of its own, and one build of a projection is live.
//!
//! Invariants: a write whose version is not greater than that of the stored document changes
//! nothing, so that a replay never turns a document back; a deletion leaves a tombstone with its
//! version. The state, which has the checkpoint, is stored after the writes or together with them.
//! Not here: transactions, checkpoints and dead letters, which `SearchStore` makes of it.

use std::{fmt, sync::Arc};

use gesta_store::{CreateReadModel, DatabaseFuture, ReadModelId, Stage};

use crate::{Document, IndexDefinition, SearchResults, search::CheckedSearch};

/// An engine behind [`SearchStore`](crate::SearchStore).
pub(crate) trait SearchEngine: fmt::Debug + Send + Sync + 'static {
    /// Returns everything that the engine goes without at the moment, for health.
    fn troubles(&self) -> DatabaseFuture<'_, Vec<String>>;

    /// Asks the engine for its name and version.
    fn version(&self) -> DatabaseFuture<'_, String>;

    /// Returns the builds of a projection, by number.
    fn list<'a>(&'a self, projection: &'a str) -> DatabaseFuture<'a, Vec<ListedBuild>>;

    /// Creates an empty build. Numbers are never given again.
    fn create<'a>(&'a self, create: CreateReadModel<'a>) -> DatabaseFuture<'a, ReadModelId>;

    /// Makes a build live, and does the others of its projection as told, in one step.
    fn switch<'a>(&'a self, build: &'a ReadModelId, before: LiveBefore) -> DatabaseFuture<'a, ()>;

    /// Moves a retired build to the stage of a rebuild.
    fn resume<'a>(&'a self, build: &'a ReadModelId) -> DatabaseFuture<'a, ()>;

    /// Takes a build out of use, and returns where it is kept.
    fn quarantine<'a>(&'a self, build: &'a ReadModelId) -> DatabaseFuture<'a, Option<String>>;

    /// Drops a build, if it exists.
    fn drop_build<'a>(&'a self, build: &'a ReadModelId) -> DatabaseFuture<'a, ()>;

    /// Returns the state that was written last, or an empty one.
    fn state<'a>(&'a self, build: &'a ReadModelId) -> DatabaseFuture<'a, StoredState>;

    /// Returns what is stored under these ids, in their order, including every earlier write.
    fn load<'a>(
        &'a self,
        build: &'a ReadModelId,
        ids: &'a [String],
    ) -> DatabaseFuture<'a, Vec<Option<StoredDocument>>>;

    /// Carries out writes, then stores the state if it is still the one that was read. All of it
    /// can be found when the future is ready.
    fn write<'a>(&'a self, build: &'a ReadModelId, batch: Batch) -> DatabaseFuture<'a, Written>;

    /// Begins to read a build.
    fn reader<'a>(&'a self, build: &'a ReadModelId) -> DatabaseFuture<'a, Box<dyn EngineReader>>;

    /// Ends the engine's threads and connections.
    fn close(&self) -> DatabaseFuture<'_, ()>;
}

/// Reads of one build.
pub(crate) trait EngineReader: fmt::Debug + Send + Sync + 'static {
    /// Returns the fields of the index. `None` before the projection has prepared it.
    fn definition(&self) -> DatabaseFuture<'_, Option<Arc<IndexDefinition>>>;

    /// Returns documents by id, in the order of the ids.
    fn load<'a>(&'a self, ids: &'a [String]) -> DatabaseFuture<'a, Vec<Option<StoredDocument>>>;

    /// Searches.
    fn search(&self, search: CheckedSearch) -> DatabaseFuture<'_, SearchResults>;
}

/// A build, as an engine lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ListedBuild {
    pub(crate) id: ReadModelId,
    pub(crate) version: u32,
    pub(crate) stage: Stage,
}

/// The fate of the build that was live before a switch. All others are dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LiveBefore {
    Dropped,
    Retired,
}

/// The stored state of a build.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct StoredState {
    /// `None` before the first write.
    pub(crate) text: Option<String>,
    /// Identity of the state, which the engine compares before it replaces it.
    pub(crate) token: StateToken,
}

/// Identity of a stored state, for a compare-and-set: in OpenSearch its sequence number and primary
/// term.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct StateToken(pub(crate) u64, pub(crate) u64);

/// The stored content of an id.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StoredDocument {
    /// Version of the last write.
    pub(crate) version: u64,
    /// `None` for a tombstone.
    pub(crate) document: Option<Document>,
}

/// The changes of a transaction.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) definition: Arc<IndexDefinition>,
    /// The definition is new.
    pub(crate) is_defined: bool,
    pub(crate) writes: Vec<DocumentWrite>,
    pub(crate) state: String,
    pub(crate) token: StateToken,
}

/// A write of one id.
#[derive(Clone, Debug)]
pub(crate) struct DocumentWrite {
    pub(crate) id: String,
    pub(crate) version: u64,
    /// The document and its JSON. `None` for a deletion.
    pub(crate) document: Option<(Document, String)>,
}

/// The outcome of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// Everything is stored, with the state.
    Stored,
    /// Another writer has stored a state since it was read. The writes are carried out, as far as
    /// their versions are greater.
    StateChanged,
}
