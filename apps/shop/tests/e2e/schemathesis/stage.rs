//! Contents of the shop before requests are generated for it.
//!
//! The ids are those that the shop's `schemathesis.toml` names; where the two differ, an operation
//! gets no 2xx, and the check says which. Everything but events that no command leads to is made
//! over HTTP.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use gesta::EffectKey;
use serde_json::{Value, json};

use crate::{
    client::Client,
    dead_letters,
    server::{Server, Shop},
};

/// Orders for each step.
const ORDERS: usize = 8;
/// Dead letters of each kind, and users whose `user-created` event cannot be read.
const LETTERS: usize = 4;
/// Number before those of the events whose mail cannot be written until its place is cleared.
const BLOCKED: usize = 10;
/// Process instances for each of an operator's operations.
const INSTANCES: usize = 8;
/// Delay of a welcome; longer than the check, so that its timer stays pending.
pub(super) const WELCOME_SECONDS: u64 = 86_400;

/// The projection whose rebuild is held for comparisons.
const HELD: &str = "order-summaries";

const POLL: Duration = Duration::from_millis(50);
const POLLS_MAX: usize = 600;

/// Events that no command brings about, in a store that is not open elsewhere: deposits to
/// accounts that do not exist yet, which a retry mends once they do, and changes of users that
/// nothing mends. They get the first positions, which the ids of their dead letters consist of.
pub(super) fn put_odd_events(shop: &Shop, store: &Path) -> Result<()> {
    for number in 1..=LETTERS {
        dead_letters::append_early_deposit(shop, store, &format!("early-{number}"))?;
    }
    for number in 1..=LETTERS {
        shop.append(store, &format!("user-odd-{number}"), "user-updated", &json!({}))?;
    }
    // The welcome process cannot read these, so it sets them aside by their stream.
    for number in 1..=LETTERS {
        shop.append(store, &format!("user-poison-{number}"), "user-created", &json!({}))?;
    }
    Ok(())
}

/// Sets instances of the welcome process aside so that a retry succeeds.
///
/// Their streams are unreadable while their users are created, and deleted afterwards.
pub(super) fn set_instances_aside(shop: &Shop, store: &Path) -> Result<()> {
    let ids: Vec<_> = (1..=INSTANCES).map(|number| format!("mended-{number}")).collect();
    for id in &ids {
        shop.append(store, &format!("process:welcome-{id}"), "process-reacted", &json!({}))?;
    }
    let mut server = shop.serve_with_late_welcomes(store, WELCOME_SECONDS)?;
    let mut client = Client::connect(server.address)?;
    for id in &ids {
        create_user(&mut client, id)?;
    }
    for number in 1..=LETTERS {
        let id = format!("blocked-{number}");
        let email = format!("{id}@example.org");
        let user = json!({ "userId": id, "firstName": "A", "lastName": "B", "email": email });
        client.command("/v1/users", &user)?;
    }
    until_processes_set_aside(&mut client, INSTANCES + LETTERS)?;
    server.kill()?;
    ids.iter().try_for_each(|id| shop.delete(store, &format!("process:welcome-{id}")))
}

/// Records that users were welcomed whose mail cannot be written, and that one was whose event
/// cannot be read. The shop has been served before: its reactor begins with what comes later.
pub(super) fn put_effects_that_fail(shop: &Shop, store: &Path) -> Result<()> {
    for number in 1..=LETTERS {
        let (poison, blocked) = (effect_id(number), effect_id(BLOCKED + number));
        let welcomed = ("user-welcomed", &json!({}));
        shop.append_with_id(store, &format!("welcome-poison-{number}"), &poison, welcomed)?;
        let id = format!("blocked-{number}");
        let welcomed = ("user-welcomed", &json!({ "userId": id }));
        shop.append_with_id(store, &format!("welcome-{id}"), &blocked, welcomed)?;
        // A directory in the place of the mail.
        fs::create_dir_all(mail(store, &blocked)?)?;
    }
    Ok(())
}

/// The id of an event whose effect fails.
fn effect_id(number: usize) -> String {
    format!("00000000-0000-4000-8000-{number:012}")
}

/// The file of the mail that an event leads to.
fn mail(store: &Path, event: &str) -> Result<PathBuf> {
    let key = EffectKey::new("welcome-mail", event.parse()?);
    Ok(store.join("outbox").join(format!("{key}.eml")))
}

/// Waits until all effects that fail are dead letters, and clears the place of the mails.
fn mend_effects(client: &mut Client, store: &Path) -> Result<()> {
    // The attempts of an effect take 25 seconds.
    for _ in 0..2 * POLLS_MAX {
        let reply = client.get("/v1/reactors/welcome-mail", &[])?;
        let shown: Value = serde_json::from_slice(&reply.body)?;
        if shown.get("deadLetters").and_then(Value::as_u64) == Some(2 * LETTERS as u64) {
            return (1..=LETTERS).try_for_each(|number| {
                Ok(fs::remove_dir(mail(store, &effect_id(BLOCKED + number))?)?)
            });
        }
        thread::park_timeout(POLL);
    }
    bail!("expected {} dead letters of the reactor, timed out", 2 * LETTERS)
}

/// A product, accounts, orders at each step, and dead letters of which half can be mended.
pub(super) fn prepare(server: &Server, store: &Path) -> Result<()> {
    let mut client = Client::connect(server.address)?;
    // Deposits, changes of users, users, and welcomes that cannot be read.
    dead_letters::until_set_aside(&mut client, 4 * LETTERS)?;
    rebuild_with_a_new_dead_letter(&mut client)?;
    mend_effects(&mut client, store)?;
    for number in 1..=LETTERS {
        open_account(&mut client, &format!("early-{number}"))?;
    }
    open_account(&mut client, "poor")?;
    open_account(&mut client, "rich")?;
    let deposit = json!({ "amount": "900000000", "reference": "start" });
    client.command("/v1/accounts/rich/deposit", &deposit)?;
    let mug = json!({ "productId": "mug", "name": "Mug", "price": "100" });
    client.command("/v1/products", &mug)?;
    // Enough for the orders that ship here and for those that are shipped by made-up requests.
    let delivery = json!({ "type": "receive", "quantity": 1_000_000 });
    for _ in 0..3 * ORDERS {
        client.command("/v1/products/mug/stock", &delivery)?;
    }
    for number in 1..=ORDERS {
        order(&mut client, &format!("to-pay-{number}"), &[])?;
        order(&mut client, &format!("to-cancel-{number}"), &[])?;
        order(&mut client, &format!("to-ship-{number}"), &["pay"])?;
        order(&mut client, &format!("to-refund-{number}"), &["pay"])?;
        order(&mut client, &format!("to-deliver-{number}"), &["pay", "ship"])?;
    }
    for number in 1..=INSTANCES {
        create_user(&mut client, &format!("to-fire-{number}"))?;
        create_user(&mut client, &format!("to-cancel-{number}"))?;
        // Its payment is refused: the account has no money.
        let items = json!([{ "productId": "mug", "quantity": 1 }]);
        let id = format!("to-resend-{number}");
        let order = json!({ "orderId": id, "paymentAccountId": "poor", "orderItems": items });
        client.command("/v1/orders", &order)?;
    }
    // Its rows are there by now, and the rows that requests add come to both builds.
    client.command(&format!("/v1/projections/{HELD}/rebuild?hold=true"), &json!({}))?;
    until_it_awaits_confirmation(&mut client, HELD)
}

/// Rebuilds a projection whose rebuild finds a discarded dead letter again, and so waits for an
/// operator's confirmation.
fn rebuild_with_a_new_dead_letter(client: &mut Client) -> Result<()> {
    client.delete(&format!("/v1/dead-letters/users@{}", LETTERS + 1))?;
    client.command("/v1/projections/users/rebuild", &json!({}))?;
    until_it_awaits_confirmation(client, "users")
}

fn until_it_awaits_confirmation(client: &mut Client, projection: &str) -> Result<()> {
    for _ in 0..POLLS_MAX {
        let reply = client.get("/v1/projections", &[])?;
        let listed: Value = serde_json::from_slice(&reply.body)?;
        let all = listed.get("items").and_then(Value::as_array).context("a list of them")?;
        let found = all.iter().find(|it| it.get("name").is_some_and(|name| name == projection));
        let state = found.and_then(|found| found.get("state")).and_then(Value::as_str);
        if state == Some("awaiting-confirmation") {
            return Ok(());
        }
        thread::park_timeout(POLL);
    }
    bail!("expected a rebuild of {projection} that awaits its confirmation, timed out")
}

fn create_user(client: &mut Client, id: &str) -> Result<()> {
    let user = json!({ "userId": id, "firstName": "A", "lastName": "B" });
    client.command("/v1/users", &user)?;
    Ok(())
}

/// Waits until the welcome process has set aside inputs of `count` subjects.
fn until_processes_set_aside(client: &mut Client, count: usize) -> Result<()> {
    for _ in 0..POLLS_MAX {
        let reply = client.get("/v1/processes/welcome/set-aside", &[])?;
        let listed: Value = serde_json::from_slice(&reply.body)?;
        let items = listed.get("items").and_then(Value::as_array).context("a list of them")?;
        if items.len() == count {
            return Ok(());
        }
        thread::park_timeout(POLL);
    }
    bail!("expected {count} subjects that are set aside, timed out")
}

fn open_account(client: &mut Client, id: &str) -> Result<()> {
    client.command("/v1/accounts", &json!({ "accountId": id, "currency": "GBP" }))?;
    Ok(())
}

/// An order of very many mugs, so that nearly any amount can be refunded, some steps on its way.
fn order(client: &mut Client, id: &str, steps: &[&str]) -> Result<()> {
    let items = json!([{ "productId": "mug", "quantity": 1_000_000 }]);
    client.command("/v1/orders", &json!({ "orderId": id, "orderItems": items }))?;
    for step in steps {
        let body = if *step == "pay" { json!({ "method": "invoice" }) } else { json!({}) };
        client.command(&format!("/v1/orders/{id}/{step}"), &body)?;
    }
    Ok(())
}
