//! Materialized views: the three strategies of refresh.

use std::time::Duration;

use gesta_postgres::{PostgresReadModels, Refresh, View};
use gesta_store::{
    DatabaseError, ReadModelId, ReadModelStore, ReadModelTx, Stage,
    conformance::{block_on, block_on_within},
};

use super::{TestReadModels, create};

const QUERY: &str = "select customer, sum(total)::bigint as total from orders group by customer";

/// Creates a live read model with the table `orders` and the view `totals`.
async fn with_view(store: &PostgresReadModels, view: &View) -> Result<ReadModelId, DatabaseError> {
    let id = create(store, Stage::Live).await?;
    let mut tx = store.begin(&id).await?;
    tx.batch_execute("create table orders (customer text, total bigint)").await?;
    tx.create_view(view).await?;
    tx.commit().await?;
    Ok(id)
}

async fn order(store: &PostgresReadModels, id: &ReadModelId) -> Result<(), DatabaseError> {
    let mut tx = store.begin(id).await?;
    tx.execute("insert into orders values ('Ann', 7)", &[]).await?;
    tx.commit().await
}

async fn totals(store: &PostgresReadModels, id: &ReadModelId) -> Result<Vec<i64>, DatabaseError> {
    let mut reader = store.reader(id).await?;
    reader.query("select total from totals", &[], |row| row.try_get(0)).await
}

#[test]
fn a_view_of_each_batch_is_as_new_as_the_rows() {
    let Some(server) = gesta_services::url_or_skip("postgres") else { return };
    let test = TestReadModels::create(&server);
    let (store, other) = (test.open(), test.open());
    block_on(async {
        for columns in [vec![], vec!["customer"]] {
            let view = View::new("totals", QUERY, Refresh::AfterEachBatch).unique_by(columns);
            let id = with_view(&store, &view).await?;
            for (nth, store) in [&store, &store, &other].into_iter().enumerate() {
                order(store, &id).await?;
                let expected = 7 * (i64::try_from(nth).unwrap() + 1);
                assert_eq!(totals(&other, &id).await?, [expected]);
            }
            store.drop_read_model(&id).await?;
        }
        Ok::<_, DatabaseError>(())
    })
    .unwrap();
}

#[test]
fn a_view_on_demand_is_refreshed_when_asked_for() {
    let Some(server) = gesta_services::url_or_skip("postgres") else { return };
    let test = TestReadModels::create(&server);
    let store = test.open();
    block_on(async {
        let view = View::new("totals", QUERY, Refresh::OnDemand).unique_by(["customer"]);
        let id = with_view(&store, &view).await?;
        order(&store, &id).await?;
        assert_eq!(totals(&store, &id).await?, [0_i64; 0]);
        // An open transaction does not hold it up.
        let open = store.begin(&id).await?;
        store.refresh_view(&id, "totals").await?;
        assert_eq!(totals(&store, &id).await?, [7]);
        drop(open);
        let error = store.refresh_view(&id, "sums").await.unwrap_err();
        assert!(error.to_string().contains("has no view sums"), "{error}");
        Ok::<_, DatabaseError>(())
    })
    .unwrap();
}

#[test]
fn a_view_of_an_interval_is_refreshed_by_one_of_the_processes() {
    let Some(server) = gesta_services::url_or_skip("postgres") else { return };
    let test = TestReadModels::create(&server);
    let (store, _other) = (test.open(), test.open());
    block_on_within(Duration::from_secs(60), async {
        let every = Duration::from_millis(100);
        let view = View::new("totals", QUERY, Refresh::Every(every)).unique_by(["customer"]);
        let id = with_view(&store, &view).await?;
        order(&store, &id).await?;
        while totals(&store, &id).await? != [7] {}
        let short = View::new("short", QUERY, Refresh::Every(Duration::from_millis(1)));
        let mut tx = store.begin(&id).await?;
        let error = tx.create_view(&short).await.unwrap_err();
        assert!(error.to_string().contains("at least 100 ms; got 1 ms"), "{error}");
        Ok::<_, DatabaseError>(())
    })
    .unwrap();
}

#[test]
fn a_view_that_the_server_refuses_is_not_created() {
    let Some(server) = gesta_services::url_or_skip("postgres") else { return };
    let test = TestReadModels::create(&server);
    let store = test.open();
    block_on(async {
        let id = create(&store, Stage::Live).await?;
        let mut tx = store.begin(&id).await?;
        let view = View::new("totals", "select colour from orders", Refresh::OnDemand);
        let error = tx.create_view(&view).await.unwrap_err();
        assert!(matches!(error, DatabaseError::Rejected { .. }), "{error}");
        tx.rollback().await
    })
    .unwrap();
}
