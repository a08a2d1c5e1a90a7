//! Orders over HTTP: prices, times, histories.

use serde_json::json;

use super::{Client, mug, order};

async fn client() -> Client {
    let client = Client::new().await;
    client.post("/v1/products", mug()).ok().await;
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn a_price_that_is_left_out_is_the_catalogues() {
    let client = client().await;
    client.post("/v1/orders", order("1")).ok().await;
    let placed = client.get("/v1/orders/1").ok().await.json;
    assert_eq!((&placed["total"], &placed["status"]), (&json!("10.2"), &json!("placed")));
    assert_eq!(placed["orderItems"][0]["unitPrice"], "2.55");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_price_that_is_not_the_catalogues_is_refused() {
    let client = client().await;
    for (price, status) in [(json!("2.550"), 201), (json!(2.55), 201), (json!("2.56"), 422)] {
        let items = json!([{ "productId": "mug", "unitPrice": price, "quantity": 1 }]);
        let answer = client.post("/v1/orders", json!({ "orderItems": items })).send().await;
        assert_eq!(answer.status, status, "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn discounts_are_computed_rightly() {
    let client = client().await;
    let mut order = order("1");
    order["discounts"] = json!([
        { "type": "percentage", "value": 10 }, { "type": "fixed", "value": "1.18" },
    ]);
    client.post("/v1/orders", order).ok().await;
    assert_eq!(client.get("/v1/orders/1").ok().await.json["total"], "8");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_shown_as_it_was() {
    let client = client().await;
    let placed = client.post("/v1/orders", order("1")).ok().await;
    let pay = json!({ "method": "invoice", "occurredAt": "2011-01-04T10:00:00Z" });
    client.post("/v1/orders/1/pay", pay).ok().await;
    let at = |moment: String| format!("/v1/orders/1?at={moment}");
    for (moment, status, revision) in [
        (at("revision:0".to_owned()), "placed", 0),
        (at(format!("position:{}", placed.position())), "placed", 0),
        (at("revision:1".to_owned()), "paid", 1),
        ("/v1/orders/1".to_owned(), "paid", 1),
    ] {
        let shown = client.get(&moment).ok().await;
        assert_eq!((&shown.json["status"], shown.tagged_revision()), (&json!(status), revision));
    }
    let before = client.get(&at("1999-01-01T00:00:00Z".to_owned())).send().await;
    assert_eq!(before.problem(), (404, "not-found"));
    let odd = client.get(&at("noon".to_owned())).send().await;
    assert_eq!(odd.field(), (400, "at"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_says_who_did_what_when_and_why() {
    let client = client().await;
    client.post("/v1/orders", order("1")).header("idempotency-key", "k1").ok().await;
    let pay = client.post("/v1/orders/1/pay", json!({ "method": "invoice" }));
    pay.header("x-correlation-id", "c1").ok().await;
    let history = client.get("/v1/orders/1/history?limit=1").ok().await.json;
    let placed = &history["items"][0];
    assert_eq!(
        (&placed["type"], &placed["command"]),
        (&json!("order-placed"), &json!("place-order"))
    );
    assert_eq!((&placed["actor"], &placed["causationId"]), (&json!("anonymous"), &json!("k1")));
    let next = history["next"].as_str().unwrap();
    let rest = client.get(&format!("/v1/orders/1/history?cursor={next}")).ok().await.json;
    let paid = &rest["items"][0];
    assert_eq!((&paid["type"], &paid["correlationId"]), (&json!("order-paid"), &json!("c1")));
    assert!(rest["next"].is_null());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_that_makes_no_sense_is_named_down_to_its_place() {
    let client = client().await;
    let line = |field: &str, value: serde_json::Value| {
        let mut item = json!({ "productId": "mug", "quantity": 1 });
        item[field] = value;
        json!({ "orderItems": [{ "productId": "mug", "quantity": 1 }, item] })
    };
    for (body, field) in [
        (line("quantity", json!(0)), "orderItems[1].quantity"),
        (line("unitPrice", json!("cheap")), "orderItems[1].unitPrice"),
        (line("productId", json!("")), "orderItems[1].productId"),
        (line("colour", json!("red")), "orderItems[1].colour"),
        (json!({ "orderItems": [] }), "orderItems"),
        (json!({}), "orderItems"),
        (
            json!({
                "orderItems": [{ "productId": "mug", "quantity": 1 }],
                "discounts": [{ "type": "percentage", "value": 101 }],
            }),
            "discounts[0].value",
        ),
    ] {
        let answer = client.post("/v1/orders", body).send().await;
        assert_eq!(answer.field(), (400, field));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tracked_goods_that_are_not_in_stock_do_not_ship() {
    let client = client().await;
    client.post("/v1/orders", order("1")).ok().await;
    client.post("/v1/orders/1/pay", json!({ "method": "card" })).ok().await;
    let refused = client.post("/v1/orders/1/ship", json!({})).send().await;
    assert_eq!(refused.problem(), (422, "insufficient-stock"));
    assert_eq!(client.get("/v1/orders/1").ok().await.json["status"], "paid");

    let delivery = json!({ "type": "receive", "quantity": 5 });
    client.post("/v1/products/mug/stock", delivery).ok().await;
    let shipped = client.post("/v1/orders/1/ship", json!({})).ok().await;
    let product = client.get("/v1/products/mug");
    let product = product.header("gesta-position", shipped.position()).ok().await;
    assert_eq!(product.json["stock"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_with_a_discount_costs_an_amount_that_can_be_paid() {
    let client = client().await;
    let mut order = order("1");
    order["discounts"] = json!([{ "type": "percentage", "value": 12.5 }]);
    client.post("/v1/orders", order).ok().await;
    let placed = client.get("/v1/orders/1").ok().await.json;
    // An eighth of 10.20 is 1.275, which is 1.28 to the even hundredth.
    let amounts = (&placed["subtotal"], &placed["discount"], &placed["total"]);
    assert_eq!(amounts, (&json!("10.2"), &json!("1.28"), &json!("8.92")));
}
