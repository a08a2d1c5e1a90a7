//! What SQLite adds: files that outlive the process, SQL, and errors by reaction.

use std::{fs, path::Path};

use gesta_sqlite::{Sqlite, params, rusqlite};
use gesta_store::{
    Advance, DatabaseError, ReadModelStore, ReadModelTx, ReadRows, Rows, Stage,
    conformance::block_on,
};

use crate::contract::{checkpoint, create};

fn read_model_files(directory: &Path) -> Vec<String> {
    let names = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
    names.retain(|name| name.starts_with("order-summaries") && name.ends_with(".db"));
    names.sort();
    names
}

#[test]
fn a_crash_between_apply_and_commit_leaves_rows_and_checkpoint_as_they_were() {
    block_on(async {
        let directory = tempfile::tempdir().unwrap();
        let store = Sqlite::open(directory.path()).unwrap();
        let id = create(&store, Stage::Answering).await.unwrap();
        let mut tx = store.begin(&id).await.unwrap();
        tx.put_json("orders", "1", &1.into()).await.unwrap();
        tx.advance(Advance { from: None, to: checkpoint(1) }).await.unwrap();
        tx.commit().await.unwrap();

        let mut tx = store.begin(&id).await.unwrap();
        tx.put_json("orders", "1", &2.into()).await.unwrap();
        tx.advance(Advance { from: Some(checkpoint(1)), to: checkpoint(2) }).await.unwrap();
        // What the process leaves behind when it is killed here: the files as they are now.
        let crashed = tempfile::tempdir().unwrap();
        for entry in fs::read_dir(directory.path()).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, crashed.path().join(path.file_name().unwrap())).unwrap();
        }

        let after = Sqlite::open(crashed.path()).unwrap();
        let listed = after.list_read_models("order-summaries").await.unwrap();
        assert_eq!(listed[0].checkpoint, Some(checkpoint(1)));
        let mut reader = after.reader(&id).await.unwrap();
        assert_eq!(reader.get_json("orders", "1").await.unwrap(), Some(1.into()));
    });
}

#[test]
fn a_rebuild_is_found_again_after_a_restart() {
    block_on(async {
        let directory = tempfile::tempdir().unwrap();
        let store = Sqlite::open(directory.path()).unwrap();
        create(&store, Stage::Answering).await.unwrap();
        let rebuilding = create(&store, Stage::Rebuilding).await.unwrap();
        let mut tx = store.begin(&rebuilding).await.unwrap();
        tx.advance(Advance { from: None, to: checkpoint(40) }).await.unwrap();
        tx.commit().await.unwrap();
        drop(store);

        let store = Sqlite::open(directory.path()).unwrap();
        let listed = store.list_read_models("order-summaries").await.unwrap();
        assert_eq!(listed[1].id, rebuilding);
        assert_eq!(
            (listed[1].stage, listed[1].checkpoint),
            (Stage::Rebuilding, Some(checkpoint(40)))
        );
    });
}

#[test]
fn a_dropped_read_models_file_goes_with_its_last_reader() {
    block_on(async {
        let directory = tempfile::tempdir().unwrap();
        let store = Sqlite::open(directory.path()).unwrap();
        let old = create(&store, Stage::Answering).await.unwrap();
        let reader = store.reader(&old).await.unwrap();
        let new = create(&store, Stage::Rebuilding).await.unwrap();
        drop(store.begin(&new).await.unwrap());
        assert_eq!(read_model_files(directory.path()).len(), 2);

        store.switch_to(&new).await.unwrap();
        assert_eq!(read_model_files(directory.path()).len(), 2, "it is still read");
        drop(reader);
        assert_eq!(read_model_files(directory.path()), ["order-summaries-2.db"]);
    });
}

#[test]
fn a_file_that_was_dropped_just_before_a_crash_goes_at_the_next_open() {
    block_on(async {
        let directory = tempfile::tempdir().unwrap();
        let store = Sqlite::open(directory.path()).unwrap();
        let old = create(&store, Stage::Answering).await.unwrap();
        drop(store.begin(&old).await.unwrap());
        // Never closed, as in a crash: the file outlives the store that dropped it.
        std::mem::forget(store.reader(&old).await.unwrap());
        let new = create(&store, Stage::Rebuilding).await.unwrap();
        store.switch_to(&new).await.unwrap();
        drop(store.begin(&new).await.unwrap());
        drop(store);
        assert_eq!(read_model_files(directory.path()).len(), 2);
        drop(Sqlite::open(directory.path()).unwrap());
        assert_eq!(read_model_files(directory.path()), ["order-summaries-2.db"]);
    });
}

#[test]
fn a_projections_sql_is_read_by_its_queries() {
    block_on(async {
        let store = Sqlite::temporary().unwrap();
        let id = create(&store, Stage::Answering).await.unwrap();
        let mut tx = store.begin(&id).await.unwrap();
        tx.execute_script("create table orders (id integer primary key, total text) strict")
            .unwrap();
        tx.execute("insert into orders values (?1, ?2)", params![7_u64, "1.50"]).unwrap();
        let total = tx.find("select total from orders where id = ?1", [7], |row| row.get(0));
        assert_eq!(total.unwrap(), Some("1.50".to_owned()));
        tx.commit().await.unwrap();
        let mut reader = store.reader(&id).await.unwrap();
        let none =
            reader.find("select id from orders where id = 8", [], |row| row.get::<_, u64>(0));
        assert_eq!(none.unwrap(), None);
        let all = reader.query("select id from orders", [], |row| row.get::<_, u64>(0));
        assert_eq!(all.unwrap(), [7]);
    });
}

#[test]
fn errors_say_what_to_do() {
    block_on(async {
        let store = Sqlite::temporary().unwrap();
        let id = create(&store, Stage::Answering).await.unwrap();
        let mut tx = store.begin(&id).await.unwrap();
        let no_table = tx.execute("insert into orders values (1)", []).unwrap_err();
        assert!(matches!(no_table, DatabaseError::Rejected { .. }), "{no_table}");
        let number = rusqlite::types::Value::Integer(1);
        tx.execute_script("create table orders (id integer primary key)").unwrap();
        tx.execute("insert into orders values (?1)", [&number]).unwrap();
        let twice = tx.execute("insert into orders values (?1)", [&number]).unwrap_err();
        assert!(twice.to_string().contains("UNIQUE"), "{twice}");
        tx.commit().await.unwrap();
        let mut reader = store.reader(&id).await.unwrap();
        let written = reader.query("delete from orders returning id", [], |_| Ok(()));
        assert!(matches!(written, Err(DatabaseError::Rejected { .. })), "readers only read");
    });
}

#[test]
fn a_projection_that_ends_the_transaction_itself_is_told() {
    block_on(async {
        let store = Sqlite::temporary().unwrap();
        let id = create(&store, Stage::Answering).await.unwrap();
        let mut tx = store.begin(&id).await.unwrap();
        tx.execute_script("commit").unwrap();
        let ended = tx.commit().await.unwrap_err();
        assert!(ended.to_string().contains("ended the projection's transaction"), "{ended}");
        store.begin(&id).await.unwrap();
    });
}

#[test]
fn a_file_that_is_no_database_is_called_corrupt() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("catalogue.db"), [7; 8192]).unwrap();
    let error = Sqlite::open(directory.path()).unwrap_err();
    assert!(matches!(error, DatabaseError::Corrupt { .. }), "{error}");
}

#[test]
fn a_directory_of_a_later_version_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let later = rusqlite::Connection::open(directory.path().join("catalogue.db")).unwrap();
    later.pragma_update(None, "user_version", 2).unwrap();
    drop(later);
    let error = Sqlite::open(directory.path()).unwrap_err();
    assert!(error.to_string().contains("layout 2"), "{error}");
}

#[test]
fn a_statement_that_ended_the_transaction_moves_no_checkpoint() {
    block_on(async {
        let store = Sqlite::temporary().unwrap();
        let id = create(&store, Stage::Answering).await.unwrap();
        let mut tx = store.begin(&id).await.unwrap();
        tx.execute_script("create table orders (id integer primary key, paid integer)").unwrap();
        tx.advance(Advance { from: None, to: checkpoint(1) }).await.unwrap();
        tx.commit().await.unwrap();

        let mut tx = store.begin(&id).await.unwrap();
        tx.execute("insert into orders values (1, 0)", []).unwrap();
        // Rolls back everything so far; the projection thinks that it ignores a repeat.
        let _ = tx.execute("insert or rollback into orders values (1, 0)", []);
        let moved = Advance { from: Some(checkpoint(1)), to: checkpoint(2) };
        let outcome = match tx.advance(moved).await {
            Ok(()) => tx.commit().await,
            refused => refused,
        };
        assert!(outcome.is_err());
        let listed = store.list_read_models("order-summaries").await.unwrap();
        assert_eq!(listed[0].checkpoint, Some(checkpoint(1)), "the row is not there either");
    });
}

#[test]
fn what_is_switched_to_is_on_disk_before_the_other_is_dropped() {
    block_on(async {
        let directory = tempfile::tempdir().unwrap();
        let store = Sqlite::open(directory.path()).unwrap();
        create(&store, Stage::Answering).await.unwrap();
        let rebuilt = create(&store, Stage::Rebuilding).await.unwrap();
        let mut tx = store.begin(&rebuilt).await.unwrap();
        tx.put_json("orders", "1", &1.into()).await.unwrap();
        tx.advance(Advance { from: None, to: checkpoint(1) }).await.unwrap();
        tx.commit().await.unwrap();
        store.switch_to(&rebuilt).await.unwrap();
        // What a loss of power may leave: the write-ahead log of this file was never synced.
        let crashed = tempfile::tempdir().unwrap();
        for entry in fs::read_dir(directory.path()).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let unsynced = name.starts_with("order-summaries") && !name.ends_with(".db");
            if !unsynced {
                fs::copy(&path, crashed.path().join(name)).unwrap();
            }
        }
        let after = Sqlite::open(crashed.path()).unwrap();
        let listed = after.list_read_models("order-summaries").await.unwrap();
        assert_eq!(listed.len(), 1, "the one before was dropped");
        assert_eq!(listed[0].checkpoint, Some(checkpoint(1)), "and this one has its rows");
    });
}

#[test]
fn many_may_open_a_fresh_directory_at_once() {
    for _ in 0..30 {
        let directory = tempfile::tempdir().unwrap();
        let barrier = std::sync::Barrier::new(8);
        std::thread::scope(|scope| {
            let opened: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        barrier.wait();
                        Sqlite::open(directory.path()).map(drop)
                    })
                })
                .collect();
            for one in opened {
                one.join().unwrap().unwrap();
            }
        });
    }
}
