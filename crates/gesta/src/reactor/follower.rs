//! A reactor on a node that does not run it: what its journal says.
//!
//! Invariant: nothing is written here, and no effect happens.
//!
//! Not here: the choice of the node that runs the reactor ([`nodes`](crate::nodes)).

use std::{sync::Arc, time::Duration};

use gesta_store::{NodeName, Position};
use tokio::sync::watch;

use super::{
    Reactor, ReactorState, held::letters_of, journal::ReactorJournal,
    operation::ReactorControlMessage, session::ReactorRunner, status::ReactorProgress,
    trouble::ReactorTrouble,
};
use crate::{
    RunsElsewhere,
    error_line::in_one_line,
    nodes::{Holder, Refusing},
};

/// Pause between two looks at the journal.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

impl<R: Reactor> ReactorRunner<R> {
    /// Publishes what the journal says, and refuses operations. Returns once the application is
    /// closed.
    ///
    /// Cancel-safe.
    pub(super) async fn follow(&mut self, mut holder: watch::Receiver<Holder>) {
        let mut journal = None;
        loop {
            let read = self.read_journal(&mut journal).await;
            let heard = holder.borrow_and_update().clone();
            self.publish_journal(journal.as_ref(), read, heard);
            let pause = self.deps.clock.sleep(LOOK_AGAIN);
            let Self { closing, control, progress, .. } = self;
            let refusing = Refusing { closing, control, holder: &mut holder };
            let refuse = |ReactorControlMessage { done, .. }: ReactorControlMessage| {
                let node = progress.borrow().runs_on.clone();
                // The caller may have stopped waiting.
                let _ = done.send(Err(refusal(R::NAME, node).into()));
            };
            if refusing.refuse_until(pause, refuse).await.is_none() {
                return;
            }
        }
    }

    async fn read_journal(
        &self,
        journal: &mut Option<ReactorJournal>,
    ) -> Result<(), ReactorTrouble> {
        let store = self.deps.store().as_ref();
        match journal {
            Some(journal) => journal.catch_up(store).await,
            None => {
                *journal = Some(ReactorJournal::read(store, &self.deps.identity).await?);
                Ok(())
            }
        }
    }

    fn publish_journal(
        &self,
        journal: Option<&ReactorJournal>,
        read: Result<(), ReactorTrouble>,
        holder: Holder,
    ) {
        let trouble = read.err().map(|error| in_one_line(&error)).or_else(|| holder.trouble());
        let state = if holder.is_known { ReactorState::Waiting } else { ReactorState::Starting };
        let place = journal.and_then(ReactorJournal::place).map(|(place, _)| place.position);
        let position = place.unwrap_or(Position::START);
        let letters = journal.map(|journal| letters_of(journal.held())).unwrap_or_default();
        self.progress.send_replace(ReactorProgress {
            state,
            position,
            delivered: position,
            letters: Arc::new(letters),
            trouble,
            runs_on: holder.node,
            ..ReactorProgress::starting()
        });
    }
}

/// Returns the refusal of an operation on a node that does not run the reactor.
fn refusal(reactor: &str, node: Option<NodeName>) -> RunsElsewhere {
    RunsElsewhere::new(format!("reactor {reactor}"), node)
}
