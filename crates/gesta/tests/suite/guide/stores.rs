//! The code of the guide's pages on stores and servers, compiled with their features.
//!
//! Not here: runs of it. The tests of the stores' crates start the servers.
#![cfg(all(
    feature = "cache",
    feature = "dynamodb",
    feature = "kafka",
    feature = "kurrentdb",
    feature = "mongodb",
    feature = "postgres",
    feature = "redis",
    feature = "search",
))]
#![expect(dead_code, reason = "it is compiled; without its servers it does not run")]

use std::{convert::Infallible, error::Error};

use gesta::{
    Begin, Builder, EffectContext, EffectError, Projection, Reactor, Receipt, Role, RowGroups,
    SnapshotPolicy,
    kafka::{HandleError, HandleRecord, KafkaFeed, Source, SourceOptions, SourceRecord},
    mongodb::{FindRows, MongoReader, bson::doc},
    prelude::*,
    search::{
        Document, Facet, Filter, IndexDefinition, Search, SearchReader, SearchStore, SearchTx,
        TextField,
    },
    store::{Row, Rows},
};
use serde_json::json;

type Outcome<T> = Result<T, Box<dyn Error>>;

#[derive(Event, EventSet, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "order-placed")]
struct OrderPlaced {
    customer: u64,
    cents: i64,
}

#[derive(Default, Serialize, Deserialize)]
struct Order;

impl Aggregate for Order {
    const CATEGORY: &'static str = "order";
    type Id = u64;
    type Event = OrderPlaced;

    fn evolve(&mut self, _: &OrderPlaced) {}
}

#[derive(Command, Serialize, Deserialize, Debug, PartialEq)]
#[command(name = "place-order", on = Order, either)]
struct PlaceOrder {
    #[command(id)]
    order: u64,
}

impl Decide for PlaceOrder {
    type Rejection = Infallible;

    fn decide(&self, _: &Order) -> Decision<Self> {
        Ok(OrderPlaced { customer: 1, cents: 1 }.into())
    }
}

/// A projection for any database with rows.
macro_rules! on_rows {
    ($name:ident, $text:literal) => {
        struct $name;

        impl Projection for $name {
            const NAME: &'static str = $text;
            type Event = OrderPlaced;
        }

        impl<Tx: Rows> Apply<Tx> for $name {
            async fn apply(
                &self,
                tx: &mut Tx,
                events: &[Recorded<OrderPlaced>],
            ) -> Result<(), ApplyError> {
                for event in events {
                    tx.put($text, event.stream.as_str(), &event.event.cents).await?;
                }
                Ok(())
            }
        }
    };
}

mod cache {
    use super::*;

    #[derive(Serialize, Deserialize)]
    struct Report {
        cents: i64,
    }

    impl Answer<gesta::sqlite::Reader> for MakeReport {
        async fn answer(&self, _: &mut gesta::sqlite::Reader) -> Result<Report, QueryError> {
            Ok(Report { cents: 0 })
        }
    }

    type Statistics = i64;

    struct Sales;

    impl<Tx: Rows> Apply<Tx> for Sales {
        async fn apply(&self, _: &mut Tx, _: &[Recorded<OrderPlaced>]) -> Result<(), ApplyError> {
            Ok(())
        }
    }

    #[derive(Serialize)]
    struct FindStatistics {
        customer: u64,
    }

    use std::sync::Arc;

    use gesta::{Caching, MemoryQueryCache, sqlite::Sqlite};

    #[derive(Query, Serialize)]
    #[query(reads = Sales, answer = Report, caching = Caching::of)]
    struct MakeReport;

    async fn cached(read_models: &Sqlite) -> Result<Gesta, gesta::OpenError> {
        let cache = Arc::new(MemoryQueryCache::new());
        Gesta::at("gesta:./data").project(Sales, read_models).query_cache(cache).open().await
    }

    async fn asked(gesta: Gesta, receipt: Receipt) -> Outcome<Report> {
        let report = gesta.ask(MakeReport).at_least(&receipt).await?;
        Ok(report)
    }

    async fn shared(builder: Builder) -> Outcome<Builder> {
        let redis = gesta::redis::Redis::connect("redis://:secret@db:6379/0?prefix=shop").await?;
        let builder = builder.query_cache(Arc::new(redis.query_cache()));
        Ok(builder)
    }

    impl Projection for Sales {
        const NAME: &'static str = "sales";
        type Event = OrderPlaced;

        fn changes(&self, event: &Recorded<OrderPlaced>) -> RowGroups {
            RowGroups::named([format!("customer {}", event.event.customer)])
        }
    }

    impl gesta::Query for FindStatistics {
        type Reads = Sales;
        type Answer = Option<Statistics>;

        fn caching(&self) -> Option<Caching<Self::Answer>> {
            let group = format!("customer {}", self.customer);
            Some(Caching::of(self).depends_on(RowGroups::named([group])))
        }
    }
}

mod dynamodb {
    use super::*;

    async fn connected() -> Outcome<()> {
        use gesta::dynamodb::{DynamoReadModels, DynamoStore};

        let events = DynamoStore::connect("dynamodb://eu-central-1/shop").await?;
        let read_models = DynamoReadModels::connect("dynamodb://eu-central-1/shop").await?;
        drop((events, read_models));
        let snapshots = DynamoReadModels::connect("dynamodb://eu-central-1/shop").await?;
        let builder = Gesta::at("postgres://ann:secret@db.example/shop")
            .snapshots::<Order>(&snapshots, SnapshotPolicy::every(100));
        drop(builder);
        Ok(())
    }
}

mod kafka {
    use super::*;

    async fn shutdown() {}

    async fn relayed() -> Outcome<()> {
        use gesta::kafka::{Relay, RelayOptions};

        let store = gesta::open("gesta:./data").await?;
        let url = "kafka://127.0.0.1:9092/shop?delivery=exactly-once".parse()?;
        let relay = Relay::new(store, &url, RelayOptions::of_url(&url)?);
        let progress = relay.progress();
        tokio::spawn(relay.run_until(shutdown()));
        drop(progress);
        Ok(())
    }

    on_rows!(Balances, "balances");

    async fn fed(read_models: gesta::sqlite::Sqlite) -> Outcome<Gesta> {
        let feed = KafkaFeed::at(&"kafka://127.0.0.1:9092/shop".parse()?)?;
        let gesta = Gesta::on(std::sync::Arc::new(feed))
            .idempotency_optional()
            .project(Balances, &read_models)
            .open()
            .await?;
        Ok(gesta)
    }

    #[derive(Deserialize)]
    struct Payment {
        order: u64,
    }

    impl Payment {
        fn into_command(self) -> PlaceOrder {
            PlaceOrder { order: self.order }
        }
    }

    struct Payments {
        bank: Gesta,
    }

    impl HandleRecord for Payments {
        async fn handle(&self, record: &SourceRecord) -> Result<(), HandleError> {
            let value = record.value.as_deref().unwrap_or_default();
            let payment: Payment = serde_json::from_slice(value).map_err(HandleError::invalid)?;
            let deposit = self.bank.execute(payment.into_command());
            deposit.command_id(record.command_id()).await.map_err(HandleError::failed)?;
            Ok(())
        }
    }

    async fn handled(bank: Gesta) -> Outcome<()> {
        let url = "kafka://127.0.0.1:9092/shop".parse()?;
        let source = Source::new(&url, SourceOptions::new("bank", ["payments"])?);
        source.run_until(Payments { bank }, shutdown()).await?;
        Ok(())
    }
}

mod kurrentdb {
    use super::*;

    async fn connected() -> Outcome<()> {
        use gesta_kurrentdb::KurrentStore;

        let store = KurrentStore::connect("kurrentdb://ann:secret@db.example:2113").await?;
        drop(store);
        Ok(())
    }
}

mod mongodb {
    use super::*;

    on_rows!(Products, "products");

    async fn connected() -> Outcome<Gesta> {
        use gesta::mongodb::MongoReadModels;

        let read_models = MongoReadModels::connect("mongodb://ann:secret@db:27017/shop").await?;
        let gesta = Gesta::at("gesta:./data").project(Products, &read_models).open().await?;
        Ok(gesta)
    }

    #[derive(Query)]
    #[query(reads = Products, answer = Vec<Row>)]
    struct CheapLamps;

    impl Answer<MongoReader> for CheapLamps {
        async fn answer(&self, reader: &mut MongoReader) -> Result<Vec<Row>, QueryError> {
            let lamps = doc! { "value.category": "lamps", "value.price": { "$lt": 5000 } };
            Ok(reader.find(FindRows::of("products", lamps).limit(20)).await?)
        }
    }

    async fn stored(builder: Builder) -> Outcome<Builder> {
        let read_models = gesta::mongodb::MongoReadModels::connect("mongodb://db/shop").await?;
        let builder = builder.snapshots::<Order>(&read_models, SnapshotPolicy::every(100));
        Ok(builder)
    }
}

mod postgres {
    use super::*;

    struct OrderSummaries;

    impl Projection for OrderSummaries {
        const NAME: &'static str = "order-summaries";
        type Event = OrderPlaced;
    }

    async fn connected(url: &str) -> Outcome<Gesta> {
        use gesta::postgres::PostgresReadModels;

        let read_models = PostgresReadModels::connect("postgres://ann:secret@db/shop").await?;
        let gesta = Gesta::at(url).project(OrderSummaries, &read_models).open().await?;
        Ok(gesta)
    }

    use gesta::postgres::Tx;

    impl Apply<Tx> for OrderSummaries {
        async fn prepare(&self, tx: &mut Tx) -> Result<(), ApplyError> {
            Ok(tx.batch_execute("create table orders (id text primary key, total bigint)").await?)
        }

        async fn apply(
            &self,
            tx: &mut Tx,
            events: &[Recorded<OrderPlaced>],
        ) -> Result<(), ApplyError> {
            for Recorded { stream, event, .. } in events {
                let insert = "insert into orders (id, total) values ($1, $2)";
                tx.execute(insert, &[&stream.as_str(), &event.cents]).await?;
            }
            Ok(())
        }
    }

    on_rows!(Stock, "stock");

    #[derive(Query)]
    #[query(reads = Stock, answer = Option<i64>)]
    struct FindStock {
        product: String,
    }

    impl Answer<gesta::postgres::Reader> for FindStock {
        async fn answer(
            &self,
            rows: &mut gesta::postgres::Reader,
        ) -> Result<Option<i64>, QueryError> {
            Ok(rows.get("stock", &self.product).await?)
        }
    }

    async fn inline(reserve: PlaceOrder, product: String) -> Outcome<Option<i64>> {
        let url = "postgres://ann:secret@db.example/shop";
        let read_models = PostgresReadModels::connect(url).await?;
        let gesta = Gesta::at(url).project_inline(Stock, &read_models).open().await?;

        gesta.execute(reserve).await?;
        // The answer has the reservation.
        let left = gesta.ask(FindStock { product }).await?;
        Ok(left)
    }

    use gesta::postgres::PostgresReadModels;

    #[derive(Clone, Default)]
    struct Fulfilment;

    impl ProcessManager for Fulfilment {
        const NAME: &'static str = "fulfilment";
        type Event = OrderPlaced;
        type Timer = ();
        type Commands = (PlaceOrder,);

        fn route(_: &Recorded<OrderPlaced>) -> Routing {
            Routing::Ignore
        }

        fn evolve(&mut self, _: &Input<Self>) {}

        fn react(&self, _: &Input<Self>, _: RecordedAt) -> Effects<Self> {
            Effects::none()
        }
    }

    struct WelcomeMail;

    impl Reactor for WelcomeMail {
        const NAME: &'static str = "welcome-mail";
        type Event = OrderPlaced;

        async fn react(
            &self,
            _: &Recorded<OrderPlaced>,
            _: &EffectContext,
        ) -> Result<(), EffectError> {
            Ok(())
        }
    }

    async fn of_many(read_models: PostgresReadModels) -> Outcome<Gesta> {
        use gesta::{Nodes, postgres::PostgresStore};

        let store = std::sync::Arc::new(PostgresStore::connect("postgres://shop@db/shop").await?);
        let nodes = Nodes::new(store.clone(), "shop on host-7")?;
        let gesta = Gesta::on(store)
            .nodes(nodes)
            .project(OrderSummaries, &read_models)
            .process::<Fulfilment>()
            .react(WelcomeMail, Begin::Now)
            .open()
            .await?;
        Ok(gesta)
    }

    async fn of_a_role(builder: Builder) -> Outcome<Gesta> {
        let gesta = builder.role(Role::Queries).open().await?;
        Ok(gesta)
    }
}

mod search {
    use super::*;

    #[derive(Event, Serialize, Deserialize, Clone)]
    #[event(name = "product-added")]
    struct ProductAdded {
        code: String,
        name: String,
        colour: String,
    }

    #[derive(EventSet, Clone)]
    enum ProductEvent {
        Added(ProductAdded),
    }

    struct ProductSearch;

    impl Projection for ProductSearch {
        const NAME: &'static str = "product-search";
        type Event = ProductEvent;
    }

    impl Apply<SearchTx> for ProductSearch {
        async fn prepare(&self, tx: &mut SearchTx) -> Result<(), ApplyError> {
            Ok(tx.define(IndexDefinition::new().text("name", TextField::new()).keyword("colour"))?)
        }

        async fn apply(
            &self,
            tx: &mut SearchTx,
            events: &[Recorded<ProductEvent>],
        ) -> Result<(), ApplyError> {
            for event in events {
                let ProductEvent::Added(added) = &event.event;
                let document = Document::new(&added.code)
                    .text("name", &added.name)
                    .keyword("colour", &added.colour)
                    .body(json!({ "code": added.code, "name": added.name }));
                tx.put(document, event.position)?;
            }
            Ok(())
        }
    }

    async fn opened() -> Outcome<Gesta> {
        let indexes = SearchStore::open("tantivy:./search").await?;
        let gesta = Gesta::at("gesta:./data").project(ProductSearch, &indexes).open().await?;
        Ok(gesta)
    }

    async fn found(reader: &mut SearchReader) -> Outcome<usize> {
        let found = reader
            .search(
                &Search::new()
                    .text("white lantren")
                    .filter(Filter::is("colour", "white"))
                    .facet(Facet::of("colour"))
                    .highlight("name")
                    .limit(20),
            )
            .await?;
        Ok(found.hits.len())
    }
}
