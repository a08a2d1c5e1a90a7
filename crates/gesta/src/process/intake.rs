//! The way of inputs to their instances and back: from deliveries, timers and results of commands
//! through lanes to the journal, the schedule and the position.
//!
//! Invariant: inputs behind a set-aside one of the same instance or source wait there in order.

use std::{collections::VecDeque, sync::Arc};

use gesta_store::{CorrelationId, Position, RecordedEvent, StreamName};

use super::{
    EffectId, ProcessError, ProcessManager, Subject,
    aside::AsideRef,
    deps::Routed,
    dispatch::{Sent, Verdict, send},
    instance::{Handled, Incoming},
    journal::Failing,
    lanes::{FailedInput, Item, Worked, work},
    session::{ProcessRunner, Session},
    trouble::InputError,
};
use crate::{
    error_line::in_one_line,
    spans::{correlation_of, trace_of},
};

/// Maximum number of commands in flight, each of a different process.
const SENDING_MAX: usize = 64;

impl<P: ProcessManager> ProcessRunner<P> {
    /// Sends the next commands, up to the maximum in flight.
    pub(super) fn send_commands(&mut self, session: &mut Session<P>) {
        while self.sending.len() < SENDING_MAX {
            let Some((stream, id, command)) = session.schedule.next_command() else { return };
            self.sending.spawn(send::<P>(Arc::clone(&self.deps), stream, id, command));
        }
    }

    /// Stores the result of a command.
    pub(super) async fn sent(
        &mut self,
        sent: Sent,
        session: &mut Session<P>,
    ) -> Result<(), InputError> {
        let Sent { stream, command, correlation_id, verdict } = sent;
        match verdict {
            Verdict::Settled => session.schedule.settle(&stream, command),
            Verdict::Refused(refusal) => {
                let input = AsideRef::Refused { command, refusal: refusal.clone() };
                let incoming = Incoming::Refused { command, refusal };
                self.take_input(stream, input, incoming, session).await?;
            }
            Verdict::Again { reason } => {
                let correlation_id = correlation_id.as_ref().map(CorrelationId::as_str);
                tracing::warn!(
                    process = P::NAME, %stream, %reason, correlation_id,
                    "a command is sent again"
                );
                session.reason = Some(reason);
                // The command stays in `sending`, so no later one of its process overtakes it.
                session.schedule.rest(&stream, self.deps.now());
            }
            Verdict::Faulty { error } => {
                if let Some(id) = self.deps.identity.id_of(&stream) {
                    let input = AsideRef::Command { command };
                    let failing = Failing::because(input, error).of_correlation(correlation_id);
                    self.set_aside(&Subject::Instance(id), vec![failing], session).await?;
                }
                session.schedule.sent(&stream);
            }
        }
        Ok(())
    }

    pub(super) async fn take_timer(
        &mut self,
        stream: StreamName,
        timer: EffectId,
        session: &mut Session<P>,
    ) -> Result<(), InputError> {
        let input = AsideRef::Timer { timer };
        self.take_input(stream, input, Incoming::Timer(timer), session).await
    }

    /// Passes an input other than an event to its process, or queues it behind set-aside inputs.
    async fn take_input(
        &mut self,
        stream: StreamName,
        input: AsideRef,
        incoming: Incoming,
        session: &mut Session<P>,
    ) -> Result<(), InputError> {
        session.inputs += 1;
        let Some(id) = self.deps.identity.id_of(&stream) else { return Ok(()) };
        let subject = Subject::Instance(id);
        if session.journal.asides.holds(&subject) {
            self.set_aside(&subject, vec![Failing::waits(input)], session).await?;
            // The refusal waits in the queue now, so no command of this process is in flight.
            if let Incoming::Refused { .. } = incoming {
                session.schedule.sent(&stream);
            }
            return Ok(());
        }
        self.enqueue(stream, Item { incoming, reply: None }, session);
        Ok(())
    }

    /// Takes up the next delivered event.
    pub(super) async fn take_event(&mut self, session: &mut Session<P>) -> Result<(), InputError> {
        let Some(event) = session.events.pop_front() else { return Ok(()) };
        let position = event.position;
        // Open the event first: until it ends, the watermark and any checkpoint stay before it.
        session.flow.begin(position, event.id);
        if self.dispose(event, session).await? {
            session.flow.end(position);
        }
        Ok(())
    }

    /// Sets an event aside or passes it to its process. Returns whether it is finished.
    async fn dispose(
        &mut self,
        event: RecordedEvent,
        session: &mut Session<P>,
    ) -> Result<bool, InputError> {
        let source = Subject::Source(event.stream.clone());
        // Events are delivered again after a start from an older checkpoint.
        if session.journal.is_skipped(&event.id) || session.journal.asides.has_event(&event.id) {
            return Ok(true);
        }
        // Events of one source stream stay in order, including those that cannot be routed.
        if session.journal.asides.holds(&source) {
            return self.wait(&source, &event, session).await;
        }
        let Routed { id, stream, starts } = match self.deps.route(&event) {
            Ok(Some(routed)) => routed,
            Ok(None) => return Ok(true),
            Err(trouble) => {
                let failing = Failing::tried(AsideRef::event(&event), &trouble);
                let failing = failing.of_correlation(event.correlation_id.clone());
                self.set_aside(&source, vec![failing], session).await?;
                return Ok(true);
            }
        };
        let subject = Subject::Instance(id);
        if session.journal.asides.holds(&subject) {
            return self.wait(&subject, &event, session).await;
        }
        let incoming = Incoming::Event { event, starts };
        self.enqueue(stream, Item { incoming, reply: None }, session);
        Ok(false)
    }

    async fn wait(
        &mut self,
        subject: &Subject,
        event: &RecordedEvent,
        session: &mut Session<P>,
    ) -> Result<bool, InputError> {
        if !session.journal.asides.has_taken(subject, event) {
            let failing = Failing::waits(AsideRef::event(event));
            self.set_aside(subject, vec![failing], session).await?;
        }
        Ok(true)
    }

    /// Queues an input behind earlier ones of its process, and starts a task if none runs.
    pub(super) fn enqueue(&mut self, stream: StreamName, item: Item, session: &mut Session<P>) {
        match session.lanes.0.get_mut(&stream) {
            // The running task does not see the lane: its results start a task for the items that
            // have queued up.
            Some(lane) => lane.push_back(item),
            None => {
                // The empty lane marks the process as being at work.
                session.lanes.0.insert(stream.clone(), VecDeque::new());
                self.set_to_work(&stream, [item].into(), session);
            }
        }
    }

    fn set_to_work(
        &mut self,
        stream: &StreamName,
        items: VecDeque<Item>,
        session: &mut Session<P>,
    ) {
        let instance = session.instances.take(&self.deps, stream);
        self.working.spawn(work(Arc::clone(&self.deps), instance, items));
    }

    /// Stores the results of an instance's task, and starts it again if more inputs have arrived.
    pub(super) async fn worked(
        &mut self,
        worked: Worked<P>,
        session: &mut Session<P>,
    ) -> Result<(), InputError> {
        let Worked { stream, instance, handled, failed, mut left } = worked;
        if let Some(instance) = instance {
            session.schedule.know(&stream, &instance.outstanding);
            // After an error the instance is not put back: a panic may have left its state half
            // changed.
            session.instances.put(instance);
        }
        // Inputs before the failed one are recorded, so they count as handled in any case.
        for (item, how) in handled {
            self.finish(&stream, item, how, session);
        }
        if let Some(failed) = failed {
            if !failed.trouble.is_of_the_instance() {
                return Err(failed.trouble);
            }
            match failed.item.reply {
                // A timer fired by an operator stays pending if it fails.
                Some(reply) => {
                    let id = self.id_of(&stream);
                    let error = in_one_line(&failed.trouble);
                    let _ = reply.send(Err(ProcessError::Unusable { id, error }));
                }
                None => return self.put_aside(&stream, failed, left, session).await,
            }
        }
        let lane = session.lanes.0.get_mut(&stream);
        left.extend(lane.map(std::mem::take).unwrap_or_default());
        if left.is_empty() {
            session.lanes.0.remove(&stream);
        } else {
            self.set_to_work(&stream, left, session);
        }
        Ok(())
    }

    fn finish(&mut self, stream: &StreamName, item: Item, how: Handled, session: &mut Session<P>) {
        match &item.incoming {
            Incoming::Event { event, .. } => {
                session.flow.end(event.position);
                if how == Handled::Ignored {
                    self.ignored += 1;
                    let (id, event_type) = (event.id, &event.event_type);
                    tracing::info!(
                        process = P::NAME, %stream, event = %id, %event_type,
                        correlation_id = correlation_of(event), trace_id = trace_of(event),
                        "input ignored: the process has ended and does not restart"
                    );
                }
            }
            Incoming::Refused { .. } => session.schedule.sent(stream),
            Incoming::Timer(_) => {}
            Incoming::Fire { timer, .. } => {
                let fired = if how == Handled::Known {
                    Err(ProcessError::NoSuchTimer { id: self.id_of(stream), timer: *timer })
                } else {
                    Ok(())
                };
                // The caller may have stopped waiting, which does not undo the operation.
                let _ = item.reply.map(|reply| reply.send(fired));
            }
        }
    }

    /// Sets aside a failed input, and all inputs that arrived after it.
    async fn put_aside(
        &mut self,
        stream: &StreamName,
        failed: FailedInput,
        left: VecDeque<Item>,
        session: &mut Session<P>,
    ) -> Result<(), InputError> {
        let subject = Subject::Instance(self.id_of(stream));
        let FailedInput { item: Item { incoming: failed, .. }, trouble, correlation_id } = failed;
        let error = in_one_line(&trouble);
        // The failed input first, then the inputs that arrived after it, in the order of arrival.
        let first = Failing::tried(reference(&failed), &trouble).of_correlation(correlation_id);
        let mut failing = vec![first];
        let mut events: Vec<_> = position_of(&failed).into_iter().collect();
        let lane = session.lanes.0.get_mut(stream).map(std::mem::take).unwrap_or_default();
        for Item { incoming, reply } in left.into_iter().chain(lane) {
            if let Some(reply) = reply {
                let (id, error) = (self.id_of(stream), error.clone());
                // An operator's input is not queued: its timer stays pending.
                let _ = reply.send(Err(ProcessError::IsSetAside { id, error }));
                continue;
            }
            events.extend(position_of(&incoming));
            failing.push(Failing::waits(reference(&incoming)));
        }
        let is_refused = |one: &Failing| matches!(one.input, AsideRef::Refused { .. });
        let had_refusal = failing.iter().any(is_refused);
        session.lanes.0.remove(stream);
        self.set_aside(&subject, failing, session).await?;
        // Only after the append: the position must not pass an event that is recorded nowhere.
        events.into_iter().for_each(|position| session.flow.end(position));
        if had_refusal {
            session.schedule.sent(stream);
        }
        Ok(())
    }
}

fn position_of(incoming: &Incoming) -> Option<Position> {
    match incoming {
        Incoming::Event { event, .. } => Some(event.position),
        Incoming::Timer(_) | Incoming::Fire { .. } | Incoming::Refused { .. } => None,
    }
}

fn reference(incoming: &Incoming) -> AsideRef {
    let timer = |timer: &EffectId| AsideRef::Timer { timer: *timer };
    match incoming {
        Incoming::Event { event, .. } => AsideRef::event(event),
        Incoming::Timer(id) | Incoming::Fire { timer: id, .. } => timer(id),
        Incoming::Refused { command, refusal } => {
            AsideRef::Refused { command: *command, refusal: refusal.clone() }
        }
    }
}
