//! Transactions of projections on an index.
//!
//! Invariants: nothing is written before the commit. A transaction reads its own writes. A write
//! whose position is not later than that of the stored document changes nothing.

use std::{
    collections::{BTreeMap, HashMap},
    fmt, mem,
    sync::Arc,
};

use gesta_store::{
    Advance, Checkpoint, DatabaseError, DeadLetter, Position, ReadModelId, ReadModelTx,
};
use tokio::sync::OwnedMutexGuard;

use crate::{
    Document, IndexDefinition,
    engine::{
        Batch, DocumentWrite, SearchEngine, StateToken, StoredDocument, StoredState, Written,
    },
    state::BuildState,
};

/// A transaction on an index of a [`SearchStore`](crate::SearchStore).
///
/// Documents are put and deleted at the position of the event that changes them. An event that is
/// applied again changes nothing, and a deleted document stays deleted for earlier events.
///
/// ```
/// use gesta_search::{Document, IndexDefinition, SearchStore};
/// use gesta_store::{CreateReadModel, Position, ReadModelStore, ReadModelTx, Stage};
///
/// # let directory = tempfile::tempdir().expect("a directory");
/// # let directory = directory.path().join("search");
/// # gesta_store::conformance::block_on(async {
/// let store = SearchStore::tantivy(directory).await?;
/// let orders = store.create_read_model(CreateReadModel::new("o", 1, Stage::Live)).await?;
/// let mut tx = store.begin(&orders).await?;
/// tx.define(IndexDefinition::new().keyword("status"))?;
/// tx.put(Document::new("1").keyword("status", "placed"), Position::new(7))?;
/// let order = tx.get("1").await?.expect("its own write");
/// tx.put(order.keyword("status", "paid"), Position::new(8))?;
/// tx.commit().await?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).expect("it is written");
/// ```
pub struct SearchTx {
    engine: Arc<dyn SearchEngine>,
    id: ReadModelId,
    state: BuildState,
    /// Checkpoint and state as they are stored.
    began_at: Option<Checkpoint>,
    token: StateToken,
    is_defined: bool,
    is_changed: bool,
    /// Documents as they are stored.
    loaded: HashMap<String, Option<StoredDocument>>,
    writes: BTreeMap<String, DocumentWrite>,
    #[expect(dead_code, reason = "held until the transaction ends")]
    turn: OwnedMutexGuard<()>,
}

impl fmt::Debug for SearchTx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SearchTx on {}", self.id)
    }
}

impl SearchTx {
    pub(crate) fn begin(
        engine: Arc<dyn SearchEngine>,
        id: ReadModelId,
        stored: StoredState,
        turn: OwnedMutexGuard<()>,
    ) -> Result<Self, DatabaseError> {
        let state = BuildState::parse(stored.text.as_deref())?;
        Ok(Self {
            engine,
            id,
            began_at: state.checkpoint,
            state,
            token: stored.token,
            is_defined: false,
            is_changed: false,
            loaded: HashMap::new(),
            writes: BTreeMap::new(),
            turn,
        })
    }

    /// Sets the fields of the index. Call it when a projection prepares its read model.
    ///
    /// # Errors
    ///
    /// [`DatabaseError::Rejected`] if the definition is wrong, or the index has another one:
    /// increase the version of the projection, which rebuilds the index.
    pub fn define(&mut self, definition: IndexDefinition) -> Result<(), DatabaseError> {
        definition.check()?;
        match &self.state.definition {
            Some(own) if *own == definition => Ok(()),
            Some(_) => Err(DatabaseError::rejected(
                "the fields of the index were set before; increase the projection's version to \
                 rebuild it with other fields",
            )),
            None => {
                self.state.definition = Some(definition);
                (self.is_defined, self.is_changed) = (true, true);
                Ok(())
            }
        }
    }

    /// Loads documents in one request. [`get`](Self::get) then returns them without another one, so
    /// load those of a batch of events first.
    ///
    /// # Errors
    ///
    /// Those of [`ReadModelStore`](gesta_store::ReadModelStore).
    pub async fn load(
        &mut self,
        ids: impl IntoIterator<Item = impl Into<String>>,
    ) -> Result<(), DatabaseError> {
        let ids = ids.into_iter().map(Into::into);
        let is_unknown =
            |id: &String| !self.loaded.contains_key(id) && !self.writes.contains_key(id);
        let mut ids: Vec<String> = ids.filter(is_unknown).collect();
        ids.sort_unstable();
        ids.dedup();
        if ids.is_empty() {
            return Ok(());
        }
        let found = self.engine.load(&self.id, &ids).await?;
        self.loaded.extend(ids.into_iter().zip(found));
        Ok(())
    }

    /// Returns a document, as seen by this transaction. `None` if there is none, or it was deleted.
    ///
    /// # Errors
    ///
    /// Those of [`ReadModelStore`](gesta_store::ReadModelStore).
    pub async fn get(&mut self, id: &str) -> Result<Option<Document>, DatabaseError> {
        if let Some(write) = self.writes.get(id) {
            return Ok(write.document.as_ref().map(|(document, _)| document.clone()));
        }
        self.load([id]).await?;
        let stored = self.loaded.get(id).and_then(Option::as_ref);
        Ok(stored.and_then(|stored| stored.document.clone()))
    }

    /// Puts a document in place of an earlier one with its id. `at` is the position of the event.
    ///
    /// Changes nothing if a write at a later position was stored, or one at the same position by an
    /// earlier transaction.
    ///
    /// # Errors
    ///
    /// [`DatabaseError::Rejected`] if the document does not fit the fields of the index, or
    /// [`define`](Self::define) was not called.
    pub fn put(&mut self, document: Document, at: Position) -> Result<(), DatabaseError> {
        let Some(definition) = &self.state.definition else {
            return Err(DatabaseError::rejected(
                "the index has no fields; call `define` in the projection's `prepare`",
            ));
        };
        let text = document.checked(definition)?;
        let id = document.id().to_owned();
        self.write(DocumentWrite { id, version: at.number(), document: Some((document, text)) });
        Ok(())
    }

    /// Deletes a document, also one that does not exist: writes at earlier positions then stay
    /// without effect. `at` is the position of the event.
    ///
    /// Changes nothing where [`put`](Self::put) would not.
    pub fn delete(&mut self, id: &str, at: Position) {
        self.write(DocumentWrite { id: id.to_owned(), version: at.number(), document: None });
    }

    /// Deletes a document whose stream has ended. A projection is told so without a position
    /// (`Apply::forget`). Later events of the stream may put the document again.
    ///
    /// # Errors
    ///
    /// Those of [`ReadModelStore`](gesta_store::ReadModelStore).
    pub async fn forget(&mut self, id: &str) -> Result<(), DatabaseError> {
        if !self.writes.contains_key(id) {
            self.load([id]).await?;
        }
        let own = self.writes.get(id).map(|write| write.version);
        let stored = self.loaded.get(id).and_then(Option::as_ref).map(|stored| stored.version);
        let Some(last) = own.max(stored) else { return Ok(()) };
        // The end of the stream is an event of its own, after the last one of the document and
        // before the next one.
        self.delete(id, Position::new(last).next());
        Ok(())
    }

    fn write(&mut self, write: DocumentWrite) {
        let stored = self.loaded.get(&write.id).and_then(Option::as_ref);
        let is_outdated = stored.is_some_and(|stored| stored.version >= write.version)
            || self.writes.get(&write.id).is_some_and(|own| own.version > write.version);
        if !is_outdated {
            self.is_changed = true;
            self.writes.insert(write.id.clone(), write);
        }
    }

    async fn store(&mut self) -> Result<(), DatabaseError> {
        if !self.is_changed {
            return Ok(());
        }
        let batch = Batch {
            definition: Arc::new(self.state.definition.clone().unwrap_or_default()),
            is_defined: self.is_defined,
            writes: mem::take(&mut self.writes).into_values().collect(),
            state: self.state.text()?,
            token: self.token,
        };
        match self.engine.write(&self.id, batch).await {
            Ok(Written::Stored) => Ok(()),
            // Dropped since: its readers are gone, so the changes have no effect.
            Err(DatabaseError::Missing { .. }) => Ok(()),
            Err(error) => Err(error),
            Ok(Written::StateChanged) => {
                let stored = self.engine.state(&self.id).await?;
                let stored = BuildState::parse(stored.text.as_deref())?.checkpoint;
                Err(DatabaseError::CheckpointConflict { expected: self.began_at, stored })
            }
        }
    }
}

impl ReadModelTx for SearchTx {
    async fn checkpoint(&mut self) -> Result<Option<Checkpoint>, DatabaseError> {
        Ok(self.state.checkpoint)
    }

    async fn advance(&mut self, advance: Advance) -> Result<(), DatabaseError> {
        let stored = self.state.checkpoint;
        if stored != advance.from {
            return Err(DatabaseError::CheckpointConflict { expected: advance.from, stored });
        }
        self.state.checkpoint = Some(advance.to);
        self.is_changed = true;
        Ok(())
    }

    async fn put_dead_letter(&mut self, letter: DeadLetter) -> Result<(), DatabaseError> {
        self.state.dead_letters.insert(letter.position, letter);
        self.is_changed = true;
        Ok(())
    }

    async fn delete_dead_letter(&mut self, position: Position) -> Result<bool, DatabaseError> {
        self.is_changed = true;
        Ok(self.state.dead_letters.remove(&position).is_some())
    }

    async fn property(&mut self, name: &str) -> Result<Option<String>, DatabaseError> {
        Ok(self.state.properties.get(name).cloned())
    }

    async fn set_property(&mut self, name: &str, value: &str) -> Result<(), DatabaseError> {
        self.state.properties.insert(name.to_owned(), value.to_owned());
        self.is_changed = true;
        Ok(())
    }

    async fn commit(mut self) -> Result<(), DatabaseError> {
        self.store().await
    }

    async fn rollback(self) -> Result<(), DatabaseError> {
        Ok(())
    }
}
