//! Line 1: the README's first command runs the system.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{Ground, client::Client, server::Shop};

/// The demonstration serves the products of its sample, its description and a page to try it.
pub(super) fn serves(ground: &Ground) -> Result<String> {
    let shop = Shop::build(ground, "demo")?;
    let server = shop.demo()?;
    let mut client = Client::connect(server.address)?;
    let mut told = |path: &str| {
        let reply = client.get(path, &[])?;
        ensure!(reply.status == 200, "{path}: {}", reply.status);
        Ok(reply)
    };
    let orders: Value = serde_json::from_slice(&told("/v1/orders")?.body)?;
    let items = orders.get("items").and_then(Value::as_array).context("orders have items")?;
    ensure!(!items.is_empty(), "the demonstration has no orders");
    let interface: Value = serde_json::from_slice(&told("/openapi.json")?.body)?;
    let paths = interface.get("paths").and_then(Value::as_object).context("it has paths")?;
    told("/docs")?;
    Ok(format!("{} orders on the first page, {} paths described", items.len(), paths.len()))
}
