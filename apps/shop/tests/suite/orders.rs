//! Orders: commands, projections and queries together.

use gesta::{AsOf, ExecuteError, Gesta, Receipt, RecordedWhen, Rejection, Revision};
use gesta_http::PageRequest;
use shop::{
    catalogue::{AddProduct, StockKeeping},
    id::{CustomerId, OrderId, ProductId},
    money::Money,
    orders::{
        Address, CancelOrder, DeliverOrder, OrderCard, OrderItem, OrderStatus, PayOrder,
        PlaceOrder, PlaceRejection, Prices, RefundOrder, ShipOrder, catalogue_prices,
        sales::{FindCustomerStatistics, MakeReport},
        summaries::{FindOrders, OrderSummary},
    },
    search::SearchText,
};

use super::opened::{self, money, noon, pieces};

fn id(text: &str) -> OrderId {
    OrderId::new(text).unwrap()
}

fn product(text: &str) -> ProductId {
    ProductId::new(text).unwrap()
}

fn customer(text: &str) -> CustomerId {
    CustomerId::new(text).unwrap()
}

fn item(id: &str, unit_price: Option<&str>, number: u64) -> OrderItem {
    let unit_price = unit_price.map(money);
    OrderItem { product_id: product(id), unit_price, quantity: pieces(number) }
}

/// An order of ten mugs at 2.50 to York, on a day of January.
fn mugs(order: &str, buyer: Option<&str>, day: i8) -> PlaceOrder {
    PlaceOrder {
        order_id: id(order),
        customer_id: buyer.map(customer),
        shipping_address: Some(Address {
            city: Some("York".to_owned()),
            country: Some("United Kingdom".to_owned()),
            ..Address::default()
        }),
        order_items: vec![item("mug", Some("2.5"), 10)],
        discounts: vec![],
        payment_account_id: None,
        prices: Prices::AsGiven,
        occurred_at: noon(day),
    }
}

async fn add_mug(shop: &Gesta) {
    let add = AddProduct {
        product_id: product("mug"),
        name: "Painted mug".to_owned(),
        price: money("2.50"),
        stock_keeping: StockKeeping::Tracked,
        occurred_at: noon(1),
    };
    shop.execute(add).await.unwrap();
}

async fn pay(shop: &Gesta, order: &str, day: i8) -> Receipt {
    let method = "invoice".to_owned();
    let pay = PayOrder { order_id: id(order), method, reference: None, occurred_at: noon(day) };
    shop.execute(pay).await.unwrap()
}

async fn ship(shop: &Gesta, order: &str, day: i8) -> Receipt {
    let tracking = Some("JJD0001".to_owned());
    let ship = ShipOrder { order_id: id(order), tracking, occurred_at: noon(day) };
    shop.execute(ship).await.unwrap()
}

async fn cancel(shop: &Gesta, order: &str) -> Receipt {
    let (reason, occurred_at) = (Some("changed my mind".to_owned()), noon(9));
    shop.execute(CancelOrder { order_id: id(order), reason, occurred_at }).await.unwrap()
}

async fn refund(shop: &Gesta, order: &str, amount: Option<&str>) -> Receipt {
    let (amount, occurred_at) = (amount.map(money), noon(9));
    shop.execute(RefundOrder { order_id: id(order), amount, occurred_at }).await.unwrap()
}

async fn found(shop: &Gesta, find: FindOrders, receipt: &Receipt) -> Vec<String> {
    let page = shop.ask(find).at_least(receipt).await.unwrap();
    page.items.iter().map(|order: &OrderSummary| order.order_id.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_price_that_is_left_out_is_the_catalogues_and_another_one_is_refused() {
    let shop = opened::in_memory().await;
    add_mug(&shop).await;
    let with = async |unit_price: Option<&str>| {
        let order_items = vec![item("mug", unit_price, 2)];
        let products = order_items.iter().map(|item| &item.product_id);
        let prices = catalogue_prices(&shop, products).await.unwrap();
        PlaceOrder { order_items, prices, ..mugs("1", None, 1) }
    };
    let error = shop.execute(with(Some("2.49")).await).await.unwrap_err();
    let ExecuteError::Rejected(rejection) = error else { panic!("{error}") };
    assert_eq!(rejection.code(), "unit-price-differs");
    shop.execute(with(None).await).await.unwrap();
    let card = shop.read_on_demand::<OrderCard>(&id("1"), AsOf::Now).await.unwrap().unwrap();
    assert_eq!(card.row.unwrap().total, money("5"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_product_is_refused_where_prices_are_the_catalogues() {
    let shop = opened::in_memory().await;
    let order = mugs("1", None, 1);
    let prices = catalogue_prices(&shop, [&product("mug")]).await.unwrap();
    let error = shop.execute(PlaceOrder { prices, ..order }).await.unwrap_err();
    let rejection = PlaceRejection::UnknownProduct { product: product("mug") };
    assert!(matches!(error, ExecuteError::Rejected(answer) if answer == rejection));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_order_is_read_as_fresh_as_its_last_event_and_as_it_was() {
    let shop = opened::in_memory().await;
    shop.execute(mugs("1", Some("17850"), 1)).await.unwrap();
    let read = async |as_of: AsOf| {
        let fresh = shop.read_on_demand::<OrderCard>(&id("1"), as_of).await.unwrap().unwrap();
        fresh.row.unwrap()
    };
    assert_eq!(read(AsOf::Now).await.status, OrderStatus::Placed);
    pay(&shop, "1", 2).await;
    ship(&shop, "1", 3).await;
    let deliver = DeliverOrder { order_id: id("1"), occurred_at: noon(4) };
    shop.execute(deliver).await.unwrap();
    refund(&shop, "1", Some("5")).await;

    let now = read(AsOf::Now).await;
    assert_eq!((now.status, now.refunded), (OrderStatus::Delivered, money("5")));
    assert_eq!((now.tracking.as_deref(), now.delivered_at), (Some("JJD0001"), Some(noon(4))));
    let folded_from_zero = read(AsOf::Revision(Revision::new(4))).await;
    assert_eq!(now, folded_from_zero, "the stored row and its tail are the whole story");
    assert_eq!(read(AsOf::Revision(Revision::new(1))).await.status, OrderStatus::Paid);
    let nothing = shop.read_on_demand::<OrderCard>(&id("2"), AsOf::Now).await.unwrap();
    assert!(nothing.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_are_found_by_customer_status_dates_and_words() {
    let shop = opened::in_memory().await;
    add_mug(&shop).await;
    shop.execute(mugs("1", Some("ann"), 1)).await.unwrap();
    shop.execute(mugs("2", Some("bob"), 2)).await.unwrap();
    shop.execute(mugs("3", Some("ann"), 3)).await.unwrap();
    let receipt = pay(&shop, "3", 4).await;
    let find = async |find: FindOrders| found(&shop, find, &receipt).await;

    assert_eq!(find(FindOrders::default()).await, ["3", "2", "1"]);
    let of_ann = FindOrders { customer: Some(customer("ann")), ..FindOrders::default() };
    assert_eq!(find(of_ann.clone()).await, ["3", "1"]);
    let unpaid = FindOrders { status: Some(OrderStatus::Placed), ..of_ann };
    assert_eq!(find(unpaid).await, ["1"]);
    let day_two = FindOrders { from: Some(noon(2)), to: Some(noon(3)), ..FindOrders::default() };
    assert_eq!(find(day_two).await, ["2"]);
    let words = |text| FindOrders { text: SearchText::new(text), ..FindOrders::default() };
    assert_eq!(find(words("york paint bob")).await, ["2"], "city, product's name, customer");
    assert_eq!(find(words("leeds")).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_orders_go_on_where_the_one_before_ended_though_orders_come_in() {
    let shop = opened::in_memory().await;
    for number in 1..=5 {
        shop.execute(mugs(&number.to_string(), None, 1)).await.unwrap();
    }
    let receipt = pay(&shop, "5", 1).await;
    let two = FindOrders { page: PageRequest::first(2), ..FindOrders::default() };
    let first = shop.ask(two.clone()).at_least(&receipt).await.unwrap();
    shop.execute(mugs("6", None, 1)).await.unwrap();
    let page = PageRequest::after(first.next.unwrap().parse().unwrap(), 2);
    let receipt = pay(&shop, "6", 1).await;
    assert_eq!(found(&shop, FindOrders { page, ..two }, &receipt).await, ["3", "2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn statistics_count_what_a_customer_bought_and_what_went_back() {
    let shop = opened::in_memory().await;
    shop.execute(mugs("1", Some("ann"), 1)).await.unwrap();
    pay(&shop, "1", 2).await;
    refund(&shop, "1", Some("0.5")).await;
    let jugs =
        PlaceOrder { order_items: vec![item("jug", Some("1"), 1)], ..mugs("2", Some("ann"), 3) };
    let receipt = shop.execute(jugs).await.unwrap();
    let ann = FindCustomerStatistics { customer_id: customer("ann") };
    let ann = shop.ask(ann).at_least(&receipt).await.unwrap().unwrap();
    assert_eq!((ann.orders, ann.units), (2, 11));
    assert_eq!((ann.gross_revenue, ann.refunded), (money("26"), money("0.5")));
    assert_eq!((ann.net_revenue, ann.average_order), (money("25.5"), Some(money("13"))));
    assert_eq!((ann.first_at, ann.last_at), (Some(noon(1)), Some(noon(3))));
    let nobody = FindCustomerStatistics { customer_id: customer("nobody") };
    assert_eq!(shop.ask(nobody).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_is_cancelled_unpaid_was_never_sold() {
    let shop = opened::in_memory().await;
    shop.execute(mugs("1", Some("ann"), 1)).await.unwrap();
    let receipt = cancel(&shop, "1").await;
    let report = shop.ask(MakeReport).at_least(&receipt).await.unwrap();
    assert_eq!((report.orders, report.order_lines, report.units_sold), (0, 0, 0));
    assert_eq!((report.gross_revenue, report.net_revenue), (Money::ZERO, Money::ZERO));
    assert_eq!(report.by_country[0].orders, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_is_cancelled_after_it_was_paid_is_made_good_by_its_refund() {
    let shop = opened::in_memory().await;
    shop.execute(mugs("1", Some("ann"), 1)).await.unwrap();
    pay(&shop, "1", 2).await;
    cancel(&shop, "1").await;
    let receipt = refund(&shop, "1", None).await;
    let report = shop.ask(MakeReport).at_least(&receipt).await.unwrap();
    assert_eq!((report.gross_revenue, report.refunded), (money("25"), money("25")));
    assert_eq!(report.net_revenue, Money::ZERO);
    let cancelled = FindOrders { status: Some(OrderStatus::Cancelled), ..FindOrders::default() };
    assert_eq!(found(&shop, cancelled, &receipt).await, ["1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_order_is_one_order() {
    let shop = opened::in_memory().await;
    let place = || shop.execute(mugs("1", None, 1)).command_id("request-42");
    let first = place().await.unwrap();
    let second = place().await.unwrap();
    assert_eq!((second.position, second.recorded), (first.position, RecordedWhen::Earlier));
    let error = shop.execute(mugs("1", None, 1)).command_id("request-43").await.unwrap_err();
    assert!(matches!(error, ExecuteError::AlreadyExists { .. }), "{error}");
}
