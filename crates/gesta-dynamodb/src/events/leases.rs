//! Leases of nodes: one item each, replaced on condition that it is as it was read.
//!
//! Terms count by the clocks of the nodes, because the server tells no time: clocks that differ by
//! a second let a lease end a second early or late. Tokens do not depend on clocks, and a read
//! model refuses a node whose token is over. Invariant: tokens of a name grow, also in a table that
//! was restored: they are at least the milliseconds since 1970. Not here: writes under a lease.

use std::{future::Future, sync::Arc, time::Duration};

use gesta_store::{
    AcquireLease, Lease, LeaseError, LeaseFuture, LeaseInForce, LeaseName, LeaseRecord, Leases,
    NodeName,
};

use super::{shared::Shared, store::DynamoStore};
use crate::{
    clock,
    errors::CallError,
    item::{Attributes as _, Item, SK, damaged, key, number, text},
    table::{Query, Table, Update},
};

const LEASES: &str = "leases";
const TOKEN: &str = "tk";
const NODE: &str = "nd";
/// End of the term, in microseconds since the epoch.
const EXPIRES: &str = "ex";
/// Rounds of a change that other nodes are faster than.
const ROUNDS_MAX: u32 = 50;

/// In the table of the events: nodes that share a store share its leases.
///
/// Keep the clocks of the nodes synchronized, as the vendor's instances do by default.
impl Leases for DynamoStore {
    fn place(&self) -> String {
        self.shared().url.to_string()
    }

    fn acquire(&self, acquire: AcquireLease) -> LeaseFuture<'_, Lease> {
        Box::pin(self.shared().lease_call(|table| async move {
            let name = acquire.name.clone();
            change(&table, &name, |record, now| {
                let least = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
                let before = record.token;
                // The rule adds one.
                record.token = record.token.max(least.saturating_sub(1));
                let granted = record.acquire(&acquire, now);
                if granted.is_err() {
                    record.token = before;
                }
                granted
            })
            .await
        }))
    }

    fn renew<'a>(&'a self, lease: &'a Lease) -> LeaseFuture<'a, ()> {
        let lease = lease.clone();
        Box::pin(self.shared().lease_call(|table| async move {
            change(&table, &lease.name, |record, now| record.renew(&lease, now)).await
        }))
    }

    fn release<'a>(&'a self, lease: &'a Lease) -> LeaseFuture<'a, ()> {
        let lease = lease.clone();
        Box::pin(self.shared().lease_call(|table| async move {
            change(&table, &lease.name, |record, _| {
                record.release(&lease);
                Ok(())
            })
            .await
        }))
    }

    fn list(&self) -> LeaseFuture<'_, Vec<LeaseInForce>> {
        Box::pin(self.shared().lease_call(|table| async move { list(&table).await }))
    }
}

impl Shared {
    /// Runs a call on the thread of the store.
    async fn lease_call<T, W>(&self, call: impl FnOnce(Table) -> W) -> Result<T, LeaseError>
    where
        T: Send + 'static,
        W: Future<Output = Result<T, LeaseError>> + Send + 'static,
    {
        let closed = |_| LeaseError::unavailable("the store was closed");
        self.worker.run(call(self.table.clone())).await.map_err(closed)?
    }
}

/// Changes a record, again if another node was faster.
async fn change<T>(
    table: &Table,
    name: &LeaseName,
    mut change: impl FnMut(&mut LeaseRecord, Duration) -> Result<T, LeaseError>,
) -> Result<T, LeaseError> {
    for _ in 0..ROUNDS_MAX {
        let found = table.get(LEASES, name.as_str()).await.map_err(lease_error)?;
        let before = found.as_ref().map(record_of).transpose().map_err(lease_error)?;
        let mut record = before.clone().unwrap_or_default();
        let changed = change(&mut record, Duration::from_micros(clock::now().micros()))?;
        if before.as_ref() == Some(&record) || before.is_none() && record.node.is_none() {
            return Ok(changed);
        }
        let item = item_of(name, &record);
        let on = match &before {
            None => Update { condition: "attribute_not_exists(pk)", ..Update::default() },
            Some(before) => {
                let on = Update {
                    condition: match before.node {
                        Some(_) => "tk = :tk AND ex = :ex AND nd = :nd",
                        None => "tk = :tk AND ex = :ex AND attribute_not_exists(nd)",
                    },
                    ..Update::default()
                };
                let on = on.value(":tk", number(before.token)).value(":ex", micros(before));
                match &before.node {
                    Some(node) => on.value(":nd", text(node.as_str())),
                    None => on,
                }
            }
        };
        match table.put(item.clone(), on).await {
            Ok(()) => return Ok(changed),
            // The client has sent it twice, and the first one arrived.
            Err(CallError::Condition(Some(found))) if found == item => return Ok(changed),
            Err(CallError::Condition(_)) => {}
            Err(error) => return Err(lease_error(error)),
        }
    }
    Err(LeaseError::unavailable("other nodes change the lease all the time; ask again"))
}

async fn list(table: &Table) -> Result<Vec<LeaseInForce>, LeaseError> {
    let (mut after, mut listed) = (None, Vec::new());
    loop {
        let query = Query { after: after.as_deref(), ..Query::of(LEASES) };
        let page = table.query(query).await.map_err(lease_error)?;
        let now = Duration::from_micros(clock::now().micros());
        for item in &page.items {
            let record = record_of(item).map_err(lease_error)?;
            let name = LeaseName::stored(item.text(SK).map_err(lease_error)?)?;
            listed.extend(record.in_force(&name, now));
        }
        after = page.next;
        if after.is_none() {
            return Ok(listed);
        }
    }
}

fn micros(record: &LeaseRecord) -> aws_sdk_dynamodb::types::AttributeValue {
    number(u64::try_from(record.expires_at.as_micros()).unwrap_or(u64::MAX))
}

fn item_of(name: &LeaseName, record: &LeaseRecord) -> Item {
    let mut item = key(LEASES, name.as_str());
    item.insert(TOKEN.to_owned(), number(record.token));
    item.insert(EXPIRES.to_owned(), micros(record));
    if let Some(node) = &record.node {
        item.insert(NODE.to_owned(), text(node.as_str()));
    }
    item
}

fn record_of(item: &Item) -> Result<LeaseRecord, CallError> {
    let node = item.opt_text(NODE)?.map(NodeName::stored).transpose();
    Ok(LeaseRecord {
        token: item.number(TOKEN)?,
        node: node.map_err(|_| damaged(item, NODE))?,
        expires_at: Duration::from_micros(item.number(EXPIRES)?),
    })
}

/// A call of leases may always be repeated, so most errors are the same to the caller.
fn lease_error(error: CallError) -> LeaseError {
    let is_damage = matches!(error, CallError::Damaged(_));
    let error = error.into_store();
    let reason = error.to_string();
    match is_damage {
        true => LeaseError::Unreadable { reason, source: Some(Arc::new(error)) },
        false => LeaseError::Unavailable { reason, source: Some(Arc::new(error)) },
    }
}
