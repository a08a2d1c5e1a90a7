//! Instance counts of a manager, by the end of each stream.

use gesta_store::{EventStore, Filter, Position, ReadAll};

use super::{
    history::{Begins, ProcessEvent, ProcessReacted},
    journal::Census,
    setup::Identity,
    trouble::InputError,
};
use crate::Recorded;

impl Census {
    pub(super) const fn position(self) -> Position {
        Position::new(self.position)
    }

    /// Adds the changes since the last count.
    pub(super) async fn advance(
        &mut self,
        store: &dyn EventStore,
        identity: &Identity,
    ) -> Result<(), InputError> {
        let read = ReadAll::forwards()
            .from(self.position().next())
            .filter(Filter::Categories(vec![identity.category.clone()]));
        let mut pages = store.read_all(read);
        while let Some(page) = pages.next().await {
            for event in page? {
                self.position = event.position.number();
                // An unreadable stream is reported where its instance is loaded.
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
            // Only the first event of a stream begins an instance without saying so.
            None if revision > 0 => return,
            None | Some(Begins::First) => {}
            Some(Begins::AfterEnd) => self.ended = self.ended.saturating_sub(1),
            Some(Begins::AfterCancellation) => self.cancelled = self.cancelled.saturating_sub(1),
        }
        self.running += 1;
    }
}
