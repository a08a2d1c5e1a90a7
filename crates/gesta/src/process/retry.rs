//! Trying again what is set aside of one subject, in order, up to the first input that fails.
//!
//! Always holds: it changes nothing but instances' streams, where what was handled before is
//! known; that an input is set aside no more is said afterwards, by the runner. So an end of the
//! program in between leads to a retry that finds everything done.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use gesta_store::{ReadStream, Revision, StreamName};

use super::{
    ProcessManager, Subject,
    aside::{AsideInput, AsideRef, bounded},
    checkpoint::event_at,
    dispatch::{Sent, Verdict, send},
    instance::{Incoming, Instance},
    lanes::Done,
    outstanding::Outstanding,
    runner::{Parts, Routed},
    trouble::Trouble,
};
use crate::projection::in_one_line;

/// How trying again went.
pub(super) struct Retried {
    pub(super) subject: Subject,
    /// The inputs that are handled.
    pub(super) handled: Vec<u64>,
    /// Inputs that belong to another instance, which is set aside itself.
    pub(super) moved: Vec<(u64, String, AsideRef)>,
    pub(super) failed: Option<Failed>,
    /// What kept it from being tried, which is no fault of the input.
    pub(super) trouble: Option<String>,
    pub(super) known: Vec<(StreamName, Outstanding)>,
}

pub(super) struct Failed {
    pub(super) number: u64,
    pub(super) error: String,
    pub(super) attempts: u32,
}

/// What became of one input.
enum Attempt {
    Handled,
    /// It waits behind what is set aside of this instance.
    Moved(String),
}

/// Why an input was not handled.
enum Fault {
    Input(String),
    Store(String),
}

impl From<Trouble> for Fault {
    fn from(trouble: Trouble) -> Self {
        let line = in_one_line(&trouble);
        if trouble.is_of_the_instance() { Self::Input(line) } else { Self::Store(line) }
    }
}

/// What a retry works with.
struct Retry<P> {
    parts: Arc<Parts<P>>,
    subject: Subject,
    /// The instances that are set aside.
    held: HashSet<String>,
    instances: HashMap<StreamName, Instance<P>>,
}

pub(super) async fn retry<P: ProcessManager>(
    parts: Arc<Parts<P>>,
    subject: Subject,
    inputs: Vec<Arc<AsideInput>>,
    held: HashSet<String>,
) -> Done<P> {
    let mut retry = Retry { parts, subject: subject.clone(), held, instances: HashMap::new() };
    let (mut handled, mut moved) = (Vec::new(), Vec::new());
    let (mut failed, mut trouble) = (None, None);
    for input in inputs {
        let number = input.number;
        match retry.attempt(&input.input).await {
            Ok(Attempt::Handled) => handled.push(number),
            Ok(Attempt::Moved(id)) => moved.push((number, id, input.input.clone())),
            Err(Fault::Store(line)) => {
                trouble = Some(line);
                break;
            }
            Err(Fault::Input(error)) => {
                let attempts = input.attempts.saturating_add(1);
                failed = Some(Failed { number, error: bounded(error), attempts });
                break;
            }
        }
    }
    let instances = retry.instances.into_iter();
    let known = instances.map(|(stream, instance)| (stream, instance.outstanding)).collect();
    Done::Retried(Box::new(Retried { subject, handled, moved, failed, trouble, known }))
}

impl<P: ProcessManager> Retry<P> {
    async fn attempt(&mut self, input: &AsideRef) -> Result<Attempt, Fault> {
        let own = match &self.subject {
            Subject::Instance(id) => Some(self.parts.identity.stream(id).map_err(Trouble::from)?),
            Subject::Source(_) => None,
        };
        match (input, own) {
            (AsideRef::Event { .. }, _) => self.attempt_event(input).await,
            (AsideRef::Timer { timer }, Some(stream)) => {
                self.handle(&stream, &Incoming::Timer(*timer)).await
            }
            (AsideRef::Refused { command, refusal }, Some(stream)) => {
                let (command, refusal) = (*command, refusal.clone());
                self.handle(&stream, &Incoming::Refused { command, refusal }).await
            }
            (AsideRef::Command { command }, Some(stream)) => {
                let (parts, instance) = self.instance(&stream);
                instance.catch_up(parts.store.as_ref()).await?;
                let pending = instance.outstanding.commands.get(command).cloned();
                let Some(pending) = pending else { return Ok(Attempt::Handled) };
                let sent = send::<P>(parts, stream.clone(), *command, pending).await;
                self.sent(&stream, sent).await
            }
            (AsideRef::Stream, Some(stream)) => {
                let (parts, instance) = self.instance(&stream);
                instance.catch_up(parts.store.as_ref()).await?;
                Ok(Attempt::Handled)
            }
            // Only events are set aside by their source.
            (_, None) => Ok(Attempt::Handled),
        }
    }

    /// An event is routed again: the definition may have been corrected since.
    async fn attempt_event(&mut self, input: &AsideRef) -> Result<Attempt, Fault> {
        let AsideRef::Event { id, stream, revision, .. } = input else {
            return Ok(Attempt::Handled);
        };
        let gone = || Trouble::EventGone {
            stream: stream.clone(),
            revision: *revision,
            event: id.clone(),
        };
        let name = StreamName::stored(stream.clone()).map_err(Trouble::from)?;
        let read = ReadStream::forwards(name).from(Revision::new(*revision));
        let event_id = id.parse().map_err(|_| gone())?;
        let found = event_at(self.parts.store.as_ref(), read, event_id).await;
        let event = found.map_err(Trouble::from)?.ok_or_else(gone)?;
        let Some(Routed { id, stream, starts }) = self.parts.route(&event)? else {
            return Ok(Attempt::Handled);
        };
        if self.held.contains(&id) && self.subject != Subject::Instance(id.clone()) {
            return Ok(Attempt::Moved(id));
        }
        self.handle(&stream, &Incoming::Event { event, starts }).await
    }

    async fn sent(&mut self, stream: &StreamName, sent: Sent) -> Result<Attempt, Fault> {
        match sent.verdict {
            // What is to be sent again later is sent by the runner, as before.
            Verdict::Settled | Verdict::Again { .. } => {
                let (parts, instance) = self.instance(stream);
                instance.catch_up(parts.store.as_ref()).await?;
                Ok(Attempt::Handled)
            }
            Verdict::Refused(refusal) => {
                let incoming = Incoming::Refused { command: sent.command, refusal };
                self.handle(stream, &incoming).await
            }
            Verdict::Faulty { error } => Err(Fault::Input(error)),
        }
    }

    async fn handle(&mut self, stream: &StreamName, incoming: &Incoming) -> Result<Attempt, Fault> {
        let (parts, instance) = self.instance(stream);
        match instance.handle(&parts, incoming).await {
            Ok(_) => Ok(Attempt::Handled),
            Err(trouble) => {
                // What panicked half way is not believed.
                self.instances.remove(stream);
                Err(trouble.into())
            }
        }
    }

    fn instance(&mut self, stream: &StreamName) -> (Arc<Parts<P>>, &mut Instance<P>) {
        let parts = Arc::clone(&self.parts);
        let instance = self.instances.entry(stream.clone());
        (parts, instance.or_insert_with(|| Instance::new(&self.parts.manager, stream)))
    }
}
