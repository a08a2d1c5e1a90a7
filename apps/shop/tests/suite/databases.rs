//! Read models in both databases, filled from the same events: they answer alike.

use std::{fmt::Debug, sync::Arc, time::Duration};

use gesta::{
    Answer, Gesta,
    postgres::PostgresReadModels,
    sqlite::Sqlite,
    store::{EventStore, memory::MemoryStore},
};
use gesta_http::PageRequest;
use gesta_services::OwnServer;
use serde_json::Value;
use shop::{
    catalogue::{FindProduct, ListProducts, UpdateProduct},
    id::{CustomerId, ProductId},
    import::{self, Documents},
    orders::{
        OrderStatus,
        credit_notes::ListCreditNotes,
        sales::{FindCustomerStatistics, MakeReport},
        summaries::FindOrders,
    },
    read_side,
    search::SearchText,
    sql::{ReadModels, Reader},
};

use crate::opened::{money, noon};

const SAMPLE: &[u8] = include_bytes!("../../data/sample.csv");
const SAMPLE_REPORT: &[u8] = include_bytes!("../../data/sample-report.json");

/// Maximum wait for read models.
const PATIENCE: Duration = Duration::from_secs(60);

/// Two shops on the same events, each with a database of its own.
struct Both([Gesta; 2]);

impl Both {
    async fn open(server: &OwnServer) -> Self {
        let store: Arc<dyn EventStore> = Arc::new(MemoryStore::new());
        let postgres = PostgresReadModels::connect(&server.url()).await.unwrap();
        let sqlite = Sqlite::temporary().await.unwrap();
        let open = |read_models: ReadModels| {
            let builder = Gesta::on(Arc::clone(&store));
            read_side::project_all(builder, &read_models).open()
        };
        let (sqlite, postgres) = (open(sqlite.into()), open(postgres.into()));
        Self([sqlite.await.unwrap(), postgres.await.unwrap()])
    }

    fn shop(&self) -> &Gesta {
        &self.0[0]
    }

    /// Returns the answer that both give.
    async fn ask<Q>(&self, query: Q) -> Q::Answer
    where
        Q: Answer<Reader, Answer: PartialEq + Debug> + Clone + Debug,
    {
        let head = self.shop().store().head().await.unwrap().position;
        let mut answers = Vec::new();
        for shop in &self.0 {
            let asked = shop.ask(query.clone()).at_least_position(head).within(PATIENCE);
            answers.push(asked.await.unwrap());
        }
        let (postgres, sqlite) = (answers.pop().unwrap(), answers.pop().unwrap());
        assert_eq!(sqlite, postgres, "{query:?}");
        postgres
    }
}

fn words(text: &str) -> Option<SearchText> {
    Some(SearchText::new(text).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_query_is_answered_alike_from_sqlite_and_from_postgresql() {
    let Some(server) = OwnServer::start_or_skip("postgres") else { return };
    let both = Both::open(&server).await;
    import::run(both.shop(), Documents::read(SAMPLE).unwrap(), || {}).await.unwrap();

    let report = serde_json::to_value(both.ask(MakeReport).await).unwrap();
    assert_eq!(report, serde_json::from_slice::<Value>(SAMPLE_REPORT).unwrap());
    let first = both.ask(FindOrders::default()).await;
    assert!(first.next.is_some(), "there are several pages");
    let mut found = 0;
    for text in ["heart", "lights white", "united king", "85123", "post' | 'x", "HEART t-light"] {
        let search = FindOrders { text: words(text), ..FindOrders::default() };
        found += both.ask(search).await.items.len();
        let list = ListProducts { text: words(text), ..ListProducts::default() };
        found += both.ask(list).await.items.len();
    }
    assert!(found > 20, "{found} rows were found by words");
    let shipped = FindOrders {
        status: Some(OrderStatus::Shipped),
        from: Some("2011-03-01T00:00:00Z".parse().unwrap()),
        to: Some("2011-06-01T00:00:00Z".parse().unwrap()),
        text: words("heart"),
        ..FindOrders::default()
    };
    assert!(!both.ask(shipped).await.items.is_empty());
    both.ask(ListProducts::default()).await;
    let best = report["top_customers"][0]["customer"].as_str().unwrap();
    let customer_id = CustomerId::new(best).unwrap();
    assert!(both.ask(FindCustomerStatistics { customer_id: customer_id.clone() }).await.is_some());
    both.ask(ListCreditNotes { customer_id, page: PageRequest::default() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_product_is_found_by_its_new_name_only_in_both_databases() {
    let Some(server) = OwnServer::start_or_skip("postgres") else { return };
    let both = Both::open(&server).await;
    import::run(both.shop(), Documents::read(SAMPLE).unwrap(), || {}).await.unwrap();
    let product_id = both.ask(ListProducts::default()).await.items[0].product_id.clone();
    let rename = UpdateProduct {
        product_id: product_id.clone(),
        name: "Café crème".to_owned(),
        price: money("2.5"),
        occurred_at: noon(5),
    };
    both.shop().execute(rename).await.unwrap();
    let found = |text: &str| ListProducts { text: words(text), ..ListProducts::default() };
    for text in ["cafe", "CAFÉ", "crem", "cafe\u{301} creme"] {
        let page = both.ask(found(text)).await;
        let ids: Vec<&ProductId> = page.items.iter().map(|product| &product.product_id).collect();
        assert_eq!(ids, [&product_id], "{text}");
    }
    let renamed = both.ask(FindProduct { product_id }).await.unwrap();
    assert_eq!(renamed.name, "Café crème");
}
