//! Writers at full speed, and the record of commands acknowledged to them.

use std::{
    collections::HashSet,
    net::SocketAddr,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use anyhow::{Result, bail};
use serde_json::{Value, json};

use crate::client::Client;

/// Number of accounts that orders are paid from.
pub(super) const ACCOUNTS: usize = 64;

/// Number of products that orders are for. Each order reads the events of its product, so with one
/// product the time of a command would grow with the length of the load.
const PRODUCTS: usize = 64;

/// Acknowledged commands, shared by all writers.
#[derive(Default)]
pub(super) struct Acknowledged {
    next: AtomicUsize,
    acknowledged: Mutex<HashSet<String>>,
}

impl Acknowledged {
    pub(super) fn count(&self) -> usize {
        self.commands().len()
    }

    /// Returns a unique number.
    pub(super) fn number(&self) -> usize {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn commands(&self) -> MutexGuard<'_, HashSet<String>> {
        self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Creates some products with stock and some accounts with money.
pub(super) fn prepare(server: SocketAddr) -> Result<()> {
    let mut client = Client::connect(server)?;
    let mut post = |path: &str, body: Value| client.command(path, &body).map(drop);
    for product in 0..PRODUCTS {
        let product = format!("mug-{product}");
        post("/v1/products", json!({ "productId": product, "name": "Mug", "price": "1" }))?;
        let delivery = json!({ "type": "receive", "quantity": 1_000_000 });
        post(&format!("/v1/products/{product}/stock"), delivery)?;
    }
    for account in 0..ACCOUNTS {
        post("/v1/accounts", json!({ "accountId": format!("a{account}"), "currency": "GBP" }))?;
        let deposit = json!({ "amount": "1000000", "reference": "start" });
        post(&format!("/v1/accounts/a{account}/deposit"), deposit)?;
    }
    Ok(())
}

/// Running writers.
pub(super) struct WriterLoad<'scope>(Vec<thread::ScopedJoinHandle<'scope, Result<()>>>);

impl WriterLoad<'_> {
    /// Returns whether any writer is still running.
    pub(super) fn is_running(&self) -> bool {
        !self.0.iter().all(thread::ScopedJoinHandle::is_finished)
    }
}

/// Calls `act` while `writers` writers run. Fails if `act` or a writer fails.
pub(super) fn under_load<T>(
    server: SocketAddr,
    writers: usize,
    acknowledged: &Acknowledged,
    act: impl FnOnce(&WriterLoad<'_>) -> Result<T>,
) -> Result<T> {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let writer = || scope.spawn(|| write(server, acknowledged, &stop));
        let load = WriterLoad((0..writers).map(|_| writer()).collect());
        let done = act(&load);
        // Set also if `act` failed, so that the writers end.
        stop.store(true, Ordering::Relaxed);
        load.0.into_iter().try_for_each(|writer| writer.join().expect("a writer ends"))?;
        done
    })
}

/// Sends commands until the connection is cut by a kill or `stop` is set. Fails on an unexpected
/// answer.
fn write(address: SocketAddr, acknowledged: &Acknowledged, stop: &AtomicBool) -> Result<()> {
    let Ok(mut client) = Client::connect(address) else { return Ok(()) };
    while !stop.load(Ordering::Relaxed) {
        let number = acknowledged.number();
        let key = format!("command-{number}");
        let (path, body) = command(number);
        // A cut connection is the expected end; the command's outcome is unknown.
        let Ok(reply) = client.post(&path, &[("Idempotency-Key", &key)], &body) else {
            return Ok(());
        };
        match reply.status {
            200 | 201 => {
                acknowledged.commands().insert(key);
            }
            // Conflict or overload: not acknowledged.
            409 | 503 => {}
            status => bail!("{path}: {status} {}", reply.text()),
        }
    }
    Ok(())
}

/// Returns a command: a user to be welcomed, a deposit, or an order paid from an account.
pub(super) fn command(number: usize) -> (String, Value) {
    let account = format!("a{}", number % ACCOUNTS);
    match number % 3 {
        0 => {
            let user = format!("u{number}");
            let body = json!({ "userId": user, "firstName": "Ann", "lastName": "Example" });
            ("/v1/users".to_owned(), body)
        }
        1 => {
            let body = json!({ "amount": "1", "reference": format!("d{number}") });
            (format!("/v1/accounts/{account}/deposit"), body)
        }
        _ => {
            let product = format!("mug-{}", number / 3 % PRODUCTS);
            let items = json!([{ "productId": product, "quantity": 1 }]);
            let order = format!("o{number}");
            let body =
                json!({ "orderId": order, "orderItems": items, "paymentAccountId": account });
            ("/v1/orders".to_owned(), body)
        }
    }
}
