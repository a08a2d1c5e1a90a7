//! The store of read models: opening it, and the calls about read models as a whole.

use std::{fmt, sync::Arc};

use gesta_store::{
    CreateReadModel, DatabaseError, DeadLetter, ReadModel, ReadModelId, ReadModelStore, VisitRows,
    staged::{Area, BuildChange, ListedBuild, RowRange, Wanted},
};

use super::{
    catalogue,
    commit::{live_head, settled_head},
    connection::{Connection, Place},
    head,
    lookup::{Lookup, look_up},
    marks, purge,
    reader::MongoReader,
    turns,
    tx::MongoTx,
};
use crate::{
    client::{Commits, Heartbeats, connect},
    clock,
    errors::CallError,
    names,
    open_error::OpenError,
    url::MongoUrl,
    worker::Worker,
};

/// Read models, checkpoints and snapshots in a database of MongoDB. Clones share the connection.
///
/// Rows are JSON values by table and key, and documents in MongoDB. The rows, the checkpoint and
/// the dead letters of a transaction change at one moment, however many there are. Transactions on
/// one read model take turns within a process. If two processes commit at the same time, one of
/// them is refused and changes nothing: run each projection on one node, under a lease.
///
/// A key has at most 1,023 bytes, and a value at most 4 MiB and 90 levels.
///
/// ```no_run
/// use gesta_mongodb::MongoReadModels;
/// use gesta_store::ReadModelStore;
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let read_models = MongoReadModels::connect("mongodb://127.0.0.1:27017/shop").await?;
/// assert!(read_models.list_read_models("products").await?.is_empty());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct MongoReadModels {
    shared: Arc<Connection>,
}

impl MongoReadModels {
    /// Opens the store behind a URL, `mongodb://USER:PASSWORD@HOST:PORT/DATABASE?…`, whose
    /// parameters are those of MongoDB's clients. The collections of the store are created if they
    /// are not there, those of tables with their first row.
    ///
    /// Commits with transactions if the server has them, and with staged batches otherwise.
    ///
    /// # Errors
    ///
    /// [`OpenError`] if the URL is invalid, the server does not answer, or it refuses the user.
    pub async fn connect(url: &str) -> Result<Self, OpenError> {
        Self::open(url, None).await
    }

    /// Opens the store behind a URL and commits in this way. Otherwise the same as
    /// [`connect`](Self::connect).
    ///
    /// All processes that write a read model may commit in different ways.
    ///
    /// # Errors
    ///
    /// The same as [`connect`](Self::connect), and [`OpenError::Server`] if the server has no
    /// transactions and they are asked for.
    pub async fn connect_with(url: &str, commits: Commits) -> Result<Self, OpenError> {
        Self::open(url, Some(commits)).await
    }

    async fn open(url: &str, commits: Option<Commits>) -> Result<Self, OpenError> {
        let url: MongoUrl = url.parse()?;
        let worker = Worker::start().map_err(OpenError::Thread)?;
        let opening = open(url.clone(), commits);
        let place = worker.run(opening).await;
        let place = place.map_err(CallError::from).and_then(|opened| opened);
        let place = place.map_err(|error| OpenError::of(&url.server, error))?;
        Ok(Self { shared: Arc::new(Connection { worker, place }) })
    }

    /// Returns the way in which this store commits.
    #[must_use]
    pub fn commits(&self) -> Commits {
        self.shared.place.commits
    }

    /// Returns the name of the collection that has the rows of a table.
    #[must_use]
    pub fn collection_of(read_model: &ReadModelId, table: &str) -> String {
        names::of_table(read_model, table)
    }

    pub(super) fn shared(&self) -> &Arc<Connection> {
        &self.shared
    }

    /// Marks read models that a change of the list has dropped, and removes old ones.
    async fn after_drop(&self, projection: &str, builds: Vec<u64>) -> Result<(), DatabaseError> {
        let (place, projection) = (self.shared.place.clone(), projection.to_owned());
        let removal = (place.clone(), projection.clone());
        self.shared
            .call(async move {
                for build in builds {
                    let id = ReadModelId { projection: projection.clone(), build };
                    head::mark_dropped(&place, &id).await?;
                }
                Ok(())
            })
            .await?;
        let old = async move { purge::remove_old(&removal.0, &removal.1).await };
        self.shared.spawn("the removal of old read models", old);
        Ok(())
    }

    /// Changes a read model in the list of its projection, which has to contain it.
    async fn change_list(
        &self,
        id: &ReadModelId,
        change: BuildChange,
    ) -> Result<(), DatabaseError> {
        let (place, own) = (self.shared.place.clone(), id.clone());
        let work = async move {
            catalogue::change(&place, &own.projection, |list| {
                list.change(own.build, change, clock::epoch_seconds())
            })
            .await
        };
        let missing = || DatabaseError::Missing { read_model: id.clone() };
        let dropped = self.shared.call(work).await?.ok_or_else(missing)?;
        self.after_drop(&id.projection, dropped).await
    }
}

async fn open(url: MongoUrl, commits: Option<Commits>) -> Result<Place, CallError> {
    let heartbeats = Heartbeats::default();
    let opened = open_with(&url, commits, &heartbeats).await;
    opened.map_err(|error| heartbeats.explain(error))
}

async fn open_with(
    url: &MongoUrl,
    commits: Option<Commits>,
    heartbeats: &Heartbeats,
) -> Result<Place, CallError> {
    let (database, deployment) = connect(url, heartbeats).await?;
    let commits = match commits {
        Some(Commits::Transactions) if !deployment.has_transactions => {
            let reason = "it has no transactions, which need a replica set of MongoDB";
            return Err(CallError::Invalid(reason.to_owned()));
        }
        Some(commits) => commits,
        None if deployment.has_transactions => Commits::Transactions,
        None => Commits::StagedBatches,
    };
    let place = Place::new((database, deployment), commits, (&url.server, heartbeats));
    for name in names::OWN {
        place.create(name).await?;
    }
    Ok(place)
}

impl fmt::Debug for MongoReadModels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MongoReadModels").field(&self.shared.place.server).finish()
    }
}

impl ReadModelStore for MongoReadModels {
    type Tx = MongoTx;
    type Reader = MongoReader;

    fn place(&self) -> String {
        self.shared.place.server.to_string()
    }

    async fn list_read_models(&self, projection: &str) -> Result<Vec<ReadModel>, DatabaseError> {
        let (place, projection) = (self.shared.place.clone(), projection.to_owned());
        let work = async move {
            let mut listed = Vec::new();
            for listed_build in catalogue::load(&place, &projection).await?.builds() {
                let ListedBuild { build, version, stage } = *listed_build;
                let id = ReadModelId { projection: projection.clone(), build };
                // A checkpoint that cannot be read is reported when the read model is opened.
                let checkpoint = match head::load(&place, &id).await {
                    Err(CallError::Damaged(_)) => None,
                    head => head?.and_then(|head| head.checkpoint),
                };
                listed.push(ReadModel::new(id, version, stage).checkpoint(checkpoint));
            }
            Ok(listed)
        };
        self.shared.call(work).await
    }

    async fn create_read_model(
        &self,
        create: CreateReadModel<'_>,
    ) -> Result<ReadModelId, DatabaseError> {
        names::check(create.projection, "")?;
        let (version, stage) = (create.version, create.stage);
        let (place, projection) = (self.shared.place.clone(), create.projection.to_owned());
        let name = projection.clone();
        let work = async move {
            loop {
                // The head first: a read model that is listed can be used.
                let build = catalogue::next_build(&place, &name).await?;
                let id = ReadModelId { projection: name.clone(), build };
                head::create(&place, &id).await?;
                let listed = catalogue::change(&place, &name, |list| {
                    list.add(ListedBuild { build, version, stage }).then_some(())
                });
                if listed.await?.is_some() {
                    return Ok(id);
                }
            }
        };
        let id = self.shared.call(work).await?;
        self.after_drop(&projection, Vec::new()).await?;
        Ok(id)
    }

    async fn switch_to(&self, read_model: &ReadModelId) -> Result<(), DatabaseError> {
        self.change_list(read_model, BuildChange::Switch).await
    }

    async fn switch_keeping(&self, read_model: &ReadModelId) -> Result<(), DatabaseError> {
        self.change_list(read_model, BuildChange::SwitchKeeping).await
    }

    async fn resume(&self, read_model: &ReadModelId) -> Result<(), DatabaseError> {
        self.change_list(read_model, BuildChange::Resume).await
    }

    /// Keeps the collections as they are.
    async fn quarantine(&self, read_model: &ReadModelId) -> Result<Option<String>, DatabaseError> {
        let (place, id) = (self.shared.place.clone(), read_model.clone());
        let work = async move {
            catalogue::change(&place, &id.projection, |list| {
                list.change(id.build, BuildChange::Quarantine, clock::epoch_seconds())
            })
            .await?;
            head::mark_dropped(&place, &id).await
        };
        self.shared.call(work).await?;
        let names = names::of_read_model(read_model);
        let server = &self.shared.place.server;
        Ok(Some(format!("{server}, collections whose names begin with {names}")))
    }

    async fn drop_read_model(&self, read_model: &ReadModelId) -> Result<(), DatabaseError> {
        match self.change_list(read_model, BuildChange::Drop).await {
            // A drop that was cut off may have left the head.
            Err(DatabaseError::Missing { .. }) => {
                self.after_drop(&read_model.projection, vec![read_model.build]).await
            }
            outcome => outcome,
        }
    }

    async fn begin(&self, read_model: &ReadModelId) -> Result<MongoTx, DatabaseError> {
        let turn = turns::take(&format!("{} {read_model}", self.shared.place.server)).await;
        let (place, id) = (self.shared.place.clone(), read_model.clone());
        let head = self.shared.call(async move { settled_head(&place, &id).await }).await?;
        Ok(MongoTx::new(Arc::clone(&self.shared), read_model.clone(), head, turn))
    }

    async fn reader(&self, read_model: &ReadModelId) -> Result<MongoReader, DatabaseError> {
        let (place, id) = (self.shared.place.clone(), read_model.clone());
        let opened = async move {
            let head = live_head(&place, &id).await?;
            marks::look(&place, &id, &head).await?;
            Ok(head)
        };
        let head = self.shared.call(opened).await?;
        Ok(MongoReader::new(Arc::clone(&self.shared), read_model.clone(), head.version))
    }

    async fn visit_rows<V: VisitRows>(
        reader: &mut MongoReader,
        visitor: V,
    ) -> Result<V, DatabaseError> {
        reader.visit_rows(visitor).await
    }

    async fn dead_letters(
        &self,
        read_model: &ReadModelId,
    ) -> Result<Vec<DeadLetter>, DatabaseError> {
        let (place, id) = (self.shared.place.clone(), read_model.clone());
        let lookup = Lookup { area: Area::Letters, wanted: Wanted::Range(RowRange::ALL) };
        let work = async move {
            let first = live_head(&place, &id).await?.version;
            let (found, _) = look_up(&place, &id, Some(first), &lookup).await?;
            let letters = found.into_iter().map(|(key, value)| {
                let damaged = || format!("dead letter {key} of {id} cannot be read");
                DeadLetter::from_json(&value).ok_or_else(|| CallError::Damaged(damaged()))
            });
            letters.collect()
        };
        self.shared.call(work).await
    }
}
