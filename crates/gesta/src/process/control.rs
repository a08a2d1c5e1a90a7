//! Control messages from operators to a running manager.
//!
//! Always holds: set-aside inputs change through the journal alone, in the append that records the
//! operation. An operation that fails changes nothing and returns the reason.
//!
//! Not here: the retry itself ([`retry`](super::retry)).

use std::sync::Arc;

use gesta_store::{EventId, ExpectedRevision, NewEvent, StoreError, StreamAppend, StreamName};
use tokio::sync::oneshot;

use super::{
    EffectId, ProcessError, ProcessManager, Subject,
    aside::{AsideInput, AsideRef, SubjectKey},
    history::{CommandOutcome, CommandResent, ProcessCancelled, ProcessEvent},
    instance::{Incoming, encoded, settled, timer_skipped},
    journal::{InputsReleased, InstanceTouched, Journal, JournalEvent, RetryFailed},
    lanes::{Done, Item},
    outstanding::Outstanding,
    retry::{Failed, Retried, retry},
    runner::{ProcessRunner, Session, joined},
    trouble::InputError,
};
use crate::{
    audit::{self, Operator},
    backoff::Backoff,
    error_line::in_one_line,
};

pub(crate) type Reply = oneshot::Sender<Result<(), ProcessError>>;

/// An operation requested from a running manager, with the channel for its result.
#[derive(Debug)]
pub(crate) struct ProcessControlMessage {
    pub(crate) operation: ProcessOperation,
    pub(crate) done: Reply,
}

#[derive(Clone, Debug)]
pub(crate) enum ProcessOperation {
    /// Finishes the work in progress and starts nothing more.
    Pause,
    /// Resumes after a pause or halt.
    Resume,
    Retry {
        subject: Subject,
        by: Operator,
    },
    Skip {
        subject: Subject,
        number: u64,
        by: Operator,
    },
    Cancel {
        id: String,
        by: Operator,
    },
    Fire {
        id: String,
        timer: EffectId,
        by: Operator,
    },
    Resend {
        id: String,
        command: EffectId,
        by: Operator,
    },
}

/// A retry in progress.
pub(super) struct Retrying {
    /// Audit record, appended with the result.
    record: Option<NewEvent>,
    reply: Option<Reply>,
}

/// Results of a retry, to be stored in the journal.
struct Kept<'a> {
    handled: Vec<u64>,
    moved: Vec<(u64, String, AsideRef)>,
    failed: Option<&'a Failed>,
    record: Option<&'a NewEvent>,
}

/// The reason why an operation failed. The outer error ends the session.
type Refused = Result<ProcessError, InputError>;

impl<P: ProcessManager> ProcessRunner<P> {
    pub(super) async fn handle_control(
        &mut self,
        order: ProcessControlMessage,
        session: &mut Session<P>,
    ) -> Result<(), InputError> {
        let ProcessControlMessage { operation, done } = order;
        let outcome = match operation {
            ProcessOperation::Pause => return self.pause(done, session).await,
            ProcessOperation::Resume => {
                (self.paused, self.halted) = (false, None);
                self.publish_status(session);
                Ok(())
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

    /// Replies to an operation. An infrastructure error also ends the session.
    fn answer(
        &mut self,
        done: Reply,
        outcome: Result<(), Refused>,
        session: &mut Session<P>,
    ) -> Result<(), InputError> {
        if session.journal.asides.count() < self.deps.set_aside_max {
            self.halted = None;
        }
        let (reply, ended) = match outcome {
            Ok(()) => (Ok(()), Ok(())),
            Err(Ok(refused)) => (Err(refused), Ok(())),
            Err(Err(trouble)) => {
                let reason = in_one_line(&trouble);
                (Err(ProcessError::Unavailable { reason }), Err(trouble))
            }
        };
        self.publish_status(session);
        // The caller may have stopped waiting, which does not undo the operation.
        let _ = done.send(reply);
        ended
    }

    async fn pause(&mut self, done: Reply, session: &mut Session<P>) -> Result<(), InputError> {
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

    fn record(&self, by: &Operator, operation: &str, target: &Subject) -> Option<NewEvent> {
        Some(audit::record_of(by, operation, &format!("{} {target}", P::NAME)))
    }

    /// Returns the append of an operation's audit record.
    fn recorded(&self, by: &Operator, operation: &str, target: &Subject) -> StreamAppend {
        let events = self.record(by, operation, target).into_iter().collect();
        StreamAppend { stream: audit::stream(), expected: ExpectedRevision::Any, events }
    }

    fn start_retry(
        &mut self,
        subject: Subject,
        retrying: Retrying,
        session: &mut Session<P>,
    ) -> Result<(), InputError> {
        let refused =
            if session.retrying.contains_key(&subject) || self.is_at_work(&subject, session) {
                Some(ProcessError::Unavailable { reason: format!("{subject} is being handled") })
            } else if session.journal.asides.holds(&subject) {
                None
            } else {
                Some(ProcessError::NotSetAside { subject: subject.clone() })
            };
        let Some(refused) = refused else {
            self.go_on_retrying(subject, retrying, session);
            return Ok(());
        };
        let _ = retrying.reply.map(|reply| reply.send(Err(refused)));
        Ok(())
    }

    fn is_at_work(&self, subject: &Subject, session: &Session<P>) -> bool {
        let Subject::Instance(id) = subject else { return false };
        self.deps.identity.stream(id).is_ok_and(|stream| session.lanes.is_at_work(&stream))
    }

    fn go_on_retrying(&mut self, subject: Subject, retrying: Retrying, session: &mut Session<P>) {
        let asides = &session.journal.asides;
        let inputs: Vec<Arc<AsideInput>> = asides
            .queue(&subject)
            .map(|queue| queue.inputs.iter().cloned().collect())
            .unwrap_or_default();
        let held = asides.instance_ids().collect();
        session.retrying.insert(subject.clone(), retrying);
        self.working.spawn(retry(Arc::clone(&self.deps), subject, inputs, held));
    }

    /// Stores the result of a retry, and retries inputs that were set aside in between.
    pub(super) async fn retried(
        &mut self,
        retried: Retried,
        session: &mut Session<P>,
    ) -> Result<(), InputError> {
        let Retried { subject, handled, moved, failed, trouble, known } = retried;
        let Some(Retrying { record, reply }) = session.retrying.remove(&subject) else {
            return Ok(());
        };
        for (stream, outstanding) in &known {
            session.schedule.know(stream, outstanding);
        }
        let kept = Kept { handled, moved, failed: failed.as_ref(), record: record.as_ref() };
        self.keep(&subject, kept, session).await?;
        self.hold_subject(&subject, session)?;
        let outcome = match (failed, trouble) {
            (Some(Failed { number, error, .. }), _) => {
                Err(ProcessError::StillFails { subject, number, error })
            }
            (None, Some(reason)) => Err(ProcessError::Unavailable { reason }),
            (None, None) if session.journal.asides.holds(&subject) => {
                self.go_on_retrying(subject, Retrying { record: None, reply }, session);
                return Ok(());
            }
            (None, None) => Ok(()),
        };
        match reply {
            Some(reply) => self.answer(reply, outcome.map_err(Ok), session),
            None => Ok(()),
        }
    }

    /// Stores the results of a retry in the journal.
    async fn keep(
        &self,
        subject: &Subject,
        kept: Kept<'_>,
        session: &mut Session<P>,
    ) -> Result<(), InputError> {
        let Kept { handled, moved, failed, record } = kept;
        if handled.is_empty() && moved.is_empty() && failed.is_none() {
            return Ok(());
        }
        let also = record.map(|record| StreamAppend {
            stream: audit::stream(),
            expected: ExpectedRevision::Any,
            events: vec![record.clone()],
        });
        let at = (session.flow.delivered(), self.deps.now().micros());
        let key = SubjectKey::of(subject);
        let changes = |journal: &Journal| {
            let numbers = handled.iter().copied().chain(moved.iter().map(|(number, ..)| *number));
            let numbers: Vec<u64> = numbers.collect();
            let mut events = Vec::new();
            if !numbers.is_empty() {
                let (subject, skipped) = (key.clone(), Vec::new());
                events.push(InputsReleased { subject, numbers, skipped }.into());
            }
            events.extend(journal.moved(&moved, at));
            if let Some(Failed { number, error, attempts }) = failed {
                let (number, error) = (*number, error.clone());
                let (subject, attempts) = (key.clone(), *attempts);
                events.push(RetryFailed { subject, number, error, attempts }.into());
            }
            events
        };
        let store = self.deps.store.as_ref();
        session.journal.append(store, also.into_iter().collect(), changes).await?;
        for (_, id, _) in &moved {
            session.hold(&self.deps.identity.stream(id)?, &Subject::Instance(id.clone()));
        }
        Ok(())
    }

    fn hold_subject(&self, subject: &Subject, session: &mut Session<P>) -> Result<(), InputError> {
        if let Subject::Instance(id) = subject {
            session.hold(&self.deps.identity.stream(id)?, subject);
        }
        Ok(())
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
        let was_first = queue.inputs.front().is_some_and(|first| first.number == number);
        let mut also = vec![self.recorded(by, "skip-process-input", &subject)];
        also.extend(self.left_out(&subject, &input.input).map_err(Err)?);
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
    fn left_out(
        &self,
        subject: &Subject,
        input: &AsideRef,
    ) -> Result<Option<StreamAppend>, InputError> {
        let Subject::Instance(id) = subject else { return Ok(None) };
        let (stream, identity) = (self.deps.identity.stream(id)?, &self.deps.identity);
        let event = match input {
            AsideRef::Event { .. } | AsideRef::Stream => return Ok(None),
            AsideRef::Timer { timer } => timer_skipped(identity, *timer)?,
            AsideRef::Command { command } => {
                settled(identity, &stream, *command, CommandOutcome::Skipped)?
            }
            AsideRef::Refused { command, refusal } => {
                settled(identity, &stream, *command, CommandOutcome::Refused(refusal.clone()))?
            }
        };
        Ok(Some(StreamAppend { stream, expected: ExpectedRevision::Any, events: vec![event] }))
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
                tracing::warn!(process = P::NAME, %subject, %stream, "the instance's stream is gone");
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
        debug_assert!(session.journal.stream() != &stream, "an instance is not its manager");
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
            Ok(_) if queue.is_none() => return Err(Ok(self.no_such_instance(&id))),
            Err(trouble) if !trouble.is_of_the_instance() => return Err(Err(trouble)),
            Ok(_) | Err(_) => None,
        };
        if was_running == Some(false) && queue.is_none() {
            return Err(Ok(ProcessError::Ended { id }));
        }
        let cancelled: ProcessEvent = ProcessCancelled { was_running }.into();
        let cancelled = encoded(&self.deps.identity, EventId::random(), &cancelled).map_err(Err)?;
        let instance = StreamAppend {
            stream: stream.clone(),
            expected: ExpectedRevision::Any,
            events: vec![cancelled],
        };
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
        let (name, payload) = (refused.name.clone(), refused.payload.clone());
        let resent: ProcessEvent =
            CommandResent { refused: command, command: name, payload }.into();
        let resent = encoded(&self.deps.identity, EventId::random(), &resent).map_err(Err)?;
        // Expects the revision that was read: of two concurrent resends, one succeeds.
        let (stream, expected) = (stream, ExpectedRevision::Exact(head));
        let text = stream.as_str().to_owned();
        let instance = StreamAppend { stream, expected, events: vec![resent] };
        let also = vec![self.recorded(by, "resend-process-command", &subject), instance];
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
                        ProcessOperation::Pause => { self.paused = true; Ok(()) }
                        ProcessOperation::Resume => { self.paused = false; Ok(()) }
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
