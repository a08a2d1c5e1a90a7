//! The domain of the loads: accounts that are opened, receive deposits and are thanked for them.
//!
//! Invariant: an event of a filled store has the bytes that the framework would have written. Not
//! here: appends and measurements.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use anyhow::Result;
use gesta::{EventMetadata, PayloadDigest, prelude::*, sqlite, sqlite::params};
use gesta_store::NewEvent;
use uuid::Uuid;

use crate::load::workload::Random;

#[derive(Event, Serialize, Deserialize, Clone, Debug)]
#[event(name = "account-opened")]
pub struct AccountOpened {
    pub owner: String,
    pub note: String,
}

#[derive(Event, Serialize, Deserialize, Clone, Debug)]
#[event(name = "deposited")]
pub struct Deposited {
    pub account: String,
    pub amount: u64,
    pub reference: String,
}

#[derive(Event, Serialize, Deserialize, Clone, Debug)]
#[event(name = "holder-thanked")]
pub struct HolderThanked {
    pub amount: u64,
}

#[derive(EventSet, Clone, Debug)]
pub enum AccountEvent {
    Opened(AccountOpened),
    Deposited(Deposited),
    Thanked(HolderThanked),
}

/// The state of an account, which snapshots keep.
#[derive(Default, Serialize, Deserialize)]
pub struct Account {
    pub deposits: u64,
    pub balance: u64,
    pub thanked: u64,
}

impl Aggregate for Account {
    const CATEGORY: &'static str = "account";
    type Id = String;
    type Event = AccountEvent;

    fn evolve(&mut self, event: &AccountEvent) {
        match event {
            AccountEvent::Opened(_) => {}
            AccountEvent::Deposited(deposited) => {
                self.deposits += 1;
                self.balance += deposited.amount;
            }
            AccountEvent::Thanked(thanked) => self.thanked += thanked.amount,
        }
    }
}

/// Opens an account that does not exist.
#[derive(Command, Serialize, Deserialize)]
#[command(name = "open-account", on = Account, new)]
pub struct OpenAccount {
    #[command(id)]
    pub account: String,
    pub owner: String,
    pub note: String,
}

impl Decide for OpenAccount {
    type Rejection = std::convert::Infallible;

    fn decide(&self, _: &Account) -> Decision<Self> {
        Ok(AccountOpened { owner: self.owner.clone(), note: self.note.clone() }.into())
    }
}

/// Thanks the holder of an account for a deposit.
#[derive(Command, Serialize, Deserialize)]
#[command(name = "thank-holder", on = Account)]
pub struct ThankHolder {
    #[command(id)]
    pub account: String,
    pub amount: u64,
}

impl Decide for ThankHolder {
    type Rejection = std::convert::Infallible;

    fn decide(&self, _: &Account) -> Decision<Self> {
        Ok(HolderThanked { amount: self.amount }.into())
    }
}

/// The events that the read model and the process manager take.
#[derive(EventSet, Clone, Debug)]
pub enum Noticed {
    Deposited(Deposited),
}

/// A process manager that thanks for each deposit. Each account has an instance.
#[derive(Clone, Default)]
pub struct Thanks;

impl ProcessManager for Thanks {
    const NAME: &'static str = "thanks";
    type Event = Noticed;
    type Timer = ();
    type Commands = (ThankHolder,);

    fn route(event: &Recorded<Noticed>) -> Routing {
        match &event.event {
            Noticed::Deposited(deposited) => Routing::start(&deposited.account),
        }
    }

    fn evolve(&mut self, _: &Input<Self>) {}

    fn react(&self, input: &Input<Self>, _: RecordedAt) -> Effects<Self> {
        match input {
            Input::Event(Noticed::Deposited(Deposited { account, amount, .. })) => {
                Effects::none().send(ThankHolder { account: account.clone(), amount: *amount })
            }
            Input::Timer(()) | Input::Rejected(_) => Effects::none(),
        }
    }
}

/// The table of [`Entries`].
pub const ENTRIES_TABLE: &str = "create table entries (
    position integer primary key,
    account text not null,
    amount integer not null,
    reference text not null
) strict";

/// The insert of one row of [`Entries`].
pub const INSERT_ENTRY: &str = "insert into entries values (?1, ?2, ?3, ?4)";

/// A row of [`Entries`].
pub struct Entry {
    pub position: u64,
    pub deposited: Deposited,
}

/// A read model with one row for each deposit.
pub struct Entries {
    /// Number of batches applied.
    pub batches: Arc<AtomicU64>,
}

impl Projection for Entries {
    const NAME: &'static str = "entries";
    type Event = Noticed;
}

impl Apply<sqlite::Tx> for Entries {
    async fn prepare(&self, tx: &mut sqlite::Tx) -> Result<(), ApplyError> {
        Ok(tx.execute_script(ENTRIES_TABLE)?)
    }

    async fn apply(
        &self,
        tx: &mut sqlite::Tx,
        events: &[Recorded<Noticed>],
    ) -> Result<(), ApplyError> {
        self.batches.fetch_add(1, Ordering::Relaxed);
        for recorded in events {
            let Noticed::Deposited(Deposited { account, amount, reference }) = &recorded.event;
            let position = recorded.position.number();
            tx.execute(INSERT_ENTRY, params![position, account, amount, reference])?;
        }
        Ok(())
    }
}

/// Returns the stream of an account.
pub fn stream_of(account: &str) -> Result<StreamName> {
    Ok(StreamName::new(format!("{}-{account}", Account::CATEGORY))?)
}

/// Returns the name of the account with this number.
pub fn account_name(number: u64) -> String {
    format!("a{number}")
}

/// Generates deposits.
#[derive(Debug)]
pub struct Deposits(Random);

impl Deposits {
    pub const fn of_seed(seed: u64) -> Self {
        Self(Random::of_seed(seed))
    }

    /// Returns the event of the next deposit on an account, as a command of that name would write
    /// it.
    pub fn next(&mut self, account: String) -> Result<NewEvent> {
        let amount = 1 + self.0.below(10_000);
        let reference = format!("R{:012}", self.0.below(1 << 39));
        let deposited = Deposited { account, amount, reference };
        let command_id = CommandId::new(random_id(&mut self.0).to_string())?;
        let mut metadata = EventMetadata::by("teller");
        metadata.command_id = Some(command_id.clone());
        metadata.command = Some("deposit".to_owned());
        metadata.payload_digest = Some(PayloadDigest::of("deposit", &deposited)?);
        let id = EventId::from(random_id(&mut self.0));
        let data = serde_json::to_vec(&deposited)?;
        let event = NewEvent::json(id, EventType::new(Deposited::NAME)?, data);
        let event = event.metadata(metadata.to_json()).correlation_id(command_id.begins());
        Ok(event.causation_id(command_id.causes()))
    }
}

/// Returns a random id of version 8 (RFC 9562), as the framework derives them.
pub fn random_id(random: &mut Random) -> Uuid {
    let high = u128::from(random.next()) << 64;
    uuid::Builder::from_custom_bytes((high | u128::from(random.next())).to_be_bytes()).into_uuid()
}
