//! Turns of transactions on one read model within this process.
//!
//! Other processes are seen by the conditions of the commit. Not here: those conditions
//! (`commit.rs`).

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, Mutex, PoisonError, Weak},
};

use tokio::sync::{Mutex as Turn, OwnedMutexGuard};

/// The turn of a transaction. The next one begins when it is dropped.
pub(super) type Held = OwnedMutexGuard<()>;

type Turns = HashMap<String, Weak<Turn<()>>>;

static TURNS: LazyLock<Mutex<Turns>> = LazyLock::new(Mutex::default);

/// Waits for the turn on a read model, in the order of the calls.
pub(super) async fn take(place: &str) -> Held {
    turn_of(place).lock_owned().await
}

fn turn_of(place: &str) -> Arc<Turn<()>> {
    let mut turns = TURNS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = turns.get(place).and_then(Weak::upgrade) {
        return known;
    }
    turns.retain(|_, turn| turn.strong_count() > 0);
    let turn = Arc::new(Turn::new(()));
    turns.insert(place.to_owned(), Arc::downgrade(&turn));
    turn
}
