//! The store of read models: opening it, and the calls about read models as a whole.

use std::{fmt, sync::Arc, time::Duration};

use gesta_store::{
    CreateReadModel, DatabaseError, DeadLetter, ReadModel, ReadModelId, ReadModelStore, VisitRows,
    staged::{Area, BuildChange, BuildList, ListedBuild, RowRange, Wanted},
};

use super::{
    catalogue,
    connection::{Connection, KnownBuilds},
    head::{self, Head},
    purge,
    reader::{DynamoReader, look_up},
    rows::{self, GONE, Lookup},
    turns,
    tx::DynamoTx,
};
use crate::{
    client::{ConsumedUnits, Meter, connect},
    clock,
    errors::CallError,
    open_error::OpenError,
    open_mode::OpenMode,
    table::Table,
    url::DynamoUrl,
    worker::Worker,
};

/// Pause between looks at a commit of another process, and the time without a change after which it
/// counts as cut off.
const LOOK_PAUSE: Duration = Duration::from_millis(50);
const LOOKS_UNCHANGED: u32 = 60;
/// Looks after which a transaction gives way.
const LOOKS_MAX: u32 = 600;

/// Read models, checkpoints and snapshots in a table of DynamoDB. Clones share the connection.
///
/// Rows are JSON values by table and key. The rows, the checkpoint and the dead letters of a
/// transaction change at one moment, however many there are. Transactions on one read model take
/// turns within a process. If two processes commit at the same time, one of them is refused and
/// changes nothing: run each projection on one node, under a lease.
///
/// Costs are those of single writes, one for each row and two for each commit; nothing is read
/// before it is written. A key has at most 1,023 bytes and a value at most 190 KB.
///
/// ```no_run
/// use gesta_dynamodb::DynamoReadModels;
/// use gesta_store::ReadModelStore;
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let read_models = DynamoReadModels::connect("dynamodb://eu-central-1/shop").await?;
/// assert!(read_models.list_read_models("order-summaries").await?.is_empty());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct DynamoReadModels {
    shared: Arc<Connection>,
}

impl DynamoReadModels {
    /// Opens the store behind a URL ([`DynamoUrl`]), and creates its table if it is not there.
    ///
    /// # Errors
    ///
    /// [`OpenError`] if the URL is invalid, the server does not answer, or the credentials lack a
    /// right.
    pub async fn connect(url: &str) -> Result<Self, OpenError> {
        let url: DynamoUrl = url.parse()?;
        let worker = Worker::start().map_err(OpenError::Thread)?;
        let opening = open(url.clone(), worker.clone());
        let shared = worker.run(opening).await.map_err(|_| OpenError::Closed)??;
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Returns the capacity units that this store has consumed since it was opened.
    #[must_use]
    pub fn consumed_units(&self) -> ConsumedUnits {
        self.shared.meter.consumed()
    }

    pub(super) fn shared(&self) -> &Arc<Connection> {
        &self.shared
    }

    /// Marks read models that a change of the list has dropped, and removes old rows.
    async fn after_drop(&self, projection: &str, builds: Vec<u64>) -> Result<(), DatabaseError> {
        let (table, projection) = (self.shared.table.clone(), projection.to_owned());
        let removal = (table.clone(), projection.clone());
        self.shared
            .call(async move {
                for build in builds {
                    let id = ReadModelId { projection: projection.clone(), build };
                    let marked = head::mark_dropped(&table, &id).await;
                    marked.map_err(CallError::into_database)?;
                }
                Ok(())
            })
            .await?;
        let old = async move { purge::remove_old(&removal.0, &removal.1).await };
        self.shared.spawn("the removal of old rows", old);
        Ok(())
    }

    /// Changes a read model in the list of its projection, which has to contain it.
    async fn change_list(
        &self,
        id: &ReadModelId,
        change: BuildChange,
    ) -> Result<(), DatabaseError> {
        let (table, own) = (self.shared.table.clone(), id.clone());
        let work = async move {
            let changed = catalogue::change(&table, &own.projection, |list| {
                list.change(own.build, change, clock::epoch_seconds())
            });
            changed.await.map_err(CallError::into_database)
        };
        let missing = || DatabaseError::Missing { read_model: id.clone() };
        let dropped = self.shared.call(work).await?.ok_or_else(missing)?;
        self.after_drop(&id.projection, dropped).await
    }

    /// Reads the head of a read model that was not dropped.
    async fn head(&self, id: &ReadModelId) -> Result<Head, DatabaseError> {
        let (table, own) = (self.shared.table.clone(), id.clone());
        self.shared.call(async move { catalogue::live_head(&table, &own).await }).await
    }
}

async fn open(url: DynamoUrl, worker: Worker) -> Result<Connection, OpenError> {
    let meter = Arc::new(Meter::default());
    let table = Table::new(connect(&url).await, &url, "read-models", Arc::clone(&meter));
    let failed = |error| OpenError::of(&url, table.name(), error);
    table.open(OpenMode::Create).await.map_err(failed)?;
    // Remains of deleted rows cost storage and nothing else.
    if let Err(error) = table.expire_by(GONE).await {
        let error = error.into_database();
        tracing::warn!(%error, table = table.name(), "remains of deleted rows are not removed");
    }
    let builds = KnownBuilds::default();
    Ok(Connection { worker, table: table.clone(), meter, url, builds })
}

/// Reads the head for a transaction. Waits for a commit of another process that is in progress.
async fn settled_head(table: &Table, id: &ReadModelId) -> Result<Head, DatabaseError> {
    let mut unchanged = 0;
    let mut before = None;
    for _ in 0..LOOKS_MAX {
        let head = catalogue::live_head(table, id).await?;
        match &head.pending {
            None => return Ok(head),
            // Its transaction has ended, or this one would not have its turn.
            Some(pending) if pending.is_of_this_process() => return Ok(head),
            pending => {
                unchanged = if *pending == before { unchanged + 1 } else { 0 };
                before.clone_from(pending);
            }
        }
        if unchanged >= LOOKS_UNCHANGED {
            return Ok(head);
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
    Err(DatabaseError::unavailable("other processes commit to this read model all the time"))
}

impl fmt::Debug for DynamoReadModels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DynamoReadModels").field(&self.shared.url.to_string()).finish()
    }
}

impl ReadModelStore for DynamoReadModels {
    type Tx = DynamoTx;
    type Reader = DynamoReader;

    fn place(&self) -> String {
        self.shared.url.to_string()
    }

    async fn list_read_models(&self, projection: &str) -> Result<Vec<ReadModel>, DatabaseError> {
        let (table, projection) = (self.shared.table.clone(), projection.to_owned());
        let known = self.shared.builds.clone();
        let work = async move {
            let mut listed = Vec::new();
            for listed_build in catalogue::load(&table, &projection).await?.builds() {
                let ListedBuild { build, version, stage } = *listed_build;
                let id = ReadModelId { projection: projection.clone(), build };
                // A checkpoint that cannot be read is reported when the read model is opened.
                let checkpoint = match head::load(&table, &id).await {
                    Err(CallError::Damaged(_)) => None,
                    head => head?.and_then(|head| head.checkpoint),
                };
                known.note(&projection, build);
                listed.push(ReadModel::new(id, version, stage).checkpoint(checkpoint));
            }
            Ok::<_, CallError>(listed)
        };
        self.shared.call(async move { work.await.map_err(CallError::into_database) }).await
    }

    async fn create_read_model(
        &self,
        create: CreateReadModel<'_>,
    ) -> Result<ReadModelId, DatabaseError> {
        let (version, stage) = (create.version, create.stage);
        let (table, projection) = (self.shared.table.clone(), create.projection.to_owned());
        let (name, known) = (projection.clone(), self.shared.builds.clone());
        let work = async move {
            // Another program may have deleted the table since the store was opened.
            table.open(OpenMode::Create).await?;
            loop {
                // The head first: a read model that is listed can be used.
                let list = catalogue::load(&table, &name).await?;
                let build = match list == BuildList::default() {
                    true => known.after(&name, list.next_build()),
                    false => list.next_build(),
                };
                let id = ReadModelId { projection: name.clone(), build };
                head::create(&table, &id).await?;
                let listed = catalogue::change(&table, &name, |list| {
                    catalogue::add(list, ListedBuild { build, version, stage })
                });
                if listed.await?.is_some() {
                    known.note(&name, build);
                    return Ok(id);
                }
            }
        };
        let work = async move { work.await.map_err(CallError::into_database) };
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

    /// Keeps the rows as they are, under keys that no read model has.
    async fn quarantine(&self, read_model: &ReadModelId) -> Result<Option<String>, DatabaseError> {
        let (table, id) = (self.shared.table.clone(), read_model.clone());
        let work = async move {
            catalogue::change(&table, &id.projection, |list| {
                list.change(id.build, BuildChange::Quarantine, clock::epoch_seconds())
            })
            .await?;
            head::mark_dropped(&table, &id).await
        };
        self.shared.call(async move { work.await.map_err(CallError::into_database) }).await?;
        let keys = rows::partition(read_model, "");
        Ok(Some(format!(
            "table {}, partition keys that begin with {keys}",
            self.shared.table.name()
        )))
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

    async fn begin(&self, read_model: &ReadModelId) -> Result<DynamoTx, DatabaseError> {
        let place =
            format!("{} {} {read_model}", self.shared.url.server(), self.shared.table.name());
        let turn = turns::take(&place).await;
        let (table, id) = (self.shared.table.clone(), read_model.clone());
        let head = self.shared.call(async move { settled_head(&table, &id).await }).await?;
        Ok(DynamoTx::new(Arc::clone(&self.shared), read_model.clone(), head, turn))
    }

    async fn reader(&self, read_model: &ReadModelId) -> Result<DynamoReader, DatabaseError> {
        let head = self.head(read_model).await?;
        Ok(DynamoReader::new(Arc::clone(&self.shared), read_model.clone(), &head))
    }

    async fn visit_rows<V: VisitRows>(
        reader: &mut DynamoReader,
        visitor: V,
    ) -> Result<V, DatabaseError> {
        reader.visit_rows(visitor).await
    }

    async fn dead_letters(
        &self,
        read_model: &ReadModelId,
    ) -> Result<Vec<DeadLetter>, DatabaseError> {
        self.head(read_model).await?;
        let (table, id) = (self.shared.table.clone(), read_model.clone());
        let lookup = Lookup::new(read_model, &Area::Letters, Wanted::Range(RowRange::ALL));
        let listed = self.shared.call(async move { look_up(&table, &id, None, &lookup).await });
        let letters = listed.await?.0.into_iter().map(|(key, letter)| {
            let damaged = || DatabaseError::Corrupt {
                reason: format!("dead letter {key} of {read_model} cannot be read"),
                source: None,
            };
            DeadLetter::from_json(&letter).ok_or_else(damaged)
        });
        letters.collect()
    }
}
