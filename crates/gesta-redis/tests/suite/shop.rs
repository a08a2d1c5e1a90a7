//! A shop for the tests: sales, and the cached sum of each customer.

use std::{convert::Infallible, sync::Arc};

use gesta::{
    Answer, Builder, Caching, Gesta, Receipt, RowGroups,
    prelude::*,
    store::{EventStore, MemoryReadModels, MemoryReader, QueryCache, Rows},
};

const SUMS: &str = "sums";

#[derive(Event, Serialize, Deserialize, Clone)]
#[event(name = "sold")]
pub(crate) struct Sold {
    amount: u64,
}

#[derive(EventSet, Clone)]
pub(crate) enum CustomerEvent {
    Sold(Sold),
}

#[derive(Serialize, Deserialize, Default)]
pub(crate) struct Customer {
    pub(crate) sold: u64,
}

impl Aggregate for Customer {
    const CATEGORY: &'static str = "customer";
    type Id = String;
    type Event = CustomerEvent;

    fn evolve(&mut self, event: &CustomerEvent) {
        let CustomerEvent::Sold(Sold { amount }) = event;
        self.sold += amount;
    }
}

#[derive(Command, Serialize, Deserialize)]
#[command(name = "sell", on = Customer, either)]
struct Sell {
    #[command(id)]
    customer: String,
    amount: u64,
}

impl Decide for Sell {
    type Rejection = Infallible;

    fn decide(&self, _: &Customer) -> Decision<Self> {
        Ok(Sold { amount: self.amount }.into())
    }
}

/// Adds each sale to its customer's row.
pub(crate) struct Sales;

impl Projection for Sales {
    const NAME: &'static str = "sales";
    type Event = CustomerEvent;

    fn changes(&self, event: &Recorded<CustomerEvent>) -> RowGroups {
        RowGroups::named([event.stream.as_str()])
    }
}

impl<Tx: Rows> Apply<Tx> for Sales {
    async fn apply(
        &self,
        tx: &mut Tx,
        events: &[Recorded<CustomerEvent>],
    ) -> Result<(), ApplyError> {
        for event in events {
            let CustomerEvent::Sold(Sold { amount }) = event.event;
            let customer = event.stream.as_str();
            let before: u64 = tx.get(SUMS, customer).await?.unwrap_or_default();
            tx.put(SUMS, customer, &(before + amount)).await?;
        }
        Ok(())
    }
}

/// The sum of a customer, with a text that takes memory of the cache.
#[derive(Serialize)]
struct SoldOf(String);

/// The answer: the sum, and the text.
#[derive(Serialize, Deserialize)]
pub(crate) struct SumOf {
    sum: u64,
    padding: String,
}

impl gesta::Query for SoldOf {
    type Reads = Sales;
    type Answer = SumOf;

    fn caching(&self) -> Option<Caching<SumOf>> {
        let group = format!("customer-{}", self.0);
        Some(Caching::of(self).depends_on(RowGroups::named([group])))
    }
}

impl Answer<MemoryReader> for SoldOf {
    async fn answer(&self, rows: &mut MemoryReader) -> Result<SumOf, QueryError> {
        let name = format!("customer-{}", self.0);
        let sum = rows.get(SUMS, &name).await?.unwrap_or_default();
        Ok(SumOf { sum, padding: "x".repeat(8_000) })
    }
}

/// An application with a cache and the projection.
pub(crate) fn shop(
    store: &Arc<dyn EventStore>,
    read_models: &MemoryReadModels,
    cache: impl QueryCache,
) -> Builder {
    Gesta::on(Arc::clone(store)).project(Sales, read_models).query_cache(Arc::new(cache))
}

pub(crate) async fn sell(gesta: &Gesta, customer: &str, amount: u64) -> Receipt {
    gesta.execute(Sell { customer: customer.to_owned(), amount }).await.unwrap()
}

pub(crate) async fn find(gesta: &Gesta, customer: &str, at_least: Position) -> u64 {
    let query = SoldOf(customer.to_owned());
    gesta.ask(query).at_least_position(at_least).await.unwrap().sum
}
