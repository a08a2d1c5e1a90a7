//! Removal of dropped read models.
//!
//! A read model is dropped in the catalogue first, and its schema is removed when no transaction
//! and no reader of any process has its table locked. The removal asks for the lock without
//! waiting, and is repeated while something is left. The next process that opens the store removes
//! what a crash has left.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use gesta_store::DatabaseError;
use tokio::time::sleep;
use tokio_postgres::types::Type;

use super::{catalogue::column, core::ReadModelsCore};

/// Pause before a read model in use is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// Removes dropped read models in the background.
pub(super) fn begin(core: &Arc<ReadModelsCore>) {
    if core.begin_removal() {
        let removing = Arc::downgrade(core);
        core.detach(remove_until_done(removing));
    }
}

async fn remove_until_done(core: Weak<ReadModelsCore>) {
    loop {
        // Not held during the pause, so that it does not keep a store that was dropped.
        let Some(strong) = core.upgrade() else { return };
        let is_done = match (strong.keeper(), remove(&strong).await) {
            (Err(_), _) | (_, Ok(true)) => true,
            (Ok(_), Ok(false)) => false,
            (Ok(_), Err(error)) => {
                tracing::warn!(store = %strong.url, %error, "dropped read models stay for now");
                false
            }
        };
        if is_done {
            strong.end_removal();
            return;
        }
        drop(strong);
        sleep(PAUSE).await;
    }
}

/// Removes dropped read models. Returns `false` if some are in use.
async fn remove(core: &ReadModelsCore) -> Result<bool, DatabaseError> {
    let list = "SELECT m.build FROM {schema}.read_models m WHERE m.stage = 'dropped'";
    let dropped = core.query(list, &[]).await?;
    let mut is_done = true;
    for row in &dropped {
        let build: i64 = column(row, 0)?;
        let call = "SELECT {schema}.remove_read_model($1)";
        let removed = core.query(call, &[(&build, Type::INT8)]).await?;
        is_done &= removed.first().map_or(Ok(false), |row| column(row, 0))?;
    }
    Ok(is_done)
}
