//! Balances of all accounts from a source of events that is not the shop's store.
//!
//! Owns: the projection on the source, `shop balances`, and its lines. Invariant: the event store
//! is not opened, so a program of another company could do the same. Not here: the source itself.

use std::{
    collections::BTreeMap,
    future::{Future, IntoFuture as _, pending},
    io::{self, Write as _},
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use anyhow::{Result, anyhow};
use gesta::{
    Gesta, OpenError, Position, WaitError,
    store::{EventStore, ReadAll, StoreError},
};
use shop::{
    accounts::{AccountBalance, Accounts, ListBalances},
    read_models::ReadModels,
};
use tokio::{
    select,
    time::{sleep, timeout},
};

/// Maximum time for the balances to reach the end of the source, however well they get on.
const CATCH_UP_MAX: Duration = Duration::from_secs(24 * 3_600);
/// Time after which balances that do not get on are given up. A broker restarts in less.
const STANDSTILL_MAX: Duration = Duration::from_secs(60);
/// Pause between two looks at a source that the projection cannot read.
const LOOK: Duration = Duration::from_secs(5);
/// Looks in a row that the source refuses before the program gives up: a broker that has just
/// started does not know all topics yet.
const REFUSALS_MAX: u32 = 6;
/// Time after which a source that is silent is waited for anew.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// Pause before a source that could not be opened is opened again.
const PAUSE: Duration = Duration::from_secs(1);

/// Opens the projection of balances on a source.
pub(crate) async fn open(
    source: Arc<dyn EventStore>,
    read_models: &ReadModels,
) -> Result<Gesta, OpenError> {
    // No command is executed here, so none has to be recognized when it is repeated.
    let builder = Gesta::on(source).idempotency_optional();
    builder.project(Accounts, read_models).open().await
}

/// Prints all balances after everything that the source has now.
pub(crate) async fn print(source: Arc<dyn EventStore>, read_models: &ReadModels) -> Result<()> {
    let head = source.head().await?.position;
    let gesta = open(Arc::clone(&source), read_models).await?;
    let listed = gesta.ask(ListBalances).at_least_position(head).within(CATCH_UP_MAX);
    let listed = select! {
        listed = listed.into_future() => listed.map_err(anyhow::Error::from),
        refusal = refusal(&gesta, source.as_ref()) => Err(refused(refusal)),
        error = standstill(&gesta, source.as_ref(), head) => Err(error),
    };
    gesta.close().await;
    print_lines(&listed?)?;
    Ok(())
}

/// Returns once the balances have not moved for [`STANDSTILL_MAX`] before they have reached `end`:
/// the source is away, or the place of the balances is.
async fn standstill(gesta: &Gesta, source: &dyn EventStore, end: Position) -> anyhow::Error {
    let mut reached = gesta.reached::<Accounts>();
    loop {
        sleep(STANDSTILL_MAX).await;
        let now = gesta.reached::<Accounts>();
        if now.is_some_and(|now| now >= end) {
            // Only one query is left to do, and it has a limit of its own.
            return pending().await;
        }
        if now == reached {
            break;
        }
        reached = now;
    }
    // A look that gets no answer either says no more than the position does.
    let known = timeout(LOOK, gesta.projections()).await;
    let cause = match known {
        Ok(Ok(all)) => all.into_iter().find_map(|one| one.trouble),
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => None,
    };
    let cause = cause.unwrap_or_else(|| "no error is known".to_owned());
    anyhow!(
        "the balances have stood still for {} seconds at position {} of {end} in {}: {cause}; see \
         that the source and the place of the balances run, and start this again: it continues there",
        STANDSTILL_MAX.as_secs(),
        reached.unwrap_or(Position::START),
        source.place(),
    )
}

fn refused(refusal: StoreError) -> anyhow::Error {
    anyhow::Error::new(refusal).context("the source cannot be read any more")
}

/// Returns once the source has refused to be read for some time, and waiting does not help: a topic
/// was deleted, or has lost records. A source that is away is waited for.
async fn refusal(gesta: &Gesta, source: &dyn EventStore) -> StoreError {
    let mut refusals = 0;
    loop {
        sleep(LOOK).await;
        // A projection without trouble reads the source.
        let known = gesta.projections().await;
        let in_trouble = known.map_or(true, |all| all.iter().any(|one| one.trouble.is_some()));
        let look = source.read_all(ReadAll::backwards().limit(1)).collect_events();
        match if in_trouble { look.await } else { Ok(Vec::new()) } {
            Err(error) if !error.is_transient() => {
                refusals += 1;
                if refusals == REFUSALS_MAX {
                    return error;
                }
            }
            Ok(_) | Err(_) => refusals = 0,
        }
    }
}

/// Prints the balances, and each one that changes, until `stop` is ready. A source that is away is
/// waited for.
pub(crate) async fn follow(
    source: Arc<dyn EventStore>,
    read_models: &ReadModels,
    stop: impl Future<Output = ()>,
) -> Result<()> {
    let mut stop = pin!(stop);
    let gesta = loop {
        let error = match open(Arc::clone(&source), read_models).await {
            Ok(gesta) => break gesta,
            Err(error) => error,
        };
        tracing::warn!(%error, "the source does not open; trying again");
        select! {
            () = &mut stop => return Ok(()),
            () = sleep(PAUSE) => {}
        }
    };
    let outcome = print_changes(&gesta, source.as_ref(), stop).await;
    gesta.close().await;
    outcome
}

/// Prints the balances, and each one that changes, until `stop` is ready or the source refuses.
async fn print_changes(
    gesta: &Gesta,
    source: &dyn EventStore,
    mut stop: Pin<&mut impl Future<Output = ()>>,
) -> Result<()> {
    let mut refusal = pin!(refusal(gesta, source));
    let mut known = BTreeMap::new();
    loop {
        let reached = gesta.reached::<Accounts>().unwrap_or(Position::START);
        // A look that fails is repeated with the next event; the projection reports the cause.
        match gesta.ask(ListBalances).at_least_position(reached).await {
            Ok(listed) => print_lines(&changed(&mut known, listed))?,
            Err(error) => tracing::warn!(%error, "the balances cannot be read"),
        }
        let next = Position::new(reached.number() + 1);
        let moved = gesta.wait_for_position::<Accounts>(next).within(SILENCE_MAX);
        let moved = select! {
            () = &mut stop => return Ok(()),
            refusal = &mut refusal => return Err(refused(refusal)),
            moved = moved.into_future() => moved,
        };
        match moved {
            Ok(()) | Err(WaitError::TimedOut { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Returns the balances that differ from the known ones, and makes them known.
fn changed(
    known: &mut BTreeMap<String, AccountBalance>,
    listed: Vec<AccountBalance>,
) -> Vec<AccountBalance> {
    let is_new = |balance: &AccountBalance| {
        let id = balance.account_id.as_str().to_owned();
        known.insert(id, balance.clone()).as_ref() != Some(balance)
    };
    listed.into_iter().filter(is_new).collect()
}

fn print_lines(balances: &[AccountBalance]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for balance in balances {
        writeln!(out, "{}", serde_json::to_string(balance)?)?;
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    use gesta::store::{
        Append, Appended, Capabilities, EventId, EventType, ExpectedRevision, Head,
        MemoryReadModels, NewEvent, Pages, ReadStream, StoreFuture, StreamDescription, StreamName,
        Subscribe, Subscription, memory::MemoryStore,
    };
    use tokio::time::Instant;

    use super::*;

    /// Position that the source claims to have.
    const CLAIMED: Position = Position::new(3);

    /// A source that delivers fewer events than its head promises, as one whose server ends.
    struct EndsEarly(MemoryStore);

    impl EventStore for EndsEarly {
        fn append(&self, append: Append) -> StoreFuture<'_, Appended> {
            self.0.append(append)
        }

        fn place(&self) -> String {
            "kafka://broker:9092/shop".to_owned()
        }

        fn read_stream(&self, read: ReadStream) -> Pages {
            self.0.read_stream(read)
        }

        fn read_all(&self, read: ReadAll) -> Pages {
            self.0.read_all(read)
        }

        fn subscribe(&self, subscribe: Subscribe) -> Subscription {
            self.0.subscribe(subscribe)
        }

        fn describe_stream(&self, stream: &StreamName) -> StoreFuture<'_, StreamDescription> {
            self.0.describe_stream(stream)
        }

        fn head(&self) -> StoreFuture<'_, Head> {
            Box::pin(async move { Ok(Head { position: CLAIMED, ..self.0.head().await? }) })
        }

        fn capabilities(&self) -> Capabilities {
            self.0.capabilities()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn balances_that_stand_still_end_with_the_place_and_how_far_they_came() {
        let store = MemoryStore::new();
        let event = NewEvent::json(EventId::random(), EventType::new("visited").unwrap(), "{}");
        let stream = StreamName::new("page-1").unwrap();
        store.append(Append::to(stream, ExpectedRevision::NoStream, [event])).await.unwrap();
        let begun = Instant::now();
        let rows = ReadModels::Memory(MemoryReadModels::new());
        let error = print(Arc::new(EndsEarly(store)), &rows).await.unwrap_err().to_string();
        let told = "stood still for 60 seconds at position 1 of 3 in kafka://broker:9092/shop";
        assert!(error.contains(told), "{error}");
        assert!(error.ends_with("start this again: it continues there"), "{error}");
        assert!(begun.elapsed() <= 3 * STANDSTILL_MAX, "{:?}", begun.elapsed());
    }
}
