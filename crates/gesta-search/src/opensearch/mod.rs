//! OpenSearch and Elasticsearch, by their HTTP interface.
//!
//! Owns: the indexes whose names begin with the prefix of the URL. Each build has an index,
//! `PREFIX.PROJECTION.BUILD`; the alias `PREFIX.PROJECTION` names the live one, so that other
//! programs may search it.
//!
//! Invariants:
//! - Every write has an external version, the position of its event, which the server compares.
//! - The state is a document of the index. It is written after the documents, on the condition that
//!   no other writer has changed it.
//! - A projection has one live index: of several, the latest one, and the others are dropped.
//! - A switch-over is one change of aliases, which the server makes as a whole.
//! - A search has all documents, or fails.
//! - Every call ends within its time limit, and an error names the server.

mod bulk;
mod encryption;
mod http;
mod mapping;
mod names;
mod query;

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use gesta_store::{CreateReadModel, DatabaseError, DatabaseFuture, ReadModelId, Stage};
use serde_json::{Value, json};

use crate::{
    Document, IndexDefinition, OpenError, SearchResults, SearchUrl,
    engine::{
        Batch, EngineReader, ListedBuild, LiveBefore, SearchEngine, StateToken, StoredDocument,
        StoredState, Written,
    },
    search::CheckedSearch,
    state::BuildState,
    worker::Worker,
};
use http::{Answer, Http, part};
use names::Names;

/// Maximum number of documents that one call loads.
const LOAD_MAX: usize = 1_000;

/// Oldest supported major version of Elasticsearch.
const ELASTICSEARCH_MIN: u64 = 7;

/// The engine behind a server.
#[derive(Debug)]
pub(crate) struct OpenSearch {
    server: Arc<Server>,
    worker: Arc<Worker>,
    is_closed: AtomicBool,
}

#[derive(Debug)]
struct Server {
    http: Http,
    names: Names,
    /// Fields of builds, which never change once they are set.
    definitions: Mutex<HashMap<ReadModelId, Arc<IndexDefinition>>>,
    /// Builds that this process has dropped.
    dropped: Mutex<HashSet<ReadModelId>>,
}

impl OpenSearch {
    pub(crate) async fn connect(url: &SearchUrl) -> Result<Self, OpenError> {
        let url = url.as_server().expect("directories have an engine of their own");
        let worker = Arc::new(Worker::start("gesta-search").map_err(OpenError::Threads)?);
        let (http, names) = (Http::new(url.clone())?, Names::new(url.prefix.clone()));
        let server = Arc::new(Server {
            http,
            names,
            definitions: Mutex::default(),
            dropped: Mutex::default(),
        });
        let checked = Arc::clone(&server);
        worker.run(async move { checked.check().await }).await.map_err(OpenError::Server)?;
        Ok(Self { server, worker, is_closed: AtomicBool::new(false) })
    }

    /// Runs calls on the threads of the store.
    async fn run<T, Work>(
        &self,
        work: impl FnOnce(Arc<Server>) -> Work + Send + 'static,
    ) -> Result<T, DatabaseError>
    where
        T: Send + 'static,
        Work: Future<Output = Result<T, DatabaseError>> + Send + 'static,
    {
        self.check_open()?;
        self.worker.run(work(Arc::clone(&self.server))).await
    }

    fn check_open(&self) -> Result<(), DatabaseError> {
        if self.is_closed.load(Ordering::Acquire) {
            return Err(DatabaseError::unavailable("the search store was closed"));
        }
        Ok(())
    }
}

/// An index of a projection. A closed one, which was quarantined, is not listed.
struct ListedIndex {
    build: ListedBuild,
    name: String,
}

impl Server {
    /// Checks that a supported server answers and accepts the user. Returns its name and version.
    async fn check(&self) -> Result<String, DatabaseError> {
        let answer = self.http.get("/").await?.ok(&self.http)?;
        let version = part(&answer, "/version");
        let number = part(version, "/number").as_str().unwrap_or_default();
        let major: Option<u64> = number.split('.').next().and_then(|major| major.parse().ok());
        let is_opensearch = part(version, "/distribution").as_str() == Some("opensearch");
        match major {
            Some(_) if is_opensearch => Ok(format!("OpenSearch {number}")),
            Some(major) if major >= ELASTICSEARCH_MIN => Ok(format!("Elasticsearch {number}")),
            Some(_) => Err(DatabaseError::rejected(format!(
                "{} is Elasticsearch {number}; expected version {ELASTICSEARCH_MIN} or later, or \
                 OpenSearch",
                self.http
            ))),
            None => Err(DatabaseError::rejected(format!(
                "{} is neither OpenSearch nor Elasticsearch",
                self.http
            ))),
        }
    }

    async fn list(&self, projection: &str) -> Result<Vec<ListedIndex>, DatabaseError> {
        let pattern = self.names.pattern(projection)?;
        let answer = self.http.get(&format!("/{pattern}")).await?;
        let indexes = answer.ok(&self.http)?;
        let indexes = indexes.as_object().into_iter().flatten();
        let mut listed: Vec<_> =
            indexes.filter_map(|(name, index)| self.listed(projection, name, index)).collect();
        listed.sort_by_key(|index| index.build.id.build);
        self.drop_overtaken(&mut listed).await?;
        Ok(listed)
    }

    /// Drops live indexes but the latest one. The server completes a creation whose caller was
    /// killed, or has given up, so that it may appear beside the one that the next caller made.
    async fn drop_overtaken(&self, listed: &mut Vec<ListedIndex>) -> Result<(), DatabaseError> {
        let is_live = |index: &ListedIndex| index.build.stage == Stage::Live;
        let last = listed.iter().rev().find(|index| is_live(index));
        let Some(last) = last.map(|index| index.build.id.build) else { return Ok(()) };
        let is_overtaken = |index: &ListedIndex| is_live(index) && index.build.id.build != last;
        for index in listed.iter().filter(|index| is_overtaken(index)) {
            self.drop_build(&index.build.id).await?;
        }
        listed.retain(|index| !is_overtaken(index));
        Ok(())
    }

    fn listed(&self, projection: &str, name: &str, index: &Value) -> Option<ListedIndex> {
        let about = part(index, "/mappings/_meta/gesta");
        let build = part(about, "/build").as_u64()?;
        let id = ReadModelId { projection: part(about, "/projection").as_str()?.to_owned(), build };
        if id.projection != projection {
            return None;
        }
        let version = u32::try_from(part(about, "/version").as_u64()?).ok()?;
        let has = |alias: &str| part(index, "/aliases").get(alias).is_some();
        // A build is known by its alias, so that a switch-over is one change of aliases.
        let stage = if has(&self.names.live(projection).ok()?) {
            Stage::Live
        } else if has(&self.names.retired(projection).ok()?) {
            Stage::Retired
        } else {
            Stage::Rebuilding
        };
        let build = ListedBuild { id, version, stage };
        Some(ListedIndex { build, name: name.to_owned() })
    }

    /// Returns the indexes of a projection, which include this one.
    async fn list_with(&self, build: &ReadModelId) -> Result<Vec<ListedIndex>, DatabaseError> {
        let all = self.list(&build.projection).await?;
        if all.iter().any(|index| index.build.id == *build) {
            return Ok(all);
        }
        Err(DatabaseError::Missing { read_model: build.clone() })
    }

    async fn create(
        &self,
        projection: String,
        version: u32,
        stage: Stage,
    ) -> Result<ReadModelId, DatabaseError> {
        let id = ReadModelId { build: self.next_build().await?, projection };
        let name = self.names.index(&id)?;
        let aliases: Vec<_> =
            self.alias_of(&id, stage)?.into_iter().chain([self.names.writes(&id)?]).collect();
        let body = mapping::index(&id, version, &aliases);
        self.http.put(&format!("/{name}"), &body).await?.ok(&self.http)?;
        Ok(id)
    }

    fn alias_of(&self, id: &ReadModelId, stage: Stage) -> Result<Option<String>, DatabaseError> {
        Ok(match stage {
            Stage::Live => Some(self.names.live(&id.projection)?),
            Stage::Retired => Some(self.names.retired(&id.projection)?),
            Stage::Rebuilding => None,
        })
    }

    /// Returns a number that was not given before: the server counts the versions of a document.
    async fn next_build(&self) -> Result<u64, DatabaseError> {
        let path = format!("/{}/_doc/last?refresh=false", self.names.builds());
        let answer = self.http.put(&path, &json!({})).await?.ok(&self.http)?;
        let number = part(&answer, "/_version").as_u64();
        number.ok_or_else(|| self.http.unexpected("gave no version of a document"))
    }

    async fn switch(&self, build: &ReadModelId, before: LiveBefore) -> Result<(), DatabaseError> {
        let live = self.names.live(&build.projection)?;
        let retired = self.names.retired(&build.projection)?;
        let mut actions = Vec::new();
        for index in self.list_with(build).await? {
            let (name, stage) = (&index.name, index.build.stage);
            let add = |alias: &str| json!({ "add": { "index": name, "alias": alias } });
            let remove = |alias: &str| json!({ "remove": { "index": name, "alias": alias } });
            if index.build.id == *build {
                if stage == Stage::Retired {
                    actions.push(remove(&retired));
                }
                actions.push(add(&live));
            } else if stage == Stage::Live && before == LiveBefore::Retired {
                actions.extend([remove(&live), add(&retired)]);
            } else {
                actions.push(json!({ "remove_index": { "index": name } }));
            }
        }
        self.change_aliases(actions).await
    }

    async fn change_aliases(&self, actions: Vec<Value>) -> Result<(), DatabaseError> {
        let body = json!({ "actions": actions });
        self.http.post_change("/_aliases", &body).await?.ok(&self.http).map(drop)
    }

    async fn resume(&self, build: &ReadModelId) -> Result<(), DatabaseError> {
        let all = self.list_with(build).await?;
        let own = all.into_iter().find(|index| index.build.id == *build);
        let retired = own.filter(|index| index.build.stage == Stage::Retired);
        let Some(ListedIndex { name, .. }) = retired else { return Ok(()) };
        let alias = self.names.retired(&build.projection)?;
        self.change_aliases(vec![json!({ "remove": { "index": name, "alias": alias } })]).await
    }

    /// Closes the index and keeps it as evidence.
    async fn quarantine(&self, build: &ReadModelId) -> Result<Option<String>, DatabaseError> {
        let all = match self.list_with(build).await {
            Ok(all) => all,
            Err(DatabaseError::Missing { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let own = all.into_iter().find(|index| index.build.id == *build);
        let Some(ListedIndex { name, build: ListedBuild { stage, .. } }) = own else {
            return Ok(None);
        };
        // Other programs that search the alias must not meet a closed index.
        if let Some(alias) = self.alias_of(build, stage)? {
            let remove = json!({ "remove": { "index": name, "alias": alias } });
            self.change_aliases(vec![remove]).await?;
        }
        self.forget(build);
        self.dropped().insert(build.clone());
        let answer = self.http.post_change(&format!("/{name}/_close"), &Value::Null).await?;
        self.of_build(build, answer).await?;
        Ok(Some(format!("the closed index {name} of {}", self.http)))
    }

    fn forget(&self, build: &ReadModelId) {
        self.definitions.lock().unwrap_or_else(PoisonError::into_inner).remove(build);
    }

    fn dropped(&self) -> MutexGuard<'_, HashSet<ReadModelId>> {
        self.dropped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn drop_build(&self, build: &ReadModelId) -> Result<(), DatabaseError> {
        self.forget(build);
        self.dropped().insert(build.clone());
        let name = self.names.index(build)?;
        let answer = self.http.delete(&format!("/{name}")).await?;
        if answer.is_missing_index() {
            return Ok(());
        }
        answer.ok(&self.http).map(drop)
    }

    async fn state(&self, build: &ReadModelId) -> Result<StoredState, DatabaseError> {
        let path = format!("/{}/_doc/{}", self.names.index(build)?, mapping::STATE_ID);
        let answer = self.http.get(&path).await?;
        if answer.status == 404 && part(&answer.body, "/found").as_bool() == Some(false) {
            return Ok(StoredState::default());
        }
        let found = self.of_build(build, answer).await?;
        let text = part(&found, mapping::SOURCE_POINTER).as_str();
        let token = (part(&found, "/_seq_no").as_u64(), part(&found, "/_primary_term").as_u64());
        let (Some(text), (Some(number), Some(term))) = (text, token) else {
            return Err(self.http.unexpected("gave a state without its sequence number"));
        };
        Ok(StoredState { text: Some(text.to_owned()), token: StateToken(number, term) })
    }

    /// Returns the body of a success.
    async fn of_build(&self, build: &ReadModelId, answer: Answer) -> Result<Value, DatabaseError> {
        if answer.is_missing_index() {
            return Err(self.missing(build).await);
        }
        answer.ok(&self.http)
    }

    /// Returns the error for a missing index. It was dropped if this process has done so, or
    /// another one is live: a switch-over leaves no projection without a live index. Otherwise
    /// another program has deleted it.
    async fn missing(&self, build: &ReadModelId) -> DatabaseError {
        self.forget(build);
        if self.dropped().contains(build) {
            return DatabaseError::Missing { read_model: build.clone() };
        }
        let (all, name) = match (self.list(&build.projection).await, self.names.index(build)) {
            (Ok(all), Ok(name)) => (all, name),
            (Err(error), _) | (_, Err(error)) => return error,
        };
        if all.iter().any(|index| index.build.stage == Stage::Live) {
            return DatabaseError::Missing { read_model: build.clone() };
        }
        let reason = format!(
            "{}: another program has deleted or closed the index {name}; rebuild the projection",
            self.http
        );
        DatabaseError::Corrupt { reason, source: None }
    }

    /// Returns an outcome, with the reason why an index is missing.
    async fn if_there<T>(
        &self,
        build: &ReadModelId,
        outcome: Result<T, DatabaseError>,
    ) -> Result<T, DatabaseError> {
        match outcome {
            Err(DatabaseError::Missing { .. }) => Err(self.missing(build).await),
            outcome => outcome,
        }
    }

    /// Looks at the indexes that this process has used. The next reader of a missing one fails.
    async fn look(&self) -> Vec<String> {
        let known: Vec<ReadModelId> = {
            let known = self.definitions.lock().unwrap_or_else(PoisonError::into_inner);
            known.keys().cloned().collect()
        };
        let mut troubles = Vec::new();
        for build in known {
            match self.state(&build).await {
                Ok(_) | Err(DatabaseError::Missing { .. }) => {}
                Err(error) => troubles.push(error.to_string()),
            }
        }
        troubles
    }

    async fn definition(
        &self,
        build: &ReadModelId,
    ) -> Result<Option<Arc<IndexDefinition>>, DatabaseError> {
        let known =
            self.definitions.lock().unwrap_or_else(PoisonError::into_inner).get(build).cloned();
        if known.is_some() {
            return Ok(known);
        }
        let stored = self.state(build).await?;
        let definition = BuildState::parse(stored.text.as_deref())?.definition.map(Arc::new);
        if let Some(definition) = &definition {
            let mut known = self.definitions.lock().unwrap_or_else(PoisonError::into_inner);
            known.insert(build.clone(), Arc::clone(definition));
        }
        Ok(definition)
    }

    async fn load(
        &self,
        build: &ReadModelId,
        ids: &[String],
    ) -> Result<Vec<Option<StoredDocument>>, DatabaseError> {
        let path =
            format!("/{}/_mget?_source_includes={}", self.names.index(build)?, mapping::SOURCE);
        let mut loaded = Vec::with_capacity(ids.len());
        for ids in ids.chunks(LOAD_MAX) {
            let ids: Vec<_> = ids.iter().map(|id| mapping::document_id(id)).collect();
            let count = ids.len();
            let answer = self.http.post(&path, &json!({ "ids": ids })).await?;
            let found = self.of_build(build, answer).await?;
            let found = part(&found, "/docs").as_array().map(Vec::as_slice).unwrap_or_default();
            if found.len() != count {
                return Err(self
                    .http
                    .unexpected("answered for other documents than were asked for"));
            }
            for document in found {
                let stored = self.stored(build, document);
                loaded.push(self.if_there(build, stored).await?);
            }
        }
        Ok(loaded)
    }

    fn stored(
        &self,
        build: &ReadModelId,
        found: &Value,
    ) -> Result<Option<StoredDocument>, DatabaseError> {
        match part(found, "/error/type").as_str() {
            Some(error) if http::is_of_missing_index(error) => {
                return Err(DatabaseError::Missing { read_model: build.clone() });
            }
            Some(error) => return Err(self.http.unexpected(&format!("cannot load: {error}"))),
            None => {}
        }
        if part(found, "/found").as_bool() != Some(true) {
            return Ok(None);
        }
        let Some(version) = part(found, "/_version").as_u64() else {
            return Err(self.http.unexpected("gave a document without its version"));
        };
        // A tombstone has no source.
        let document = part(found, mapping::SOURCE_POINTER).as_str().map(Document::parse);
        Ok(Some(StoredDocument { version, document: document.transpose()? }))
    }

    async fn write(&self, build: &ReadModelId, batch: &Batch) -> Result<Written, DatabaseError> {
        let index = self.names.index(build)?;
        if batch.is_defined {
            let fields = mapping::fields(&batch.definition);
            let answer = self.http.put(&format!("/{index}/_mapping"), &fields).await?;
            self.of_build(build, answer).await?;
        }
        let alias = self.names.writes(build)?;
        for body in bulk::bodies(&batch.writes, &batch.definition) {
            let path = format!("/{alias}/_bulk?require_alias=true");
            let answer = self.http.bulk(&path, body).await?;
            let answer = self.of_build(build, answer).await?;
            let checked = bulk::check(&answer, build, &self.http);
            self.if_there(build, checked).await?;
        }
        if !batch.writes.is_empty() {
            // Before the checkpoint: what it covers can be found.
            let answer = self.http.post_change(&format!("/{index}/_refresh"), &Value::Null).await?;
            self.of_build(build, answer).await?;
        }
        self.write_state(build, &alias, batch).await
    }

    async fn write_state(
        &self,
        build: &ReadModelId,
        alias: &str,
        batch: &Batch,
    ) -> Result<Written, DatabaseError> {
        let condition = match batch.token {
            StateToken(_, 0) => "op_type=create".to_owned(),
            StateToken(number, term) => format!("if_seq_no={number}&if_primary_term={term}"),
        };
        let path = format!("/{alias}/_doc/{}?require_alias=true&{condition}", mapping::STATE_ID);
        let answer = self.http.put(&path, &json!({ (mapping::SOURCE): batch.state })).await?;
        if answer.status == 409 {
            return Ok(Written::StateChanged);
        }
        self.of_build(build, answer).await?;
        Ok(Written::Stored)
    }

    async fn search(
        &self,
        build: &ReadModelId,
        search: &CheckedSearch,
    ) -> Result<SearchResults, DatabaseError> {
        // Without it, an index that is not open yet after a restart has no documents.
        let whole = "allow_partial_search_results=false";
        let path = format!("/{}/_search?{whole}", self.names.index(build)?);
        let answer = self.http.post(&path, &query::body(search)).await?;
        let found = self.of_build(build, answer).await?;
        query::results(&found, search, &self.http)
    }
}

impl SearchEngine for OpenSearch {
    fn troubles(&self) -> DatabaseFuture<'_, Vec<String>> {
        Box::pin(self.run(|server| async move {
            // An answer of any kind is enough; what a call needs is an error of its own.
            match server.check().await {
                Ok(_) => Ok(server.look().await),
                Err(error) => Ok(vec![error.to_string()]),
            }
        }))
    }

    fn version(&self) -> DatabaseFuture<'_, String> {
        Box::pin(self.run(|server| async move { server.check().await }))
    }

    fn list<'a>(&'a self, projection: &'a str) -> DatabaseFuture<'a, Vec<ListedBuild>> {
        let projection = projection.to_owned();
        Box::pin(self.run(|server| async move {
            let all = server.list(&projection).await?.into_iter();
            Ok(all.map(|index| index.build).collect())
        }))
    }

    fn create<'a>(&'a self, create: CreateReadModel<'a>) -> DatabaseFuture<'a, ReadModelId> {
        let (projection, version) = (create.projection.to_owned(), create.version);
        let stage = create.stage;
        Box::pin(
            self.run(move |server| async move { server.create(projection, version, stage).await }),
        )
    }

    fn switch<'a>(&'a self, build: &'a ReadModelId, before: LiveBefore) -> DatabaseFuture<'a, ()> {
        let build = build.clone();
        Box::pin(self.run(move |server| async move { server.switch(&build, before).await }))
    }

    fn resume<'a>(&'a self, build: &'a ReadModelId) -> DatabaseFuture<'a, ()> {
        let build = build.clone();
        Box::pin(self.run(|server| async move { server.resume(&build).await }))
    }

    fn quarantine<'a>(&'a self, build: &'a ReadModelId) -> DatabaseFuture<'a, Option<String>> {
        let build = build.clone();
        Box::pin(self.run(|server| async move { server.quarantine(&build).await }))
    }

    fn drop_build<'a>(&'a self, build: &'a ReadModelId) -> DatabaseFuture<'a, ()> {
        let build = build.clone();
        Box::pin(self.run(|server| async move { server.drop_build(&build).await }))
    }

    fn state<'a>(&'a self, build: &'a ReadModelId) -> DatabaseFuture<'a, StoredState> {
        let build = build.clone();
        Box::pin(self.run(|server| async move { server.state(&build).await }))
    }

    fn load<'a>(
        &'a self,
        build: &'a ReadModelId,
        ids: &'a [String],
    ) -> DatabaseFuture<'a, Vec<Option<StoredDocument>>> {
        let (build, ids) = (build.clone(), ids.to_vec());
        Box::pin(self.run(|server| async move { server.load(&build, &ids).await }))
    }

    fn write<'a>(&'a self, build: &'a ReadModelId, batch: Batch) -> DatabaseFuture<'a, Written> {
        let build = build.clone();
        Box::pin(self.run(|server| async move { server.write(&build, &batch).await }))
    }

    fn reader<'a>(&'a self, build: &'a ReadModelId) -> DatabaseFuture<'a, Box<dyn EngineReader>> {
        let build = build.clone();
        let (server, worker) = (Arc::clone(&self.server), Arc::clone(&self.worker));
        let open = self.check_open();
        Box::pin(async { open.map(|()| Box::new(ServerReader { server, worker, build }) as _) })
    }

    fn close(&self) -> DatabaseFuture<'_, ()> {
        // Idle connections end with the last handle.
        self.is_closed.store(true, Ordering::Release);
        Box::pin(async { Ok(()) })
    }
}

/// Reads an index, each call at its own moment.
#[derive(Debug)]
struct ServerReader {
    server: Arc<Server>,
    worker: Arc<Worker>,
    build: ReadModelId,
}

impl EngineReader for ServerReader {
    fn definition(&self) -> DatabaseFuture<'_, Option<Arc<IndexDefinition>>> {
        let (server, build) = (Arc::clone(&self.server), self.build.clone());
        Box::pin(self.worker.run(async move { server.definition(&build).await }))
    }

    fn load<'a>(&'a self, ids: &'a [String]) -> DatabaseFuture<'a, Vec<Option<StoredDocument>>> {
        let (server, build, ids) = (Arc::clone(&self.server), self.build.clone(), ids.to_vec());
        Box::pin(self.worker.run(async move { server.load(&build, &ids).await }))
    }

    fn search(&self, search: CheckedSearch) -> DatabaseFuture<'_, SearchResults> {
        let (server, build) = (Arc::clone(&self.server), self.build.clone());
        Box::pin(self.worker.run(async move { server.search(&build, &search).await }))
    }
}
