//! The way of a newcomer through every screen of the console, on the data of the shop.
//!
//! A test without Chromium says so on standard error, and fails under `CI=true`.

use std::net::Ipv4Addr;

use gesta::{
    EventId, EventType, Gesta, StreamName,
    sqlite::Sqlite,
    store::{Append, ExpectedRevision, NewEvent},
    testing::drain,
};
use gesta_http::GestaState;
use gesta_services::chromium::{LOOKS, Page};
use serde_json::{Value, json};
use shop::{
    outbox::Outbox,
    processes, reactors, read_side,
    samples::{self, faults},
};
use tokio::{net::TcpListener, sync::oneshot};

use super::{Client, account};

/// A shop on a socket, and a page that looks at it. Dropping it ends the server.
struct Newcomer {
    shop: Gesta,
    page: Page,
    _end: oneshot::Sender<()>,
}

impl Newcomer {
    /// Opens the console of a shop that has the samples, and an order that cannot be paid.
    async fn begin(outbox: Outbox) -> Option<Self> {
        let rows = Sqlite::temporary().await.unwrap();
        let builder = read_side::project_all(Gesta::at("memory:"), &rows.into());
        let builder = processes::run_all(builder, faults::DELAYS);
        let shop = reactors::run_all(builder, outbox).open().await.unwrap();
        samples::prepare(&shop).await.unwrap();
        let client = Client::over(shop.clone());
        client.post("/v1/accounts", account("poor", "GBP")).ok().await;
        let item = json!({ "productId": samples::PRODUCT, "unitPrice": "2.5", "quantity": 1 });
        let order = json!({ "orderId": "unpaid", "customerId": "poor", "orderItems": [item],
            "paymentAccountId": "poor" });
        client.post("/v1/orders", order).ok().await;
        drain(&shop).await;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = GestaState::new(shop.clone());
        let router = shop::http::api().environment("production").router(state.clone());
        let (end, ended) = oneshot::channel::<()>();
        tokio::spawn(gesta_http::serve(listener, router, state, async { drop(ended.await) }));
        let mut page = Page::open(&url).await?;
        page.look(1_400, "light").await;
        Some(Self { shop, page, _end: end })
    }

    /// Appends an event that another, faulty program could have written.
    async fn plant(&self, stream: &str, event_type: &str, data: Value) {
        self.plant_many(1, stream, event_type, data).await;
    }

    /// Appends a number of such events.
    async fn plant_many(&self, number: usize, stream: &str, event_type: &str, data: Value) {
        let event_type = EventType::new(event_type).unwrap();
        let event = || NewEvent::json(EventId::random(), event_type.clone(), data.to_string());
        let events: Vec<_> = std::iter::repeat_with(event).take(number).collect();
        let name = StreamName::new(stream).unwrap();
        let append = Append::to(name, ExpectedRevision::Any, events);
        self.shop.store().append(append).await.unwrap();
        drain(&self.shop).await;
    }

    /// Looks at a screen in all looks at once, because what it shows will have passed at the end.
    async fn sees_what_passes(&mut self, screen: &'static str, texts: &[&str]) {
        self.page.sees(screen, texts).await;
        self.page.assert_readable_in_all_looks(&format!("{screen}-then")).await;
        let (width, theme) = LOOKS[0];
        self.page.look(width, theme).await;
    }

    /// An order of a customer, the reason of its cancellation, and its states.
    async fn understands_an_order(&mut self) {
        self.page.load("#/start").await;
        self.page
            .sees("start", &["No problems", "order-summaries", "fulfilment", "welcome-mail"])
            .await;
        self.page.go("q", "Query").await;
        self.page.until("document.querySelector('[name=tag]')").await;
        self.page.write("[name=tag]", "customer:poor").await;
        self.page.click("button", "Find").await;
        self.page.sees("query", &["1 event", "order-placed"]).await;
        self.page.follow("main a", "order-unpaid").await;
        self.page.sees("stream", &["order-placed", "order-cancelled"]).await;
        self.page.click("main td a", "1").await;
        let reason = "the account holds 0, less than the requested 2.5";
        self.page
            .sees("event", &["order-cancelled", reason, " of process:fulfilment-unpaid"])
            .await;
        self.page.follow("main a", "the whole story").await;
        self.page
            .sees("story", &["place-order", "withdraw-money", "rejection", "cancel-order"])
            .await;
        self.page.follow("main a", "Timeline").await;
        self.page.sees("timeline", &["order-placed", "order-cancelled"]).await;
        self.page.value("history.go(-3)").await;
        self.page.click("main .links a", "State").await;
        self.page.sees("aggregate", &["Revision 1 of 1", "\"placed\"", "\"cancelled\""]).await;
        self.page.value("document.querySelector('[aria-label=\"Revision before\"]').click()").await;
        self.page.until_shown("Changed by the first event").await;
        self.page.sees("aggregate-before", &["Revision 0 of 1", "\"placed\""]).await;
    }

    /// A deposit to an account that was never opened, until it is.
    async fn mends_a_projection(&mut self) {
        let deposit = json!({ "accountId": "early", "amount": "1", "reference": "early",
            "occurredAt": "2011-12-12T09:00:00Z" });
        self.plant("account-odd-early", "money-deposited", deposit).await;
        self.page.go("h", "Start").await;
        self.sees_what_passes("start-with-a-problem", &["1 problem", "accounts"]).await;
        self.page.click("main .notice a", "Projection accounts").await;
        self.page.sees("projection", &["Rebuild", "running"]).await;
        self.page.click("main dd a", "1").await;
        let letter = ["account-odd-early", "money-deposited", "Edit and try"];
        self.sees_what_passes("dead-letters", &letter).await;
        let client = Client::over(self.shop.clone());
        client.post("/v1/accounts", account("early", "GBP")).ok().await;
        drain(&self.shop).await;
        self.page.value("document.querySelector('td.mark input').click()").await;
        self.page.act("Retry", "the account is open now").await;
        self.page.until_shown("There are no dead letters").await;
        assert!(self.shop.dead_letters().await.unwrap().is_empty());
    }

    /// A user whose event cannot be read.
    async fn frees_a_process(&mut self) {
        self.plant("user-poison", "user-created", json!({})).await;
        self.page.go("r", "Process managers").await;
        self.sees_what_passes("processes", &["welcome", "fulfilment", "user-poison"]).await;
        self.page.go("h", "Start").await;
        self.page.click("main .notice a", "Process welcome stream:user-poison").await;
        let input = ["stream:user-poison", "user-created", "Skip"];
        self.sees_what_passes("set-aside", &input).await;
        self.page.act("Skip", "the user is made by hand").await;
        self.page.until_shown("No input is set aside").await;
        assert!(self.shop.process_set_aside("welcome").await.unwrap().is_empty());
        self.page.go("d", "Dead letters").await;
        self.page.until("document.querySelectorAll('td.mark').length === 1").await;
        self.page.value("document.querySelector('td.mark input').click()").await;
        self.page.act("Discard and go on", "the user is made by hand").await;
        self.page.until_shown("There are no dead letters").await;
        self.page.load("#/instance?process=fulfilment&id=unpaid").await;
        self.page.sees("instance", &["process:fulfilment-unpaid"]).await;
    }

    async fn rebuilds_and_rolls_back(&mut self) {
        self.page.go("p", "Projections").await;
        self.page.sees("projections", &["products", "order-summaries", "running"]).await;
        self.page.follow("main a", "products").await;
        self.page.act("Rebuild", "to see how it goes").await;
        self.page.until_shown("Roll back").await;
        let kept = "document.querySelector('main').innerText.match(/Build (\\d+) by/)?.[1]";
        let before = self.page.value(kept).await;
        self.page.act("Roll back", "the old rows were right").await;
        self.page.until(&format!("{kept} && {kept} !== {before}")).await;
        self.page.sees("rolled-back", &["Roll back", "Drop old rows", "running"]).await;
    }

    async fn looks_around(&mut self) {
        for (key, screen, heading, text) in [
            ("e", "reactors", "Reactors", "welcome-mail"),
            ("s", "streams", "Streams", "order-unpaid"),
            ("g", "aggregates", "Aggregates", "Streams of order"),
            ("l", "live", "Live", "Waiting for events"),
            ("c", "schemas", "Event types", "order-placed"),
        ] {
            self.page.go(key, heading).await;
            self.page.sees(screen, &[text]).await;
        }
        self.page.load("#/schema?type=order-placed").await;
        self.page.sees("schema", &["Version 1"]).await;
        self.page.load("#/reactor?name=welcome-mail").await;
        self.page.sees("reactor", &["Pause"]).await;
        self.page.go("a", "Audit").await;
        let acts = [
            "retry-dead-letter",
            "skip-process-input",
            "discard-dead-letter",
            "rebuild-projection",
            "roll-back-projection",
        ];
        self.page.sees("audit", &acts).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_finds_their_way_through_every_screen() {
    let mails = tempfile::tempdir().unwrap();
    let outbox = Outbox::open(mails.path()).unwrap();
    let Some(mut newcomer) = Newcomer::begin(outbox).await else { return };
    newcomer.understands_an_order().await;
    newcomer.mends_a_projection().await;
    newcomer.frees_a_process().await;
    newcomer.rebuilds_and_rolls_back().await;
    newcomer.looks_around().await;
    newcomer.page.look_again(&LOOKS[1..]).await;
    newcomer.page.assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_page_of_what_is_stuck_is_a_link_away() {
    let mails = tempfile::tempdir().unwrap();
    let outbox = Outbox::open(mails.path()).unwrap();
    let Some(mut newcomer) = Newcomer::begin(outbox).await else { return };
    // One more than a page: the projection keeps the first event, the others wait behind it, and so
    // do the inputs of the process manager.
    newcomer.plant_many(101, "user-many", "user-created", json!({})).await;
    let page = &mut newcomer.page;
    for (name, address, noun) in [
        ("letters", "#/dead-letters?of=users", "letter"),
        ("inputs", "#/process?name=welcome&show=set-aside", "input"),
    ] {
        let first = format!("100 {noun}s on this page");
        page.load(address).await;
        page.until_shown(&first).await;
        page.assert_readable(&format!("{name}-first")).await;
        page.follow("main .pager a", "Next").await;
        page.until_shown(&format!("1 {noun} on this page")).await;
        assert_eq!(page.value("document.querySelectorAll('tbody tr').length").await, 1);
        assert_eq!(page.value("document.querySelectorAll('a[rel=next]').length").await, 0);
        page.assert_readable(&format!("{name}-second")).await;
        page.follow("main .pager a", "First").await;
        page.until_shown(&first).await;
    }
    page.assert_clean();
}
