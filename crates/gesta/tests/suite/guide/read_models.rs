//! The code of `docs/guide/read-models.md`.

use gesta::{
    AsOf, OnRead,
    prelude::*,
    sqlite::{self, Sqlite, params},
    testing::drain,
};

#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "order-placed")]
struct OrderPlaced {
    customer: String,
    cents: i64,
}

#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "order-cancelled")]
struct OrderCancelled;

#[derive(EventSet, Clone, Debug, PartialEq)]
enum OrderEvent {
    Placed(OrderPlaced),
    Cancelled(OrderCancelled),
}

#[derive(Default)]
struct Order;

impl Aggregate for Order {
    const CATEGORY: &'static str = "order";
    type Id = u32;
    type Event = OrderEvent;

    fn evolve(&mut self, _: &OrderEvent) {}
}

#[derive(Command, Serialize, Deserialize)]
#[command(name = "place-order", on = Order, new)]
struct PlaceOrder {
    #[command(id)]
    order: u32,
    customer: String,
    cents: i64,
}

impl Decide for PlaceOrder {
    type Rejection = std::convert::Infallible;

    fn decide(&self, _: &Order) -> Decision<Self> {
        Ok(OrderPlaced { customer: self.customer.clone(), cents: self.cents }.into())
    }
}

#[derive(Command, Serialize, Deserialize)]
#[command(name = "cancel-order", on = Order)]
struct CancelOrder {
    #[command(id)]
    order: u32,
}

impl Decide for CancelOrder {
    type Rejection = std::convert::Infallible;

    fn decide(&self, _: &Order) -> Decision<Self> {
        Ok(OrderCancelled.into())
    }
}

struct Orders;

impl Projection for Orders {
    const NAME: &'static str = "orders";
    const VERSION: u32 = 1; // raise it when rows change: they are rebuilt
    type Event = OrderEvent;
}

impl Apply<sqlite::Tx> for Orders {
    async fn prepare(&self, tx: &mut sqlite::Tx) -> Result<(), ApplyError> {
        Ok(tx.execute_script(
            "create table orders (stream text primary key, customer text, cents integer) strict;
             create index orders_by_customer on orders (customer)",
        )?)
    }

    async fn apply(
        &self,
        tx: &mut sqlite::Tx,
        events: &[Recorded<OrderEvent>],
    ) -> Result<(), ApplyError> {
        for Recorded { stream, event, .. } in events {
            let stream = stream.as_str();
            match event {
                OrderEvent::Placed(OrderPlaced { customer, cents }) => tx.execute(
                    "insert into orders (stream, customer, cents) values (?1, ?2, ?3)",
                    params![stream, customer, cents],
                )?,
                OrderEvent::Cancelled(_) => {
                    tx.execute("delete from orders where stream = ?1", params![stream])?
                }
            };
        }
        Ok(())
    }

    async fn forget(&self, tx: &mut sqlite::Tx, stream: &StreamName) -> Result<(), ApplyError> {
        tx.execute("delete from orders where stream = ?1", params![stream.as_str()])?;
        Ok(())
    }
}

#[derive(Query)]
#[query(reads = Orders, answer = i64)]
struct FindTurnover {
    customer: String,
}

impl Answer<sqlite::Reader> for FindTurnover {
    async fn answer(&self, rows: &mut sqlite::Reader) -> Result<i64, QueryError> {
        let sum = rows.find(
            "select coalesce(sum(cents), 0) from orders where customer = ?1",
            params![self.customer],
            |row| row.get(0),
        )?;
        Ok(sum.unwrap_or_default())
    }
}

async fn open() -> (Gesta, Sqlite) {
    let read_models = Sqlite::temporary().await.unwrap();
    let gesta = Gesta::at("memory:").project(Orders, &read_models).open().await.unwrap();
    (gesta, read_models)
}

#[tokio::test]
async fn a_caller_reads_its_own_write() -> Result<(), Box<dyn std::error::Error>> {
    let (gesta, _read_models) = open().await;
    let place = PlaceOrder { order: 1, customer: "ann".into(), cents: 990 };
    let receipt = gesta.execute(place).await?;
    let turnover = gesta.ask(FindTurnover { customer: "ann".into() }).at_least(&receipt).await?;
    assert_eq!(turnover, 990);
    let receipt = gesta.execute(CancelOrder { order: 1 }).await?;
    let turnover = gesta.ask(FindTurnover { customer: "ann".into() }).at_least(&receipt).await?;
    assert_eq!(turnover, 0);
    Ok(())
}

#[tokio::test]
async fn the_rows_of_a_deleted_stream_are_forgotten() -> Result<(), Box<dyn std::error::Error>> {
    let (gesta, _read_models) = open().await;
    gesta.execute(PlaceOrder { order: 1, customer: "ann".into(), cents: 990 }).await?;
    let stream = StreamName::new("order-1")?;
    let any = gesta::store::ExpectedRevision::Any;
    gesta.store().delete_stream(gesta::store::DeleteStream::new(stream, any)).await?;
    drain(&gesta).await;
    assert_eq!(gesta.ask(FindTurnover { customer: "ann".into() }).await?, 0);
    Ok(())
}

struct OrderHistory;

impl Projection for OrderHistory {
    const NAME: &'static str = "order-history";
    type Event = OrderEvent;
}

impl OnRead for OrderHistory {
    const CATEGORY: &'static str = Order::CATEGORY;
    type Id = u32;
    type Row = Vec<String>;

    fn evolve(row: &mut Vec<String>, event: &Recorded<OrderEvent>) {
        row.push(match &event.event {
            OrderEvent::Placed(placed) => format!("placed by {}", placed.customer),
            OrderEvent::Cancelled(_) => "cancelled".into(),
        });
    }
}

#[tokio::test]
async fn a_row_is_folded_when_it_is_read() -> Result<(), Box<dyn std::error::Error>> {
    let read_models = Sqlite::temporary().await?;
    let gesta = Gesta::at("memory:").project_on_read(OrderHistory, &read_models).open().await?;
    gesta.execute(PlaceOrder { order: 1, customer: "ann".into(), cents: 990 }).await?;
    gesta.execute(CancelOrder { order: 1 }).await?;
    let now = gesta.read_on_demand::<OrderHistory>(&1, AsOf::Now).await?;
    let before = gesta.read_on_demand::<OrderHistory>(&1, AsOf::Revision(Revision::new(0))).await?;
    assert_eq!(now.map(|it| it.row.len()), Some(2));
    assert_eq!(before.map(|it| it.row.len()), Some(1));
    Ok(())
}
