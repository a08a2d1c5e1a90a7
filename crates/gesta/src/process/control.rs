//! Control messages from operators to a running manager.
//!
//! Invariant: set-aside inputs change through the journal alone, in the append that records the
//! operation. An operation that fails changes nothing and returns the reason.
//!
//! Not here: retries ([`retrying`](super::retrying)).

use std::sync::Arc;

use gesta_store::{EventId, ExpectedRevision, NewEvent, StoreError, StreamAppend, StreamName};

use super::{
    EffectId, ProcessError, ProcessManager, Subject,
    aside::{AsideRef, SubjectKey},
    history::{CommandOutcome, ProcessCancelled, ProcessEvent},
    instance::Incoming,
    journal::{InputsReleased, InstanceTouched, Journal, JournalEvent},
    lanes::{Done, Item},
    operation::{ProcessControlMessage, ProcessOperation, Reply},
    outstanding::Outstanding,
    recording::{encoded, resent, settled, timer_skipped},
    session::{ProcessRunner, Refused, Retrying, Session},
    trouble::{InputError, joined},
};
use crate::{
    audit::{self, Operator},
    backoff::Backoff,
    error_line::in_one_line,
};

impl<P: ProcessManager> ProcessRunner<P> {
    pub(super) async fn handle_control(
        &mut self,
        order: ProcessControlMessage,
        session: &mut Session<P>,
    ) -> Result<(), InputError> {
        let ProcessControlMessage { operation, done } = order;
        let outcome = match operation {
            // A pause, a retry and a fired timer are answered once their work has ended.
            ProcessOperation::Pause { by } => return self.pause(&by, done, session).await,
            ProcessOperation::Resume { by } => {
                let recorded = self.record_alone(&by, "resume-process").await;
                if recorded.is_ok() {
                    // A manager without room halts again at the next input that fails.
                    (self.paused, self.halted) = (false, None);
                    self.publish_status(session);
                }
                let _ = done.send(recorded);
                return Ok(());
            }
            ProcessOperation::Retry { subject, by } => {
                let record = self.record(&by, "retry-process", &subject);
                return self.start_retry(subject, Retrying { record, reply: Some(done) }, session);
            }
            ProcessOperation::Fire { id, timer, by } => {
                self.fire((id, timer), &by, done, session);
                return Ok(());
            }
            ProcessOperation::Skip { subject, number, by } => {
                self.skip(subject, number, &by, session).await
            }
            ProcessOperation::Cancel { id, by } => self.cancel(id, &by, session).await,
            ProcessOperation::Resend { id, command, by } => {
                self.resend(id, command, &by, session).await
            }
        };
        self.answer(done, outcome, session)
    }

    /// Stores the result of a task.
    pub(super) async fn done(
        &mut self,
        done: Done<P>,
        session: &mut Session<P>,
    ) -> Result<(), InputError> {
        match done {
            Done::Worked(worked) => self.worked(*worked, session).await,
            Done::Retried(retried) => self.retried(*retried, session).await,
            Done::Looked(stream, Ok(outstanding)) => {
                session.schedule.know(&stream, &outstanding);
                Ok(())
            }
            // The error is reported when the instance is loaded for its next input.
            Done::Looked(_, Err(trouble)) if trouble.is_of_the_instance() => Ok(()),
            Done::Looked(_, Err(trouble)) => Err(trouble),
        }
    }

    async fn pause(
        &mut self,
        by: &Operator,
        done: Reply,
        session: &mut Session<P>,
    ) -> Result<(), InputError> {
        if let Err(unrecorded) = self.record_alone(by, "pause-process").await {
            let _ = done.send(Err(unrecorded));
            return Ok(());
        }
        self.paused = true;
        loop {
            tokio::select! {
                Some(sent) = self.sending.join_next() => self.sent(joined(sent)?, session).await?,
                Some(done) = self.working.join_next() => self.done(joined(done)?, session).await?,
                else => break,
            }
        }
        self.publish_status(session);
        let _ = done.send(Ok(()));
        Ok(())
    }

    /// Records an operation that changes nothing in the store, before it happens.
    async fn record_alone(&self, by: &Operator, operation: &str) -> Result<(), ProcessError> {
        let recorded = audit::record(self.deps.store.as_ref(), by, operation, P::NAME).await;
        recorded.map(drop).map_err(ProcessError::Store)
    }

    fn record(&self, by: &Operator, operation: &str, target: &Subject) -> Option<NewEvent> {
        Some(audit::record_of(by, operation, &format!("{} {target}", P::NAME)))
    }

    /// Returns the append of an operation's audit record.
    fn recorded(&self, by: &Operator, operation: &str, target: &Subject) -> StreamAppend {
        let events = self.record(by, operation, target);
        StreamAppend::new(audit::stream(), ExpectedRevision::Any, events)
    }

    fn fire(
        &mut self,
        (id, timer): (String, EffectId),
        by: &Operator,
        done: Reply,
        session: &mut Session<P>,
    ) {
        let subject = Subject::Instance(id);
        match self.usable(&subject, session) {
            Ok(stream) => {
                let target = format!("{} {subject} {timer}", P::NAME);
                let record = Box::new(audit::record_of(by, "fire-process-timer", &target));
                let incoming = Incoming::Fire { timer, record };
                self.enqueue(stream, Item { incoming, reply: Some(done) }, session);
            }
            // The caller may have stopped waiting.
            Err(refused) => drop(done.send(Err(refused))),
        }
    }

    /// Returns the stream of an instance that is not set aside.
    fn usable(&self, subject: &Subject, session: &Session<P>) -> Result<StreamName, ProcessError> {
        let Subject::Instance(id) = subject else {
            return Err(ProcessError::NotSetAside { subject: subject.clone() });
        };
        if let Some(first) = session.journal.asides.queue(subject).and_then(|it| it.inputs.front())
        {
            let error = first.error.clone().unwrap_or_default();
            return Err(ProcessError::IsSetAside { id: id.clone(), error });
        }
        self.deps.identity.stream(id).map_err(|_| self.no_such_instance(id))
    }

    fn no_such_instance(&self, id: &str) -> ProcessError {
        ProcessError::NoSuchInstance { process: P::NAME.to_owned(), id: id.to_owned() }
    }

    async fn skip(
        &mut self,
        subject: Subject,
        number: u64,
        by: &Operator,
        session: &mut Session<P>,
    ) -> Result<(), Refused> {
        if session.retrying.contains_key(&subject) {
            let reason = format!("{subject} is being retried");
            return Err(Ok(ProcessError::Unavailable { reason }));
        }
        let Some(queue) = session.journal.asides.queue(&subject) else {
            return Err(Ok(ProcessError::NotSetAside { subject }));
        };
        let Some(input) = queue.inputs.iter().find(|input| input.number == number).cloned() else {
            return Err(Ok(ProcessError::NoSuchInput { subject, number }));
        };
        // Removing the first input frees those behind it, which are retried.
        let was_first = queue.inputs.front().is_some_and(|first| first.number == number);
        let mut also = vec![self.recorded(by, "skip-process-input", &subject)];
        // A timer or command is skipped in the stream of its instance as well, which lists it as
        // outstanding.
        also.extend(self.left_out(&subject, &input.input).await.map_err(Err)?);
        // The event may be delivered again, from an older checkpoint or in a restored store.
        let skipped: Vec<String> = input.input.event_id().map(str::to_owned).into_iter().collect();
        let released =
            InputsReleased { subject: SubjectKey::of(&subject), numbers: vec![number], skipped };
        self.change(&subject, also, released.into(), session).await?;
        self.hold_subject(&subject, session).map_err(Err)?;
        self.look_again(&subject, session);
        if was_first && session.journal.asides.holds(&subject) {
            self.go_on_retrying(subject, Retrying { record: None, reply: None }, session);
        }
        Ok(())
    }

    /// Builds the events that skip an input in an instance's stream.
    async fn left_out(
        &self,
        subject: &Subject,
        input: &AsideRef,
    ) -> Result<Option<StreamAppend>, InputError> {
        let Subject::Instance(id) = subject else { return Ok(None) };
        let (stream, identity) = (self.deps.identity.stream(id)?, &self.deps.identity);
        let effect = match input {
            AsideRef::Event { .. } | AsideRef::Stream => return Ok(None),
            AsideRef::Timer { timer: effect }
            | AsideRef::Command { command: effect }
            | AsideRef::Refused { command: effect, .. } => *effect,
        };
        // A stream that cannot be read is one of the reasons to skip: its event has no correlation.
        let outstanding = Outstanding::read(self.deps.store.as_ref(), &stream).await.ok();
        let correlation = outstanding.and_then(|known| known.correlation_of(effect));
        let outcome = match input {
            AsideRef::Timer { .. } => None,
            AsideRef::Refused { refusal, .. } => Some(CommandOutcome::Refused(refusal.clone())),
            AsideRef::Command { .. } | AsideRef::Event { .. } | AsideRef::Stream => {
                Some(CommandOutcome::Skipped)
            }
        };
        let event = match outcome {
            None => timer_skipped(identity, effect, correlation)?,
            Some(outcome) => settled(identity, &stream, effect, correlation, outcome)?,
        };
        Ok(Some(StreamAppend::new(stream, ExpectedRevision::Any, vec![event])))
    }

    /// Appends a change of the journal together with other streams. Leaves out the stream of a
    /// tombstoned instance.
    async fn change(
        &self,
        subject: &Subject,
        also: Vec<StreamAppend>,
        event: JournalEvent,
        session: &mut Session<P>,
    ) -> Result<(), Refused> {
        let store = self.deps.store.as_ref();
        let changes = |_: &Journal| vec![event.clone()];
        match session.journal.append(store, also.clone(), changes).await {
            Err(InputError::Store(StoreError::Deleted { stream })) => {
                tracing::warn!(
                    process = P::NAME, %subject, %stream,
                    "the instance's stream was deleted"
                );
                let also = also.into_iter().filter(|part| part.stream != stream).collect();
                session.journal.append(store, also, changes).await.map_err(Err)
            }
            outcome => outcome.map_err(Err),
        }
    }

    /// Reloads the outstanding work of an instance that changed outside its lane.
    fn look_again(&mut self, subject: &Subject, session: &Session<P>) {
        let Subject::Instance(id) = subject else { return };
        let Ok(stream) = self.deps.identity.stream(id) else { return };
        let store = Arc::clone(&self.deps.store);
        debug_assert!(
            session.journal.stream() != &stream,
            "an instance's stream is not its manager's journal"
        );
        self.working.spawn(async move {
            let outstanding = Outstanding::read(store.as_ref(), &stream).await;
            Done::Looked(stream, outstanding)
        });
    }

    async fn cancel(
        &mut self,
        id: String,
        by: &Operator,
        session: &mut Session<P>,
    ) -> Result<(), Refused> {
        let Ok(stream) = self.deps.identity.stream(&id) else {
            return Err(Ok(self.no_such_instance(&id)));
        };
        let subject = Subject::Instance(id.clone());
        if session.retrying.contains_key(&subject) {
            let reason = format!("{subject} is being retried");
            return Err(Ok(ProcessError::Unavailable { reason }));
        }
        let queue = session.journal.asides.queue(&subject).cloned();
        let was_running = match Outstanding::read(self.deps.store.as_ref(), &stream).await {
            Ok(outstanding) if outstanding.begun => Some(outstanding.ended.is_none()),
            // An instance may exist in the queue only: its first event failed, so it has no stream
            // yet.
            Ok(_) if queue.is_none() => return Err(Ok(self.no_such_instance(&id))),
            Err(trouble) if !trouble.is_of_the_instance() => return Err(Err(trouble)),
            // Unknown for the count of instances: nothing was begun, or the stream cannot be read.
            // It can still be cancelled.
            Ok(_) | Err(_) => None,
        };
        if was_running == Some(false) && queue.is_none() {
            return Err(Ok(ProcessError::Ended { id }));
        }
        let cancelled: ProcessEvent = ProcessCancelled { was_running }.into();
        let cancelled = encoded(&self.deps.identity, EventId::random(), &cancelled).map_err(Err)?;
        let instance = StreamAppend::new(stream.clone(), ExpectedRevision::Any, vec![cancelled]);
        let also = vec![self.recorded(by, "cancel-process", &subject), instance];
        let inputs = queue.map(|queue| queue.inputs).unwrap_or_default();
        let numbers = inputs.iter().map(|input| input.number).collect();
        let skipped = inputs.iter().filter_map(|input| input.input.event_id().map(str::to_owned));
        let released = InputsReleased {
            subject: SubjectKey::of(&subject),
            numbers,
            skipped: skipped.collect(),
        };
        self.change(&subject, also, released.into(), session).await?;
        // No further command of it is sent, and no timer fires.
        session.schedule.cancel(&stream);
        self.hold_subject(&subject, session).map_err(Err)
    }

    async fn resend(
        &mut self,
        id: String,
        command: EffectId,
        by: &Operator,
        session: &mut Session<P>,
    ) -> Result<(), Refused> {
        let subject = Subject::Instance(id.clone());
        let Ok(stream) = self.deps.identity.stream(&id) else {
            return Err(Ok(self.no_such_instance(&id)));
        };
        let unusable = |error: String| Ok(ProcessError::Unusable { id: id.clone(), error });
        let outstanding = match Outstanding::read(self.deps.store.as_ref(), &stream).await {
            Ok(outstanding) => outstanding,
            Err(trouble) if trouble.is_of_the_instance() => {
                return Err(unusable(in_one_line(&trouble)));
            }
            Err(trouble) => return Err(Err(trouble)),
        };
        let (Some((refused, _)), Some(head)) =
            (outstanding.refused.get(&command), outstanding.revision)
        else {
            return Err(Ok(ProcessError::NoSuchRefusedCommand { id, command }));
        };
        let resent = resent(&self.deps.identity, command, refused.clone()).map_err(Err)?;
        // Expects the revision that was read: of two concurrent resends, one succeeds.
        let (stream, expected) = (stream, ExpectedRevision::Exact(head));
        let text = stream.as_str().to_owned();
        let instance = StreamAppend::new(stream, expected, vec![resent]);
        let also = vec![self.recorded(by, "resend-process-command", &subject), instance];
        // The journal learns of it in the same append: no earlier checkpoint lists an instance
        // without outstanding work.
        match self.change(&subject, also, InstanceTouched { stream: text }.into(), session).await {
            Err(Err(InputError::Store(StoreError::Conflict(_)))) => {
                let reason = "the instance has just changed".to_owned();
                return Err(Ok(ProcessError::Unavailable { reason }));
            }
            outcome => outcome?,
        }
        self.look_again(&subject, session);
        Ok(())
    }

    /// Waits for the back-off and answers control messages. Returns `None` once all handles are
    /// dropped.
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
                order = self.control.recv() => {
                    let ProcessControlMessage { operation, done } = order?;
                    let outcome = match operation {
                        ProcessOperation::Pause { by } => {
                            let recorded = self.record_alone(&by, "pause-process").await;
                            self.paused |= recorded.is_ok();
                            recorded
                        }
                        ProcessOperation::Resume { by } => {
                            let recorded = self.record_alone(&by, "resume-process").await;
                            self.paused &= recorded.is_err();
                            recorded
                        }
                        ProcessOperation::Retry { .. }
                        | ProcessOperation::Skip { .. }
                        | ProcessOperation::Cancel { .. }
                        | ProcessOperation::Fire { .. }
                        | ProcessOperation::Resend { .. } => {
                            Err(ProcessError::Unavailable { reason: trouble.to_owned() })
                        }
                    };
                    let _ = done.send(outcome);
                }
                () = &mut pause => return Some(()),
            }
        }
    }
}
