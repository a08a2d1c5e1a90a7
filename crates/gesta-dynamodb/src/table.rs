//! One table, and the requests to it.
//!
//! Owns: reads, conditional and unconditional writes, queries in pages, batches of writes with
//! their unprocessed rest, and the table's creation. Reads are strongly consistent. A batch of
//! writes is not atomic. Not here: the meaning of items.

use std::{collections::HashMap, sync::Arc, time::Duration};

use aws_sdk_dynamodb::{
    Client,
    config::{Builder, retry::RetryConfig},
    error::ProvideErrorMetadata as _,
    operation::{put_item::PutItemError, update_item::UpdateItemError},
    types::{
        AttributeDefinition, AttributeValue, BillingMode, DeleteRequest, KeySchemaElement, KeyType,
        KeysAndAttributes, PutRequest, ReturnConsumedCapacity, ReturnValuesOnConditionCheckFailure,
        ScalarAttributeType, TableDescription, TableStatus, TimeToLiveSpecification, WriteRequest,
    },
};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use crate::{
    client::{Access, Meter},
    errors::CallError,
    item::{Item, PK, SK, key, text},
    open_mode::OpenMode,
    url::DynamoUrl,
};

/// Items of one request for several writes, by the vendor's rule.
const BATCH_ITEMS_MAX: usize = 25;
/// Keys of one request for small items, by the vendor's rule.
pub(crate) const KEYS_MAX: usize = 100;
/// Requests for several items that are on their way at the same time.
const BATCHES_AT_ONCE_MAX: usize = 4;
/// Bytes of one request for several writes. The vendor allows 16 MB; a request of that size would
/// exceed its time on a slow network.
const BATCH_BYTES_MAX: usize = 1 << 20;
/// Rounds for the rest of a batch that the server leaves out when it is over its throughput.
const ROUNDS_MAX: u32 = 10;
const ROUND_PAUSE: Duration = Duration::from_millis(30);
/// Looks at a table that is being created, and the pause between them.
const LOOKS_MAX: u32 = 300;
const LOOK_PAUSE: Duration = Duration::from_millis(200);

/// A table. Clones are cheap.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    client: Client,
    name: Arc<str>,
    /// The server, for messages.
    server: Arc<str>,
    meter: Arc<Meter>,
}

/// A query for items of one partition, by sort key.
#[derive(Clone, Debug)]
pub(crate) struct Query<'a> {
    pub(crate) pk: &'a str,
    pub(crate) range: Range<'a>,
    pub(crate) is_backwards: bool,
    /// Maximum number of items of the page.
    pub(crate) limit: Option<usize>,
    /// Key after which the page begins.
    pub(crate) after: Option<&'a str>,
}

/// The sort keys of a query.
#[derive(Clone, Debug)]
pub(crate) enum Range<'a> {
    All,
    Prefix(&'a str),
    /// Both ends included.
    Between(&'a str, &'a str),
}

/// A page of a query. The server ends a page after 1 MB.
#[derive(Debug)]
pub(crate) struct QueryPage {
    pub(crate) items: Vec<Item>,
    /// Sort key after which the next page begins, or `None` at the end.
    pub(crate) next: Option<String>,
}

/// A change of one item on a condition.
#[derive(Clone, Debug, Default)]
pub(crate) struct Update<'a> {
    pub(crate) change: &'a str,
    pub(crate) condition: &'a str,
    pub(crate) values: HashMap<String, AttributeValue>,
}

impl Update<'_> {
    pub(crate) fn value(mut self, name: &str, value: AttributeValue) -> Self {
        self.values.insert(name.to_owned(), value);
        self
    }
}

impl<'a> Query<'a> {
    pub(crate) const fn of(pk: &'a str) -> Self {
        Self { pk, range: Range::All, is_backwards: false, limit: None, after: None }
    }

    pub(crate) const fn last(pk: &'a str) -> Self {
        Self { pk, range: Range::All, is_backwards: true, limit: Some(1), after: None }
    }
}

impl Table {
    pub(crate) fn new(client: Client, url: &DynamoUrl, kind: &str, meter: Arc<Meter>) -> Self {
        Self { client, name: url.table(kind).into(), server: url.server().into(), meter }
    }

    /// Adds the server to an error without a clear answer, and the table to one about it.
    fn named(&self, error: CallError) -> CallError {
        let named = |reason: String| format!("{}: {reason}", self.server);
        match error {
            CallError::Unreachable(reason, source) => CallError::Unreachable(named(reason), source),
            CallError::Unknown(reason, source) => CallError::Unknown(named(reason), source),
            CallError::Denied(reason) => CallError::Denied(named(reason)),
            CallError::NoTable(reason) => {
                CallError::NoTable(named(format!("table {}: {reason}", self.name)))
            }
            other => other,
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) async fn get(&self, pk: &str, sk: &str) -> Result<Option<Item>, CallError> {
        let got = self
            .client
            .get_item()
            .table_name(&*self.name)
            .set_key(Some(key(pk, sk)))
            .consistent_read(true)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
            .await
            .map_err(|error| self.named(CallError::of(error, |_| None)).of_read())?;
        self.meter.add(Access::Read, got.consumed_capacity());
        Ok(got.item)
    }

    pub(crate) async fn query(&self, query: Query<'_>) -> Result<QueryPage, CallError> {
        let Query { pk, range, is_backwards, limit, after } = query;
        let mut request = self
            .client
            .query()
            .table_name(&*self.name)
            .consistent_read(true)
            .scan_index_forward(!is_backwards)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .set_limit(limit.map(|limit| i32::try_from(limit.max(1)).unwrap_or(i32::MAX)))
            .set_exclusive_start_key(after.map(|after| key(pk, after)))
            .expression_attribute_values(":pk", text(pk));
        request = match range {
            Range::All => request.key_condition_expression("pk = :pk"),
            Range::Prefix(prefix) => request
                .key_condition_expression("pk = :pk AND begins_with(sk, :prefix)")
                .expression_attribute_values(":prefix", text(prefix)),
            Range::Between(from, to) => request
                .key_condition_expression("pk = :pk AND sk BETWEEN :from AND :to")
                .expression_attribute_values(":from", text(from))
                .expression_attribute_values(":to", text(to)),
        };
        let found = request.send().await;
        let found = found.map_err(|error| self.named(CallError::of(error, |_| None)).of_read())?;
        self.meter.add(Access::Read, found.consumed_capacity());
        let next = found.last_evaluated_key.and_then(|mut last| last.remove(SK));
        let next = next.and_then(|next| next.as_s().ok().cloned());
        Ok(QueryPage { items: found.items.unwrap_or_default(), next })
    }

    /// Writes an item if none with its key is there. Is not repeated by the client: the caller
    /// knows its own item by the answer.
    pub(crate) async fn put_new(&self, item: Item) -> Result<(), CallError> {
        let once = Builder::new().retry_config(RetryConfig::disabled());
        let put = self
            .client
            .put_item()
            .table_name(&*self.name)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(pk)")
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .customize()
            .config_override(once)
            .send()
            .await
            .map_err(|error| {
                self.named(CallError::of(error, |error| match error {
                    PutItemError::ConditionalCheckFailedException(failed) => failed.item.clone(),
                    _ => None,
                }))
            })?;
        self.meter.add(Access::Write, put.consumed_capacity());
        Ok(())
    }

    /// Writes an item on a condition, or in place of another one if the condition is empty.
    pub(crate) async fn put(&self, item: Item, on: Update<'_>) -> Result<(), CallError> {
        let put = self
            .client
            .put_item()
            .table_name(&*self.name)
            .set_item(Some(item))
            .set_condition_expression(Some(on.condition.to_owned()).filter(|on| !on.is_empty()))
            .set_expression_attribute_values(Some(on.values).filter(|values| !values.is_empty()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
            .await
            .map_err(|error| {
                self.named(CallError::of(error, |error| match error {
                    PutItemError::ConditionalCheckFailedException(failed) => failed.item.clone(),
                    _ => None,
                }))
            })?;
        self.meter.add(Access::Write, put.consumed_capacity());
        Ok(())
    }

    /// Changes an item on a condition. The client repeats it, so the change has to be safe to
    /// repeat: a condition that the change itself breaks fails with the item, which shows it.
    pub(crate) async fn update(
        &self,
        pk: &str,
        sk: &str,
        update: Update<'_>,
    ) -> Result<(), CallError> {
        let condition = Some(update.condition.to_owned()).filter(|on| !on.is_empty());
        let updated = self
            .client
            .update_item()
            .table_name(&*self.name)
            .set_key(Some(key(pk, sk)))
            .update_expression(update.change)
            .set_condition_expression(condition)
            .set_expression_attribute_values(Some(update.values).filter(|some| !some.is_empty()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
            .await
            .map_err(|error| {
                self.named(CallError::of(error, |error| match error {
                    UpdateItemError::ConditionalCheckFailedException(failed) => failed.item.clone(),
                    _ => None,
                }))
            })?;
        self.meter.add(Access::Write, updated.consumed_capacity());
        Ok(())
    }

    pub(crate) async fn delete(&self, pk: &str, sk: &str) -> Result<(), CallError> {
        let deleted = self
            .client
            .delete_item()
            .table_name(&*self.name)
            .set_key(Some(key(pk, sk)))
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
            .await
            .map_err(|error| self.named(CallError::of(error, |_| None)))?;
        self.meter.add(Access::Write, deleted.consumed_capacity());
        Ok(())
    }

    /// Writes items, in place of those with the same keys. Some may be written if it fails.
    pub(crate) async fn put_all(&self, items: Vec<Item>) -> Result<(), CallError> {
        let puts = items.into_iter().map(|item| {
            let bytes = bytes_of(&item);
            let put = PutRequest::builder().set_item(Some(item)).build();
            let put = put.expect("an item is given");
            (WriteRequest::builder().put_request(put).build(), bytes)
        });
        self.write_all(puts.collect()).await
    }

    /// Deletes items by their sort keys. Some may be deleted if it fails.
    pub(crate) async fn delete_all(&self, pk: &str, keys: Vec<String>) -> Result<(), CallError> {
        let deletions = keys.into_iter().map(|sk| {
            let deletion = DeleteRequest::builder().set_key(Some(key(pk, &sk))).build();
            let deletion = deletion.expect("a key is given");
            (WriteRequest::builder().delete_request(deletion).build(), sk.len())
        });
        self.write_all(deletions.collect()).await
    }

    async fn write_all(&self, writes: Vec<(WriteRequest, usize)>) -> Result<(), CallError> {
        let (mut batches, mut batch, mut batch_bytes) = (Vec::new(), Vec::new(), 0);
        for (write, bytes) in writes {
            if batch.len() == BATCH_ITEMS_MAX || batch_bytes + bytes > BATCH_BYTES_MAX {
                batches.push(self.clone().write_batch(std::mem::take(&mut batch)));
                batch_bytes = 0;
            }
            batch.push(write);
            batch_bytes += bytes;
        }
        batches.push(self.clone().write_batch(batch));
        stream::iter(batches).buffer_unordered(BATCHES_AT_ONCE_MAX).try_collect::<()>().await
    }

    async fn write_batch(self, mut batch: Vec<WriteRequest>) -> Result<(), CallError> {
        for round in 0..ROUNDS_MAX {
            if batch.is_empty() {
                return Ok(());
            }
            if round > 0 {
                tokio::time::sleep(ROUND_PAUSE * 2_u32.pow(round.min(6))).await;
            }
            let written = self
                .client
                .batch_write_item()
                .request_items(&*self.name, batch)
                .return_consumed_capacity(ReturnConsumedCapacity::Total)
                .send()
                .await
                .map_err(|error| self.named(CallError::of(error, |_| None)))?;
            for consumed in written.consumed_capacity() {
                self.meter.add(Access::Write, Some(consumed));
            }
            // The server leaves out what is over the throughput of a partition.
            let mut rest = written.unprocessed_items.unwrap_or_default();
            batch = rest.remove(&*self.name).unwrap_or_default();
        }
        if batch.is_empty() { Ok(()) } else { Err(CallError::Throttled) }
    }

    /// Reads items by key, in any order, without those that are missing. Small items are read many
    /// at a time, large ones a few, so that a request takes its time at most.
    pub(crate) async fn get_all(
        &self,
        keys: Vec<Item>,
        of_request: usize,
    ) -> Result<Vec<Item>, CallError> {
        let requests: Vec<_> =
            keys.chunks(of_request).map(|chunk| self.clone().get_batch(chunk.to_vec())).collect();
        let found = stream::iter(requests).buffer_unordered(BATCHES_AT_ONCE_MAX);
        let found: Vec<Vec<Item>> = found.try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }

    async fn get_batch(self, mut left: Vec<Item>) -> Result<Vec<Item>, CallError> {
        let mut found = Vec::new();
        for round in 0..ROUNDS_MAX {
            if left.is_empty() {
                return Ok(found);
            }
            if round > 0 {
                tokio::time::sleep(ROUND_PAUSE * 2_u32.pow(round.min(6))).await;
            }
            let wanted = KeysAndAttributes::builder().set_keys(Some(left));
            let wanted = wanted.consistent_read(true).build().expect("keys are given");
            let got = self
                .client
                .batch_get_item()
                .request_items(&*self.name, wanted)
                .return_consumed_capacity(ReturnConsumedCapacity::Total)
                .send()
                .await
                .map_err(|error| self.named(CallError::of(error, |_| None)).of_read())?;
            for consumed in got.consumed_capacity() {
                self.meter.add(Access::Read, Some(consumed));
            }
            let mut tables = got.responses.unwrap_or_default();
            found.extend(tables.remove(&*self.name).unwrap_or_default());
            // The server leaves out what is over its limits.
            let mut rest = got.unprocessed_keys.unwrap_or_default();
            left = rest.remove(&*self.name).map(|rest| rest.keys).unwrap_or_default();
        }
        if left.is_empty() { Ok(found) } else { Err(CallError::Throttled) }
    }

    /// Waits until the table can be used. Creates one that is not there, or refuses that by
    /// [`CallError::NoTable`]. Returns the id that the server has given to it, if it gives one.
    pub(crate) async fn open(&self, mode: OpenMode) -> Result<Option<String>, CallError> {
        for look in 0..LOOKS_MAX {
            let described = self.client.describe_table().table_name(&*self.name).send().await;
            match described {
                Ok(described) => {
                    let is_active =
                        |table: &TableDescription| table.table_status == Some(TableStatus::Active);
                    if let Some(table) = described.table.filter(is_active) {
                        return Ok(table.table_id);
                    }
                }
                Err(error) => match self.named(CallError::of(error, |_| None)).of_read() {
                    CallError::NoTable(reason) if mode == OpenMode::Existing => {
                        return Err(CallError::NoTable(reason));
                    }
                    CallError::NoTable(_) if look == 0 => self.create().await?,
                    // A table that is new may not be seen everywhere yet.
                    CallError::NoTable(_) => {}
                    other => return Err(other),
                },
            }
            tokio::time::sleep(LOOK_PAUSE.min(Duration::from_millis(10 << look.min(8)))).await;
        }
        let reason = format!("the table {} is not active yet; open the store again", self.name);
        Err(CallError::Unreachable(reason, None))
    }

    async fn create(&self) -> Result<(), CallError> {
        let attribute = |name| {
            let attribute = AttributeDefinition::builder().attribute_name(name);
            attribute.attribute_type(ScalarAttributeType::S).build().expect("both parts are given")
        };
        let element = |name, kind| {
            let element = KeySchemaElement::builder().attribute_name(name).key_type(kind);
            element.build().expect("both parts are given")
        };
        let created = self
            .client
            .create_table()
            .table_name(&*self.name)
            .billing_mode(BillingMode::PayPerRequest)
            .attribute_definitions(attribute(PK))
            .attribute_definitions(attribute(SK))
            .key_schema(element(PK, KeyType::Hash))
            .key_schema(element(SK, KeyType::Range))
            .send()
            .await;
        match created {
            Ok(_) => Ok(()),
            // Another process was faster.
            Err(error) if error.code() == Some("ResourceInUseException") => Ok(()),
            Err(error) => Err(self.named(CallError::of(error, |_| None))),
        }
    }

    /// Lets the server delete items some time after the epoch seconds in this attribute.
    pub(crate) async fn expire_by(&self, attribute: &str) -> Result<(), CallError> {
        let described = self.client.describe_time_to_live().table_name(&*self.name).send().await;
        let described =
            described.map_err(|error| self.named(CallError::of(error, |_| None)).of_read())?;
        let known = described.time_to_live_description.and_then(|ttl| ttl.attribute_name);
        if known.as_deref() == Some(attribute) {
            return Ok(());
        }
        let specification = TimeToLiveSpecification::builder().enabled(true);
        let specification = specification.attribute_name(attribute).build();
        let changed = self
            .client
            .update_time_to_live()
            .table_name(&*self.name)
            .time_to_live_specification(specification.expect("both parts are given"))
            .send()
            .await;
        changed.map(drop).map_err(|error| self.named(CallError::of(error, |_| None)))
    }
}

/// The size of an item by the vendor's rule, roughly: names and values.
fn bytes_of(item: &Item) -> usize {
    item.iter().map(|(name, value)| name.len() + value_bytes(value)).sum()
}

fn value_bytes(value: &AttributeValue) -> usize {
    match value {
        AttributeValue::S(text) | AttributeValue::N(text) => text.len(),
        AttributeValue::B(bytes) => bytes.as_ref().len(),
        _ => 1,
    }
}
