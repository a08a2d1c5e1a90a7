//! Writers at full speed, and what they know: which commands a server has acknowledged.

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

use super::{client::Client, server::Server};

const ACCOUNTS: usize = 8;

/// What the writers know.
#[derive(Default)]
pub(super) struct Known {
    next: AtomicUsize,
    acknowledged: Mutex<HashSet<String>>,
}

impl Known {
    pub(super) fn count(&self) -> usize {
        self.acknowledged().len()
    }

    /// One that nobody else gets.
    pub(super) fn number(&self) -> usize {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn acknowledged(&self) -> MutexGuard<'_, HashSet<String>> {
        self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One product and some accounts with money.
pub(super) fn prepare(server: &Server) -> Result<()> {
    let mut client = Client::connect(server.address)?;
    let mut post = |path: &str, body: Value| client.command(path, &body).map(drop);
    post("/v1/products", json!({ "productId": "mug", "name": "Mug", "price": "1" }))?;
    post("/v1/products/mug/stock", json!({ "type": "receive", "quantity": 1_000_000 }))?;
    for account in 0..ACCOUNTS {
        post("/v1/accounts", json!({ "accountId": format!("a{account}"), "currency": "GBP" }))?;
        let deposit = json!({ "amount": "1000000", "reference": "start" });
        post(&format!("/v1/accounts/a{account}/deposit"), deposit)?;
    }
    Ok(())
}

/// Writers that are at work.
pub(super) struct Load<'scope>(Vec<thread::ScopedJoinHandle<'scope, Result<()>>>);

impl Load<'_> {
    /// Whether anybody still writes.
    pub(super) fn goes_on(&self) -> bool {
        !self.0.iter().all(thread::ScopedJoinHandle::is_finished)
    }
}

/// Does something while so many writers write; fails as it does, or as one of them does.
pub(super) fn under_load<T>(
    server: SocketAddr,
    writers: usize,
    known: &Known,
    act: impl FnOnce(&Load<'_>) -> Result<T>,
) -> Result<T> {
    let told_to_end = AtomicBool::new(false);
    thread::scope(|scope| {
        let writer = || scope.spawn(|| write(server, known, &told_to_end));
        let load = Load((0..writers).map(|_| writer()).collect());
        let done = act(&load);
        told_to_end.store(true, Ordering::Relaxed);
        load.0.into_iter().try_for_each(|writer| writer.join().expect("a writer ends"))?;
        done
    })
}

/// Ends with the connection, which a kill cuts, or once it is told to; fails on an answer that
/// nobody expects.
fn write(address: SocketAddr, known: &Known, told_to_end: &AtomicBool) -> Result<()> {
    let Ok(mut client) = Client::connect(address) else { return Ok(()) };
    while !told_to_end.load(Ordering::Relaxed) {
        let number = known.number();
        let key = format!("command-{number}");
        let (path, body) = command(number);
        let Ok(reply) = client.post(&path, &[("Idempotency-Key", &key)], &body) else {
            return Ok(());
        };
        match reply.status {
            200 | 201 => {
                known.acknowledged().insert(key);
            }
            // Others were faster, or there is too much to do: not acknowledged.
            409 | 503 => {}
            status => bail!("{path}: {status} {}", reply.text()),
        }
    }
    Ok(())
}

/// Users to be welcomed, deposits, and orders that are fulfilled from an account.
fn command(number: usize) -> (String, Value) {
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
            let items = json!([{ "productId": "mug", "quantity": 1 }]);
            let order = format!("o{number}");
            let body =
                json!({ "orderId": order, "orderItems": items, "paymentAccountId": account });
            ("/v1/orders".to_owned(), body)
        }
    }
}
