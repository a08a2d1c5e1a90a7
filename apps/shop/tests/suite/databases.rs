//! Read models in every store, filled from the same events: they answer alike.
//!
//! SQLite and rows in memory are always there. PostgreSQL is asked if a server can be started.
//! `GESTA_E2E=full` asks DynamoDB and MongoDB as well, if the shop is built with them and an
//! emulator or FerretDB runs: the same rows as in memory, at a hundredth of the speed.

use std::{fmt::Debug, sync::Arc, time::Duration};

use gesta::{
    Answer, Gesta,
    postgres::PostgresReadModels,
    sqlite::Sqlite,
    store::{
        DeleteStream, EventStore, ExpectedRevision, MemoryReadModels, StreamName,
        memory::MemoryStore,
    },
};
#[cfg(any(feature = "dynamodb", feature = "mongodb"))]
use gesta_http::PageRequest;
use gesta_services::{OwnServer, e2e::is_full};
use serde_json::Value;
use shop::{
    accounts::{
        Currency, DepositMoney, FindAccount, ListBalances, ListTransactions, OpenAccount,
        TransferMoney, WithdrawMoney,
    },
    catalogue::{FindProduct, ListProducts, ProductDetails, UpdateProduct},
    id::{AccountId, CustomerId, OrderId, ProductId, UserId},
    import::{self, Documents},
    orders::{
        CancelOrder, DeliverOrder, Line, OrderItem, OrderStatus, PayOrder, PlaceOrder, Prices,
        RefundOrder, ShipOrder,
        credit_notes::{
            CreditNoteDetails, FindCreditNote, IssueCreditNote, LINES_MAX, ListCreditNotes,
        },
        sales::{FindCustomerStatistics, MakeReport},
        summaries::{FindOrders, OrderSummary},
    },
    paging::Page,
    read_models::{ReadModels, Reader},
    read_side,
    search::SearchText,
    users::{CreateUser, DeleteUser, Email, FindUser, ListUsers, UpdateUser, UserDetails},
};

use crate::opened::{money, noon, pieces};

const SAMPLE: &[u8] = include_bytes!("../../data/sample.csv");
const SAMPLE_REPORT: &[u8] = include_bytes!("../../data/sample-report.json");

/// Maximum wait for read models.
const PATIENCE: Duration = Duration::from_secs(300);

/// Shops on the same events, each with read models of its own.
struct Shops {
    shops: Vec<(&'static str, Gesta)>,
    /// The server of PostgreSQL, which ends with the test.
    _server: Option<OwnServer>,
}

impl Shops {
    async fn open() -> Self {
        Self::on(Arc::new(MemoryStore::new())).await
    }

    /// Imports the sample before the read models are filled: in few transactions.
    async fn with_sample() -> Self {
        let store: Arc<dyn EventStore> = Arc::new(MemoryStore::new());
        let read_models = Sqlite::temporary().await.unwrap().into();
        let builder = read_side::project_all(Gesta::on(Arc::clone(&store)), &read_models);
        let shop = builder.open().await.unwrap();
        import::run(&shop, Documents::read(SAMPLE).unwrap(), || {}).await.unwrap();
        Self::on(store).await
    }

    async fn on(store: Arc<dyn EventStore>) -> Self {
        let server = OwnServer::start_or_skip("postgres");
        let mut places: Vec<(&'static str, ReadModels)> = vec![
            ("SQLite", Sqlite::temporary().await.unwrap().into()),
            ("rows in memory", MemoryReadModels::new().into()),
        ];
        if let Some(server) = &server {
            let postgres = PostgresReadModels::connect(&server.url()).await.unwrap();
            places.push(("PostgreSQL", postgres.into()));
        }
        #[cfg(feature = "dynamodb")]
        if is_full()
            && let Some(endpoint) = gesta_services::url_or_skip("dynamodb")
        {
            let prefix = uuid::Uuid::new_v4();
            let url = format!("dynamodb://local/shop-{prefix}?endpoint={endpoint}&emulator=yes");
            let table = gesta::dynamodb::DynamoReadModels::connect(&url).await.unwrap();
            places.push(("DynamoDB", table.into()));
        }
        #[cfg(feature = "mongodb")]
        if is_full()
            && let Some(server) = gesta_services::url_or_skip("ferretdb")
        {
            let url = format!("{server}/shop-{}", uuid::Uuid::new_v4().simple());
            let database = gesta::mongodb::MongoReadModels::connect(&url).await.unwrap();
            places.push(("MongoDB", database.into()));
        }
        let mut shops = Vec::new();
        for (name, read_models) in places {
            let builder = Gesta::on(Arc::clone(&store));
            shops.push((name, read_side::project_all(builder, &read_models).open().await.unwrap()));
        }
        Self { shops, _server: server }
    }

    fn first(&self) -> &Gesta {
        &self.shops[0].1
    }

    /// Returns the answer that all give.
    async fn ask<Q>(&self, query: Q) -> Q::Answer
    where
        Q: Answer<Reader, Answer: PartialEq + Debug> + Clone + Debug,
    {
        let head = self.first().store().head().await.unwrap().position;
        let mut first = None;
        for (name, shop) in &self.shops {
            let asked = shop.ask(query.clone()).at_least_position(head).within(PATIENCE);
            let answer = asked.await.unwrap();
            match &first {
                None => first = Some(answer),
                Some(first) => assert_eq!(&answer, first, "{query:?} in {name}"),
            }
        }
        first.unwrap()
    }

    /// Returns the entries of all pages, which all divide alike.
    async fn pages<Q, T>(&self, of_page: impl Fn(Option<String>) -> Q) -> Vec<T>
    where
        Q: Answer<Reader, Answer = Page<T>> + Clone + Debug,
        T: PartialEq + Debug + Send + serde::Serialize + 'static,
    {
        let (mut entries, mut after) = (Vec::new(), None);
        loop {
            let page = self.ask(of_page(after)).await;
            entries.extend(page.items);
            match page.next {
                Some(next) => after = Some(next),
                None => return entries,
            }
        }
    }

    async fn orders(&self, conditions: FindOrders, limit: u64) -> Vec<OrderSummary> {
        let of_page = |after: Option<String>| {
            let after = after.map(|after| after.parse().unwrap());
            FindOrders { page: page(after, limit), ..conditions.clone() }
        };
        self.pages(of_page).await
    }

    async fn products(&self, text: Option<SearchText>, limit: u64) -> Vec<ProductDetails> {
        let of_page = |after: Option<String>| {
            let after = after.map(|after| ProductId::new(after).unwrap());
            ListProducts { page: page(after, limit), text: text.clone(), ..ListProducts::default() }
        };
        self.pages(of_page).await
    }

    async fn credit_notes(&self, customer: &CustomerId, limit: u64) -> Vec<CreditNoteDetails> {
        let of_page = |after: Option<String>| {
            let after = after.map(|after| after.parse().unwrap());
            ListCreditNotes { page: page(after, limit), customer_id: Some(customer.clone()) }
        };
        self.pages(of_page).await
    }

    async fn users(&self) -> Vec<UserDetails> {
        let of_page = |after: Option<String>| {
            let after = after.map(|after| UserId::new(after).unwrap());
            ListUsers { page: page(after, 2), ..ListUsers::default() }
        };
        self.pages(of_page).await
    }

    async fn delete(&self, stream: &str) {
        let stream = StreamName::new(stream).unwrap();
        let delete = DeleteStream::new(stream, ExpectedRevision::Any);
        self.first().store().delete_stream(delete).await.unwrap();
    }
}

fn page<K>(after: Option<K>, limit: u64) -> PageRequest<K> {
    match after {
        Some(after) => PageRequest::after(after, limit),
        None => PageRequest::first(limit),
    }
}

fn words(text: &str) -> Option<SearchText> {
    Some(SearchText::new(text).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_query_on_the_sample_is_answered_alike() {
    let shops = Shops::with_sample().await;
    let report = serde_json::to_value(shops.ask(MakeReport).await).unwrap();
    assert_eq!(report, serde_json::from_slice::<Value>(SAMPLE_REPORT).unwrap());
    let mut found = 0;
    for text in ["heart", "lights white", "united king", "85123", "post' | 'x", "HEART t-light"] {
        let search = FindOrders { text: words(text), ..FindOrders::default() };
        found += shops.orders(search, 5).await.len();
        found += shops.products(words(text), 3).await.len();
    }
    assert!(found > 20, "{found} rows were found by words");
    assert!(shops.products(None, 50).await.len() > 50, "there are several pages");
    for limit in [1, 3] {
        let shipped = FindOrders {
            status: Some(OrderStatus::Shipped),
            from: Some("2011-03-01T00:00:00Z".parse().unwrap()),
            to: Some("2011-06-01T00:00:00Z".parse().unwrap()),
            text: words("heart"),
            ..FindOrders::default()
        };
        assert!(!shops.orders(shipped, limit).await.is_empty());
    }
    let best = report["top_customers"][0]["customer"].as_str().unwrap();
    let customer_id = CustomerId::new(best).unwrap();
    assert!(shops.ask(FindCustomerStatistics { customer_id }).await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_combination_of_conditions_lists_the_same_orders_on_the_same_pages() {
    let shops = Shops::with_sample().await;
    let all = shops.orders(FindOrders::default(), 7).await;
    assert!(all.len() > 20, "{} orders", all.len());
    // The import records orders side by side: which of them is the last is another one each time.
    let has_all = |order: &&OrderSummary| {
        order.customer_id.is_some()
            && order.status == OrderStatus::Shipped
            && order.country.as_deref() == Some("United Kingdom")
    };
    let known = all.iter().find(has_all).unwrap();
    let (customer, day) = (known.customer_id.clone(), known.placed_at);
    for bits in 0..16_u8 {
        let is_set = |bit: u8| bits & (1 << bit) != 0;
        let conditions = FindOrders {
            customer: customer.clone().filter(|_| is_set(0)),
            status: is_set(1).then_some(OrderStatus::Shipped),
            from: is_set(2).then_some(day),
            to: None,
            text: words("united").filter(|_| is_set(3)),
            page: PageRequest::default(),
        };
        let listed = shops.orders(conditions, 4).await;
        let numbers = listed.windows(2).all(|pair| {
            let at = |order: &OrderSummary| all.iter().position(|it| it.order_id == order.order_id);
            at(&pair[0]) < at(&pair[1])
        });
        assert!(numbers, "newest first");
        assert!(listed.iter().any(|order| order.order_id == known.order_id), "{bits:04b}");
    }
    let unknown = FindOrders { status: Some(OrderStatus::Refunded), ..FindOrders::default() };
    assert!(shops.orders(unknown, 4).await.is_empty());
    let customer = customer.unwrap();
    for id in ["C2", "C1", "C3"] {
        shops.first().execute(credit_note(id, &customer)).await.unwrap();
    }
    let notes = shops.credit_notes(&customer, 2).await;
    let ids: Vec<_> = notes.iter().map(|note| note.credit_note_id.as_str()).collect();
    assert_eq!((ids, notes[0].lines.len()), (vec!["C1", "C2", "C3"], 5_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_product_is_found_by_its_new_name_only() {
    let shops = Shops::with_sample().await;
    let product_id = shops.ask(ListProducts::default()).await.items[0].product_id.clone();
    let rename = UpdateProduct {
        product_id: product_id.clone(),
        name: "Café crème".to_owned(),
        price: money("2.5"),
        occurred_at: noon(5),
    };
    shops.first().execute(rename).await.unwrap();
    for text in ["cafe", "CAFÉ", "crem", "cafe\u{301} creme"] {
        let found = shops.products(words(text), 2).await;
        let ids: Vec<&ProductId> = found.iter().map(|product| &product.product_id).collect();
        assert_eq!(ids, [&product_id], "{text}");
    }
    let renamed = shops.ask(FindProduct { product_id }).await.unwrap();
    assert_eq!(renamed.name, "Café crème");
}

/// A credit note with as many lines as it may have, which fit into no row of DynamoDB.
fn credit_note(id: &str, customer: &CustomerId) -> IssueCreditNote {
    let line = |nth: usize| Line {
        product_id: ProductId::new(format!("mug {nth}")).unwrap(),
        unit_price: money("2.55"),
        quantity: pieces(2),
    };
    IssueCreditNote {
        credit_note_id: id.parse().unwrap(),
        customer_id: Some(customer.clone()),
        country: None,
        lines: (0..LINES_MAX).map(line).collect(),
        occurred_at: noon(5),
    }
}

/// An order of ten mugs at 2.50, with a name that is longer than a key may be.
fn mugs(order: &str, country: &str) -> PlaceOrder {
    let address = serde_json::json!({ "city": "York", "country": country });
    let item = serde_json::json!({ "productId": "mug", "unitPrice": "2.5", "quantity": 10 });
    PlaceOrder {
        order_id: OrderId::new(order).unwrap(),
        customer_id: Some(CustomerId::new("ann").unwrap()),
        shipping_address: Some(serde_json::from_value(address).unwrap()),
        order_items: vec![serde_json::from_value::<OrderItem>(item).unwrap()],
        discounts: vec![],
        payment_account_id: None,
        prices: Prices::AsGiven,
        // Finer than what a column keeps.
        occurred_at: "2011-01-04T12:00:00.123456789Z".parse().unwrap(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_has_the_same_status_and_sums_at_each_of_its_steps() {
    let shops = Shops::open().await;
    let shop = shops.first();
    let (order_id, occurred_at) = (OrderId::new("1").unwrap(), noon(5));
    let country = "Ä".repeat(500);
    shop.execute(mugs("1", &country)).await.unwrap();
    shop.execute(mugs("2", "France")).await.unwrap();
    let seen = async |expected: OrderStatus| {
        let listed = shops.orders(FindOrders::default(), 1).await;
        assert_eq!(listed[1].status, expected);
        for status in OrderStatus::ALL {
            let by_status = FindOrders { status: Some(status), ..FindOrders::default() };
            let listed = shops.orders(by_status, 1).await;
            let is_listed = listed.iter().any(|order| order.order_id.as_str() == "1");
            assert_eq!(is_listed, status == expected, "{status:?}");
        }
        shops.ask(MakeReport).await
    };
    let report = seen(OrderStatus::Placed).await;
    let countries: Vec<_> = report.by_country.iter().map(|it| it.country.as_str()).collect();
    assert_eq!(countries, ["France", &country]);
    let method = "invoice".to_owned();
    let pay = PayOrder { order_id: order_id.clone(), method, reference: None, occurred_at };
    shop.execute(pay).await.unwrap();
    seen(OrderStatus::Paid).await;
    let ship = ShipOrder { order_id: order_id.clone(), tracking: None, occurred_at };
    shop.execute(ship).await.unwrap();
    seen(OrderStatus::Shipped).await;
    shop.execute(DeliverOrder { order_id: order_id.clone(), occurred_at }).await.unwrap();
    seen(OrderStatus::Delivered).await;
    let amount = Some(money("2.5"));
    shop.execute(RefundOrder { order_id: order_id.clone(), amount, occurred_at }).await.unwrap();
    assert_eq!(seen(OrderStatus::Delivered).await.refunded, money("2.5"));
    shop.execute(RefundOrder { order_id, amount: None, occurred_at }).await.unwrap();
    seen(OrderStatus::Refunded).await;
    let (order_id, reason) = (OrderId::new("2").unwrap(), None);
    shop.execute(CancelOrder { order_id, reason, occurred_at }).await.unwrap();
    assert_eq!(seen(OrderStatus::Refunded).await.orders, 1, "it was cancelled unpaid");
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_and_users_are_listed_alike() {
    let shops = Shops::open().await;
    let shop = shops.first();
    let account = |id: &str| AccountId::new(id).unwrap();
    let (currency, occurred_at) = (Currency::new("GBP").unwrap(), noon(1));
    let reference = "wages".to_owned();
    for id in ["ann", "anna", "bob"] {
        let open = OpenAccount { account_id: account(id), currency, occurred_at };
        shop.execute(open).await.unwrap();
    }
    for (from, to) in [("ann", "anna"), ("anna", "ann"), ("ann", "bob")] {
        let (account_id, amount) = (account(from), money("5"));
        let deposit = DepositMoney {
            account_id,
            amount,
            reference: reference.clone(),
            source: None,
            occurred_at,
        };
        shop.execute(deposit).await.unwrap();
        let (from, to, amount) = (account(from), account(to), money("0.01"));
        let transfer =
            TransferMoney { from, to, amount, reference: reference.clone(), occurred_at };
        shop.execute(transfer).await.unwrap();
    }
    let (account_id, destination) = (account("ann"), Some("bank".to_owned()));
    let amount = money("1");
    shop.execute(WithdrawMoney { account_id, amount, reference, destination, occurred_at })
        .await
        .unwrap();
    assert_eq!(shops.ask(ListBalances).await.len(), 3);
    for id in ["ann", "anna", "bob", "carol"] {
        let account_id = account(id);
        let mut after = None;
        for _ in 0..4 {
            let page = page(after, 2);
            let list = ListTransactions { account_id: account_id.clone(), page };
            let Some(found) = shops.ask(list).await else { break };
            after = found.next.map(|next| next.parse().unwrap());
            if after.is_none() {
                break;
            }
        }
        shops.ask(FindAccount { account_id }).await;
    }
    let user = |id: &str| UserId::new(id).unwrap();
    for id in ["ann", "bob", "carol", "dave", "eve"] {
        let (first_name, last_name) = (id.to_owned(), "Lee".to_owned());
        let email = (id != "bob").then(|| Email::new(&format!("{id}@example.org")).unwrap());
        shop.execute(CreateUser { user_id: user(id), first_name, last_name, email }).await.unwrap();
    }
    let (first_name, last_name, email) = ("Carola".to_owned(), "Lee".to_owned(), None);
    let update = UpdateUser { user_id: user("carol"), first_name, last_name, email };
    shop.execute(update).await.unwrap();
    shop.execute(DeleteUser { user_id: user("dave") }).await.unwrap();
    let first_names: Vec<_> = shops.users().await.into_iter().map(|user| user.first_name).collect();
    assert_eq!(first_names, ["ann", "bob", "Carola", "eve"]);
    assert_eq!(shops.ask(FindUser { user_id: user("dave") }).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_deleted_is_forgotten_by_all() {
    let shops = Shops::with_sample().await;
    let shop = shops.first();
    let (currency, occurred_at) = (Currency::new("GBP").unwrap(), noon(1));
    let account_id = AccountId::new("ann").unwrap();
    let open = OpenAccount { account_id: account_id.clone(), currency, occurred_at };
    shop.execute(open.clone()).await.unwrap();
    let (amount, reference) = (money("5"), "wages".to_owned());
    let deposit = DepositMoney {
        account_id: account_id.clone(),
        amount,
        reference,
        source: None,
        occurred_at,
    };
    shop.execute(deposit).await.unwrap();
    let orders = shops.orders(FindOrders::default(), 50).await;
    let customer = CustomerId::new("ann").unwrap();
    shop.execute(credit_note("C1", &customer)).await.unwrap();
    let note = shops.credit_notes(&customer, 5).await.swap_remove(0);
    let product = shops.products(None, 50).await.swap_remove(0);
    let order = orders.first().unwrap();
    shops.delete(&format!("order-{}", order.order_id)).await;
    shops.delete(&format!("product-{}", product.product_id)).await;
    shops.delete(&format!("creditNote-{}", note.credit_note_id)).await;
    shops.delete("account-ann").await;
    let left = shops.orders(FindOrders::default(), 50).await;
    assert_eq!((left.len(), left.contains(order)), (orders.len() - 1, false));
    let by_customer = FindOrders { customer: order.customer_id.clone(), ..FindOrders::default() };
    assert!(!shops.orders(by_customer, 50).await.contains(order));
    let by_status = FindOrders { status: Some(order.status), ..FindOrders::default() };
    assert!(!shops.orders(by_status, 50).await.contains(order));
    let by_words = FindOrders { text: words(order.order_id.as_str()), ..FindOrders::default() };
    assert!(!shops.orders(by_words, 50).await.contains(order));
    assert_eq!(shops.ask(FindProduct { product_id: product.product_id }).await, None);
    let credit_note_id = note.credit_note_id.clone();
    assert_eq!(shops.ask(FindCreditNote { credit_note_id }).await, None);
    assert!(!shops.credit_notes(&customer, 5).await.contains(&note));
    let find = FindAccount { account_id: account_id.clone() };
    assert_eq!(shops.ask(find.clone()).await, None);
    shop.execute(open).await.unwrap();
    assert_eq!(shops.ask(find).await.unwrap().balance, money("0"), "it begins anew");
    let list = ListTransactions { account_id, page: PageRequest::default() };
    assert_eq!(shops.ask(list).await.unwrap().items, []);
}
