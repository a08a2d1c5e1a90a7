//! Behaviour specific to SQLite: durable files, SQL, and errors classified by reaction.

use std::{fs, path::Path};

use gesta_sqlite::{Sqlite, params, rusqlite};
use gesta_store::{
    Advance, Checkpoint, CheckpointStore, CreateReadModel, DatabaseError, Incarnation, Position,
    ReadModelId, ReadModelStore, ReadModelTx, ReadRows, Rows, SnapshotStore, Stage,
    conformance::block_on,
};
use uuid::Uuid;

fn checkpoint(position: u64) -> Checkpoint {
    Checkpoint { position: Position::new(position), incarnation: Incarnation::new(Uuid::nil()) }
}

async fn create(store: &Sqlite, stage: Stage) -> Result<ReadModelId, DatabaseError> {
    store.create_read_model(CreateReadModel::new("order-summaries", 1, stage)).await
}

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
        let store = Sqlite::open(directory.path()).await.unwrap();
        let id = create(&store, Stage::Live).await.unwrap();
        let mut tx = store.begin(&id).await.unwrap();
        tx.put_json("orders", "1", &1.into()).await.unwrap();
        tx.advance(Advance { from: None, to: checkpoint(1) }).await.unwrap();
        tx.commit().await.unwrap();

        let mut tx = store.begin(&id).await.unwrap();
        tx.put_json("orders", "1", &2.into()).await.unwrap();
        tx.advance(Advance { from: Some(checkpoint(1)), to: checkpoint(2) }).await.unwrap();
        // A process killed here leaves the files in their current state.
        let crashed = tempfile::tempdir().unwrap();
        for entry in fs::read_dir(directory.path()).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, crashed.path().join(path.file_name().unwrap())).unwrap();
        }

        let after = Sqlite::open(crashed.path()).await.unwrap();
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
        let store = Sqlite::open(directory.path()).await.unwrap();
        create(&store, Stage::Live).await.unwrap();
        let rebuilding = create(&store, Stage::Rebuilding).await.unwrap();
        let mut tx = store.begin(&rebuilding).await.unwrap();
        tx.advance(Advance { from: None, to: checkpoint(40) }).await.unwrap();
        tx.commit().await.unwrap();
        store.close().await;

        let store = Sqlite::open(directory.path()).await.unwrap();
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
        let store = Sqlite::open(directory.path()).await.unwrap();
        let old = create(&store, Stage::Live).await.unwrap();
        let reader = store.reader(&old).await.unwrap();
        let new = create(&store, Stage::Rebuilding).await.unwrap();
        drop(store.begin(&new).await.unwrap());
        assert_eq!(read_model_files(directory.path()).len(), 2);

        store.switch_to(&new).await.unwrap();
        assert_eq!(read_model_files(directory.path()).len(), 2, "it is still read");
        // Dropped on the store's thread, where it closes before the work ends.
        store.run_read(async move { drop(reader) }).await.unwrap();
        assert_eq!(read_model_files(directory.path()), ["order-summaries-2.db"]);
    });
}

#[test]
fn a_file_that_was_dropped_just_before_a_crash_goes_at_the_next_open() {
    block_on(async {
        let directory = tempfile::tempdir().unwrap();
        let store = Sqlite::open(directory.path()).await.unwrap();
        let old = create(&store, Stage::Live).await.unwrap();
        drop(store.begin(&old).await.unwrap());
        // Leak the store, as a crash would: its destructor does not remove the file.
        std::mem::forget(store.reader(&old).await.unwrap());
        let new = create(&store, Stage::Rebuilding).await.unwrap();
        store.switch_to(&new).await.unwrap();
        drop(store.begin(&new).await.unwrap());
        store.close().await;
        assert_eq!(read_model_files(directory.path()).len(), 2);
        Sqlite::open(directory.path()).await.unwrap().close().await;
        assert_eq!(read_model_files(directory.path()), ["order-summaries-2.db"]);
    });
}

#[test]
fn a_projections_sql_is_read_by_its_queries() {
    block_on(async {
        let store = Sqlite::temporary().await.unwrap();
        let id = create(&store, Stage::Live).await.unwrap();
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
        let store = Sqlite::temporary().await.unwrap();
        let id = create(&store, Stage::Live).await.unwrap();
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
fn a_projection_that_ends_the_transaction_itself_gets_an_error() {
    block_on(async {
        let store = Sqlite::temporary().await.unwrap();
        let id = create(&store, Stage::Live).await.unwrap();
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
    let error = Sqlite::open_blocking(directory.path()).unwrap_err();
    assert!(matches!(error, DatabaseError::Corrupt { .. }), "{error}");
    let path = directory.path().join("catalogue.db");
    assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    assert!(error.to_string().contains("move it away"), "{error}");
}

#[test]
fn after_the_catalogue_was_moved_away_no_old_file_is_taken_for_a_new_read_model() {
    block_on(async {
        let directory = tempfile::tempdir().unwrap();
        let store = Sqlite::open(directory.path()).await.unwrap();
        let id = create(&store, Stage::Live).await.unwrap();
        let mut tx = store.begin(&id).await.unwrap();
        tx.advance(Advance { from: None, to: checkpoint(7) }).await.unwrap();
        tx.commit().await.unwrap();
        store.close().await;
        for ending in ["", "-wal", "-shm"] {
            let _ = fs::remove_file(directory.path().join(format!("catalogue.db{ending}")));
        }
        let store = Sqlite::open(directory.path()).await.unwrap();
        let again = create(&store, Stage::Live).await.unwrap();
        assert_eq!(again.build, id.build, "the numbers begin anew");
        assert_eq!(store.begin(&again).await.unwrap().checkpoint().await.unwrap(), None);
    });
}

#[test]
fn a_catalogue_of_an_earlier_version_is_continued() {
    block_on(async {
        let directory = tempfile::tempdir().unwrap();
        let earlier = rusqlite::Connection::open(directory.path().join("catalogue.db")).unwrap();
        earlier
            .execute_batch(
                "create table read_models (
                     build integer primary key autoincrement,
                     projection text not null,
                     version integer not null,
                     stage text not null check (stage in ('rebuilding', 'answering', 'dropped')),
                     file text not null
                 ) strict;
                 create unique index answering on read_models (projection)
                     where stage = 'answering';
                 insert into read_models (projection, version, stage, file) values
                     ('order-summaries', 1, 'answering', 'order-summaries-1.db'),
                     ('order-summaries', 2, 'rebuilding', 'order-summaries-2.db'),
                     ('users', 1, 'dropped', 'users-3.db');
                 pragma user_version = 1;",
            )
            .unwrap();
        drop(earlier);
        for _ in 0..2 {
            let store = Sqlite::open(directory.path()).await.unwrap();
            let listed = store.list_read_models("order-summaries").await.unwrap();
            let stages: Vec<_> = listed.iter().map(|one| (one.id.build, one.stage)).collect();
            assert_eq!(stages, [(1, Stage::Live), (2, Stage::Rebuilding)]);
        }
        let store = Sqlite::open(directory.path()).await.unwrap();
        let second = store.list_read_models("order-summaries").await.unwrap().remove(1).id;
        store.switch_keeping(&second).await.unwrap();
        store.close().await;

        // The earlier version would see the retired read model as dropped and remove its file.
        let earlier = rusqlite::Connection::open(directory.path().join("catalogue.db")).unwrap();
        let stage = |build: u64| -> String {
            let sql = "select stage from read_models where build = ?1";
            earlier.query_row(sql, [build], |row| row.get(0)).unwrap()
        };
        assert_eq!((stage(1), stage(2)), ("dropped".to_owned(), "answering".to_owned()));
        drop(earlier);
        let store = Sqlite::open(directory.path()).await.unwrap();
        let listed = store.list_read_models("order-summaries").await.unwrap();
        assert_eq!(listed[0].stage, Stage::Retired, "and kept over a restart");
    });
}

#[test]
fn a_quarantined_file_is_kept_under_another_name_over_restarts() {
    block_on(async {
        let directory = tempfile::tempdir().unwrap();
        let store = Sqlite::open(directory.path()).await.unwrap();
        let id = create(&store, Stage::Live).await.unwrap();
        drop(store.begin(&id).await.unwrap());
        let place = store.quarantine(&id).await.unwrap().unwrap();
        assert!(place.ends_with("order-summaries-1.db.corrupt-1"), "{place}");
        store.close().await;
        Sqlite::open(directory.path()).await.unwrap().close().await;
        assert!(Path::new(&place).exists());
        assert!(read_model_files(directory.path()).is_empty());
    });
}

#[test]
fn damage_is_reported_with_the_read_model_and_its_path() {
    block_on(async {
        let directory = tempfile::tempdir().unwrap();
        let store = Sqlite::open(directory.path()).await.unwrap();
        let id = create(&store, Stage::Live).await.unwrap();
        drop(store.begin(&id).await.unwrap());
        store.close().await;
        let path = directory.path().join("order-summaries-1.db");
        fs::write(&path, [7; 8_192]).unwrap();
        let store = Sqlite::open(directory.path()).await.unwrap();
        let listed = store.list_read_models("order-summaries").await.unwrap();
        assert_eq!(listed.len(), 1, "it is listed all the same");
        let error = store.begin(&id).await.unwrap_err();
        assert!(matches!(error, DatabaseError::Corrupt { .. }), "{error}");
        assert!(error.to_string().contains("order-summaries build 1"), "{error}");
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
        fs::write(&path, []).unwrap();
        let empty = store.begin(&id).await.unwrap_err();
        assert!(empty.to_string().contains("the file is empty"), "{empty}");
    });
}

#[test]
fn damaged_snapshots_are_renamed_and_readable_checkpoints_copied() {
    block_on(async {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("snapshots.db");
        let store = Sqlite::open(directory.path()).await.unwrap();
        store.save_checkpoint("relay", checkpoint(7)).await.unwrap();
        store.close().await;
        // Damage that the first use of the table meets.
        let by_hand = rusqlite::Connection::open(&path).unwrap();
        by_hand
            .execute_batch(
                "pragma writable_schema = on;
                 update sqlite_schema set rootpage = 9999 where name = 'snapshots';",
            )
            .unwrap();
        drop(by_hand);
        let store = Sqlite::open(directory.path()).await.unwrap();
        let stream = gesta_store::StreamName::new("order-1").unwrap();
        let snapshots: &dyn gesta_store::SnapshotStore = &store;
        assert_eq!(snapshots.load_snapshot(&stream).await.unwrap(), None);
        assert!(directory.path().join("snapshots.db.corrupt-1").exists());
        let kept = store.load_checkpoint("relay").await.unwrap();
        // SQLite may refuse the whole file because of its schema.
        assert!(kept.is_none() || kept == Some(checkpoint(7)));
        store.save_checkpoint("relay", checkpoint(9)).await.unwrap();
        assert_eq!(store.load_checkpoint("relay").await.unwrap(), Some(checkpoint(9)));
    });
}

#[test]
fn a_dropped_file_that_cannot_be_removed_does_not_prevent_the_start() {
    block_on(async {
        let directory = tempfile::tempdir().unwrap();
        let store = Sqlite::open(directory.path()).await.unwrap();
        let id = create(&store, Stage::Live).await.unwrap();
        store.drop_read_model(&id).await.unwrap();
        store.close().await;
        fs::create_dir(directory.path().join("order-summaries-1.db")).unwrap();
        let store = Sqlite::open(directory.path()).await.unwrap();
        assert!(store.list_read_models("order-summaries").await.unwrap().is_empty());
    });
}

#[test]
fn a_directory_of_a_later_version_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let later = rusqlite::Connection::open(directory.path().join("catalogue.db")).unwrap();
    later.pragma_update(None, "user_version", 2).unwrap();
    drop(later);
    let error = Sqlite::open_blocking(directory.path()).unwrap_err();
    assert!(error.to_string().contains("layout 2"), "{error}");
}

#[test]
fn a_statement_that_ended_the_transaction_moves_no_checkpoint() {
    block_on(async {
        let store = Sqlite::temporary().await.unwrap();
        let id = create(&store, Stage::Live).await.unwrap();
        let mut tx = store.begin(&id).await.unwrap();
        tx.execute_script("create table orders (id integer primary key, paid integer)").unwrap();
        tx.advance(Advance { from: None, to: checkpoint(1) }).await.unwrap();
        tx.commit().await.unwrap();

        let mut tx = store.begin(&id).await.unwrap();
        tx.execute("insert into orders values (1, 0)", []).unwrap();
        // `or rollback` ends the transaction, although the projection means to ignore a duplicate.
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
fn a_new_live_read_model_is_on_disk_before_the_old_one_is_dropped() {
    block_on(async {
        let directory = tempfile::tempdir().unwrap();
        let store = Sqlite::open(directory.path()).await.unwrap();
        create(&store, Stage::Live).await.unwrap();
        let rebuilt = create(&store, Stage::Rebuilding).await.unwrap();
        let mut tx = store.begin(&rebuilt).await.unwrap();
        tx.put_json("orders", "1", &1.into()).await.unwrap();
        tx.advance(Advance { from: None, to: checkpoint(1) }).await.unwrap();
        tx.commit().await.unwrap();
        store.switch_to(&rebuilt).await.unwrap();
        // Simulate a loss of power: remove the write-ahead log, which was never synced.
        let crashed = tempfile::tempdir().unwrap();
        for entry in fs::read_dir(directory.path()).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let unsynced = name.starts_with("order-summaries") && !name.ends_with(".db");
            if !unsynced {
                fs::copy(&path, crashed.path().join(name)).unwrap();
            }
        }
        let after = Sqlite::open(crashed.path()).await.unwrap();
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
                        Sqlite::open_blocking(directory.path()).map(drop)
                    })
                })
                .collect();
            for one in opened {
                one.join().unwrap().unwrap();
            }
        });
    }
}

#[test]
fn without_snapshots_that_cannot_be_opened_work_continues_and_checkpoints_are_refused() {
    block_on(async {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("snapshots.db");
        fs::create_dir(&place).unwrap();
        let store = Sqlite::open(directory.path()).await.unwrap();
        let stream = gesta_store::StreamName::new("order-1").unwrap();
        assert_eq!(store.load_snapshot(&stream).await.unwrap(), None);
        store.delete_snapshot(&stream).await.unwrap();
        let refused = store.load_checkpoint("mailer").await.unwrap_err();
        assert!(refused.to_string().contains(place.to_str().unwrap()), "{refused}");
        let [trouble] = &store.troubles().await[..] else { panic!("one trouble") };
        assert!(trouble.contains("snapshots are disabled"), "{trouble}");
        fs::remove_dir(&place).unwrap();
        store.save_checkpoint("mailer", checkpoint(7)).await.unwrap();
        assert_eq!(store.load_checkpoint("mailer").await.unwrap(), Some(checkpoint(7)));
        assert!(store.troubles().await.is_empty());
    });
}

#[test]
fn neither_a_missing_lock_nor_a_directory_in_a_new_files_path_prevents_the_start() {
    block_on(async {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("opening.lock")).unwrap();
        fs::create_dir(directory.path().join("order-summaries-1.db")).unwrap();
        let store = Sqlite::open(directory.path()).await.unwrap();
        let id = create(&store, Stage::Live).await.unwrap();
        store.begin(&id).await.unwrap();
        assert!(directory.path().join("order-summaries-1.db.corrupt-1").is_dir());
    });
}

#[test]
fn a_catalogue_that_cannot_be_opened_is_named_with_its_path() {
    for name in ["catalogue.db", "catalogue.db-wal"] {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join(name)).unwrap();
        let error = Sqlite::open_blocking(directory.path()).unwrap_err().to_string();
        let path = directory.path().join("catalogue.db");
        assert!(error.contains(path.to_str().unwrap()) && error.contains("move"), "{error}");
    }
}
