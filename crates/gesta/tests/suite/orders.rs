//! The example of `docs/guide/orders.md`, compiled and run.

// GUIDE BEGIN
use gesta::{prelude::*, sqlite, testing::given};

type CustomerId = u64;
type PaymentId = u64;
type OrderId = u64;
type Line = String;

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
enum Status {
    #[default]
    New,
    Placed,
    Paid,
    Shipped,
}

#[derive(Event, Serialize, Deserialize, Clone)]
#[event(name = "order-placed")]
struct OrderPlacedV1 {
    customer: CustomerId,
    line: Line,
}

#[derive(Debug, PartialEq, thiserror::Error, Rejection)]
#[error("the order is not paid")]
#[rejection(code = "not-paid")]
struct NotPaid;

#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "order-placed", version = 2, from = OrderPlacedV1)]
struct OrderPlaced {
    #[event(tag)]
    customer: CustomerId,
    lines: Vec<Line>,
}

impl From<OrderPlacedV1> for OrderPlaced {
    fn from(old: OrderPlacedV1) -> Self {
        Self { customer: old.customer, lines: vec![old.line] }
    }
}

#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "order-paid")]
struct OrderPaid {
    payment: PaymentId,
}

#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "order-shipped")]
struct OrderShipped {
    tracking: String,
}

#[derive(EventSet, Clone, Debug, PartialEq)]
enum OrderEvent {
    Placed(OrderPlaced),
    Paid(OrderPaid),
    Shipped(OrderShipped),
}

fn status_after(event: &OrderEvent) -> Status {
    match event {
        OrderEvent::Placed(_) => Status::Placed,
        OrderEvent::Paid(_) => Status::Paid,
        OrderEvent::Shipped(_) => Status::Shipped,
    }
}

#[derive(Default)]
struct Order {
    status: Status,
}

impl Aggregate for Order {
    const CATEGORY: &'static str = "order";
    type Id = OrderId;
    type Event = OrderEvent;

    fn evolve(&mut self, event: &OrderEvent) {
        self.status = status_after(event);
    }
}

#[derive(Command, Serialize, Deserialize)]
#[command(name = "ship-order", on = Order)] // the order must exist
struct ShipOrder {
    #[command(id)]
    order: OrderId,
    tracking: String,
}

impl Decide for ShipOrder {
    type Rejection = NotPaid;

    fn decide(&self, order: &Order) -> Decision<Self> {
        match order.status {
            Status::Paid => Ok(OrderShipped { tracking: self.tracking.clone() }.into()),
            Status::New | Status::Placed | Status::Shipped => Err(NotPaid),
        }
    }
}

#[test]
fn an_unpaid_order_does_not_ship() {
    given::<Order>([placed()]).when(ship()).then_rejected(NotPaid);
}

struct OrderStatuses;

impl Projection for OrderStatuses {
    const NAME: &'static str = "order-statuses";
    type Event = OrderEvent; // any event set, over any categories
}

impl Apply<sqlite::Tx> for OrderStatuses {
    async fn apply(
        &self,
        tx: &mut sqlite::Tx,
        events: &[Recorded<OrderEvent>],
    ) -> Result<(), ApplyError> {
        for recorded in events {
            tx.put("statuses", recorded.stream.as_str(), &status_after(&recorded.event)).await?;
        }
        Ok(())
    }
}

#[derive(Query)]
#[query(reads = OrderStatuses, answer = Option<Status>)]
struct FindStatus {
    order: OrderId,
}

impl Answer<sqlite::Reader> for FindStatus {
    async fn answer(&self, rows: &mut sqlite::Reader) -> Result<Option<Status>, QueryError> {
        Ok(rows.get("statuses", &format!("order-{}", self.order)).await?)
    }
}

async fn ship_it(
    url: &str,
    read_models: &sqlite::Sqlite,
) -> Result<(), Box<dyn std::error::Error>> {
    let gesta = Gesta::at(url).project(OrderStatuses, read_models).open().await?;
    let receipt = gesta.execute(ship()).command_id("request-42").actor("ann").await?;
    let status = gesta.ask(FindStatus { order: 42 }).at_least(&receipt).await?; // its own write
    assert_eq!(status, Some(Status::Shipped));
    gesta.close().await;
    Ok(())
}

fn placed() -> OrderEvent {
    OrderPlaced { customer: 7, lines: vec!["tea".to_owned()] }.into()
}

fn paid() -> OrderEvent {
    OrderPaid { payment: 1 }.into()
}

fn ship() -> ShipOrder {
    ShipOrder { order: 42, tracking: "by air".to_owned() }
}
// GUIDE END

#[test]
fn a_paid_order_ships() {
    given::<Order>([placed(), paid()])
        .when(ship())
        .then(OrderShipped { tracking: "by air".to_owned() });
}

#[tokio::test]
async fn the_example_ships_an_order_once_however_often_it_runs() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("gesta:{}", directory.path().join("events").display());
    let read_models = sqlite::Sqlite::open(directory.path().join("read-models")).await.unwrap();
    let gesta = Gesta::at(&url).open().await.unwrap();
    gesta.execute(PlaceOrder { order: 42 }).await.unwrap();
    drop(gesta);
    ship_it(&url, &read_models).await.unwrap();
    ship_it(&url, &read_models).await.unwrap();
}

#[derive(Command, Serialize, Deserialize)]
#[command(name = "place-order", on = Order, new)]
struct PlaceOrder {
    #[command(id)]
    order: OrderId,
}

impl Decide for PlaceOrder {
    type Rejection = std::convert::Infallible;

    fn decide(&self, _: &Order) -> Decision<Self> {
        Ok(Events::from([placed(), paid()]))
    }
}
