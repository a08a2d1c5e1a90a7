//! Lists in pages.

use serde_json::{Value, json};

use super::{Client, mug, order};

/// Reads all entries of a list, page by page.
async fn all(client: &Client, path: &str, limit: u16) -> Vec<Value> {
    let head = client.shop.store().head().await.unwrap().position;
    let mut all = Vec::new();
    let mut cursor = String::new();
    loop {
        let separator = if path.contains('?') { '&' } else { '?' };
        let page = client.get(&format!("{path}{separator}limit={limit}{cursor}"));
        let mut page = page.header("gesta-position", head).ok().await.json;
        let items = page["items"].as_array_mut().unwrap();
        assert!(items.len() <= usize::from(limit));
        all.append(items);
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return all,
        }
    }
}

fn ids(items: &[Value], name: &str) -> Vec<String> {
    items.iter().map(|item| item[name].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_entry_of_a_list_is_on_one_page() {
    let client = Client::new().await;
    client.post("/v1/products", mug()).ok().await;
    client.post("/v1/accounts", json!({ "accountId": "a", "currency": "GBP" })).ok().await;
    let mut expected = Vec::new();
    for number in 0..7 {
        let id = format!("user {number}");
        let user = json!({ "userId": id, "firstName": "A", "lastName": "B" });
        client.post("/v1/users", user).ok().await;
        client.post("/v1/orders", order(&number.to_string())).ok().await;
        let deposit = json!({ "amount": number + 1, "reference": "r" });
        client.post("/v1/accounts/a/deposit", deposit).ok().await;
        expected.push(id);
    }
    for limit in [1, 3, 7, 500] {
        assert_eq!(ids(&all(&client, "/v1/users", limit).await, "userId"), expected);
        let orders = ids(&all(&client, "/v1/orders?text=mug", limit).await, "orderId");
        assert_eq!(orders, ["6", "5", "4", "3", "2", "1", "0"], "the last one first");
        let transactions = all(&client, "/v1/accounts/a/transactions", limit).await;
        let amounts = ids(&transactions, "amount");
        assert_eq!(amounts, ["7", "6", "5", "4", "3", "2", "1"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_of_another_list_is_not_misread() {
    let client = Client::new().await;
    for number in 0..2 {
        let user = json!({ "userId": number.to_string(), "firstName": "A", "lastName": "B" });
        client.post("/v1/users", user).ok().await;
    }
    let head = client.shop.store().head().await.unwrap().position;
    let page = client.get("/v1/users?limit=1").header("gesta-position", head).ok().await;
    let cursor = page.json["next"].as_str().unwrap();
    let other = client.get(&format!("/v1/products?cursor={cursor}")).send().await;
    assert_eq!(other.problem(), (422, "unknown-cursor"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_filter_is_named() {
    let client = Client::new().await;
    for (query, field) in [
        ("limit=0", "limit"),
        ("limit=501", "limit"),
        ("limit=", "limit"),
        ("status=lost", "status"),
        ("from=yesterday", "from"),
        ("cursor=x", "cursor"),
        ("colour=red", "colour"),
        ("text=a&text=b", "text"),
        ("text=%ff", "text"),
    ] {
        let answer = client.get(&format!("/v1/orders?{query}")).send().await;
        assert_eq!(answer.field(), (400, field), "{query}");
    }
}
