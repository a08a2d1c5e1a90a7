//! Retry of one subject's set-aside inputs, in order, up to the first that fails.
//!
//! Invariant: a retry writes only to instance streams, which record handled inputs. The runner
//! removes the inputs from the journal afterwards. If the program ends in between, the next retry
//! finds everything done.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use gesta_store::StreamName;

use super::{
    ProcessManager, Subject,
    aside::{AsideInput, AsideRef, bounded},
    deps::{ProcessDeps, Routed},
    dispatch::{Sent, Verdict, send},
    instance::{Incoming, Instance},
    outstanding::Outstanding,
    source::read_source,
    trouble::InputError,
};
use crate::error_line::in_one_line;

/// Result of a retry.
pub(super) struct Retried {
    pub(super) subject: Subject,
    /// Handled inputs.
    pub(super) handled: Vec<u64>,
    /// Inputs for another instance, which is set aside itself.
    pub(super) moved: Vec<(u64, String, AsideRef)>,
    pub(super) failed: Option<Failed>,
    /// Infrastructure error that stopped the retry. No input is at fault.
    pub(super) trouble: Option<String>,
    pub(super) known: Vec<(StreamName, Outstanding)>,
}

pub(super) struct Failed {
    pub(super) number: u64,
    pub(super) error: String,
    pub(super) attempts: u32,
}

/// Result of one input.
enum Attempt {
    Handled,
    /// Waits behind the set-aside inputs of this instance.
    Moved(String),
}

/// The reason why an input was not handled.
enum Fault {
    Input(String),
    Store(String),
}

impl From<InputError> for Fault {
    fn from(trouble: InputError) -> Self {
        let line = in_one_line(&trouble);
        if trouble.is_of_the_instance() { Self::Input(line) } else { Self::Store(line) }
    }
}

/// Dependencies of a retry.
struct Retry<P> {
    deps: Arc<ProcessDeps<P>>,
    subject: Subject,
    /// Instances that are set aside.
    held: HashSet<String>,
    instances: HashMap<StreamName, Instance<P>>,
}

pub(super) async fn retry<P: ProcessManager>(
    deps: Arc<ProcessDeps<P>>,
    subject: Subject,
    inputs: Vec<Arc<AsideInput>>,
    held: HashSet<String>,
) -> Retried {
    let mut retry = Retry { deps, subject: subject.clone(), held, instances: HashMap::new() };
    let (mut handled, mut moved) = (Vec::new(), Vec::new());
    let (mut failed, mut trouble) = (None, None);
    for input in inputs {
        let number = input.number;
        match retry.attempt(&input.input).await {
            Ok(Attempt::Handled) => handled.push(number),
            // The runner moves it, because only the runner writes the journal.
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
    Retried { subject, handled, moved, failed, trouble, known }
}

impl<P: ProcessManager> Retry<P> {
    async fn attempt(&mut self, input: &AsideRef) -> Result<Attempt, Fault> {
        let own = match &self.subject {
            Subject::Instance(id) => Some(self.deps.identity.stream(id).map_err(InputError::from)?),
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
                let (deps, instance) = self.instance(&stream);
                instance.catch_up(deps.store.as_ref()).await?;
                let pending = instance.outstanding.commands.get(command).cloned();
                // Settled since, for example by an operator.
                let Some(pending) = pending else { return Ok(Attempt::Handled) };
                let sent = send::<P>(deps, stream.clone(), *command, pending).await;
                self.sent(&stream, sent).await
            }
            (AsideRef::Stream, Some(stream)) => {
                let (deps, instance) = self.instance(&stream);
                instance.catch_up(deps.store.as_ref()).await?;
                Ok(Attempt::Handled)
            }
            // Only events are set aside by their source stream.
            (_, None) => Ok(Attempt::Handled),
        }
    }

    /// Routes an event again, because the definition may have been corrected.
    async fn attempt_event(&mut self, input: &AsideRef) -> Result<Attempt, Fault> {
        let AsideRef::Event { id, stream, revision, .. } = input else {
            return Ok(Attempt::Handled);
        };
        let store = self.deps.store.as_ref();
        // The queue holds a reference: the event is read again from its stream.
        let event = read_source(store, (stream, *revision), id).await?;
        let Some(Routed { id, stream, starts }) = self.deps.route(&event)? else {
            return Ok(Attempt::Handled);
        };
        // The instance it belongs to has earlier inputs waiting; this one lines up behind them.
        if self.held.contains(&id) && self.subject != Subject::Instance(id.clone()) {
            return Ok(Attempt::Moved(id));
        }
        self.handle(&stream, &Incoming::Event { event, starts }).await
    }

    async fn sent(&mut self, stream: &StreamName, sent: Sent) -> Result<Attempt, Fault> {
        match sent.verdict {
            // The runner sends commands that must be repeated later.
            Verdict::Settled | Verdict::Again { .. } => {
                let (deps, instance) = self.instance(stream);
                instance.catch_up(deps.store.as_ref()).await?;
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
        let (deps, instance) = self.instance(stream);
        match instance.handle(&deps, incoming).await {
            Ok(_) => Ok(Attempt::Handled),
            Err(trouble) => {
                // State after a panic may be inconsistent: reload it from the stream.
                self.instances.remove(stream);
                Err(trouble.into())
            }
        }
    }

    fn instance(&mut self, stream: &StreamName) -> (Arc<ProcessDeps<P>>, &mut Instance<P>) {
        let deps = Arc::clone(&self.deps);
        let instance = self.instances.entry(stream.clone());
        (deps, instance.or_insert_with(|| Instance::new(&self.deps.manager, stream)))
    }
}
