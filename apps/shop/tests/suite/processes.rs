//! Process managers, with their commands, projections and timers.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use gesta::{
    Builder, CommandError, CommandRequest, Gesta, Pipeline, RetryPolicy,
    sqlite::Sqlite,
    store::{EventStore, ReadAll, memory::MemoryStore},
    testing::{VirtualClock, drain},
};
use shop::{
    accounts::{Account, Currency, DepositMoney, FindAccount, OpenAccount},
    catalogue::{AddProduct, FindProduct, ReceiveStock, StockKeeping},
    id::{AccountId, OrderId, ProductId, UserId},
    orders::{CancelOrder, Fulfilment, OrderCard, OrderItem, OrderStatus, PlaceOrder, Prices},
    processes::{self, ProcessDelays},
    read_side,
    users::{CreateUser, DeleteUser, FindUser},
};
use tower::{Layer, ServiceExt as _, layer::layer_fn, service_fn};

use crate::opened::{money, noon, pieces};

struct Shop {
    store: Arc<dyn EventStore>,
    clock: VirtualClock,
    gesta: Gesta,
}

impl Shop {
    async fn open() -> Self {
        Self::on(Arc::new(MemoryStore::new()), VirtualClock::new()).await
    }

    async fn open_with(change: impl FnOnce(Builder) -> Builder) -> Self {
        Self::build(Arc::new(MemoryStore::new()), VirtualClock::new(), change).await
    }

    async fn on(store: Arc<dyn EventStore>, clock: VirtualClock) -> Self {
        Self::build(store, clock, |builder| builder).await
    }

    async fn build(
        store: Arc<dyn EventStore>,
        clock: VirtualClock,
        change: impl FnOnce(Builder) -> Builder,
    ) -> Self {
        // Orders compete for stock, and the clock stands still while they wait for a retry.
        let at_once =
            RetryPolicy::default().first_wait_max(Duration::ZERO).wait_max(Duration::ZERO);
        let builder = Gesta::on(Arc::clone(&store)).clock(clock.clone()).retry(at_once);
        let builder = change(builder);
        let builder = read_side::project_all(builder, &Sqlite::temporary().await.unwrap().into());
        let gesta = processes::run_all(builder, ProcessDelays::default()).open().await.unwrap();
        Self { store, clock, gesta }
    }

    /// Restarts the shop.
    async fn restart(self) -> Self {
        self.gesta.close().await;
        Self::on(self.store, self.clock).await
    }

    async fn passes(&self, time: Duration) {
        drain(&self.gesta).await;
        self.clock.advance(time);
        drain(&self.gesta).await;
    }

    /// Returns the types of all domain events, without those of processes and of the store.
    async fn happened(&self) -> Vec<String> {
        drain(&self.gesta).await;
        let events = self.store.read_all(ReadAll::forwards()).collect_events().await.unwrap();
        let types = events.iter().map(|event| event.event_type.as_str().to_owned());
        types
            .filter(|event_type| !event_type.starts_with('$'))
            .filter(|event_type| !event_type.starts_with("process-"))
            .collect()
    }
}

fn ann() -> UserId {
    UserId::new("ann").unwrap()
}

fn create_ann() -> CreateUser {
    let (first_name, last_name) = ("Ann".to_owned(), "Lee".to_owned());
    CreateUser { user_id: ann(), first_name, last_name, email: None }
}

#[tokio::test]
async fn a_new_user_is_welcomed_a_second_later_also_across_a_restart() {
    let shop = Shop::open().await;
    shop.gesta.execute(create_ann()).await.unwrap();
    shop.passes(Duration::from_millis(999)).await;
    assert_eq!(shop.happened().await, ["user-created"]);
    let shop = shop.restart().await;
    shop.passes(Duration::from_millis(1)).await;
    let shop = shop.restart().await;
    assert_eq!(shop.happened().await, ["user-created", "user-welcomed"]);
    assert!(shop.gesta.ask(FindUser { user_id: ann() }).await.unwrap().is_some());
}

#[tokio::test]
async fn a_user_who_is_deleted_within_the_second_is_not_welcomed() {
    let shop = Shop::open().await;
    shop.gesta.execute(create_ann()).await.unwrap();
    shop.gesta.execute(DeleteUser { user_id: ann() }).await.unwrap();
    shop.passes(Duration::from_secs(60)).await;
    assert_eq!(shop.happened().await, ["user-created", "user-deleted"]);
}

fn account() -> AccountId {
    AccountId::new("purse").unwrap()
}

fn mug() -> ProductId {
    ProductId::new("mug").unwrap()
}

fn order(id: &str) -> OrderId {
    OrderId::new(id).unwrap()
}

/// Opens a shop with ten mugs at 2.50, and a customer's account.
async fn with_mugs(balance: &str) -> Shop {
    let shop = Shop::open().await;
    shop.stock_up(balance).await;
    shop
}

fn place(id: &str, number: u64) -> PlaceOrder {
    PlaceOrder {
        order_id: order(id),
        customer_id: None,
        shipping_address: None,
        order_items: vec![OrderItem {
            product_id: mug(),
            unit_price: Some(money("2.50")),
            quantity: pieces(number),
        }],
        discounts: vec![],
        payment_account_id: Some(account()),
        prices: Prices::AsGiven,
        occurred_at: noon(2),
    }
}

impl Shop {
    async fn stock_up(&self, balance: &str) {
        let add = AddProduct {
            product_id: mug(),
            name: "Painted mug".to_owned(),
            price: money("2.50"),
            stock_keeping: StockKeeping::Tracked,
            occurred_at: noon(1),
        };
        self.gesta.execute(add).await.unwrap();
        let (product_id, quantity, occurred_at) = (mug(), pieces(10), noon(1));
        let receive = ReceiveStock { product_id, quantity, reason: None, occurred_at };
        self.gesta.execute(receive).await.unwrap();
        let currency = Currency::new("GBP").unwrap();
        let open = OpenAccount { account_id: account(), currency, occurred_at };
        self.gesta.execute(open).await.unwrap();
        let deposit = DepositMoney {
            account_id: account(),
            amount: money(balance),
            reference: "wages".to_owned(),
            source: None,
            occurred_at,
        };
        self.gesta.execute(deposit).await.unwrap();
    }

    async fn status(&self, id: &str) -> OrderStatus {
        drain(&self.gesta).await;
        let card = self.gesta.read_on_demand::<OrderCard>(&order(id), gesta::AsOf::Now).await;
        card.unwrap().unwrap().row.unwrap().status
    }

    async fn balance(&self) -> String {
        drain(&self.gesta).await;
        let found = self.gesta.ask(FindAccount { account_id: account() }).await.unwrap();
        found.unwrap().balance.to_string()
    }

    async fn free_mugs(&self) -> i64 {
        drain(&self.gesta).await;
        let found = self.gesta.ask(FindProduct { product_id: mug() }).await.unwrap();
        found.unwrap().stock.unwrap()
    }
}

#[tokio::test]
async fn an_order_is_paid_from_its_account_and_shipped() {
    let shop = with_mugs("20").await;
    shop.gesta.execute(place("1", 4)).await.unwrap();
    assert_eq!(shop.status("1").await, OrderStatus::Shipped);
    assert_eq!((shop.balance().await.as_str(), shop.free_mugs().await), ("10", 6));
    let steps =
        ["order-placed", "stock-reserved", "money-withdrawn", "order-paid", "order-shipped"];
    assert_eq!(shop.happened().await.split_off(4), steps);
    shop.passes(Duration::from_secs(3_600)).await;
    assert_eq!(shop.happened().await.len(), 9, "a payment that was in time is not asked for");
}

#[tokio::test]
async fn an_order_for_which_stock_is_short_is_cancelled() {
    let shop = with_mugs("100").await;
    shop.gesta.execute(place("1", 11)).await.unwrap();
    assert_eq!(shop.status("1").await, OrderStatus::Cancelled);
    assert_eq!((shop.balance().await.as_str(), shop.free_mugs().await), ("100", 10));
}

#[tokio::test]
async fn an_order_whose_account_has_too_little_is_cancelled_and_its_stock_set_free() {
    let shop = with_mugs("9.99").await;
    shop.gesta.execute(place("1", 4)).await.unwrap();
    assert_eq!(shop.status("1").await, OrderStatus::Cancelled);
    assert_eq!((shop.balance().await.as_str(), shop.free_mugs().await), ("9.99", 10));
    assert!(shop.happened().await.contains(&"stock-released".to_owned()));
}

#[tokio::test]
async fn of_orders_that_compete_for_stock_as_many_ship_as_there_is_stock_for() {
    let shop = with_mugs("100").await;
    for id in ["1", "2", "3"] {
        shop.gesta.execute(place(id, 4)).await.unwrap();
    }
    let mut shipped = 0;
    for id in ["1", "2", "3"] {
        shipped += usize::from(shop.status(id).await == OrderStatus::Shipped);
    }
    assert_eq!(shipped, 2);
    assert_eq!((shop.balance().await.as_str(), shop.free_mugs().await), ("80", 2));
}

#[tokio::test]
async fn an_order_that_is_cancelled_at_once_takes_no_stock_and_no_money() {
    let shop = with_mugs("100").await;
    shop.gesta.pause_process("fulfilment", &gesta::audit::Operator::new("ann")).await.unwrap();
    shop.gesta.execute(place("1", 4)).await.unwrap();
    let cancel = CancelOrder { order_id: order("1"), reason: None, occurred_at: noon(2) };
    shop.gesta.execute(cancel).await.unwrap();
    shop.gesta.resume_process("fulfilment", &gesta::audit::Operator::new("ann")).await.unwrap();
    assert_eq!(shop.status("1").await, OrderStatus::Cancelled);
    assert_eq!((shop.balance().await.as_str(), shop.free_mugs().await), ("100", 10));
}

/// A pipeline stage that reports accounts as overloaded while the flag is set.
fn busy_accounts(busy: Arc<AtomicBool>) -> impl Layer<Pipeline, Service = Pipeline> {
    layer_fn(move |pipeline: Pipeline| {
        let busy = Arc::clone(&busy);
        Pipeline::new(service_fn(move |request: CommandRequest| {
            let (busy, pipeline) = (busy.load(Ordering::SeqCst), pipeline.clone());
            async move {
                if busy && request.name() == "withdraw-money" {
                    let reason = "the bank counts".to_owned();
                    return Err(CommandError::Overloaded { reason, retry_after: None }.into());
                }
                pipeline.oneshot(request).await
            }
        }))
    })
}

#[tokio::test]
async fn an_order_that_is_not_paid_in_time_is_cancelled_and_late_money_goes_back() {
    let busy = Arc::new(AtomicBool::new(true));
    let shop = Shop::open_with(|builder| builder.layer(busy_accounts(Arc::clone(&busy)))).await;
    shop.stock_up("100").await;
    shop.gesta.execute(place("1", 4)).await.unwrap();
    shop.passes(Fulfilment::PAYMENT_TIMEOUT).await;
    assert_eq!(shop.status("1").await, OrderStatus::Placed, "the payment may still be under way");
    busy.store(false, Ordering::SeqCst);
    shop.passes(Duration::from_secs(60)).await;
    assert_eq!(shop.status("1").await, OrderStatus::Cancelled);
    assert_eq!((shop.balance().await.as_str(), shop.free_mugs().await), ("100", 10));
}

#[tokio::test]
async fn an_order_that_names_no_account_is_left_alone() {
    let shop = with_mugs("100").await;
    let unnamed = PlaceOrder { payment_account_id: None, ..place("1", 4) };
    shop.gesta.execute(unnamed).await.unwrap();
    shop.passes(Duration::from_secs(3_600)).await;
    assert_eq!(shop.status("1").await, OrderStatus::Placed);
    assert!(shop.gesta.process_managers().iter().all(|manager| manager.timers == 0));
    assert!(shop.gesta.load::<Account>(&account()).await.unwrap().is_some());
}
