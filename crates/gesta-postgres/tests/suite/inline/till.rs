//! A till for the tests of inline projections: deposits, and the sum of each account.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use gesta::{
    Answer, Apply, ApplyError, Builder, ExecuteError, Gesta, Projection, Query, QueryError,
    ReadTypedRows, Receipt, TypedRows, audit::Operator, prelude::*,
};
use gesta_postgres::{PostgresReadModels, PostgresStore};
use gesta_store::{EventStore, ReadRows, Rows};
use tokio::runtime::Runtime;

use crate::{
    read_models::TestReadModels,
    server::{TestStore, with_client},
};

#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "deposited")]
pub(crate) struct Deposited {
    pub(crate) amount: u64,
}

#[derive(EventSet, Clone, Debug, PartialEq)]
pub(crate) enum AccountEvent {
    Deposited(Deposited),
}

#[derive(Default)]
pub(crate) struct Account;

impl Aggregate for Account {
    const CATEGORY: &'static str = "account";
    type Id = String;
    type Event = AccountEvent;

    fn evolve(&mut self, _: &AccountEvent) {}
}

#[derive(Command, Serialize, Deserialize)]
#[command(name = "deposit", on = Account, either)]
pub(crate) struct Deposit {
    #[command(id)]
    pub(crate) account: String,
    pub(crate) amount: u64,
}

impl Decide for Deposit {
    type Rejection = Infallible;

    fn decide(&self, _: &Account) -> Decision<Self> {
        Ok(Deposited { amount: self.amount }.into())
    }
}

/// The amount that the projection fails on, until it is fixed.
pub(crate) const UNLUCKY: u64 = 13;

const SUMS: &str = "sums";

/// Adds each deposit to its account's row. An event that is applied twice shows.
#[derive(Default)]
pub(crate) struct Sums {
    pub(crate) is_fixed: Arc<AtomicBool>,
}

impl Projection for Sums {
    const NAME: &'static str = "sums";
    type Event = AccountEvent;
}

impl<Tx: Rows> Apply<Tx> for Sums {
    async fn apply(
        &self,
        tx: &mut Tx,
        events: &[Recorded<AccountEvent>],
    ) -> Result<(), ApplyError> {
        for event in events {
            let AccountEvent::Deposited(Deposited { amount }) = event.event;
            if amount == UNLUCKY && !self.is_fixed.load(Ordering::SeqCst) {
                return Err(ApplyError::because("thirteen is unlucky"));
            }
            let account = event.stream.as_str();
            let before: u64 = tx.get(SUMS, account).await?.unwrap_or_default();
            tx.put(SUMS, account, &(before + amount)).await?;
        }
        Ok(())
    }

    async fn forget(&self, tx: &mut Tx, stream: &StreamName) -> Result<(), ApplyError> {
        Ok(tx.delete(SUMS, stream.as_str()).await?)
    }
}

/// The sum of an account.
pub(crate) struct SumOf(pub(crate) String);

impl Query for SumOf {
    type Reads = Sums;
    type Answer = Option<u64>;
}

impl<Reader: ReadRows> Answer<Reader> for SumOf {
    async fn answer(&self, rows: &mut Reader) -> Result<Option<u64>, QueryError> {
        Ok(rows.get(SUMS, &format!("account-{}", self.0)).await?)
    }
}

/// Events and read models of a test, in one database.
pub(crate) struct Till {
    pub(crate) events: TestStore,
    pub(crate) rows: std::rc::Rc<TestReadModels>,
    pub(crate) runtime: Runtime,
}

impl Till {
    pub(crate) fn create(server: &str) -> Self {
        let runtime = Runtime::new().expect("threads start");
        Self { events: TestStore::create(server), rows: TestReadModels::create(server), runtime }
    }

    /// Connects to both parts, on a server such as a proxy before the test's own.
    pub(crate) async fn connect(&self, server: &str) -> (Arc<PostgresStore>, PostgresReadModels) {
        let store = PostgresStore::connect(&self.events.url_on(server)).await.unwrap();
        let rows = PostgresReadModels::connect(&self.rows.url_on(&self.rows.server)).await.unwrap();
        (Arc::new(store), rows)
    }

    /// Opens a program with the projection.
    pub(crate) async fn open(&self) -> Gesta {
        self.open_with(Sums::default(), |builder| builder).await
    }

    pub(crate) async fn open_with(
        &self,
        sums: Sums,
        set_up: impl FnOnce(Builder) -> Builder,
    ) -> Gesta {
        let (store, rows) = self.connect(&self.events.server).await;
        let builder = Gesta::on(store as Arc<dyn EventStore>).project_inline(sums, &rows);
        set_up(builder.without_log_hint()).open().await.unwrap()
    }

    /// Runs a statement on the catalogue of read models and returns the number of its first row.
    pub(crate) fn number(&self, statement: &str) -> i64 {
        let catalogue = format!("{}_read_models", self.rows.prefix);
        let statement = statement.replace("{catalogue}", &catalogue);
        with_client(&self.events.server, async |client| {
            client.query_one(&statement, &[]).await.unwrap().get(0)
        })
    }
}

pub(crate) async fn deposit(
    gesta: &Gesta,
    account: &str,
    amount: u64,
) -> Result<Receipt, ExecuteError<Infallible>> {
    gesta.execute(Deposit { account: account.to_owned(), amount }).await
}

/// Returns the sum of an account as it is now, without a wait.
pub(crate) async fn sum(gesta: &Gesta, account: &str) -> Option<u64> {
    gesta.ask::<_, gesta_postgres::Reader>(SumOf(account.to_owned())).await.unwrap()
}

/// Waits until the projection has handled all events.
pub(crate) async fn caught_up(gesta: &Gesta) {
    let head = gesta.store().head().await.unwrap().position;
    gesta.wait_for_position::<Sums>(head).await.unwrap();
}

pub(crate) fn operator() -> Operator {
    Operator::new("ann").because("a test")
}
