//! Lists in pages.

use serde_json::{Value, json};

use super::{Answer, Client, mug, order};

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

/// Returns the target of a relation in the `Link` header of an answer.
fn link(answer: &Answer, relation: &str) -> Option<String> {
    let header = answer.headers.get("link")?.to_str().unwrap();
    let end = format!(">; rel=\"{relation}\"");
    let link = header.split(", ").find(|link| link.ends_with(&end))?;
    Some(link.trim_start_matches('<').trim_end_matches(&end).to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_have_links_to_their_neighbours() {
    let client = Client::new().await;
    client.post("/v1/products", mug()).ok().await;
    for number in 0..5 {
        let id = number.to_string();
        let user = json!({ "userId": id, "firstName": "A", "lastName": "B" });
        client.post("/v1/users", user).ok().await;
        client.post("/v1/accounts", json!({ "accountId": id, "currency": "GBP" })).ok().await;
        let line = json!({ "productId": "mug", "quantity": 1, "unitPrice": "1" });
        let note = json!({ "creditNoteId": id, "customerId": "ann", "lines": [line] });
        client.post("/v1/credit-notes", note).ok().await;
        client.post("/v1/orders", order(&id)).ok().await;
        let deposit = json!({ "amount": 1, "reference": "r" });
        client.post("/v1/accounts/0/deposit", deposit).ok().await;
    }
    client.post("/v1/orders/0/pay", json!({ "method": "invoice" })).ok().await;
    let head = client.shop.store().head().await.unwrap().position;
    for list in [
        "/v1/users?limit=1",
        "/v1/accounts?limit=2",
        "/v1/accounts/0/transactions?limit=2",
        "/v1/credit-notes?customer=ann&limit=2",
        "/v1/credit-notes?limit=2",
        "/v1/orders?limit=2&text=mug",
        "/v1/orders/0/history?limit=1",
    ] {
        let ask = async |path: &str| client.get(path).header("gesta-position", head).ok().await;
        let first = ask(list).await;
        assert_eq!((link(&first, "prev"), link(&first, "first")), (None, None), "{list}");
        let mut pages = vec![first];
        while let Some(next) = link(pages.last().unwrap(), "next") {
            let page = ask(&next).await;
            assert_eq!(link(&page, "first").as_deref(), Some(list));
            pages.push(page);
        }
        assert!(pages.len() > 1 && pages.last().unwrap().json.get("next").is_none(), "{list}");
        for (place, page) in pages.iter().enumerate().skip(1) {
            let back = ask(&link(page, "prev").unwrap()).await;
            assert_eq!(back.json, pages[place - 1].json, "{list}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_and_credit_notes_are_listed() {
    let client = Client::new().await;
    for id in ["c", "a", "b"] {
        client.post("/v1/accounts", json!({ "accountId": id, "currency": "GBP" })).ok().await;
        let line = json!({ "productId": "mug", "quantity": 1, "unitPrice": "1" });
        let mut note = json!({ "creditNoteId": id, "lines": [line] });
        if id != "b" {
            note["customerId"] = "ann".into();
        }
        client.post("/v1/credit-notes", note).ok().await;
    }
    let notes = |query: &str| format!("/v1/credit-notes{query}");
    assert_eq!(ids(&all(&client, "/v1/accounts", 2).await, "accountId"), ["a", "b", "c"]);
    assert_eq!(ids(&all(&client, &notes(""), 2).await, "creditNoteId"), ["a", "b", "c"]);
    let of_ann = ids(&all(&client, &notes("?customer=ann"), 1).await, "creditNoteId");
    assert_eq!(of_ann, ["a", "c"]);
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
