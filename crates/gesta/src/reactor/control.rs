//! Operations of operators on a running reactor.
//!
//! Invariant: a retry or discard is recorded in the audit stream in the same append as its result;
//! a pause, which the store does not keep, is recorded before it happens.

use std::{iter, sync::Arc};

use gesta_store::{EventId, ExpectedRevision, NewEvent, StreamAppend, StreamName};

use super::{
    Reactor, ReactorError,
    held::HeldStream,
    operation::{ReactorControlMessage, ReactorOperation, ReactorReply},
    session::{ReactorRunner, ReactorSession},
    tasks::{LetterUnread, ReactorTask, RetriedLetter, retry},
    trouble::ReactorTrouble,
};
use crate::{
    audit::{self, Operator},
    backoff::Backoff,
    error_line::in_one_line,
};

impl<R: Reactor> ReactorRunner<R> {
    pub(super) async fn handle_control(
        &mut self,
        message: ReactorControlMessage,
        session: &mut ReactorSession,
    ) -> Result<(), ReactorTrouble> {
        let ReactorControlMessage { operation, done } = message;
        match operation {
            ReactorOperation::Pause { by } => match self.record_alone(&by, "pause-reactor").await {
                Ok(()) => {
                    self.paused = true;
                    // Answered once no attempt is in progress.
                    session.pausing.push(done);
                }
                Err(unrecorded) => self.answer(done, Err(unrecorded), session),
            },
            ReactorOperation::Resume { by } => {
                let recorded = self.record_alone(&by, "resume-reactor").await;
                if recorded.is_ok() {
                    // A reactor without room halts again at the next effect that fails.
                    (self.paused, self.halted) = (false, None);
                }
                self.answer(done, recorded, session);
            }
            ReactorOperation::Retry { event, by } => self.start_retry(event, &by, done, session),
            ReactorOperation::Discard { event, by } => {
                return self.discard(event, &by, done, session).await;
            }
        }
        Ok(())
    }

    /// Records an operation that changes nothing in the store, before it happens.
    async fn record_alone(&self, by: &Operator, operation: &str) -> Result<(), ReactorError> {
        let recorded = audit::record(self.deps.state.store.as_ref(), by, operation, R::NAME).await;
        recorded
            .map(drop)
            .map_err(|error| ReactorError::Unavailable { reason: in_one_line(&error) })
    }

    /// Replies to the operators who wait for the end of the attempts in progress.
    pub(super) fn answer_pauses(&self, session: &mut ReactorSession) {
        if self.paused && session.lanes.running() > 0 {
            return;
        }
        for done in std::mem::take(&mut session.pausing) {
            self.answer(done, Ok(()), session);
        }
    }

    /// Replies to an operation, with the status of everything before the reply.
    fn answer(
        &self,
        done: ReactorReply,
        outcome: Result<(), ReactorError>,
        session: &ReactorSession,
    ) {
        self.publish_status(session);
        // The caller may have stopped waiting, which does not undo the operation.
        let _ = done.send(outcome);
    }

    /// Finds a dead letter that is not being retried.
    fn letter(
        &self,
        event: EventId,
        session: &ReactorSession,
    ) -> Result<(StreamName, HeldStream), ReactorError> {
        let found = session.held.iter().find(|(_, held)| held.is_of(&event));
        let Some((stream, held)) = found else {
            return Err(ReactorError::NoSuchDeadLetter { reactor: R::NAME.to_owned(), event });
        };
        if session.retrying.contains(&event) {
            let reason = format!("event {event} is being retried");
            return Err(ReactorError::Unavailable { reason });
        }
        Ok((stream.clone(), held.clone()))
    }

    fn start_retry(
        &mut self,
        event: EventId,
        by: &Operator,
        reply: ReactorReply,
        session: &mut ReactorSession,
    ) {
        let (stream, held) = match self.letter(event, session) {
            Ok(found) => found,
            Err(refused) => return self.answer(reply, Err(refused), session),
        };
        session.retrying.insert(event);
        let record = record_of::<R>(by, "retry-effect", event);
        let deps = Arc::clone(&self.deps);
        // Not counted in the maximum of concurrent effects: an operator does not wait for them.
        self.tasks.spawn(async move {
            let (found, outcome) = retry(&deps, &stream, &held).await;
            let letter = RetriedLetter { stream, event: found, outcome, record, reply };
            ReactorTask::Retried(Box::new(letter))
        });
    }

    /// Records the result of a retry and answers the operator.
    pub(super) async fn retried(
        &mut self,
        retried: RetriedLetter,
        session: &mut ReactorSession,
    ) -> Result<(), ReactorTrouble> {
        let RetriedLetter { stream, event, outcome, record, reply } = retried;
        let Some(held) = session.held.get(&stream).cloned() else { return Ok(()) };
        let id = held.letter.as_ref().and_then(|letter| letter.id.parse::<EventId>().ok());
        let Some(id) = id else { return Ok(()) };
        session.retrying.remove(&id);
        let (held, outcome) = match (event, outcome) {
            (Ok(event), Ok(())) => (held.past(event.revision, event.position), Ok(())),
            (Ok(_), Err(failed)) => {
                let still = ReactorError::StillFails { event: id, error: failed.error.clone() };
                (held.failed_again(failed.error), Err(still))
            }
            (Err(LetterUnread::Gone), _) => {
                let error = "the stream no longer shows the event; discard it".to_owned();
                let still = ReactorError::StillFails { event: id, error: error.clone() };
                (held.failed_again(error), Err(still))
            }
            (Err(LetterUnread::Store(error)), _) => {
                // Nothing was attempted, so nothing is recorded.
                let reason = in_one_line(&error);
                self.answer(reply, Err(ReactorError::Unavailable { reason }), session);
                return Ok(());
            }
        };
        let failure = outcome.is_err().then(|| audit::failure_of(&record, audit::STILL_FAILS));
        let records = iter::once(record).chain(failure).collect();
        self.change(&stream, held, records, session).await?;
        self.answer(reply, outcome, session);
        Ok(())
    }

    async fn discard(
        &mut self,
        event: EventId,
        by: &Operator,
        reply: ReactorReply,
        session: &mut ReactorSession,
    ) -> Result<(), ReactorTrouble> {
        let (stream, held) = match self.letter(event, session) {
            Ok(found) => found,
            Err(refused) => {
                self.answer(reply, Err(refused), session);
                return Ok(());
            }
        };
        let held = held.past(held.next, held.through);
        let record = record_of::<R>(by, "discard-effect", event);
        self.change(&stream, held, vec![record], session).await?;
        self.answer(reply, Ok(()), session);
        Ok(())
    }

    /// Records the new state of a held stream with the records of the operation, and reads the
    /// stream on if it no longer waits.
    async fn change(
        &mut self,
        stream: &StreamName,
        held: HeldStream,
        records: Vec<NewEvent>,
        session: &mut ReactorSession,
    ) -> Result<(), ReactorTrouble> {
        session.readings.entry(stream.clone()).or_default().is_behind = held.letter.is_none();
        session.hold(stream, held);
        let (audit, expected) = (audit::stream(), ExpectedRevision::Any);
        let also = StreamAppend::new(audit, expected, records);
        self.record(session, vec![also]).await?;
        if session.letters() < self.deps.limits.dead_letters {
            self.halted = None;
        }
        self.read_on(stream, session);
        Ok(())
    }

    /// Waits for the back-off and answers control messages. Returns `None` once the reactor closes
    /// or its handle is dropped.
    pub(super) async fn wait_in_trouble(
        &mut self,
        backoff: &mut Backoff,
        trouble: &str,
    ) -> Option<()> {
        let clock = Arc::clone(&self.deps.clock);
        let pause = backoff.pause(clock.as_ref());
        tokio::pin!(pause);
        loop {
            tokio::select! {
                biased;
                message = self.control.recv() => {
                    let ReactorControlMessage { operation, done } = message?;
                    let outcome = match operation {
                        ReactorOperation::Pause { by } => {
                            let recorded = self.record_alone(&by, "pause-reactor").await;
                            self.paused |= recorded.is_ok();
                            recorded
                        }
                        ReactorOperation::Resume { by } => {
                            let recorded = self.record_alone(&by, "resume-reactor").await;
                            self.paused &= recorded.is_err();
                            recorded
                        }
                        ReactorOperation::Retry { .. } | ReactorOperation::Discard { .. } => {
                            Err(ReactorError::Unavailable { reason: trouble.to_owned() })
                        }
                    };
                    let _ = done.send(outcome);
                }
                _ = self.closing.changed() => return None,
                () = &mut pause => return Some(()),
            }
        }
    }
}

fn record_of<R: Reactor>(by: &Operator, operation: &str, event: EventId) -> NewEvent {
    audit::record_of(by, operation, &format!("{} {event}", R::NAME))
}
