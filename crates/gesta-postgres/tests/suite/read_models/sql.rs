//! SQL of projections and queries: parameters, bulk loads, and statements that are refused.

use gesta_postgres::{Parameter, PostgresReadModels};
use gesta_store::{
    Advance, DatabaseError, ReadModelId, ReadModelStore, ReadModelTx, ReadRows, Rows, Stage,
    conformance::block_on,
};

use super::{TestReadModels, checkpoint, create, first_advance};

const TABLE: &str = "create table orders (id bigint primary key, customer text, total numeric)";

/// Creates a read model with the table `orders`.
async fn with_orders(store: &PostgresReadModels) -> Result<ReadModelId, DatabaseError> {
    let id = create(store, Stage::Rebuilding).await?;
    let mut tx = store.begin(&id).await?;
    tx.batch_execute(TABLE).await?;
    tx.advance(first_advance(1)).await?;
    tx.commit().await?;
    Ok(id)
}

async fn count(store: &PostgresReadModels, id: &ReadModelId) -> Result<i64, DatabaseError> {
    let mut reader = store.reader(id).await?;
    let counted = reader.find("select count(*) from orders", &[], |row| row.try_get(0)).await?;
    Ok(counted.expect("an aggregate has a row"))
}

#[track_caller]
fn assert_rejected<T: std::fmt::Debug>(outcome: Result<T, DatabaseError>, text: &str) {
    let error = outcome.expect_err("it must be refused");
    assert!(matches!(error, DatabaseError::Rejected { .. }), "{error}");
    assert!(error.to_string().contains(text), "{error}");
}

#[test]
fn statements_have_parameters_and_see_the_tables_of_their_build_alone() {
    let Some(server) = gesta_services::url_or_skip("postgres") else { return };
    let test = TestReadModels::create(&server);
    let store = test.open();
    block_on(async {
        let (one, other) = (with_orders(&store).await?, with_orders(&store).await?);
        let mut tx = store.begin(&one).await?;
        let insert = "insert into orders values ($1, $2, $3::text::numeric)";
        assert_eq!(tx.execute(insert, &[&1_i64, &"Ann", &"9.90"]).await?, 1);
        let sets: [[Parameter<'_>; 3]; 2] =
            [[&2_i64, &"Ben", &"5"], [&3_i64, &None::<String>, &"0"]];
        assert_eq!(tx.execute_each(insert, &sets).await?, 2);
        let select = "select customer from orders where id > $1 order by id";
        let found = tx.query(select, &[&1_i64], |row| row.try_get::<_, Option<String>>(0)).await?;
        assert_eq!(found, [Some("Ben".to_owned()), None]);
        tx.commit().await?;
        assert_eq!((count(&store, &one).await?, count(&store, &other).await?), (3, 0));
        Ok::<_, DatabaseError>(())
    })
    .unwrap();
}

#[test]
fn a_rebuild_may_change_the_columns_of_a_table() {
    let Some(server) = gesta_services::url_or_skip("postgres") else { return };
    let test = TestReadModels::create(&server);
    let store = test.open();
    block_on(async {
        for columns in ["id bigint", "id text, more text", "more boolean, id bigint"] {
            let id = create(&store, Stage::Rebuilding).await?;
            let mut tx = store.begin(&id).await?;
            tx.batch_execute(&format!("create table orders ({columns})")).await?;
            // The connection is the same, and so is the statement.
            tx.query("select * from orders", &[], |row| row.try_get::<_, bool>(0)).await?;
            tx.commit().await?;
        }
        Ok::<_, DatabaseError>(())
    })
    .unwrap();
}

#[test]
fn rows_are_copied_in_bulk() {
    let Some(server) = gesta_services::url_or_skip("postgres") else { return };
    let test = TestReadModels::create(&server);
    let store = test.open();
    block_on(async {
        let id = with_orders(&store).await?;
        let mut tx = store.begin(&id).await?;
        let mut rows = tx.copy_in("orders", &["id", "customer"]).await?;
        for id in 0..20_000_i64 {
            rows.write(&[&id, &format!("customer {id}")]).await?;
        }
        assert_rejected(rows.write(&[&1_i64]).await, "must have 2 values; got 1");
        assert_rejected(rows.write(&[&"text", &"text"]).await, "value 0 of a row");
        assert_eq!(rows.finish().await?, 20_000);
        tx.execute("insert into orders values ($1)", &[&20_000_i64]).await?;
        tx.commit().await?;
        assert_eq!(count(&store, &id).await?, 20_001);

        let mut tx = store.begin(&id).await?;
        let mut rows = tx.copy_in("orders", &["id"]).await?;
        rows.write(&[&1_i64]).await?;
        assert_rejected(rows.finish().await, "duplicate key");
        drop(tx);
        let mut tx = store.begin(&id).await?;
        drop(tx.copy_in("orders", &["id"]).await?);
        assert_rejected(tx.execute("select 1", &[]).await, "abandoned");
        drop(tx);
        assert_eq!(count(&store, &id).await?, 20_001);
        let mut tx = store.begin(&id).await?;
        assert_rejected(tx.copy_in("orders", &["colour"]).await, "colour");
        Ok::<_, DatabaseError>(())
    })
    .unwrap();
}

#[test]
fn a_failed_statement_fails_the_commit() {
    let Some(server) = gesta_services::url_or_skip("postgres") else { return };
    let test = TestReadModels::create(&server);
    let store = test.open();
    block_on(async {
        let id = with_orders(&store).await?;
        let mut tx = store.begin(&id).await?;
        tx.execute("insert into orders values (1)", &[]).await?;
        assert_rejected(tx.execute("insert into orders values (1)", &[]).await, "23505");
        assert_rejected(tx.execute("insert into orders values (2)", &[]).await, "earlier");
        assert_rejected(tx.commit().await, "an earlier statement of the transaction failed");
        assert_eq!(count(&store, &id).await?, 0);
        // With a savepoint the transaction continues.
        let mut tx = store.begin(&id).await?;
        tx.execute("savepoint first", &[]).await?;
        assert_rejected(tx.execute("insert into orders values ('x')", &[]).await, "SQLSTATE 22");
        tx.execute("rollback to savepoint first", &[]).await?;
        tx.execute("insert into orders values (1)", &[]).await?;
        tx.commit().await?;
        assert_eq!(count(&store, &id).await?, 1);
        Ok::<_, DatabaseError>(())
    })
    .unwrap();
}

#[test]
fn a_statement_that_ends_the_transaction_is_refused_and_moves_no_checkpoint() {
    let Some(server) = gesta_services::url_or_skip("postgres") else { return };
    let test = TestReadModels::create(&server);
    let store = test.open();
    block_on(async {
        let id = with_orders(&store).await?;
        for end in ["commit", " ROLLBACK;", "end", "abort", "prepare transaction 'x'"] {
            let mut tx = store.begin(&id).await?;
            assert_rejected(tx.execute(end, &[]).await, "would end the projection's transaction");
        }
        let mut tx = store.begin(&id).await?;
        let ended = tx.batch_execute("insert into orders values (1); commit").await;
        assert_rejected(ended, "ended the projection's transaction");
        let advance = Advance { from: Some(checkpoint(1)), to: checkpoint(2) };
        assert_rejected(tx.advance(advance).await, "ended the projection's transaction");
        drop(tx);
        // A comment hides the word. The checkpoint stays all the same.
        let mut tx = store.begin(&id).await?;
        tx.execute("/* end */ commit", &[]).await?;
        assert_rejected(tx.advance(advance).await, "ended the projection's transaction");
        drop(tx);
        let listed = store.list_read_models("order-summaries").await?;
        assert_eq!(listed[0].checkpoint, Some(checkpoint(1)));
        Ok::<_, DatabaseError>(())
    })
    .unwrap();
}

#[test]
fn portable_rows_and_sql_see_each_other_in_one_transaction() {
    let Some(server) = gesta_services::url_or_skip("postgres") else { return };
    let test = TestReadModels::create(&server);
    let store = test.open();
    block_on(async {
        let id = create(&store, Stage::Live).await?;
        let mut tx = store.begin(&id).await?;
        tx.put_json("orders", "1", &serde_json::json!({"total": 7})).await?;
        let sum = "select sum((value->>'total')::int) from gesta_rows where name = 'orders'";
        assert_eq!(tx.find(sum, &[], |row| row.try_get::<_, i64>(0)).await?, Some(7));
        tx.execute("update gesta_rows set value = '{\"total\": 8}'", &[]).await?;
        assert_eq!(tx.get_json("orders", "1").await?, Some(serde_json::json!({"total": 8})));
        let zero = tx.put_json("orders", "a\0b", &1.into()).await;
        assert_rejected(zero, "zero byte");
        // More than the buffer holds.
        let text = "x".repeat(1 << 20);
        for key in 0..10 {
            tx.put_json("texts", &key.to_string(), &text.as_str().into()).await?;
        }
        assert_eq!(tx.get_json("texts", "0").await?, Some(text.as_str().into()));
        tx.commit().await
    })
    .unwrap();
}

#[test]
fn a_reader_writes_nothing() {
    let Some(server) = gesta_services::url_or_skip("postgres") else { return };
    let test = TestReadModels::create(&server);
    let store = test.open();
    block_on(async {
        let id = with_orders(&store).await?;
        let mut reader = store.reader(&id).await?;
        let insert = "insert into orders values (1) returning id";
        let error = reader.find(insert, &[], |row| row.try_get::<_, i64>(0)).await.unwrap_err();
        assert!(error.to_string().contains("read-only"), "{error}");
        assert_eq!(count(&store, &id).await?, 0);
        Ok::<_, DatabaseError>(())
    })
    .unwrap();
}
