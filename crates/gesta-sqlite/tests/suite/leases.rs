//! Leases in SQLite pass every clause, and tokens grow whatever happens to the file.

use std::{fs, path::Path, rc::Rc, time::Duration};

use gesta_sqlite::{Sqlite, rusqlite::Connection};
use gesta_store::{
    AcquireLease, CreateReadModel, DatabaseError, Lease, LeaseError, LeaseName, Leases, NodeName,
    ReadModelStore, ReadModelTx, Stage,
    conformance::{block_on, leases::LeaseFixture},
};
use tempfile::TempDir;

const TERM: Duration = Duration::from_secs(600);

gesta_store::lease_conformance!(fixture);

/// Each node opens the directory by itself, as another process does.
fn fixture() -> LeaseFixture {
    let directory = Rc::new(tempfile::tempdir().expect("a directory"));
    let connected = Rc::clone(&directory);
    let connect = move || -> Box<dyn Leases> {
        Box::new(Sqlite::open_blocking(connected.path()).expect("the directory opens"))
    };
    let moved = Rc::clone(&directory);
    LeaseFixture::new(connect, move |duration| pass(&moved, duration)).keep_alive(directory)
}

/// The machine's clock cannot be moved, so all leases are moved back.
fn pass(directory: &TempDir, duration: Duration) {
    let micros = i64::try_from(duration.as_micros()).expect("a short time");
    let leases = leases_of(directory.path());
    let moved = leases.execute("update leases set expires_at = expires_at - ?1", [micros]);
    moved.expect("leases are moved");
}

fn leases_of(directory: &Path) -> Connection {
    Connection::open(directory.join("leases.db")).expect("the file opens")
}

fn acquired(directory: &Path, node: &str) -> Result<Lease, LeaseError> {
    let store = Sqlite::open_blocking(directory)?;
    let acquire = AcquireLease::new(LeaseName::new("task")?, NodeName::new(node)?, TERM);
    let lease = block_on(store.acquire(acquire));
    block_on(store.close());
    lease
}

#[test]
fn a_lease_outlives_the_process_that_wrote_it() -> Result<(), LeaseError> {
    let directory = tempfile::tempdir().expect("a directory");
    let first = acquired(directory.path(), "one")?;
    let refused = acquired(directory.path(), "two");
    assert!(matches!(refused, Err(LeaseError::Held { .. })), "{refused:?}");
    let store = Sqlite::open_blocking(directory.path())?;
    block_on(store.renew(&first))?;
    block_on(store.release(&first))?;
    assert!(acquired(directory.path(), "two")?.token > first.token);
    Ok(())
}

#[test]
fn a_restart_of_the_machine_ends_leases() -> Result<(), LeaseError> {
    let directory = tempfile::tempdir().expect("a directory");
    let first = acquired(directory.path(), "one")?;
    leases_of(directory.path())
        .execute("update leases set boot = 'earlier'", [])
        .expect("a change");
    let store = Sqlite::open_blocking(directory.path())?;
    assert_eq!(block_on(store.list())?, []);
    let renewed = block_on(store.renew(&first));
    assert!(matches!(renewed, Err(LeaseError::Lost { .. })), "{renewed:?}");
    assert!(acquired(directory.path(), "two")?.token > first.token);
    Ok(())
}

#[test]
fn tokens_grow_although_the_file_was_removed() -> Result<(), LeaseError> {
    let directory = tempfile::tempdir().expect("a directory");
    let first = acquired(directory.path(), "one")?;
    for file in ["leases.db", "leases.db-wal", "leases.db-shm"] {
        // The last connection removes the second and third file.
        drop(fs::remove_file(directory.path().join(file)));
    }
    assert!(acquired(directory.path(), "two")?.token > first.token);
    Ok(())
}

#[test]
fn a_file_that_is_no_database_is_an_error_with_its_cause() -> Result<(), LeaseError> {
    let directory = tempfile::tempdir().expect("a directory");
    fs::write(directory.path().join("leases.db"), [7; 4096]).expect("a file");
    let store = Sqlite::open_blocking(directory.path())?;
    let error = block_on(store.list()).expect_err("the file is damaged");
    assert!(matches!(error, LeaseError::Unreadable { .. }), "{error}");
    assert!(error.to_string().contains("leases.db"), "{error}");
    // Read models continue without leases.
    let create = CreateReadModel::new("orders", 1, Stage::Live);
    block_on(store.create_read_model(create))?;
    Ok(())
}

/// A process is stopped within a transaction; another one takes over during that time.
#[test]
fn a_transaction_of_an_earlier_lease_is_refused() -> Result<(), DatabaseError> {
    let directory = tempfile::tempdir().expect("a directory");
    block_on(async {
        let one = Sqlite::open(directory.path()).await?;
        let create = CreateReadModel::new("orders", 1, Stage::Live);
        let orders = one.create_read_model(create).await?;
        let first = acquired(directory.path(), "one").expect("the lease is free");
        let two = Sqlite::open(directory.path()).await?;
        pass(&directory, TERM);
        let second = acquired(directory.path(), "two").expect("the lease has expired");
        let mut tx = two.begin(&orders).await?;
        second.token.fence(&mut tx).await?;
        tx.commit().await?;
        let mut tx = one.begin(&orders).await?;
        let refused = first.token.fence(&mut tx).await;
        assert!(matches!(refused, Err(DatabaseError::Fenced { .. })), "{refused:?}");
        tx.rollback().await
    })
}
