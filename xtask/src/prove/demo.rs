//! Promise 1: the README's first command runs the system.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{CheckContext, client::Client, server::Shop};

/// Checks that the demo serves its sample orders, its OpenAPI document and the docs page.
pub(super) fn serves(context: &CheckContext) -> Result<String> {
    let shop = Shop::build(context, "demo")?;
    let server = shop.demo()?;
    let mut client = Client::connect(server.address)?;
    let mut fetch = |path: &str| {
        let reply = client.get(path, &[])?;
        ensure!(reply.status == 200, "{path}: {}", reply.status);
        Ok(reply)
    };
    let orders: Value = serde_json::from_slice(&fetch("/v1/orders")?.body)?;
    let items = orders.get("items").and_then(Value::as_array).context("orders have items")?;
    ensure!(!items.is_empty(), "the demonstration has no orders");
    let interface: Value = serde_json::from_slice(&fetch("/openapi.json")?.body)?;
    let paths = interface.get("paths").and_then(Value::as_object).context("it has paths")?;
    fetch("/docs")?;
    Ok(format!("{} orders on the first page, {} paths described", items.len(), paths.len()))
}
