//! Appends that consumers take part in.
//!
//! Owns: [`MemoryAppend`], the transaction of such an append. Invariants:
//! an append is recorded in a copy of the log first, so a refused one leaves nothing behind; events
//! and joined read models change while the log is locked. The copy costs time and memory in
//! proportion to the store.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Waker,
};

use super::{log::Log, shared::Shared};
use crate::{
    Append, AppendTransaction, Appended, Checkpoint, InlineBatch, InlineConsumer, InlineError,
    InlineFuture, Position, RecordedAt, RecordedEvent, StoreError,
};

/// Number of times that consumers may leave something out of one append.
const ATTEMPTS_MAX: usize = 16;

/// The changes of a read model in the transaction of an append.
pub(crate) trait JoinedPart: Send {
    fn commit(self: Box<Self>);
}

/// The transaction of an append, on a copy of the log.
pub(crate) struct MemoryAppend {
    staged: Log,
    now: RecordedAt,
    parts: Mutex<Vec<Box<dyn JoinedPart>>>,
}

impl MemoryAppend {
    /// Keeps changes until the append is committed. Dropped with it otherwise.
    pub(crate) fn keep(&self, part: Box<dyn JoinedPart>) {
        lock(&self.parts).push(part);
    }
}

impl AppendTransaction for MemoryAppend {
    fn events_after(&self, position: Position) -> InlineFuture<'_, Arc<Vec<RecordedEvent>>> {
        let visible = |event: &&RecordedEvent| self.staged.is_visible(event, self.now);
        let events = self.staged.after(position).filter(visible).cloned().collect();
        Box::pin(std::future::ready(Ok(Arc::new(events))))
    }
}

/// Appends, together with the consumers if there are some. Returns the wakers of the subscriptions
/// that wait.
pub(super) async fn append(
    shared: &Shared,
    append: Append,
    now: RecordedAt,
) -> Result<(Appended, Vec<Waker>), StoreError> {
    let _turn = shared.consumers.turn().await;
    let consumers = shared.consumers.present();
    if consumers.is_empty() || append.events().next().is_none() {
        return shared.log().append(append, now);
    }
    for _ in 0..ATTEMPTS_MAX {
        match append_with(shared, &append, now, &consumers).await {
            Err(StoreError::Inline(InlineError::Again { .. })) => {}
            outcome => return outcome,
        }
    }
    Err(StoreError::unreachable("a consumer leaves something out again and again"))
}

async fn append_with(
    shared: &Shared,
    append: &Append,
    now: RecordedAt,
    consumers: &[Arc<dyn InlineConsumer>],
) -> Result<(Appended, Vec<Waker>), StoreError> {
    let mut staged = shared.log().copy();
    let before = staged.head();
    let (appended, _) = staged.append(append.clone(), now)?;
    let head = staged.head();
    // A repeat.
    if head == before {
        return Ok((appended, Vec::new()));
    }
    let transaction = Arc::new(MemoryAppend { staged, now, parts: Mutex::default() });
    let to = Checkpoint { position: head, incarnation: shared.incarnation };
    let lent = Arc::clone(&transaction) as Arc<dyn AppendTransaction>;
    let batch = InlineBatch::new(lent, before, to);
    for consumer in consumers {
        consumer.apply(&batch).await.map_err(StoreError::Inline)?;
    }
    let recorded = {
        let mut log = shared.log();
        let recorded = log.append(append.clone(), now)?;
        let parts = std::mem::take(&mut *lock(&transaction.parts));
        parts.into_iter().for_each(JoinedPart::commit);
        recorded
    };
    for consumer in consumers {
        consumer.committed(&batch);
    }
    Ok(recorded)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change is one step, so a panic cannot leave the value inconsistent.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
