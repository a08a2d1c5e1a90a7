//! A relay that runs on one of several nodes: `cargo run -p gesta --example leased_relay -- \
//! DIRECTORY NODE`.
//!
//! Start it several times with one directory and different names of nodes. One of them writes
//! numbered rows, each with the token of its lease; the others wait. Kill that node, or stop it and
//! let it continue: another one takes over, and a node whose lease is over writes nothing. Ends
//! when a file `stop` appears in the directory.

use std::{env, path::PathBuf, pin::pin, sync::Arc, time::Duration};

use gesta::{
    Clock as _, LeasedTask, SystemClock,
    sqlite::Sqlite,
    store::{
        AcquireLease, CreateReadModel, DatabaseError, FencingToken, LeaseName, NodeName,
        ReadModelId, ReadModelStore, ReadModelTx, Rows, Stage,
    },
};

const TERM: Duration = Duration::from_secs(1);
/// Pause between two rows, and between two looks for the file `stop`.
const PAUSE: Duration = Duration::from_millis(2);
/// Pause after a failure, such as another node's long transaction.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(100);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = env::args().skip(1);
    let (Some(directory), Some(node)) = (arguments.next(), arguments.next()) else {
        return Err("expected a directory and the name of this node".into());
    };
    let store = Sqlite::open(&directory).await?;
    let acquire = AcquireLease::new(LeaseName::new("relay")?, NodeName::new(node)?, TERM);
    let task = LeasedTask::new(Arc::new(store.clone()), acquire);
    let stop = pin!(stopped(PathBuf::from(directory)));
    task.run_until(stop, |token| write_rows(store.clone(), token)).await;
    store.close().await;
    Ok(())
}

/// Waits for the file `stop`.
async fn stopped(directory: PathBuf) {
    while !directory.join("stop").exists() {
        SystemClock.sleep(PAUSE).await;
    }
}

/// Writes rows until the lease is over.
async fn write_rows(store: Sqlite, token: FencingToken) {
    loop {
        match write_row(&store, token).await {
            Ok(()) => SystemClock.sleep(PAUSE).await,
            // The lease is over. The keeper of the lease will notice as well, and drop this task.
            Err(DatabaseError::Fenced { .. }) => std::future::pending().await,
            Err(_) => SystemClock.sleep(PAUSE_AFTER_FAILURE).await,
        }
    }
}

/// Writes the next row in a transaction that refuses the token of an earlier lease.
async fn write_row(store: &Sqlite, token: FencingToken) -> Result<(), DatabaseError> {
    let relay = relay(store).await?;
    let mut tx = store.begin(&relay).await?;
    token.fence(&mut tx).await?;
    let written = tx.property("written").await?.and_then(|text| text.parse().ok());
    let number: u64 = written.unwrap_or(0) + 1;
    tx.put_json("rows", &format!("{number:08}"), &token.number().into()).await?;
    tx.set_property("written", &number.to_string()).await?;
    tx.commit().await
}

/// Returns the read model of the rows. The first node that has the lease creates it.
async fn relay(store: &Sqlite) -> Result<ReadModelId, DatabaseError> {
    let found = store.list_read_models("relay").await?.into_iter().next();
    match found {
        Some(found) => Ok(found.id),
        None => store.create_read_model(CreateReadModel::new("relay", 1, Stage::Live)).await,
    }
}
