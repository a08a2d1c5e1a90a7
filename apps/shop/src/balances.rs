//! Balances of all accounts from a source of events that is not the shop's store.
//!
//! Owns: the projection on the source, `shop balances`, and its lines. Invariant: the event store
//! is not opened, so a program of another company could do the same. Not here: the source itself.

use std::{
    collections::BTreeMap,
    future::{Future, IntoFuture as _},
    io::{self, Write as _},
    sync::Arc,
    time::Duration,
};

use anyhow::Result;
use gesta::{Gesta, OpenError, Position, WaitError, store::EventStore};
use shop::{
    accounts::{AccountBalance, Accounts, ListBalances},
    read_models::ReadModels,
};
use tokio::{pin, select, time::sleep};

/// Maximum time for the balances to reach the end of the source.
const CATCH_UP_MAX: Duration = Duration::from_secs(3_600);
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
    let gesta = open(source, read_models).await?;
    let listed = gesta.ask(ListBalances).at_least_position(head).within(CATCH_UP_MAX).await;
    gesta.close().await;
    print_lines(&listed?)?;
    Ok(())
}

/// Prints the balances, and each one that changes, until `stop` is ready. A source that is away is
/// waited for.
pub(crate) async fn follow(
    source: Arc<dyn EventStore>,
    read_models: &ReadModels,
    stop: impl Future<Output = ()>,
) -> Result<()> {
    pin!(stop);
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
            () = &mut stop => break,
            moved = moved.into_future() => moved,
        };
        match moved {
            Ok(()) | Err(WaitError::TimedOut { .. }) => {}
            Err(error) => {
                gesta.close().await;
                return Err(error.into());
            }
        }
    }
    gesta.close().await;
    Ok(())
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
