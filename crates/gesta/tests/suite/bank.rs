//! A small bank for the tests of the read side: accounts, and faulty projections.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use gesta::{
    Answer, Apply, ApplyError, Builder, Clock, FailurePolicy, Gesta, Projection, Query, QueryError,
    ReadTypedRows, Receipt, Sleep, SystemClock, TypedRows, WAIT_MAX, audit::Operator, prelude::*,
};
use gesta_store::{DatabaseError, EventStore, ListRows, ReadRows, Rows, memory::MemoryStore};
use tokio::sync::Semaphore;

#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "deposited")]
pub(crate) struct Deposited {
    pub(crate) amount: u64,
}

#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "audited")]
pub(crate) struct Audited;

#[derive(EventSet, Clone, Debug, PartialEq)]
pub(crate) enum AccountEvent {
    Deposited(Deposited),
    Audited(Audited),
}

/// The events that the projections understand. Audits do not change a balance.
#[derive(EventSet, Clone, Debug, PartialEq)]
pub(crate) enum BalanceEvent {
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

#[derive(Command, Serialize, Deserialize)]
#[command(name = "audit", on = Account, either)]
pub(crate) struct Audit {
    #[command(id)]
    pub(crate) account: String,
}

impl Decide for Audit {
    type Rejection = Infallible;

    fn decide(&self, _: &Account) -> Decision<Self> {
        Ok(Audited.into())
    }
}

/// The amount of a deposit that faulty projections fail on.
pub(crate) const UNLUCKY: u64 = 13;

/// The fault of a projection, until it is reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Error,
    Panic,
    /// Database errors, this many times.
    Busy(u64),
}

/// Handles of a test on a running projection.
#[derive(Debug)]
pub(crate) struct Controls {
    pub(crate) fault: Option<Fault>,
    pub(crate) fixed: AtomicBool,
    /// Number of events applied, committed or not.
    pub(crate) applied: AtomicU64,
    /// A batch takes a permit between changing its rows and committing.
    pub(crate) gate: Semaphore,
    /// Number of batches that reached the gate.
    pub(crate) at_gate: Semaphore,
    faults: AtomicU64,
}

impl Controls {
    pub(crate) fn free() -> Arc<Self> {
        Self::new(None, Semaphore::MAX_PERMITS)
    }

    pub(crate) fn failing(fault: Fault) -> Arc<Self> {
        Self::new(Some(fault), Semaphore::MAX_PERMITS)
    }

    /// Lets a number of batches pass.
    pub(crate) fn gated(batches: usize) -> Arc<Self> {
        Self::new(None, batches)
    }

    fn new(fault: Option<Fault>, batches: usize) -> Arc<Self> {
        Arc::new(Self {
            fault,
            fixed: AtomicBool::new(false),
            applied: AtomicU64::new(0),
            gate: Semaphore::new(batches),
            at_gate: Semaphore::new(0),
            faults: AtomicU64::new(0),
        })
    }

    pub(crate) fn fix(&self) {
        self.fixed.store(true, Ordering::SeqCst);
    }

    pub(crate) fn open_gate(&self) {
        self.gate.add_permits(Semaphore::MAX_PERMITS / 2);
    }

    pub(crate) async fn until_at_gate(&self) {
        self.at_gate.acquire().await.unwrap().forget();
    }

    fn check(&self, amount: u64) -> Result<(), ApplyError> {
        if amount != UNLUCKY || self.fixed.load(Ordering::SeqCst) {
            return Ok(());
        }
        match self.fault {
            Some(Fault::Error) => Err(ApplyError::because("thirteen is unlucky")),
            Some(Fault::Panic) => panic!("thirteen is very unlucky"),
            Some(Fault::Busy(times)) if self.faults.fetch_add(1, Ordering::SeqCst) < times => {
                Err(DatabaseError::unavailable("busy").into())
            }
            Some(Fault::Busy(_)) | None => Ok(()),
        }
    }

    /// Adds each deposit to its account's row, `factor` times. An event applied twice would show.
    async fn apply<Tx: Rows>(
        &self,
        tx: &mut Tx,
        events: &[Recorded<BalanceEvent>],
        factor: u64,
    ) -> Result<(), ApplyError> {
        for event in events {
            let BalanceEvent::Deposited(Deposited { amount }) = event.event;
            let account = event.stream.as_str();
            let before: u64 = tx.get(BALANCES, account).await?.unwrap_or_default();
            tx.put(BALANCES, account, &(before + factor * amount)).await?;
            self.check(amount)?;
        }
        self.applied.fetch_add(events.len() as u64, Ordering::SeqCst);
        self.at_gate.add_permits(1);
        self.gate.acquire().await.unwrap().forget();
        Ok(())
    }
}

const BALANCES: &str = "balances";

macro_rules! balances {
    ($(#[$doc:meta])* $name:ident, version $version:literal, $after:ident) => {
        $(#[$doc])*
        pub(crate) struct $name(pub(crate) Arc<Controls>);

        impl Projection for $name {
            const NAME: &'static str = "balances";
            const VERSION: u32 = $version;
            const FAILURE_POLICY: FailurePolicy = FailurePolicy::$after;
            type Event = BalanceEvent;
        }

        impl<Tx: Rows> Apply<Tx> for $name {
            async fn apply(
                &self,
                tx: &mut Tx,
                events: &[Recorded<BalanceEvent>],
            ) -> Result<(), ApplyError> {
                self.0.apply(tx, events, $version).await
            }
        }
    };
}

balances!(Balances, version 1, SetAside);
balances!(
    /// The next version of the program, which counts balances twice.
    DoubledBalances, version 2, SetAside
);
balances!(StrictBalances, version 1, Halt);

/// All balances by account.
pub(crate) struct AllBalances<P>(std::marker::PhantomData<fn() -> P>);

impl<P> AllBalances<P> {
    pub(crate) fn of() -> Self {
        Self(std::marker::PhantomData)
    }
}

impl<P: Projection> Query for AllBalances<P> {
    type Reads = P;
    type Answer = Vec<(String, u64)>;
}

impl<P: Projection, Reader: ReadRows> Answer<Reader> for AllBalances<P> {
    async fn answer(&self, rows: &mut Reader) -> Result<Vec<(String, u64)>, QueryError> {
        Ok(rows.list(ListRows::of(BALANCES)).await?)
    }
}

/// An application on a store and the [`HastyClock`], whose commands have no time limit.
///
/// The default limit is as long as the longest pause, so it would pass at once.
pub(crate) fn hasty(store: &Arc<dyn EventStore>) -> Builder {
    Gesta::on(Arc::clone(store)).clock(HastyClock).timeout(2 * PAUSE_MAX)
}

/// A clock whose pauses between attempts pass at once. Waits of [`WAIT_MAX`] and those longer than
/// any pause never end.
///
/// Tokio's paused clock does not fit read models in SQLite: the runtime is idle while a statement
/// runs on its thread, and an idle runtime moves that clock.
#[derive(Debug)]
pub(crate) struct HastyClock;

/// The longest pause between attempts.
pub(crate) const PAUSE_MAX: Duration = Duration::from_secs(30);

impl Clock for HastyClock {
    fn now(&self) -> SystemTime {
        SystemClock.now()
    }

    fn sleep(&self, duration: Duration) -> Sleep {
        if duration > PAUSE_MAX || duration == WAIT_MAX {
            return Box::pin(std::future::pending());
        }
        Box::pin(tokio::task::yield_now())
    }
}

/// The operator of the tests.
pub(crate) fn operator() -> Operator {
    Operator::new("ann").because("a test")
}

pub(crate) fn new_store() -> Arc<dyn EventStore> {
    Arc::new(MemoryStore::new())
}

pub(crate) async fn deposit(gesta: &Gesta, account: &str, amount: u64) -> Receipt {
    gesta.execute(Deposit { account: account.to_owned(), amount }).await.unwrap()
}

/// The expected balance of every account, folded from the store's first event.
pub(crate) async fn replayed(store: &Arc<dyn EventStore>, factor: u64) -> Vec<(String, u64)> {
    let events = store.read_all(gesta_store::ReadAll::forwards()).collect_events().await.unwrap();
    let mut balances = std::collections::BTreeMap::new();
    for event in &events {
        let Ok(deposited) = Recorded::<BalanceEvent>::read(event) else { continue };
        let BalanceEvent::Deposited(Deposited { amount }) = deposited.event;
        *balances.entry(event.stream.as_str().to_owned()).or_default() += factor * amount;
    }
    balances.into_iter().collect()
}
