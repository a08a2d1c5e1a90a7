//! Concurrent handling of instances: one task each, which takes the instance's inputs in order.
//!
//! Always holds: an instance is either in the cache or owned by its task. Inputs that arrive in
//! between queue in its lane.
//!
//! Not here: the work of the task ([`instance`](super::instance)).

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use gesta_store::StreamName;

use super::{
    EffectId, ProcessError, ProcessManager, Subject,
    aside::AsideRef,
    control::Reply,
    instance::{Handled, Incoming, Instance},
    journal::Failing,
    outstanding::Outstanding,
    retry::Retried,
    runner::{ProcessDeps, ProcessRunner, Session},
    trouble::InputError,
};
use crate::error_line::in_one_line;

/// An input for a process.
pub(super) struct Item {
    pub(super) incoming: Incoming,
    /// Reply channel of the operator who requested it.
    pub(super) reply: Option<Reply>,
}

/// Inputs of the instances in progress.
#[derive(Default)]
pub(super) struct Lanes(HashMap<StreamName, VecDeque<Item>>);

impl Lanes {
    pub(super) fn at_work(&self) -> impl Iterator<Item = &StreamName> {
        self.0.keys()
    }

    /// Returns whether inputs of a process are in progress.
    pub(super) fn is_at_work(&self, stream: &StreamName) -> bool {
        self.0.contains_key(stream)
    }
}

/// Result of a manager's task.
pub(super) enum Done<P> {
    Worked(Box<Worked<P>>),
    Retried(Box<Retried>),
    /// An operator changed an instance, whose outstanding effects are reloaded.
    Looked(StreamName, Result<Outstanding, InputError>),
}

/// Results of the inputs of one instance.
pub(super) struct Worked<P> {
    stream: StreamName,
    /// `None` after an error: the instance is loaded again.
    instance: Option<Instance<P>>,
    handled: Vec<(Item, Handled)>,
    failed: Option<(Item, InputError)>,
    /// Inputs behind the one that failed.
    left: VecDeque<Item>,
}

async fn work<P: ProcessManager>(
    deps: Arc<ProcessDeps<P>>,
    mut instance: Instance<P>,
    mut left: VecDeque<Item>,
) -> Done<P> {
    let stream = instance.stream.clone();
    let mut handled = Vec::with_capacity(left.len());
    while let Some(item) = left.pop_front() {
        match instance.handle(&deps, &item.incoming).await {
            Ok(how) => handled.push((item, how)),
            Err(trouble) => {
                let failed = Some((item, trouble));
                let worked = Worked { stream, instance: None, handled, failed, left };
                return Done::Worked(Box::new(worked));
            }
        }
    }
    let instance = Some(instance);
    Done::Worked(Box::new(Worked { stream, instance, handled, failed: None, left }))
}

impl<P: ProcessManager> ProcessRunner<P> {
    /// Queues an input behind earlier ones of its process, and starts a task if none runs.
    pub(super) fn enqueue(&mut self, stream: StreamName, item: Item, session: &mut Session<P>) {
        match session.lanes.0.get_mut(&stream) {
            Some(lane) => lane.push_back(item),
            None => {
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

    async fn worked(
        &mut self,
        worked: Worked<P>,
        session: &mut Session<P>,
    ) -> Result<(), InputError> {
        let Worked { stream, instance, handled, failed, mut left } = worked;
        if let Some(instance) = instance {
            session.schedule.know(&stream, &instance.outstanding);
            session.instances.put(instance);
        }
        for (item, how) in handled {
            self.finish(&stream, item, how, session);
        }
        if let Some((item, trouble)) = failed {
            if !trouble.is_of_the_instance() {
                return Err(trouble);
            }
            let Item { incoming, reply } = item;
            match reply {
                // A timer fired by an operator stays pending if it fails.
                Some(reply) => {
                    let id = self.id_of(&stream);
                    let error = in_one_line(&trouble);
                    let _ = reply.send(Err(ProcessError::Unusable { id, error }));
                }
                None => return self.put_aside(&stream, (incoming, trouble), left, session).await,
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
                        "an ended process is not begun anew"
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

    /// Sets aside a failed input, and all inputs that arrived behind it.
    async fn put_aside(
        &mut self,
        stream: &StreamName,
        (failed, trouble): (Incoming, InputError),
        left: VecDeque<Item>,
        session: &mut Session<P>,
    ) -> Result<(), InputError> {
        let subject = Subject::Instance(self.id_of(stream));
        let error = in_one_line(&trouble);
        let mut failing = vec![Failing::tried(reference(&failed), &trouble)];
        let mut events: Vec<_> = position_of(&failed).into_iter().collect();
        let lane = session.lanes.0.get_mut(stream).map(std::mem::take).unwrap_or_default();
        for Item { incoming, reply } in left.into_iter().chain(lane) {
            if let Some(reply) = reply {
                let (id, error) = (self.id_of(stream), error.clone());
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
        events.into_iter().for_each(|position| session.flow.end(position));
        if had_refusal {
            session.schedule.sent(stream);
        }
        Ok(())
    }

    pub(super) fn id_of(&self, stream: &StreamName) -> String {
        self.deps.identity.id_of(stream).unwrap_or_else(|| stream.as_str().to_owned())
    }
}

fn position_of(incoming: &Incoming) -> Option<gesta_store::Position> {
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
