//! Full-text search for orders and products over HTTP.

use gesta::{Gesta, search::SearchStore, sqlite::Sqlite};
use serde_json::{Value, json};
use shop::read_side;
use tempfile::TempDir;

use super::Client;

/// A shop with indexes in a directory, three products and four orders.
async fn stocked() -> (Client, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let indexes = SearchStore::tantivy(directory.path()).await.unwrap();
    let read_models = Sqlite::temporary().await.unwrap().into();
    let builder = read_side::project_all(Gesta::at("memory:"), &read_models);
    let shop = read_side::project_search(builder, &indexes).open().await.unwrap();
    let client = Client::of(shop::http::api_with_search, shop, |state| state);
    for (code, name) in [
        ("85123A", "White hanging heart T-light holder"),
        ("71053", "White metal lantern"),
        ("84406B", "Cream cupid hearts coat hanger"),
    ] {
        let product = json!({ "productId": code, "name": name, "price": "2.55" });
        client.post("/v1/products", product).ok().await;
    }
    for (id, customer, code, country) in [
        ("536365", "17850", "85123A", "France"),
        ("536366", "17850", "71053", "France"),
        ("536367", "13047", "71053", "Germany"),
        ("536368", "13047", "84406B", "Germany"),
    ] {
        let order = json!({
            "orderId": id, "customerId": customer,
            "shippingAddress": { "city": "Köln", "country": country },
            "orderItems": [{ "productId": code, "quantity": 1 }],
        });
        client.post("/v1/orders", order).ok().await;
    }
    (client, directory)
}

/// Asks for what all commands so far have written.
async fn get(client: &Client, path: &str) -> Value {
    let head = client.shop.store().head().await.unwrap().position;
    client.get(path).header("gesta-position", head).ok().await.json
}

fn ids(answer: &Value, name: &str) -> Vec<String> {
    let items = answer["items"].as_array().unwrap().iter();
    let mut ids: Vec<_> = items.map(|item| item[name].as_str().unwrap().to_owned()).collect();
    ids.sort_unstable();
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_are_found_with_typos_filters_facets_and_highlights() {
    let (client, _directory) = stocked().await;
    let found = get(&client, "/v1/orders?text=lantren").await;
    assert_eq!(ids(&found, "orderId"), ["536366", "536367"]);
    assert_eq!(found["total"], 2);
    let country = &found["facets"][1];
    let one = |value: &str| json!({ "value": value, "count": 1 });
    assert_eq!(*country, json!({ "field": "country", "values": [one("France"), one("Germany")] }));
    let part = |text: &str, is_match: bool| json!({ "text": text, "match": is_match });
    let parts = json!([part("White metal ", false), part("lantern", true)]);
    let passage = found["highlights"].as_array().unwrap().iter().find(|it| it["id"] == "536366");
    assert_eq!(*passage.unwrap(), json!({ "id": "536366", "field": "products", "parts": parts }));
    for (query, expected) in [
        ("text=lantern&customer=13047", &["536367"][..]),
        ("text=whi&status=placed", &["536365", "536366", "536367"]),
        ("text=whi&status=shipped", &[]),
        ("text=536365", &["536365"]),
        ("text=koln&from=2000-01-01T00:00:00Z", &["536365", "536366", "536367", "536368"]),
        ("text=koln&to=2000-01-01T00:00:00Z", &[]),
        ("text=--", &[]),
        ("text=%20", &["536365", "536366", "536367", "536368"]),
        ("customer=17850", &["536365", "536366"]),
    ] {
        let found = get(&client, &format!("/v1/orders?{query}")).await;
        assert_eq!(ids(&found, "orderId"), expected, "{query}");
    }
    client.shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_is_paged_and_sees_each_change() {
    let (client, _directory) = stocked().await;
    let (mut all, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = get(&client, &format!("/v1/orders?text=koln&limit=1{cursor}")).await;
        assert_eq!(page["total"], 4);
        all.extend(ids(&page, "orderId"));
        let Some(next) = page["next"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    all.sort_unstable();
    assert_eq!(all, ["536365", "536366", "536367", "536368"]);
    // A cursor of a search is none of the list without words.
    let refused = client.get(&format!("/v1/orders?limit=1{cursor}")).send().await;
    assert_eq!(refused.problem(), (422, "unknown-cursor"));
    let payment = json!({ "method": "card" });
    client.post("/v1/orders/536366/pay", payment).ok().await;
    let paid = get(&client, "/v1/orders?text=lantern&status=paid").await;
    assert_eq!(ids(&paid, "orderId"), ["536366"]);
    assert_eq!(paid["items"][0]["status"], "paid");
    client.shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn products_are_found_by_code_name_and_typo() {
    let (client, _directory) = stocked().await;
    for (query, expected) in [
        ("text=hearts", &["84406B", "85123A"][..]),
        ("text=851", &["85123A"]),
        ("text=wihte%20lantern", &["71053"]),
        ("text=--", &[]),
        ("text=%20", &["71053", "84406B", "85123A"]),
        ("limit=2", &["71053", "84406B"]),
    ] {
        let found = get(&client, &format!("/v1/products?{query}")).await;
        assert_eq!(ids(&found, "productId"), expected, "{query}");
    }
    let renamed = json!({ "name": "Iron candlestick", "price": "2.55" });
    client.put("/v1/products/71053", renamed).ok().await;
    assert_eq!(ids(&get(&client, "/v1/products?text=lantern").await, "productId"), [""; 0]);
    let found = get(&client, "/v1/products?text=candlestik").await;
    assert_eq!(ids(&found, "productId"), ["71053"]);
    assert_eq!(found["facets"][0]["field"], "stock");
    client.shop.close().await;
}
