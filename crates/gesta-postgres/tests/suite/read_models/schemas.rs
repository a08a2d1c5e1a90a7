//! Schemas of read models: names, removal after the last use, quarantine, and the catalogue.

use gesta_postgres::{OpenError, PostgresReadModels, PostgresStore};
use gesta_store::{
    DatabaseError, EventStore as _, ReadModelStore, ReadModelTx, ReadRows, Rows, Stage,
    conformance::block_on,
};

use super::{TestReadModels, create};

/// Looks at the schemas before a test gives up.
const LOOKS_MAX: usize = 4_000;

/// Waits until that many schemas of read models are left.
#[track_caller]
fn until_schemas(test: &TestReadModels, left: usize) {
    // Each look takes milliseconds.
    let is_reached = (0..LOOKS_MAX).any(|_| test.schemas().len() == left);
    assert!(is_reached, "{:?} instead of {left}", test.schemas());
}

#[test]
fn each_read_model_has_a_schema_that_goes_with_its_last_reader_of_any_process() {
    let Some(server) = gesta_services::url_or_skip("postgres") else { return };
    let test = TestReadModels::create(&server);
    let (store, other) = (test.open(), test.open());
    block_on(async {
        let old = create(&store, Stage::Live).await?;
        let new = create(&store, Stage::Rebuilding).await?;
        let names = test.schemas();
        assert!(names.iter().all(|name| name.ends_with("_ordersummaries")), "{names:?}");
        let mut tx = store.begin(&old).await?;
        tx.put_json("orders", "1", &1.into()).await?;
        tx.commit().await?;
        let mut reader = other.reader(&old).await?;
        store.switch_to(&new).await?;
        // A second drop tries at once, and leaves what is in use.
        let third = create(&store, Stage::Rebuilding).await?;
        store.drop_read_model(&third).await?;
        until_schemas(&test, 2);
        assert_eq!(reader.get_json("orders", "1").await?, Some(1.into()));
        drop(reader);
        until_schemas(&test, 1);
        assert!(matches!(other.reader(&old).await, Err(DatabaseError::Missing { .. })));
        Ok::<_, DatabaseError>(())
    })
    .unwrap();
}

#[test]
fn the_next_process_removes_what_a_crash_has_left() {
    let Some(server) = gesta_services::url_or_skip("postgres") else { return };
    let test = TestReadModels::create(&server);
    let store = test.open();
    block_on(async {
        create(&store, Stage::Live).await?;
        store.close().await;
        test.execute("UPDATE {schema}.read_models SET stage = 'dropped'");
        assert_eq!(test.schemas().len(), 1);
        let _next = test.open();
        until_schemas(&test, 0);
        Ok::<_, DatabaseError>(())
    })
    .unwrap();
}

#[test]
fn a_quarantined_read_model_keeps_its_tables() {
    let Some(server) = gesta_services::url_or_skip("postgres") else { return };
    let test = TestReadModels::create(&server);
    let store = test.open();
    block_on(async {
        let id = create(&store, Stage::Live).await?;
        let place = store.quarantine(&id).await?.expect("there is evidence");
        let next = create(&store, Stage::Live).await?;
        store.drop_read_model(&next).await?;
        until_schemas(&test, 1);
        assert_eq!(place, format!("schema {}", test.schemas()[0]));
        Ok::<_, DatabaseError>(())
    })
    .unwrap();
}

#[test]
fn tables_that_somebody_dropped_are_damage() {
    let Some(server) = gesta_services::url_or_skip("postgres") else { return };
    let test = TestReadModels::create(&server);
    let store = test.open();
    block_on(async {
        let id = create(&store, Stage::Live).await?;
        test.execute(&format!("DROP SCHEMA {} CASCADE", test.schemas()[0]));
        for error in [store.begin(&id).await.map(drop), store.reader(&id).await.map(drop)] {
            let error = error.unwrap_err();
            assert!(matches!(error, DatabaseError::Corrupt { .. }), "{error}");
            assert!(error.to_string().contains("rebuild"), "{error}");
        }
        assert_eq!(store.list_read_models("order-summaries").await?.len(), 1);
        Ok::<_, DatabaseError>(())
    })
    .unwrap();
}

#[test]
fn events_and_read_models_have_one_url_and_schemas_of_their_own() {
    let Some(server) = gesta_services::url_or_skip("postgres") else { return };
    let test = TestReadModels::create(&server);
    let read_models = test.open();
    let events = block_on(PostgresStore::connect(&test.url_on(&server))).unwrap();
    block_on(events.close()).unwrap();
    block_on(read_models.close());
    let prefix = test.prefix.clone();
    test.execute(&format!("DROP SCHEMA {prefix} CASCADE"));
}

#[test]
fn a_catalogue_of_a_newer_version_is_not_opened_and_not_changed() {
    let Some(server) = gesta_services::url_or_skip("postgres") else { return };
    let test = TestReadModels::create(&server);
    block_on(test.open().close());
    test.execute("UPDATE {schema}.catalogue SET version = 99");
    let error = block_on(PostgresReadModels::connect(&test.url_on(&server))).unwrap_err();
    assert!(matches!(error, OpenError::NewerSchema { found: 99, .. }), "{error}");
}

#[test]
fn a_schema_with_a_long_name_or_foreign_tables_is_refused() {
    let Some(server) = gesta_services::url_or_skip("postgres") else { return };
    let separator = if server.contains('?') { '&' } else { '?' };
    let long = format!("{server}{separator}schema={}", "s".repeat(41));
    let error = block_on(PostgresReadModels::connect(&long)).unwrap_err();
    assert!(matches!(error, OpenError::LongSchema { bytes: 41, .. }), "{error}");

    let test = TestReadModels::create(&server);
    test.execute("CREATE SCHEMA {schema}; CREATE TABLE {schema}.mine ()");
    let error = block_on(PostgresReadModels::connect(&test.url_on(&server))).unwrap_err();
    assert!(matches!(error, OpenError::ForeignSchema { .. }), "{error}");
    test.execute("SELECT * FROM {schema}.mine");
}

#[test]
fn processes_that_open_at_the_same_time_create_the_catalogue_once() {
    let Some(server) = gesta_services::url_or_skip("postgres") else { return };
    let test = TestReadModels::create(&server);
    let url = test.url_on(&server);
    std::thread::scope(|scope| {
        let open = || block_on(PostgresReadModels::connect(&url)).unwrap();
        let opening: Vec<_> = (0..4).map(|_| scope.spawn(open)).collect();
        for store in opening {
            let store = store.join().unwrap();
            block_on(store.list_read_models("order-summaries")).unwrap();
        }
    });
}
