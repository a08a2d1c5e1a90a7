//! The catalogue: commands, projections and queries together.

use gesta::{ExecuteError, Gesta, Receipt};
use gesta_http::PageRequest;
use shop::{
    catalogue::{
        AddProduct, FindProduct, ListProducts, ReceiveStock, ReleaseStock, ReservationItem,
        ReserveStock, StockKeeping, StockRejection, UpdateProduct,
    },
    id::{OrderId, ProductId},
    search::SearchText,
};

use super::opened::{self, money, noon, pieces};

fn id(text: &str) -> ProductId {
    ProductId::new(text).unwrap()
}

async fn add(shop: &Gesta, product: &str, name: &str) -> Receipt {
    let add = AddProduct {
        product_id: id(product),
        name: name.to_owned(),
        price: money("2.5"),
        stock_keeping: StockKeeping::Tracked,
        occurred_at: noon(1),
    };
    shop.execute(add).await.unwrap()
}

async fn receive(shop: &Gesta, product: &str, number: u64) -> Receipt {
    let (product_id, quantity) = (id(product), pieces(number));
    let receive = ReceiveStock { product_id, quantity, reason: None, occurred_at: noon(1) };
    shop.execute(receive).await.unwrap()
}

async fn found(shop: &Gesta, text: &str, receipt: &Receipt) -> Vec<String> {
    let list = ListProducts { text: SearchText::new(text), ..ListProducts::default() };
    let page = shop.ask(list).at_least(receipt).await.unwrap();
    page.items.iter().map(|product| product.product_id.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn products_are_found_by_the_beginnings_of_their_words() {
    let shop = opened::in_memory().await;
    add(&shop, "71053", "WHITE METAL LANTERN").await;
    add(&shop, "84029E", "RED WOOLLY HOTTIE WHITE HEART.").await;
    let receipt = add(&shop, "22632", "HAND WARMER RED POLKA DOT").await;
    assert_eq!(found(&shop, "white", &receipt).await, ["71053", "84029E"]);
    assert_eq!(found(&shop, "RED hea", &receipt).await, ["84029E"]);
    assert_eq!(found(&shop, "84029e", &receipt).await, ["84029E"]);
    assert_eq!(found(&shop, "antern", &receipt).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_product_is_found_by_its_new_name_only() {
    let shop = opened::in_memory().await;
    add(&shop, "71053", "WHITE METAL LANTERN").await;
    let update = UpdateProduct {
        product_id: id("71053"),
        name: "WHITE METAL LAMP".to_owned(),
        price: money("4"),
        occurred_at: noon(2),
    };
    let receipt = shop.execute(update).await.unwrap();
    assert_eq!(found(&shop, "lantern", &receipt).await, [""; 0]);
    assert_eq!(found(&shop, "lamp", &receipt).await, ["71053"]);
    let product = shop.ask(FindProduct { product_id: id("71053") }).await.unwrap().unwrap();
    assert_eq!(product.price, money("4"));
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_go_on_where_the_one_before_ended() {
    let shop = opened::in_memory().await;
    add(&shop, "c", "Cup").await;
    add(&shop, "a", "Axe").await;
    let receipt = add(&shop, "b", "Bow").await;
    let first = ListProducts { page: PageRequest::first(2), ..ListProducts::default() };
    let first = shop.ask(first).at_least(&receipt).await.unwrap();
    assert_eq!(first.next.as_deref(), Some("b"));
    let rest = ListProducts { page: PageRequest::after(id("b"), 2), ..ListProducts::default() };
    assert_eq!(shop.ask(rest).await.unwrap().items[0].name, "Cup");
}

#[tokio::test(flavor = "multi_thread")]
async fn stock_that_is_set_aside_is_not_sold_twice_whoever_comes_at_once() {
    let shop = opened::in_memory().await;
    add(&shop, "mug", "Mug").await;
    add(&shop, "jug", "Jug").await;
    receive(&shop, "mug", 5).await;
    receive(&shop, "jug", 100).await;
    let mut asked = tokio::task::JoinSet::new();
    for number in 0..12 {
        let wanted = |product| ReservationItem { product_id: id(product), quantity: pieces(1) };
        let items = vec![wanted("jug"), wanted("mug")];
        let order_id = OrderId::new(number.to_string()).unwrap();
        let shop = shop.clone();
        asked.spawn(async move { shop.execute(ReserveStock { order_id, items }).await });
    }
    let answers = asked.join_all().await;
    let refused = answers.iter().filter_map(|answer| answer.as_ref().err());
    for error in refused {
        let short = matches!(error, ExecuteError::Rejected(StockRejection::Insufficient { .. }));
        assert!(short, "{error}");
    }
    let accepted: Vec<_> = answers.iter().flatten().collect();
    assert_eq!(accepted.len(), 5);
    let last = accepted.iter().max_by_key(|receipt| receipt.position).unwrap();
    let jug = shop.ask(FindProduct { product_id: id("jug") }).at_least(last).await.unwrap();
    assert_eq!(jug.unwrap().stock, Some(95), "who was refused took nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn stock_that_is_set_free_can_be_sold() {
    let shop = opened::in_memory().await;
    add(&shop, "mug", "Mug").await;
    receive(&shop, "mug", 1).await;
    let order_id = OrderId::new("1").unwrap();
    let items = vec![ReservationItem { product_id: id("mug"), quantity: pieces(1) }];
    shop.execute(ReserveStock { order_id: order_id.clone(), items }).await.unwrap();
    let release = ReleaseStock { order_id, product_ids: vec![id("mug")] };
    let receipt = shop.execute(release).await.unwrap();
    let mug = shop.ask(FindProduct { product_id: id("mug") }).at_least(&receipt).await.unwrap();
    assert_eq!(mug.unwrap().stock, Some(1));
}
