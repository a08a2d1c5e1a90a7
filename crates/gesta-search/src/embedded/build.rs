//! The index of one build: its commits, and the moments that readers see.
//!
//! Invariants: a moment is published after its commit is durable. The state is the payload of the
//! commit. A write on a state that is no longer the last one changes nothing.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use gesta_store::DatabaseError;
use tantivy::{
    DocAddress, DocSet as _, Index, IndexReader, IndexWriter, ReloadPolicy, Searcher, TERMINATED,
    TantivyDocument, TantivyError, Term,
    indexer::LogMergePolicy,
    schema::{IndexRecordOption, Value as _},
};

use super::{
    collector::{PageCollector, Placed},
    errors::{failed, unavailable},
    query,
    schema::{self, Fields},
};
use crate::{
    Document, Hit, IndexDefinition, SearchResults,
    cursor::Cursor,
    engine::{Batch, StateToken, StoredDocument, StoredState, Written},
    search::CheckedSearch,
    state::BuildState,
};

/// File with the last commit of an index.
const META: &str = "meta.json";

/// Memory for documents that are not committed yet.
const WRITER_BYTES: usize = 64 * 1024 * 1024;

/// Share of deleted documents from which a segment is merged.
const DELETED_MAX: f32 = 0.3;

/// Distinguishes the moments of all builds of the process.
static MOMENTS: AtomicU64 = AtomicU64::new(1);

/// A build.
pub(super) struct Build {
    folder: PathBuf,
    writer: Mutex<WriterState>,
    published: Mutex<Arc<Moment>>,
}

enum WriterState {
    /// No index yet, or its writer failed and is opened again.
    Closed,
    Open(Box<OpenWriter>),
    /// Dropped, or the store was closed.
    Ended,
}

struct OpenWriter {
    writer: IndexWriter,
    reader: IndexReader,
    fields: Arc<Fields>,
}

/// A build at one moment.
pub(super) struct Moment {
    folder: PathBuf,
    number: u64,
    state: Option<String>,
    /// `None` before the projection has defined the index.
    definition: Option<Arc<IndexDefinition>>,
    /// `None` before the first commit.
    index: Option<(Searcher, Arc<Fields>)>,
}

/// An index that was opened, with its state.
struct StoredIndex {
    index: Index,
    state: String,
    definition: Option<Arc<IndexDefinition>>,
    fields: Arc<Fields>,
}

impl fmt::Debug for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Moment({})", self.folder.display())
    }
}

impl fmt::Debug for Build {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Build({})", self.folder.display())
    }
}

impl Build {
    pub(super) fn open(folder: PathBuf) -> Result<Self, DatabaseError> {
        let moment = match open_index(&folder)? {
            Some(StoredIndex { index, state, definition, fields }) => {
                let reader = open_reader(&index).map_err(|error| failed(&folder, error))?;
                let index = Some((reader.searcher(), fields));
                Moment { state: Some(state), definition, index, ..Moment::empty(&folder) }
            }
            None => Moment::empty(&folder),
        };
        let (writer, published) = (Mutex::new(WriterState::Closed), Mutex::new(Arc::new(moment)));
        Ok(Self { folder, writer, published })
    }

    /// Returns the moment of the last commit.
    pub(super) fn moment(&self) -> Arc<Moment> {
        Arc::clone(&self.published())
    }

    /// Fails if the files of the last commit are gone. Searches would go on with the open ones, and
    /// the next commit would begin an index without the documents before it.
    pub(super) fn check_files(&self) -> Result<(), DatabaseError> {
        if self.moment().index.is_none() {
            return Ok(());
        }
        match self.folder.join(META).try_exists() {
            Ok(true) => Ok(()),
            Ok(false) => Err(DatabaseError::Corrupt {
                reason: format!(
                    "{}: another program has deleted the files of the index; rebuild the \
                     projection",
                    self.folder.display()
                ),
                source: None,
            }),
            Err(error) => Err(unavailable(&self.folder, error)),
        }
    }

    fn published(&self) -> MutexGuard<'_, Arc<Moment>> {
        self.published.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn writer(&self) -> MutexGuard<'_, WriterState> {
        // A writer that panicked is opened again, because its place is empty while it works.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the writer. Merges that have begun are given up.
    pub(super) fn end(&self) {
        *self.writer() = WriterState::Ended;
    }

    /// Carries out writes and stores the state, in one commit.
    pub(super) fn write(&self, batch: &Batch) -> Result<Written, DatabaseError> {
        let mut writer = self.writer();
        let before = self.moment();
        if before.state().token != batch.token {
            return Ok(Written::StateChanged);
        }
        let mut open = match std::mem::replace(&mut *writer, WriterState::Closed) {
            WriterState::Ended => {
                *writer = WriterState::Ended;
                return Err(DatabaseError::unavailable("the search index was dropped or closed"));
            }
            // Without documents so far: `define` comes first.
            WriterState::Open(_) | WriterState::Closed if batch.is_defined => self.create(batch)?,
            WriterState::Open(open) => open,
            WriterState::Closed => self.open_writer(batch)?,
        };
        // After an error the writer is closed, which forgets what is not committed.
        let committed = commit(&mut open, &before, batch);
        let searcher = committed.map_err(|error| failed(&self.folder, error))?;
        let index = Some((searcher, Arc::clone(&open.fields)));
        let definition = batch.is_defined.then(|| Arc::clone(&batch.definition));
        let definition = definition.or_else(|| before.definition.clone());
        let state = Some(batch.state.clone());
        let moment = Moment { state, definition, index, ..Moment::empty(&self.folder) };
        *self.published() = Arc::new(moment);
        *writer = WriterState::Open(open);
        Ok(Written::Stored)
    }

    /// Creates the index, in place of one without documents.
    fn create(&self, batch: &Batch) -> Result<Box<OpenWriter>, DatabaseError> {
        remove(&self.folder).map_err(|error| unavailable(&self.folder, error))?;
        let created = fs::create_dir_all(&self.folder);
        created.map_err(|error| unavailable(&self.folder, error))?;
        let (schema, fields) = Fields::of(&batch.definition);
        let index = Index::create_in_dir(&self.folder, schema);
        let index = index.map_err(|error| failed(&self.folder, error))?;
        self.writer_of(&index, Arc::new(fields))
    }

    fn open_writer(&self, batch: &Batch) -> Result<Box<OpenWriter>, DatabaseError> {
        match open_index(&self.folder)? {
            Some(StoredIndex { index, fields, .. }) => self.writer_of(&index, fields),
            None => self.create(batch),
        }
    }

    fn writer_of(
        &self,
        index: &Index,
        fields: Arc<Fields>,
    ) -> Result<Box<OpenWriter>, DatabaseError> {
        let open = || {
            let writer = index.writer_with_num_threads(1, WRITER_BYTES)?;
            let mut merges = LogMergePolicy::default();
            merges.set_del_docs_ratio_before_merge(DELETED_MAX);
            writer.set_merge_policy(Box::new(merges));
            let reader = open_reader(index)?;
            Ok(Box::new(OpenWriter { writer, reader, fields }))
        };
        open().map_err(|error| failed(&self.folder, error))
    }
}

fn open_reader(index: &Index) -> tantivy::Result<IndexReader> {
    index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into()
}

/// Opens an index with its state. `None` if there is none, or it has no commit.
fn open_index(folder: &Path) -> Result<Option<StoredIndex>, DatabaseError> {
    let meta = folder.join(META);
    match meta.try_exists() {
        Ok(true) => {}
        Ok(false) => return Ok(None),
        Err(error) => return Err(unavailable(&meta, error)),
    }
    let open = || {
        let index = Index::open_in_dir(folder)?;
        let payload = index.load_metas()?.payload;
        Ok((index, payload))
    };
    let (index, payload) = open().map_err(|error: TantivyError| failed(folder, error))?;
    let Some(state) = payload else { return Ok(None) };
    let definition = BuildState::parse(Some(&state))?.definition.map(Arc::new);
    let fields = fields_of(folder, &index, &definition.clone().unwrap_or_default())?;
    Ok(Some(StoredIndex { index, state, definition, fields: Arc::new(fields) }))
}

fn fields_of(
    folder: &Path,
    index: &Index,
    definition: &IndexDefinition,
) -> Result<Fields, DatabaseError> {
    let (schema, fields) = Fields::of(definition);
    if schema == index.schema() {
        return Ok(fields);
    }
    let reason = format!("{}: the index has other fields than its state names", folder.display());
    Err(DatabaseError::Corrupt { reason, source: None })
}

fn commit(open: &mut OpenWriter, before: &Moment, batch: &Batch) -> tantivy::Result<Searcher> {
    for write in &batch.writes {
        if before.version(&write.id)?.is_some_and(|stored| stored >= write.version) {
            continue;
        }
        open.writer.delete_term(Term::from_field_text(open.fields.id, &write.id));
        open.writer.add_document(open.fields.document(write))?;
    }
    let mut prepared = open.writer.prepare_commit()?;
    prepared.set_payload(&batch.state);
    prepared.commit()?;
    open.reader.reload()?;
    Ok(open.reader.searcher())
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

impl Moment {
    /// A new moment of a build without an index.
    fn empty(folder: &Path) -> Self {
        let number = MOMENTS.fetch_add(1, Ordering::Relaxed);
        Self { folder: folder.to_owned(), number, state: None, definition: None, index: None }
    }

    pub(super) fn definition(&self) -> Option<Arc<IndexDefinition>> {
        self.definition.clone()
    }

    pub(super) fn state(&self) -> StoredState {
        StoredState { text: self.state.clone(), token: StateToken(self.number, 0) }
    }

    fn version(&self, id: &str) -> tantivy::Result<Option<u64>> {
        let Some((searcher, fields)) = &self.index else { return Ok(None) };
        let Some(address) = find(searcher, fields, id)? else { return Ok(None) };
        version_at(searcher, address)
    }

    pub(super) fn load(
        &self,
        ids: &[String],
    ) -> Result<Vec<Option<StoredDocument>>, DatabaseError> {
        let Some((searcher, fields)) = &self.index else { return Ok(vec![None; ids.len()]) };
        let load = |id: &String| {
            let found = find(searcher, fields, id).map_err(|error| failed(&self.folder, error))?;
            let Some(address) = found else { return Ok(None) };
            let version = version_at(searcher, address);
            let version = version.map_err(|error| failed(&self.folder, error))?;
            let document = self.document(searcher, fields, address)?;
            Ok(Some(StoredDocument { version: version.unwrap_or_default(), document }))
        };
        ids.iter().map(load).collect()
    }

    fn document(
        &self,
        searcher: &Searcher,
        fields: &Fields,
        address: DocAddress,
    ) -> Result<Option<Document>, DatabaseError> {
        let stored: TantivyDocument =
            searcher.doc(address).map_err(|error| failed(&self.folder, error))?;
        let source = stored.get_first(fields.source);
        source.and_then(|source| source.as_str()).map(Document::parse).transpose()
    }

    pub(super) fn search(&self, search: &CheckedSearch) -> Result<SearchResults, DatabaseError> {
        let Some((searcher, fields)) = &self.index else { return Ok(SearchResults::default()) };
        let query = query::of(search, fields);
        let found = searcher.search(&query, &PageCollector { search });
        let found = found.map_err(|error| failed(&self.folder, error))?;
        let limit = search.search.limit;
        let next = (limit > 0 && found.page.len() > limit)
            .then(|| found.page.get(limit - 1))
            .flatten()
            .map(|last| Cursor { order: search.order, rank: last.rank, id: last.id.clone() });
        let page = found.page.iter().take(limit);
        let hit = |placed: &Placed| {
            let document = self.document(searcher, fields, placed.address)?;
            let document = document.ok_or_else(|| DatabaseError::Corrupt {
                reason: format!("{}: a found document is missing", self.folder.display()),
                source: None,
            })?;
            let highlights = search.highlights(&document);
            Ok::<_, DatabaseError>(Hit { document, score: placed.score, highlights })
        };
        let hits = page.map(hit).collect::<Result<_, _>>()?;
        Ok(SearchResults { total: found.total, hits, facets: found.facets, next })
    }
}

/// Finds the document with an id that is not deleted.
fn find(searcher: &Searcher, fields: &Fields, id: &str) -> tantivy::Result<Option<DocAddress>> {
    let term = Term::from_field_text(fields.id, id);
    for (ordinal, segment) in (0_u32..).zip(searcher.segment_readers()) {
        let index = segment.inverted_index(fields.id)?;
        let Some(mut postings) = index.read_postings(&term, IndexRecordOption::Basic)? else {
            continue;
        };
        let mut doc = postings.doc();
        while doc != TERMINATED {
            if !segment.is_deleted(doc) {
                return Ok(Some(DocAddress::new(ordinal, doc)));
            }
            doc = postings.advance();
        }
    }
    Ok(None)
}

fn version_at(searcher: &Searcher, address: DocAddress) -> tantivy::Result<Option<u64>> {
    let segment = searcher.segment_reader(address.segment_ord);
    Ok(segment.fast_fields().u64(schema::VERSION)?.first(address.doc_id))
}
