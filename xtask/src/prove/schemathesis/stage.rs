//! Contents of the shop before requests are generated for it.
//!
//! The ids are those that the shop's `schemathesis.toml` names; where the two differ, an operation
//! gets no 2xx, and the check says which. All but the odd events comes about over HTTP, as it
//! would for anybody.

use std::path::Path;

use anyhow::Result;
use serde_json::json;

use crate::prove::{
    client::Client,
    dead_letters,
    server::{Server, Shop},
};

/// Orders for each step.
const ORDERS: usize = 8;
/// Dead letters of each kind.
const LETTERS: usize = 4;

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
    Ok(())
}

/// A product, accounts, orders at each step, and dead letters of which half can be mended.
pub(super) fn prepare(server: &Server) -> Result<()> {
    let mut client = Client::connect(server.address)?;
    dead_letters::until_set_aside(&mut client, 2 * LETTERS)?;
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
    Ok(())
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
