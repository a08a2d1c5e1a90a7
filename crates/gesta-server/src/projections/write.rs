//! The append of a checkpoint with everything that belongs to it.
//!
//! Invariants:
//! - The append expects the last checkpoint that this runner knows, so of two runners of a
//!   projection one continues and the other notices.
//! - An append with an unknown outcome is repeated as it is until the outcome is known.

use gesta_store::{Append, Conflict, EventId, StoreError, StreamAppend, StreamName};
use tokio::{select, time::sleep};

use super::{
    checkpoint::{self, Progressed, checkpoint_event, last_checkpoint, replacing, state_event},
    config::Mode,
    names,
    progress::Status,
    runner::{Halt, PAUSE_MAX, Running, stopping},
    tracked,
};

/// First pause before an append is repeated; each further one is twice as long.
const PAUSE_MIN: std::time::Duration = std::time::Duration::from_millis(50);

impl Running<'_> {
    /// Appends a checkpoint, new states and emitted events.
    pub(super) async fn store(&mut self, is_completed: bool) -> Result<(), Halt> {
        let newly_tracked = self.newly_tracked();
        let parts = self.parts(is_completed, &newly_tracked)?;
        let id = parts.first().and_then(|part| part.events.first()).map(|event| event.id);
        if let Some(id) = id {
            self.write(Append::of(parts).privileged(), id).await?;
        }
        self.tracked.extend(newly_tracked);
        self.head = Some(self.head.map_or(gesta_store::Revision::FIRST, |head| head.next()));
        self.emissions = super::emission::Emissions::default();
        (self.handled_since, self.due) = (0, None);
        self.checkpoints += 1;
        let mut progress = self.task.progress.lock();
        progress.checkpoint = self.at.position;
        // The states of a transient projection are nowhere else.
        if self.task.config.mode != Mode::Transient {
            progress.stored();
        }
        Ok(())
    }

    fn newly_tracked(&self) -> Vec<StreamName> {
        if !self.task.config.tracks_streams {
            return Vec::new();
        }
        let streams = self.emissions.streams().iter().map(|part| &part.stream);
        streams.filter(|stream| !self.tracked.contains(*stream)).cloned().collect()
    }

    /// The checkpoint comes first: its id tells a repeat.
    fn parts(
        &self,
        is_completed: bool,
        newly_tracked: &[StreamName],
    ) -> Result<Vec<StreamAppend>, StoreError> {
        let config = &self.task.config;
        let mut parts = Vec::new();
        if config.mode != Mode::Transient {
            let progress = self.task.progress.lock();
            let empty = checkpoint::PartitionState::default();
            let progressed = Progressed {
                checkpoint: self.at,
                handled: self.handled,
                is_completed,
                root: progress.states.get("").unwrap_or(&empty),
                shared: self.shared.as_deref(),
            };
            let event = checkpoint_event(config, &progressed)?;
            parts.extend(replacing(self.stream.clone(), self.head, event)?);
            for (partition, state) in &progress.states {
                if state.is_dirty && !partition.is_empty() {
                    let stream = names::partition(&config.name, partition);
                    parts.extend(replacing(stream, state.head, state_event(config, state)?)?);
                }
            }
        }
        if !newly_tracked.is_empty() {
            parts.push(tracked::record(&config.name, newly_tracked)?);
        }
        parts.extend(self.emissions.streams().iter().cloned());
        Ok(parts)
    }

    async fn write(&mut self, append: Append, id: EventId) -> Result<(), Halt> {
        let mut stop = self.task.stop.clone();
        let mut pause = PAUSE_MIN;
        loop {
            match self.task.node.store().append(append.clone()).await {
                Ok(_) => break,
                Err(StoreError::Conflict(conflict)) => {
                    self.judge(&conflict, id).await?;
                    break;
                }
                Err(error) if error.is_transient() => {
                    self.task.progress.set_status(Status::Waiting(error.to_string()));
                    select! {
                        // The next start finds out what happened.
                        _ = stopping(&mut stop) => return Err(Halt::Stopped),
                        () = sleep(pause) => pause = (pause * 2).min(PAUSE_MAX),
                    }
                }
                Err(error) => return Err(Halt::Fault(error.to_string())),
            }
        }
        self.task.progress.set_status(Status::Running);
        Ok(())
    }

    /// Finds the reason of a conflict. An earlier attempt of the same append is none.
    async fn judge(&self, conflict: &Conflict, id: EventId) -> Result<(), Halt> {
        let (store, config) = (self.task.node.store(), &self.task.config);
        if config.mode == Mode::Transient {
            return Err(Halt::Fault(conflict.to_string()));
        }
        let last = last_checkpoint(store, config, &self.stream).await?;
        if last.id == Some(id) {
            return Ok(());
        }
        if last.head != self.head {
            return Err(Halt::Again("another server runs the projection".to_owned()));
        }
        Err(Halt::Fault(conflict.to_string()))
    }
}
