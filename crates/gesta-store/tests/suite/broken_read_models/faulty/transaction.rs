//! Transactions and readers of a store with one planted fault.

use std::sync::atomic::Ordering;

use gesta_store::{
    Advance, Checkpoint, DatabaseError, DeadLetter, DeadLetterReason, ListRows, MemoryReadModels,
    MemoryReader, MemoryTx, Partition, Position, ReadModelId, ReadModelStore, ReadModelTx,
    ReadRows, Row, Rows, VisitRows,
};
use serde_json::Value;

use super::{BrokenReadModel, FaultyReadModels, lock};

/// Start of the names of the properties with fencing tokens.
const TOKEN: &str = "$fencing-token";

/// Rows that a transaction of a faulty store replaces.
const REPLACED_MAX: usize = 100;

/// A transaction of [`FaultyReadModels`].
pub(crate) struct FaultyTx {
    store: FaultyReadModels,
    id: ReadModelId,
    /// `None` only while it is dropped.
    inner: Option<MemoryTx>,
    /// The rows before the wait for this transaction, if it waited.
    before: Option<MemoryReader>,
    is_of_partition: bool,
    /// Number of rows that replaced another one.
    replaced: usize,
}

impl FaultyTx {
    pub(super) fn of_partition(mut self) -> Self {
        self.is_of_partition = true;
        self
    }

    pub(super) fn new(
        store: FaultyReadModels,
        id: ReadModelId,
        begun: Result<MemoryTx, DatabaseError>,
        before: Option<MemoryReader>,
    ) -> Result<Self, DatabaseError> {
        let (inner, error) = match begun {
            Ok(tx) => (Some(tx), None),
            Err(error) => (None, Some(error)),
        };
        let tx = Self { store, id, inner, before, is_of_partition: false, replaced: 0 };
        error.map_or(Ok(tx), Err)
    }

    fn inner(&mut self) -> &mut MemoryTx {
        self.inner.as_mut().expect("a transaction is open until it is dropped")
    }

    fn property_name<'a>(&self, name: &'a str) -> &'a str {
        match self.store.has(BrokenReadModel::OneTokenForAll) && name.starts_with(TOKEN) {
            true => TOKEN,
            false => name,
        }
    }

    fn key(&self, key: &str) -> String {
        match self.store.has(BrokenReadModel::LowersKeys) {
            true => key.to_lowercase(),
            false => key.to_owned(),
        }
    }
}

impl Drop for FaultyTx {
    fn drop(&mut self) {
        self.store.shared.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl ReadModelTx for FaultyTx {
    async fn checkpoint(&mut self) -> Result<Option<Checkpoint>, DatabaseError> {
        self.inner().checkpoint().await
    }

    async fn advance(&mut self, mut advance: Advance) -> Result<(), DatabaseError> {
        if self.store.has(BrokenReadModel::AdvancesFromAnywhere) {
            advance.from = self.inner().checkpoint().await?;
        }
        self.inner().advance(advance).await
    }

    async fn partition_checkpoint(
        &mut self,
        partition: Partition,
    ) -> Result<Option<Checkpoint>, DatabaseError> {
        self.inner().partition_checkpoint(partition).await
    }

    async fn advance_partition(
        &mut self,
        partition: Partition,
        mut advance: Advance,
    ) -> Result<(), DatabaseError> {
        if self.store.has(BrokenReadModel::PartitionsAdvanceFromAnywhere) {
            advance.from = self.inner().partition_checkpoint(partition).await?;
        }
        self.inner().advance_partition(partition, advance).await?;
        if self.store.has(BrokenReadModel::FollowsTheFastest) {
            let from = self.inner().checkpoint().await?;
            self.inner().advance(Advance { from, to: advance.to }).await?;
        }
        Ok(())
    }

    async fn put_dead_letter(&mut self, mut letter: DeadLetter) -> Result<(), DatabaseError> {
        if self.store.has(BrokenReadModel::CutsErrors)
            && let DeadLetterReason::Failed { error, .. } = &mut letter.reason
        {
            error.truncate(8);
        }
        self.inner().put_dead_letter(letter).await
    }

    async fn delete_dead_letter(&mut self, position: Position) -> Result<bool, DatabaseError> {
        let was_there = self.inner().delete_dead_letter(position).await?;
        Ok(was_there || self.store.has(BrokenReadModel::ReportsAnyDeletion))
    }

    async fn property(&mut self, name: &str) -> Result<Option<String>, DatabaseError> {
        let name = self.property_name(name);
        if self.store.has(BrokenReadModel::PropertiesOutliveRollback) {
            let key = (self.id.clone(), name.to_owned());
            return Ok(lock(&self.store.shared.properties).get(&key).cloned());
        }
        self.inner().property(name).await
    }

    async fn set_property(&mut self, name: &str, value: &str) -> Result<(), DatabaseError> {
        if self.store.has(BrokenReadModel::LosesTokens) && name.starts_with(TOKEN) {
            return Ok(());
        }
        let name = self.property_name(name);
        let key = (self.id.clone(), name.to_owned());
        lock(&self.store.shared.properties).insert(key, value.to_owned());
        self.inner().set_property(name, value).await
    }

    async fn commit(mut self) -> Result<(), DatabaseError> {
        let inner = self.inner.take().expect("a transaction is open until it is dropped");
        inner.commit().await
    }

    async fn rollback(mut self) -> Result<(), DatabaseError> {
        let inner = self.inner.take().expect("a transaction is open until it is dropped");
        match self.store.has(BrokenReadModel::CommitsOnRollback) {
            true => inner.commit().await,
            false => inner.rollback().await,
        }
    }
}

impl ReadRows for FaultyTx {
    async fn get_json(&mut self, table: &str, key: &str) -> Result<Option<Value>, DatabaseError> {
        let key = self.key(key);
        let reads_from_before = self.store.has(BrokenReadModel::ReadsFromBeforeTheWait)
            || self.is_of_partition && self.store.has(BrokenReadModel::PartitionsReadFromBefore);
        match &mut self.before {
            Some(before) if reads_from_before => before.get_json(table, &key).await,
            _ => self.inner().get_json(table, &key).await,
        }
    }

    async fn list_json(&mut self, list: ListRows<'_>) -> Result<Vec<Row>, DatabaseError> {
        if self.store.has(BrokenReadModel::ListsCommittedRows) {
            return self.store.inner.reader(&self.id).await?.list_json(list).await;
        }
        self.inner().list_json(list).await
    }
}

impl Rows for FaultyTx {
    async fn put_json(
        &mut self,
        table: &str,
        key: &str,
        value: &Value,
    ) -> Result<(), DatabaseError> {
        let key = self.key(key);
        if self.store.has(BrokenReadModel::LosesReplacements)
            && self.inner().get_json(table, &key).await?.is_some()
        {
            self.replaced += 1;
            if self.replaced > REPLACED_MAX {
                return Ok(());
            }
        }
        if self.store.has(BrokenReadModel::RoundsNumbers) {
            return self.inner().put_json(table, &key, &rounded(value)).await;
        }
        self.inner().put_json(table, &key, value).await
    }

    async fn delete(&mut self, table: &str, key: &str) -> Result<(), DatabaseError> {
        let key = self.key(key);
        self.inner().delete(table, &key).await
    }
}

/// Large numbers of an array become floats. Small ones stay as they are.
fn rounded(value: &Value) -> Value {
    let round = |value: &Value| match value.as_i64() {
        Some(small) if small.unsigned_abs() < 1 << 53 => value.clone(),
        Some(_) => value.as_f64().map_or(Value::Null, Value::from),
        None => value.clone(),
    };
    match value {
        Value::Array(values) => values.iter().map(round).collect(),
        other => other.clone(),
    }
}

/// A reader of [`FaultyReadModels`].
pub(crate) struct FaultyReader {
    store: FaultyReadModels,
    id: ReadModelId,
    inner: MemoryReader,
}

impl FaultyReader {
    pub(super) fn new(store: FaultyReadModels, id: ReadModelId, inner: MemoryReader) -> Self {
        Self { store, id, inner }
    }

    pub(super) async fn visit_rows<V: VisitRows>(
        &mut self,
        visitor: V,
    ) -> Result<V, DatabaseError> {
        let is_first = self.store.has(BrokenReadModel::SkipsFirstRow);
        let visited =
            MemoryReadModels::visit_rows(&mut self.inner, AllButFirst { visitor, is_first });
        Ok(visited.await?.visitor)
    }

    async fn refresh(&mut self) -> Result<(), DatabaseError> {
        if self.store.has(BrokenReadModel::ReadsTheLatest) {
            if let Ok(latest) = self.store.inner.reader(&self.id).await {
                self.inner = latest;
            }
        } else if self.store.has(BrokenReadModel::CutsReaders) {
            self.store.inner.reader(&self.id).await?;
        }
        Ok(())
    }
}

impl ReadRows for FaultyReader {
    async fn get_json(&mut self, table: &str, key: &str) -> Result<Option<Value>, DatabaseError> {
        self.refresh().await?;
        let lowered = key.to_lowercase();
        match self.store.has(BrokenReadModel::LowersKeys) {
            true => self.inner.get_json(table, &lowered).await,
            false => self.inner.get_json(table, key).await,
        }
    }

    async fn list_json(&mut self, list: ListRows<'_>) -> Result<Vec<Row>, DatabaseError> {
        self.refresh().await?;
        let list = match self.store.has(BrokenReadModel::PagesFromTheStart) {
            true => list.after(None),
            false => list,
        };
        self.inner.list_json(list).await
    }
}

/// Hands rows on, without the next one if it is the first.
struct AllButFirst<V> {
    visitor: V,
    is_first: bool,
}

impl<V: VisitRows> VisitRows for AllButFirst<V> {
    fn visit(&mut self, table: &str, row: &str) {
        if !std::mem::take(&mut self.is_first) {
            self.visitor.visit(table, row);
        }
    }
}
