//! Portable rows on documents, so that the suite of read models runs on a search store.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
};

use gesta_search::{
    Document, Filter, IndexDefinition, PAGE_MAX, Search, SearchReader, SearchStore, SearchTx, Sort,
};
use gesta_store::{
    Advance, Checkpoint, CheckpointStore, CreateReadModel, DatabaseError, DatabaseFuture,
    DeadLetter, ListRows, MemoryReadModels, Position, ReadModel, ReadModelId, ReadModelStore,
    ReadModelTx, ReadRows, Row, Rows, Snapshot, SnapshotStore, StreamName,
};
use serde_json::Value;

type Result<T> = std::result::Result<T, DatabaseError>;

/// Every write is a later event than all before.
static POSITIONS: AtomicU64 = AtomicU64::new(1);

fn next_position() -> Position {
    Position::new(POSITIONS.fetch_add(1, Ordering::Relaxed))
}

/// A store whose read models have rows.
#[derive(Clone)]
pub(crate) struct Portable {
    store: SearchStore,
    /// Search stores have no checkpoints of consumers and no snapshots.
    consumers: MemoryReadModels,
}

pub(crate) struct PortableTx {
    tx: SearchTx,
    committed: SearchReader,
    /// Own writes by table and key; `None` for a deleted row.
    own: BTreeMap<(String, String), Option<Value>>,
}

pub(crate) struct PortableReader(SearchReader);

impl Portable {
    pub(crate) fn on(store: SearchStore) -> Self {
        Self { store, consumers: MemoryReadModels::new() }
    }
}

fn row_id(table: &str, key: &str) -> String {
    format!("{table}\u{1}{key}")
}

impl ReadModelStore for Portable {
    type Tx = PortableTx;
    type Reader = PortableReader;

    async fn list_read_models(&self, projection: &str) -> Result<Vec<ReadModel>> {
        self.store.list_read_models(projection).await
    }

    async fn create_read_model(&self, create: CreateReadModel<'_>) -> Result<ReadModelId> {
        let id = self.store.create_read_model(create).await?;
        let mut tx = self.store.begin(&id).await?;
        tx.define(IndexDefinition::new().keyword("table"))?;
        tx.commit().await?;
        Ok(id)
    }

    async fn switch_to(&self, read_model: &ReadModelId) -> Result<()> {
        self.store.switch_to(read_model).await
    }

    async fn switch_keeping(&self, read_model: &ReadModelId) -> Result<()> {
        self.store.switch_keeping(read_model).await
    }

    async fn resume(&self, read_model: &ReadModelId) -> Result<()> {
        self.store.resume(read_model).await
    }

    async fn quarantine(&self, read_model: &ReadModelId) -> Result<Option<String>> {
        self.store.quarantine(read_model).await
    }

    async fn drop_read_model(&self, read_model: &ReadModelId) -> Result<()> {
        self.store.drop_read_model(read_model).await
    }

    async fn begin(&self, read_model: &ReadModelId) -> Result<PortableTx> {
        let tx = self.store.begin(read_model).await?;
        let committed = self.store.reader(read_model).await?;
        Ok(PortableTx { tx, committed, own: BTreeMap::new() })
    }

    async fn reader(&self, read_model: &ReadModelId) -> Result<PortableReader> {
        Ok(PortableReader(self.store.reader(read_model).await?))
    }

    async fn dead_letters(&self, read_model: &ReadModelId) -> Result<Vec<DeadLetter>> {
        self.store.dead_letters(read_model).await
    }
}

impl ReadModelTx for PortableTx {
    async fn checkpoint(&mut self) -> Result<Option<Checkpoint>> {
        self.tx.checkpoint().await
    }

    async fn advance(&mut self, advance: Advance) -> Result<()> {
        self.tx.advance(advance).await
    }

    async fn put_dead_letter(&mut self, letter: DeadLetter) -> Result<()> {
        self.tx.put_dead_letter(letter).await
    }

    async fn delete_dead_letter(&mut self, position: Position) -> Result<bool> {
        self.tx.delete_dead_letter(position).await
    }

    async fn property(&mut self, name: &str) -> Result<Option<String>> {
        self.tx.property(name).await
    }

    async fn set_property(&mut self, name: &str, value: &str) -> Result<()> {
        self.tx.set_property(name, value).await
    }

    async fn commit(self) -> Result<()> {
        self.tx.commit().await
    }

    async fn rollback(self) -> Result<()> {
        self.tx.rollback().await
    }
}

impl ReadRows for PortableTx {
    async fn get_json(&mut self, table: &str, key: &str) -> Result<Option<Value>> {
        let found = self.tx.get(&row_id(table, key)).await?;
        Ok(found.map(|document| document.body_value().clone()))
    }

    async fn list_json(&mut self, list: ListRows<'_>) -> Result<Vec<Row>> {
        let mut rows = all_rows(&self.committed, list.table).await?;
        for ((_, key), value) in self.own.iter().filter(|((table, _), _)| table == list.table) {
            match value {
                Some(value) => rows.insert(key.clone(), value.clone()),
                None => rows.remove(key),
            };
        }
        Ok(listed(rows, list))
    }
}

impl Rows for PortableTx {
    async fn put_json(&mut self, table: &str, key: &str, value: &Value) -> Result<()> {
        let row = Document::new(row_id(table, key)).keyword("table", table).body(value.clone());
        self.own.insert((table.to_owned(), key.to_owned()), Some(value.clone()));
        self.tx.put(row, next_position())
    }

    async fn delete(&mut self, table: &str, key: &str) -> Result<()> {
        self.own.insert((table.to_owned(), key.to_owned()), None);
        self.tx.delete(&row_id(table, key), next_position());
        Ok(())
    }
}

impl ReadRows for PortableReader {
    async fn get_json(&mut self, table: &str, key: &str) -> Result<Option<Value>> {
        let found = self.0.get(&row_id(table, key)).await?;
        Ok(found.map(|document| document.body_value().clone()))
    }

    async fn list_json(&mut self, list: ListRows<'_>) -> Result<Vec<Row>> {
        Ok(listed(all_rows(&self.0, list.table).await?, list))
    }
}

async fn all_rows(reader: &SearchReader, table: &str) -> Result<BTreeMap<String, Value>> {
    let search = Search::new().filter(Filter::is("table", table)).sort(Sort::Id).limit(PAGE_MAX);
    let (mut rows, mut cursor) = (BTreeMap::new(), None);
    loop {
        let found = reader.search(&search.clone().after(cursor)).await?;
        for hit in found.hits {
            let id = hit.document.id();
            let key = id.split_once('\u{1}').map_or(id, |(_, key)| key).to_owned();
            rows.insert(key, hit.document.body_value().clone());
        }
        let Some(next) = found.next else { return Ok(rows) };
        cursor = Some(next);
    }
}

fn listed(rows: BTreeMap<String, Value>, list: ListRows<'_>) -> Vec<Row> {
    rows.into_iter()
        .filter(|(key, _)| key.starts_with(list.prefix))
        .filter(|(key, _)| list.after.is_none_or(|after| key.as_str() > after))
        .take(list.limit)
        .map(|(key, value)| Row { key, value })
        .collect()
}

impl CheckpointStore for Portable {
    fn load_checkpoint<'a>(&'a self, consumer: &'a str) -> DatabaseFuture<'a, Option<Checkpoint>> {
        self.consumers.load_checkpoint(consumer)
    }

    fn save_checkpoint<'a>(
        &'a self,
        consumer: &'a str,
        checkpoint: Checkpoint,
    ) -> DatabaseFuture<'a, ()> {
        self.consumers.save_checkpoint(consumer, checkpoint)
    }
}

impl SnapshotStore for Portable {
    fn load_snapshot<'a>(&'a self, stream: &'a StreamName) -> DatabaseFuture<'a, Option<Snapshot>> {
        self.consumers.load_snapshot(stream)
    }

    fn save_snapshot(&self, snapshot: Snapshot) -> DatabaseFuture<'_, ()> {
        self.consumers.save_snapshot(snapshot)
    }

    fn delete_snapshot<'a>(&'a self, stream: &'a StreamName) -> DatabaseFuture<'a, ()> {
        self.consumers.delete_snapshot(stream)
    }
}
