//! A bank as store and domain of these tests: accounts with deposits.

use std::sync::Arc;

use gesta::{
    Answer, Apply, ApplyError, Query, QueryError, ReadTypedRows as _, Recorded, TypedRows as _,
    prelude::*,
    store::{MemoryReader, Rows},
};
use gesta_store::{
    Append, EventStore, EventType as StoredType, ExpectedRevision, NewEvent, ReadAll,
    RecordedEvent, memory::MemoryStore,
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
pub(crate) struct Account {
    pub(crate) balance: u64,
}

impl Aggregate for Account {
    const CATEGORY: &'static str = "account";
    type Id = u32;
    type Event = AccountEvent;

    fn evolve(&mut self, event: &AccountEvent) {
        let AccountEvent::Deposited(Deposited { amount }) = event;
        self.balance += amount;
    }
}

#[derive(Command, Serialize, Deserialize)]
#[command(name = "deposit", on = Account, either)]
pub(crate) struct Deposit {
    #[command(id)]
    pub(crate) account: u32,
    pub(crate) amount: u64,
}

impl Decide for Deposit {
    type Rejection = std::convert::Infallible;

    fn decide(&self, _: &Account) -> Decision<Self> {
        Ok(Deposited { amount: self.amount }.into())
    }
}

/// The balances of all accounts.
pub(crate) struct Balances;

impl Projection for Balances {
    const NAME: &'static str = "balances";
    type Event = AccountEvent;
}

impl<Tx: Rows> Apply<Tx> for Balances {
    async fn apply(
        &self,
        tx: &mut Tx,
        events: &[Recorded<AccountEvent>],
    ) -> Result<(), ApplyError> {
        for event in events {
            let AccountEvent::Deposited(Deposited { amount }) = event.event;
            let account = event.stream.as_str();
            let before: u64 = tx.get("balances", account).await?.unwrap_or_default();
            tx.put("balances", account, &(before + amount)).await?;
        }
        Ok(())
    }
}

/// The balance of one account, as the read model has it.
pub(crate) struct BalanceOf(pub(crate) u32);

impl Query for BalanceOf {
    type Reads = Balances;
    type Answer = u64;
}

impl Answer<MemoryReader> for BalanceOf {
    async fn answer(&self, rows: &mut MemoryReader) -> Result<u64, QueryError> {
        let account = format!("account-{}", self.0);
        Ok(rows.get("balances", &account).await?.unwrap_or_default())
    }
}

/// Appends deposits of 1 to accounts in turn. Each account gets the amount of its number of turns.
pub(crate) async fn deposit_in_turns(store: &Arc<MemoryStore>, accounts: u32, deposits: u32) {
    for turn in 0..deposits {
        let stream = StreamName::new(format!("account-{}", turn % accounts)).unwrap();
        let deposited = StoredType::new("deposited").unwrap();
        let event = NewEvent::json(EventId::random(), deposited, r#"{"amount":1}"#);
        store.append(Append::to(stream, ExpectedRevision::Any, [event])).await.unwrap();
    }
}

/// Returns all events of a store.
pub(crate) async fn all_events(store: &dyn EventStore) -> Vec<RecordedEvent> {
    store.read_all(ReadAll::forwards()).collect_events().await.unwrap()
}
