//! Waiting until nothing is left to do.

use gesta_store::Position;

use crate::Gesta;

/// Waits until nothing is left to do at this time of the clock: every projection has applied and
/// every process manager has handled all that happened, timers that are due have fired, and
/// commands that were decided are executed, with all that follows from it.
///
/// What waits for a later time (a timer, a command that is sent again after a pause) is left; move
/// the [`VirtualClock`](super::VirtualClock) and drain again. What is paused or halted is left, too.
///
/// A pause between attempts at a command, after a conflict, is waited for, too: where commands
/// compete under a virtual clock, let the [`RetryPolicy`](crate::RetryPolicy) have none.
///
/// ```
/// use gesta::{Gesta, testing::drain};
///
/// # gesta::store::conformance::block_on(async {
/// let gesta = Gesta::at("memory:").open().await?;
/// drain(&gesta).await;
/// assert!(gesta.process_managers().is_empty());
/// # Ok::<(), gesta::OpenError>(())
/// # }).expect("a memory store opens");
/// ```
///
/// # Panics
/// When the store cannot say where it ends, when a projection or process manager has stopped, or
/// when a process manager is in trouble: it would go on only after a pause.
#[track_caller]
pub fn drain(gesta: &Gesta) -> impl Future<Output = ()> + Send {
    let caller = std::panic::Location::caller();
    async move {
        loop {
            let before = head(gesta).await;
            if let Err(trouble) = everything_handled(gesta, before).await {
                panic!("cannot drain at {caller}: {trouble}");
            }
            if head(gesta).await == before && is_idle(gesta, before) {
                return;
            }
        }
    }
}

async fn head(gesta: &Gesta) -> Position {
    gesta.store().head().await.expect("the store says where it ends").position
}

async fn everything_handled(gesta: &Gesta, head: Position) -> Result<(), String> {
    for handle in gesta.read_side().handles() {
        let mut progress = handle.progress.clone();
        let handled = progress
            .wait_for(|progress| {
                progress.halted || progress.answering.is_some() && progress.position >= head
            })
            .await;
        handled.map_err(|_| format!("projection {} has stopped", handle.name))?;
    }
    for handle in gesta.processes().handles() {
        let mut progress = handle.progress.clone();
        let idle = progress
            .wait_for(|progress| progress.is_stuck || progress.is_idle(head, gesta.clock().now()))
            .await
            .map_err(|_| format!("process manager {} has stopped", handle.name))?;
        if idle.is_stuck {
            let trouble = idle.trouble.as_deref().unwrap_or_default();
            return Err(format!("process manager {}: {trouble}", handle.name));
        }
    }
    Ok(())
}

fn is_idle(gesta: &Gesta, head: Position) -> bool {
    let now = gesta.clock().now();
    gesta.processes().handles().all(|handle| handle.progress.borrow().is_idle(head, now))
}
