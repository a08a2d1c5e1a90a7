//! The cache of recently handled processes.
//!
//! Invariant: at most [`INSTANCES_MAX`] processes; the least recently used one is dropped. Its
//! stream restores it. A busy process is not read from its beginning each time; new events of its
//! stream always are. Not here: processes at work, which their tasks own
//! ([`lanes`](super::lanes)).

use std::collections::{BTreeMap, HashMap};

use gesta_store::StreamName;

use super::{ProcessManager, deps::ProcessDeps, instance::Instance};

/// Maximum number of cached processes. Twice the number of events that may be open at a time.
const INSTANCES_MAX: usize = 2_048;

pub(super) struct InstanceCache<P> {
    /// Each with the number of its last use.
    instances: HashMap<StreamName, (u64, Instance<P>)>,
    /// Streams by the number of their last use.
    by_use: BTreeMap<u64, StreamName>,
    uses: u64,
}

impl<P: ProcessManager> InstanceCache<P> {
    pub(super) fn new() -> Self {
        Self { instances: HashMap::new(), by_use: BTreeMap::new(), uses: 0 }
    }

    /// Takes a process out of the cache. Its task owns it until it is put back.
    pub(super) fn take(&mut self, deps: &ProcessDeps<P>, stream: &StreamName) -> Instance<P> {
        let Some((used, instance)) = self.instances.remove(stream) else {
            return Instance::new(&deps.manager, stream);
        };
        self.by_use.remove(&used);
        instance
    }

    pub(super) fn put(&mut self, instance: Instance<P>) {
        // An instance without a stream costs nothing to create again.
        if instance.outstanding.revision.is_none() {
            return;
        }
        self.uses += 1;
        let stream = instance.stream.clone();
        if let Some((used, _)) = self.instances.insert(stream.clone(), (self.uses, instance)) {
            self.by_use.remove(&used);
        }
        self.by_use.insert(self.uses, stream);
        if self.instances.len() > INSTANCES_MAX
            && let Some((_, oldest)) = self.by_use.pop_first()
        {
            self.instances.remove(&oldest);
        }
    }
}
