//! Concurrent handling of instances: one task each, which takes the instance's inputs in order.
//!
//! Invariant: an instance is either in the cache or owned by its task. Inputs that arrive in
//! between queue in its lane.
//!
//! Not here: the work of the task ([`instance`](super::instance)) and the use of its result
//! ([`intake`](super::intake)).

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use gesta_store::{CorrelationId, StreamName};

use super::{
    ProcessManager,
    deps::ProcessDeps,
    instance::{Handled, Incoming, Instance},
    operation::Reply,
    outstanding::Outstanding,
    retry::Retried,
    trouble::InputError,
};

/// An input for a process.
pub(super) struct Item {
    pub(super) incoming: Incoming,
    /// Reply channel of the operator who requested it.
    pub(super) reply: Option<Reply>,
}

/// Inputs of the instances in progress.
#[derive(Default)]
pub(super) struct Lanes(pub(super) HashMap<StreamName, VecDeque<Item>>);

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
    pub(super) stream: StreamName,
    /// `None` after an error: the instance is loaded again.
    pub(super) instance: Option<Instance<P>>,
    pub(super) handled: Vec<(Item, Handled)>,
    pub(super) failed: Option<FailedInput>,
    /// Inputs after the one that failed.
    pub(super) left: VecDeque<Item>,
}

/// An input that failed.
pub(super) struct FailedInput {
    pub(super) item: Item,
    pub(super) trouble: InputError,
    pub(super) correlation_id: Option<CorrelationId>,
}

/// Handles the inputs of an instance in order, up to the first that fails.
pub(super) async fn work<P: ProcessManager>(
    deps: Arc<ProcessDeps<P>>,
    mut instance: Instance<P>,
    mut left: VecDeque<Item>,
) -> Done<P> {
    let stream = instance.stream.clone();
    let mut handled = Vec::with_capacity(left.len());
    // Inputs of one instance are decided on each other's results, so they run in order.
    while let Some(item) = left.pop_front() {
        match instance.handle(&deps, &item.incoming).await {
            Ok(how) => handled.push((item, how)),
            Err(trouble) => {
                let correlation_id = instance.correlation_of(&item.incoming);
                let failed = Some(FailedInput { item, trouble, correlation_id });
                let worked = Worked { stream, instance: None, handled, failed, left };
                return Done::Worked(Box::new(worked));
            }
        }
    }
    let instance = Some(instance);
    Done::Worked(Box::new(Worked { stream, instance, handled, failed: None, left }))
}
