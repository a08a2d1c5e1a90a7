//! Counting the instances of a manager by what stands in their streams.

use gesta_store::{EventStore, Filter, Position, ReadAll};

use super::{
    history::{Begins, ProcessEvent, ProcessReacted},
    journal::Census,
    setup::Identity,
    trouble::Trouble,
};
use crate::Recorded;

impl Census {
    pub(super) const fn position(self) -> Position {
        Position::new(self.position)
    }

    /// Counts what has come since.
    pub(super) async fn advance(
        &mut self,
        store: &dyn EventStore,
        identity: &Identity,
    ) -> Result<(), Trouble> {
        let read = ReadAll::forwards()
            .from(self.position().next())
            .filter(Filter::Categories(vec![identity.category.clone()]));
        let mut pages = store.read_all(read);
        while let Some(page) = pages.next().await {
            for event in page? {
                self.position = event.position.number();
                // One that cannot be read is told where its instance is read.
                if let Ok(recorded) = Recorded::<ProcessEvent>::read(&event) {
                    self.take(&recorded);
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, recorded: &Recorded<ProcessEvent>) {
        match &recorded.event {
            ProcessEvent::Reacted(reacted) => {
                self.begin(reacted, recorded.revision.number());
                if reacted.ends() {
                    self.running = self.running.saturating_sub(1);
                    self.ended += 1;
                }
            }
            ProcessEvent::Cancelled(cancelled) => {
                match cancelled.was_running {
                    Some(true) => self.running = self.running.saturating_sub(1),
                    Some(false) => self.ended = self.ended.saturating_sub(1),
                    None => {}
                }
                self.cancelled += 1;
            }
            ProcessEvent::Settled(_) | ProcessEvent::Resent(_) | ProcessEvent::TimerSkipped(_) => {}
        }
    }

    fn begin(&mut self, reacted: &ProcessReacted, revision: u64) {
        match reacted.begins {
            None if revision > 0 => return,
            None | Some(Begins::First) => {}
            Some(Begins::AfterEnd) => self.ended = self.ended.saturating_sub(1),
            Some(Begins::AfterCancellation) => self.cancelled = self.cancelled.saturating_sub(1),
        }
        self.running += 1;
    }
}
