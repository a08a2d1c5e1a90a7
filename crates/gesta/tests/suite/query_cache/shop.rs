//! A shop for the tests of cached queries: sales, the sum of each customer, and caches with faults.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use gesta::{
    Builder, Caching, Gesta, MemoryQueryCache, Receipt, RowGroups,
    prelude::*,
    store::{
        BeginLoad, CacheFuture, CacheKey, CacheScope, CacheUnavailable, CachedAnswer, EventStore,
        ListRows, LoadTicket, LoadTurn, MemoryReadModels, MemoryReader, QueryCache, ReadRows, Rows,
        memory::MemoryStore,
    },
};
use tokio::sync::Semaphore;

const SUMS: &str = "sums";
/// The amount that the projection fails on, until it is fixed.
pub(crate) const UNLUCKY: u64 = 1_313;

#[derive(Event, Serialize, Deserialize, Clone)]
#[event(name = "sold")]
pub(crate) struct Sold {
    amount: u64,
}

#[derive(EventSet, Clone)]
pub(crate) enum CustomerEvent {
    Sold(Sold),
}

#[derive(Default)]
pub(crate) struct Customer;

impl Aggregate for Customer {
    const CATEGORY: &'static str = "customer";
    type Id = String;
    type Event = CustomerEvent;

    fn evolve(&mut self, _: &CustomerEvent) {}
}

#[derive(Command, Serialize, Deserialize)]
#[command(name = "sell", on = Customer, either)]
struct Sell {
    #[command(id)]
    customer: String,
    amount: u64,
}

impl Decide for Sell {
    type Rejection = std::convert::Infallible;

    fn decide(&self, _: &Customer) -> Decision<Self> {
        Ok(Sold { amount: self.amount }.into())
    }
}

/// Handles of a test on the projection and on its queries.
pub(crate) struct Control {
    /// The projection does not fail any more.
    pub(crate) is_fixed: AtomicBool,
    /// Each amount counts this many times.
    pub(crate) factor: AtomicU64,
    /// A query takes a permit between opening its connection and returning.
    gate: Semaphore,
    reading: Semaphore,
}

impl Control {
    pub(crate) fn open() -> Arc<Self> {
        Self::with(Semaphore::MAX_PERMITS)
    }

    /// Queries wait until the test lets them read.
    pub(crate) fn gated() -> Arc<Self> {
        Self::with(0)
    }

    fn with(permits: usize) -> Arc<Self> {
        Arc::new(Self {
            is_fixed: AtomicBool::new(false),
            factor: AtomicU64::new(1),
            gate: Semaphore::new(permits),
            reading: Semaphore::new(0),
        })
    }

    pub(crate) fn let_read(&self, queries: usize) {
        self.gate.add_permits(queries);
    }

    /// Waits until one query more has opened its connection.
    pub(crate) async fn until_reading(&self) {
        self.reading.acquire().await.unwrap().forget();
    }
}

/// Adds each sale to its customer's row.
pub(crate) struct Sales(Arc<Control>);

impl Default for Sales {
    fn default() -> Self {
        Self(Control::open())
    }
}

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
            if amount == UNLUCKY && !self.0.is_fixed.load(Ordering::SeqCst) {
                return Err(ApplyError::because("an unlucky amount"));
            }
            let customer = event.stream.as_str();
            let before: u64 = tx.get(SUMS, customer).await?.unwrap_or_default();
            let factor = self.0.factor.load(Ordering::SeqCst);
            tx.put(SUMS, customer, &(before + factor * amount)).await?;
        }
        Ok(())
    }

    async fn forget(&self, tx: &mut Tx, stream: &StreamName) -> Result<(), ApplyError> {
        Ok(tx.delete(SUMS, stream.as_str()).await?)
    }
}

/// The sum of a customer.
#[derive(Serialize)]
pub(crate) struct SoldOf(pub(crate) String);

impl gesta::Query for SoldOf {
    type Reads = Sales;
    type Answer = u64;

    fn caching(&self) -> Option<Caching<u64>> {
        let group = format!("customer-{}", self.0);
        Some(Caching::of(self).depends_on(RowGroups::named([group])))
    }
}

impl Answer<MemoryReader> for SoldOf {
    async fn answer(&self, rows: &mut MemoryReader) -> Result<u64, QueryError> {
        let name = format!("customer-{}", self.0);
        Ok(rows.get(SUMS, &name).await?.unwrap_or_default())
    }
}

/// A [`SoldOf`] whose reads the test controls.
#[derive(Serialize)]
struct GatedSoldOf {
    of: String,
    #[serde(skip)]
    control: Option<Arc<Control>>,
}

impl gesta::Query for GatedSoldOf {
    type Reads = Sales;
    type Answer = u64;

    fn caching(&self) -> Option<Caching<u64>> {
        let group = format!("customer-{}", self.of);
        Some(Caching::of(self).depends_on(RowGroups::named([group])))
    }
}

impl Answer<MemoryReader> for GatedSoldOf {
    async fn answer(&self, rows: &mut MemoryReader) -> Result<u64, QueryError> {
        let name = format!("customer-{}", self.of);
        let found = rows.get(SUMS, &name).await?.unwrap_or_default();
        if let Some(control) = &self.control {
            control.reading.add_permits(1);
            control.gate.acquire().await.unwrap().forget();
        }
        Ok(found)
    }
}

/// The sum of all customers.
#[derive(Query, Serialize)]
#[query(reads = Sales, answer = u64, caching = Caching::of)]
pub(crate) struct SoldTotal;

impl Answer<MemoryReader> for SoldTotal {
    async fn answer(&self, rows: &mut MemoryReader) -> Result<u64, QueryError> {
        let sums: Vec<(String, u64)> = rows.list(ListRows::of(SUMS)).await?;
        Ok(sums.into_iter().map(|(_, sum)| sum).sum())
    }
}

/// The same query in the next version of the program.
#[derive(Serialize)]
pub(crate) struct SoldTotalOfNextVersion;

impl gesta::Query for SoldTotalOfNextVersion {
    type Reads = Sales;
    type Answer = u64;

    fn caching(&self) -> Option<Caching<u64>> {
        Some(Caching::of(&SoldTotal).version(2))
    }
}

impl Answer<MemoryReader> for SoldTotalOfNextVersion {
    async fn answer(&self, rows: &mut MemoryReader) -> Result<u64, QueryError> {
        SoldTotal.answer(rows).await
    }
}

/// The names of all customers, which no query keeps.
pub(crate) struct Customers;

impl gesta::Query for Customers {
    type Reads = Sales;
    type Answer = Vec<String>;
}

impl Answer<MemoryReader> for Customers {
    async fn answer(&self, rows: &mut MemoryReader) -> Result<Vec<String>, QueryError> {
        let sums = rows.list_json(ListRows::of(SUMS)).await?;
        Ok(sums.into_iter().map(|row| row.key).collect())
    }
}

/// A query with a value that JSON lacks.
#[derive(Query, Serialize)]
#[query(reads = Sales, answer = u64, caching = Caching::of)]
pub(crate) struct Unwritable(pub(crate) f64);

impl Answer<MemoryReader> for Unwritable {
    async fn answer(&self, _: &mut MemoryReader) -> Result<u64, QueryError> {
        Ok(0)
    }
}

/// A query with an answer that JSON lacks.
#[derive(Query, Serialize)]
#[query(reads = Sales, answer = f64, caching = Caching::of)]
pub(crate) struct NotANumber;

impl Answer<MemoryReader> for NotANumber {
    async fn answer(&self, _: &mut MemoryReader) -> Result<f64, QueryError> {
        Ok(f64::NAN)
    }
}

/// An application with a cache, without its projection.
pub(crate) fn open_with(store: &Arc<MemoryStore>, cache: Arc<dyn QueryCache>) -> Builder {
    let store: Arc<dyn EventStore> = Arc::clone(store) as _;
    Gesta::on(store).query_cache(cache)
}

pub(crate) async fn shop_with(control: &Arc<Control>, cache: Arc<dyn QueryCache>) -> Gesta {
    let builder = open_with(&Arc::new(MemoryStore::new()), cache);
    let sales = Sales(Arc::clone(control));
    let gesta = builder.project(sales, &MemoryReadModels::new()).open().await.unwrap();
    // Nothing is cached until the projection has opened its read model.
    gesta.wait_for_position::<Sales>(Position::START).await.unwrap();
    gesta
}

pub(crate) async fn open() -> Gesta {
    shop_with(&Control::open(), Arc::new(MemoryQueryCache::new())).await
}

pub(crate) async fn sell(gesta: &Gesta, customer: &str, amount: u64) -> Receipt {
    gesta.execute(Sell { customer: customer.to_owned(), amount }).await.unwrap()
}

pub(crate) async fn find(gesta: &Gesta, customer: &str, at_least: Position) -> u64 {
    let query = SoldOf(customer.to_owned());
    gesta.ask(query).at_least_position(at_least).await.unwrap()
}

/// Finds the sum of the customer `ann` in a task, with a read that the test controls.
pub(crate) fn find_gated(
    gesta: &Gesta,
    control: &Arc<Control>,
    at_least: Position,
) -> tokio::task::JoinHandle<u64> {
    let gesta = gesta.clone();
    let query = GatedSoldOf { of: "ann".to_owned(), control: Some(Arc::clone(control)) };
    tokio::spawn(async move { gesta.ask(query).at_least_position(at_least).await.unwrap() })
}

pub(crate) async fn total(gesta: &Gesta, at_least: Position) -> u64 {
    gesta.ask(SoldTotal).at_least_position(at_least).await.unwrap()
}

/// The fault of a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CacheFault {
    None,
    Down,
    /// Every second call finds it down.
    Flickers,
    /// Marks are gone before each read.
    LosesMarks,
    /// Every third answer is lost.
    LosesAnswers,
    /// Returns whatever it has stored first.
    IgnoresAll,
}

/// A cache in memory with a fault.
pub(crate) struct FaultyCache {
    inner: MemoryQueryCache,
    fault: Mutex<CacheFault>,
    calls: AtomicU64,
    keys: Mutex<Vec<CacheKey>>,
    first: Mutex<Option<CachedAnswer>>,
    /// Scopes to reset once it answers again.
    resets: Mutex<Vec<CacheScope>>,
}

impl FaultyCache {
    pub(crate) fn new(fault: CacheFault) -> Arc<Self> {
        Arc::new(Self {
            inner: MemoryQueryCache::new(),
            fault: Mutex::new(fault),
            calls: AtomicU64::new(0),
            keys: Mutex::default(),
            first: Mutex::default(),
            resets: Mutex::default(),
        })
    }

    pub(crate) fn break_by(&self, fault: CacheFault) {
        *self.fault.lock().unwrap() = fault;
    }

    pub(crate) fn repair(&self) {
        self.break_by(CacheFault::None);
    }

    /// The keys of all answers that were stored.
    pub(crate) fn keys(&self) -> Vec<CacheKey> {
        self.keys.lock().unwrap().clone()
    }

    fn fault(&self) -> CacheFault {
        *self.fault.lock().unwrap()
    }

    /// Counts a call, and refuses it if the cache is down.
    async fn call(&self) -> Result<u64, CacheUnavailable> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        let is_down = match self.fault() {
            CacheFault::Down => true,
            CacheFault::Flickers => call % 2 == 1,
            _ => false,
        };
        if is_down {
            return Err(CacheUnavailable);
        }
        let resets = std::mem::take(&mut *self.resets.lock().unwrap());
        for scope in resets {
            self.inner.reset(&scope).await;
        }
        Ok(call)
    }
}

impl QueryCache for FaultyCache {
    fn get<'a>(
        &'a self,
        key: &'a CacheKey,
        at_least: Position,
    ) -> CacheFuture<'a, Result<Option<CachedAnswer>, CacheUnavailable>> {
        Box::pin(async move {
            let call = self.call().await?;
            match self.fault() {
                CacheFault::IgnoresAll => return Ok(self.first.lock().unwrap().clone()),
                CacheFault::LosesAnswers if call % 3 == 0 => return Ok(None),
                CacheFault::LosesMarks => self.inner.reset(&key.scope).await,
                _ => {}
            }
            self.inner.get(key, at_least).await
        })
    }

    fn begin_load<'a>(
        &'a self,
        key: &'a CacheKey,
        begin: BeginLoad,
    ) -> CacheFuture<'a, Result<LoadTurn, CacheUnavailable>> {
        Box::pin(async move {
            self.call().await?;
            self.inner.begin_load(key, begin).await
        })
    }

    fn store<'a>(
        &'a self,
        key: &'a CacheKey,
        ticket: LoadTicket,
        answer: CachedAnswer,
        ttl: Duration,
    ) -> CacheFuture<'a, ()> {
        Box::pin(async move {
            if self.call().await.is_ok() {
                self.keys.lock().unwrap().push(key.clone());
                self.first.lock().unwrap().get_or_insert(answer.clone());
                self.inner.store(key, ticket, answer, ttl).await;
            }
        })
    }

    fn abandon<'a>(&'a self, key: &'a CacheKey, ticket: LoadTicket) -> CacheFuture<'a, ()> {
        self.inner.abandon(key, ticket)
    }

    fn mark<'a>(
        &'a self,
        scope: &'a CacheScope,
        marks: &'a [String],
        position: Position,
    ) -> CacheFuture<'a, Result<(), CacheUnavailable>> {
        Box::pin(async move {
            self.call().await?;
            self.inner.mark(scope, marks, position).await
        })
    }

    fn reset<'a>(&'a self, scope: &'a CacheScope) -> CacheFuture<'a, ()> {
        Box::pin(async move {
            match self.fault() {
                CacheFault::Down => self.resets.lock().unwrap().push(scope.clone()),
                _ => self.inner.reset(scope).await,
            }
        })
    }

    fn is_shared(&self) -> bool {
        false
    }

    fn trouble(&self) -> Option<String> {
        (self.fault() == CacheFault::Down).then(|| "the test has stopped it".to_owned())
    }
}
