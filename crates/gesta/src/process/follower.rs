//! A process manager on a node that does not run it: what its journal says.
//!
//! Invariant: nothing is written here, and no operation is carried out.
//!
//! Not here: the choice of the node that runs the manager ([`nodes`](crate::nodes)).

use std::time::Duration;

use gesta_store::Position;
use tokio::sync::watch;

use super::{
    ProcessManager, ProcessState, command_queue::CommandQueue, handle::refusal, journal::Journal,
    operation::ProcessControlMessage, session::ProcessRunner, timer_queue::TimerQueue,
    trouble::InputError,
};
use crate::{
    error_line::in_one_line,
    nodes::{Holder, Refusing},
};

/// Pause between two looks at the journal.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

impl<P: ProcessManager> ProcessRunner<P> {
    /// Publishes what the journal says, and refuses operations. Returns once the application is
    /// closed.
    ///
    /// Cancel-safe.
    pub(super) async fn follow(&mut self, mut holder: watch::Receiver<Holder>) {
        let mut journal = None;
        loop {
            let read = self.read_on(&mut journal).await;
            let heard = holder.borrow_and_update().clone();
            self.publish_journal(journal.as_ref(), read, heard);
            let pause = self.deps.clock.sleep(LOOK_AGAIN);
            let Self { closing, control, progress, .. } = self;
            let refusing = Refusing { closing, control, holder: &mut holder };
            let refuse = |ProcessControlMessage { done, .. }: ProcessControlMessage| {
                let node = progress.borrow().runs_on.clone();
                // The caller may have stopped waiting.
                let _ = done.send(Err(refusal(P::NAME, node).into()));
            };
            if refusing.refuse_until(pause, refuse).await.is_none() {
                return;
            }
        }
    }

    async fn read_on(&self, journal: &mut Option<Journal>) -> Result<(), InputError> {
        let store = self.deps.store.as_ref();
        match journal {
            Some(journal) => journal.catch_up(store).await,
            None => {
                *journal = Some(Journal::read(store, &self.deps.identity).await?);
                Ok(())
            }
        }
    }

    fn publish_journal(
        &self,
        journal: Option<&Journal>,
        read: Result<(), InputError>,
        holder: Holder,
    ) {
        let trouble = holder.trouble();
        let Holder { is_known, node, .. } = holder;
        self.progress.send_modify(|progress| {
            progress.state = if is_known { ProcessState::Waiting } else { ProcessState::Starting };
            progress.runs_on = node;
            progress.trouble = read.err().map(|error| in_one_line(&error)).or(trouble);
            (progress.is_stuck, progress.is_sending) = (false, false);
            progress.next_wake = None;
            let Some(journal) = journal else { return };
            let checkpoint = journal.checkpoint.as_ref();
            progress.position = checkpoint.map_or(Position::START, |it| Position::new(it.position));
            progress.census = checkpoint.map(|it| it.census).unwrap_or_default();
            progress.timers = journal.entries().iter().map(|entry| entry.timers.len()).sum();
            // Another node fires them.
            progress.timer_queue = TimerQueue::default();
            progress.command_queue = CommandQueue::default();
            progress.commands = 0;
            progress.publish_asides(journal);
        });
    }
}
