//! Waiting until all work is done.

use gesta_store::Position;

use crate::{Gesta, ProjectionState};

/// Waits until all work due at the clock's current time is done: projections have applied every
/// event, process managers have handled every event, due timers have fired, all resulting commands
/// are executed, and reactors have attempted the effect of every event, repeatedly until nothing
/// new follows.
///
/// Work due later (a timer, a command or an effect that is retried after a pause) remains; move the
/// [`VirtualClock`](super::VirtualClock) and drain again. Paused and halted components are skipped,
/// and those that run on another node.
///
/// Also waits for pauses between attempts at a command, after a conflict. Where commands compete
/// under a virtual clock, use a [`RetryPolicy`](crate::RetryPolicy) without pauses.
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
/// If the store returns no head, a projection, process manager or reactor has stopped, or a process
/// manager or reactor fails as a whole and would continue only after a pause.
#[track_caller]
pub fn drain(gesta: &Gesta) -> impl Future<Output = ()> + Send {
    let caller = std::panic::Location::caller();
    async move {
        loop {
            let before = head(gesta).await;
            if let Err(trouble) = everything_handled(gesta, before).await {
                panic!("cannot drain at {caller}: {trouble}");
            }
            // Handling may have appended events, which are to be handled in turn.
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
        let _waiter = handle.waiter();
        let handled = progress
            .wait_for(|progress| {
                progress.halted
                    || progress.state == ProjectionState::Waiting
                    || progress.answering.is_some() && progress.position >= head
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
    for handle in gesta.reactor_side().handles() {
        let mut progress = handle.progress.clone();
        let idle = progress
            .wait_for(|progress| progress.is_stuck || progress.is_idle(head, gesta.clock().now()))
            .await
            .map_err(|_| format!("reactor {} has stopped", handle.name))?;
        if idle.is_stuck {
            let trouble = idle.trouble.as_deref().unwrap_or_default();
            return Err(format!("reactor {}: {trouble}", handle.name));
        }
    }
    Ok(())
}

fn is_idle(gesta: &Gesta, head: Position) -> bool {
    let now = gesta.clock().now();
    gesta.processes().handles().all(|handle| handle.progress.borrow().is_idle(head, now))
        && gesta.reactor_side().handles().all(|handle| handle.progress.borrow().is_idle(head, now))
}
