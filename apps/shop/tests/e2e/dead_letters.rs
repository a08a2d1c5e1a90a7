//! An event that a served shop cannot project becomes a dead letter, and a retry repairs
//! the row.
//!
//! No command causes such an event, so the check appends one directly: a deposit to a missing
//! account. Opening the account repairs it; the repair by a fixed projection is covered by the
//! framework's tests.

use std::{path::Path, thread, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use gesta_services::e2e::figures;

use crate::{client::Client, server::Shop};

const POLL: Duration = Duration::from_millis(50);
const POLLS_MAX: usize = 600;

/// Checks that a dead letter survives a kill, that retries fail while its cause persists, and that
/// a retry after that applies it.
#[test]
fn a_dead_letter_survives_a_kill_and_a_retry_repairs_its_row() -> Result<()> {
    let shop = Shop::build("dead-letters")?;
    let store = shop.store("store");
    append_early_deposit(&shop, &store, "early")?;
    let mut server = shop.serve(&store)?;
    let mut client = Client::connect(server.address)?;
    let letters = until_set_aside(&mut client, 1)?;
    let id = letters.first().and_then(|it| it.get("id")?.as_str()).context("a letter has an id")?;
    let retry = format!("/v1/dead-letters/{id}/retry");
    let early = client.post(&retry, &[], &json!({}))?;
    ensure!(early.status == 422, "a retry that fails: {} {}", early.status, early.text());

    let account = json!({ "accountId": "early", "currency": "GBP" });
    let opened = client.command("/v1/accounts", &account)?;
    let position = opened.header("gesta-position").context("a command has a position")?;
    ensure!(
        balance(&mut client, position)? == "0",
        "the deposit of a dead letter is in the account"
    );
    server.kill()?;

    let server = shop.serve(&store)?;
    let mut client = Client::connect(server.address)?;
    until_set_aside(&mut client, 1)?;
    client.command(&retry, &json!({}))?;
    until_set_aside(&mut client, 0)?;
    let balance = balance(&mut client, position)?;
    ensure!(balance == "1", "after the retry there is {balance} in the account");
    figures(format!(
        "retry of {id} refused while its cause persists, kept through a kill, and its row correct after a retry"
    ))
}

/// Appends a deposit of 1 to a missing account.
pub(super) fn append_early_deposit(shop: &Shop, store: &Path, id: &str) -> Result<()> {
    let deposit = json!({
        "accountId": id, "amount": "1", "reference": "r", "occurredAt": "2011-01-01T00:00:00Z",
    });
    shop.append(store, &format!("account-odd-{id}"), "money-deposited", &deposit)
}

/// Waits until there are `count` dead letters.
pub(super) fn until_set_aside(client: &mut Client, count: usize) -> Result<Vec<Value>> {
    for _ in 0..POLLS_MAX {
        let letters: Value = serde_json::from_slice(&client.get("/v1/dead-letters", &[])?.body)?;
        let letters = letters.get("items").and_then(Value::as_array).context("a list of them")?;
        if letters.len() == count {
            return Ok(letters.clone());
        }
        thread::park_timeout(POLL);
    }
    bail!("expected {count} dead letters, timed out")
}

fn balance(client: &mut Client, position: &str) -> Result<String> {
    let reply = client.get("/v1/accounts/early", &[("Gesta-Position", position)])?;
    ensure!(reply.status == 200, "the account: {} {}", reply.status, reply.text());
    let account: Value = serde_json::from_slice(&reply.body)?;
    let balance = account.get("balance").and_then(Value::as_str);
    balance.map(str::to_owned).context("an account has a balance")
}
