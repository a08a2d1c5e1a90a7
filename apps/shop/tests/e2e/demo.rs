//! The README's first command runs the system.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use gesta_services::e2e::figures;

use crate::{client::Client, server::Shop};

/// Checks that the demo serves its sample orders, its OpenAPI document and the docs page.
#[test]
fn the_demo_serves_its_orders_its_interface_and_the_docs_page() -> Result<()> {
    let shop = Shop::build("demo")?;
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
    figures(format!("{} orders on the first page, {} paths described", items.len(), paths.len()))
}
