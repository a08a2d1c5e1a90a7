//! Instances that are handled side by side: of each one task at a time, which takes its inputs in
//! order.
//!
//! Always holds: an instance is in one place, the cache or its task; what comes for it meanwhile
//! waits in its lane. Not here: what its task does ([`instance`](super::instance)).

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use gesta_store::StreamName;

use super::{
    EffectId, ProcessError, ProcessManager, Subject,
    aside::AsideRef,
    instance::{Handled, Incoming, Instance},
    journal::Failing,
    orders::Reply,
    outstanding::Outstanding,
    retry::Retried,
    runner::{Parts, Runner, Session},
    trouble::Trouble,
};
use crate::projection::in_one_line;

/// An input on its way to its process.
pub(super) struct Item {
    pub(super) incoming: Incoming,
    /// Whoever ordered it.
    pub(super) reply: Option<Reply>,
}

/// What comes for instances that are being handled.
#[derive(Default)]
pub(super) struct Lanes(HashMap<StreamName, VecDeque<Item>>);

impl Lanes {
    /// The processes whose inputs are being handled.
    pub(super) fn at_work(&self) -> impl Iterator<Item = &StreamName> {
        self.0.keys()
    }

    /// Whether inputs of a process are being handled.
    pub(super) fn is_at_work(&self, stream: &StreamName) -> bool {
        self.0.contains_key(stream)
    }
}

/// What a task of a manager has done.
pub(super) enum Done<P> {
    Worked(Box<Worked<P>>),
    Retried(Box<Retried>),
    /// An instance was changed by an operator, and is known anew.
    Looked(StreamName, Result<Outstanding, Trouble>),
}

/// What became of the inputs of one instance.
pub(super) struct Worked<P> {
    stream: StreamName,
    /// None after trouble: it is read anew.
    instance: Option<Instance<P>>,
    handled: Vec<(Item, Handled)>,
    failed: Option<(Item, Trouble)>,
    /// Behind the one that failed.
    left: VecDeque<Item>,
}

async fn work<P: ProcessManager>(
    parts: Arc<Parts<P>>,
    mut instance: Instance<P>,
    mut left: VecDeque<Item>,
) -> Done<P> {
    let stream = instance.stream.clone();
    let mut handled = Vec::with_capacity(left.len());
    while let Some(item) = left.pop_front() {
        match instance.handle(&parts, &item.incoming).await {
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

impl<P: ProcessManager> Runner<P> {
    /// Hands an input to its process, after those before it.
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
        let instance = session.instances.take(&self.parts, stream);
        self.working.spawn(work(Arc::clone(&self.parts), instance, items));
    }

    pub(super) async fn done(
        &mut self,
        done: Done<P>,
        session: &mut Session<P>,
    ) -> Result<(), Trouble> {
        match done {
            Done::Worked(worked) => self.worked(*worked, session).await,
            Done::Retried(retried) => self.retried(*retried, session).await,
            Done::Looked(stream, Ok(outstanding)) => {
                session.agenda.know(&stream, &outstanding);
                Ok(())
            }
            // It will be told when the instance is asked next.
            Done::Looked(_, Err(trouble)) if trouble.is_of_the_instance() => Ok(()),
            Done::Looked(_, Err(trouble)) => Err(trouble),
        }
    }

    async fn worked(&mut self, worked: Worked<P>, session: &mut Session<P>) -> Result<(), Trouble> {
        let Worked { stream, instance, handled, failed, mut left } = worked;
        if let Some(instance) = instance {
            session.agenda.know(&stream, &instance.outstanding);
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
                // A timer that is fired by hand stays pending where it fails.
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
            Incoming::Refused { .. } => session.agenda.sent(stream),
            Incoming::Timer(_) => {}
            Incoming::Fire { timer, .. } => {
                let fired = if how == Handled::Known {
                    Err(ProcessError::NoSuchTimer { id: self.id_of(stream), timer: *timer })
                } else {
                    Ok(())
                };
                // Who asked may have stopped waiting; it is done all the same.
                let _ = item.reply.map(|reply| reply.send(fired));
            }
        }
    }

    /// Sets an input aside that failed, and with it all that came for the process since.
    async fn put_aside(
        &mut self,
        stream: &StreamName,
        (failed, trouble): (Incoming, Trouble),
        left: VecDeque<Item>,
        session: &mut Session<P>,
    ) -> Result<(), Trouble> {
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
            session.agenda.sent(stream);
        }
        Ok(())
    }

    pub(super) fn id_of(&self, stream: &StreamName) -> String {
        self.parts.identity.id_of(stream).unwrap_or_else(|| stream.as_str().to_owned())
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
