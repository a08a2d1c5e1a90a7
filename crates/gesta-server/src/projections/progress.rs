//! The progress of a projection, for those who ask.
//!
//! Owns: [`ProjectionProgress`], which its runner writes and calls read, and the cache of
//! partitions.
//! Invariant: a partition that is not in the cache has its last state in the store.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use gesta_store::Position;
use tokio::sync::watch;

use super::checkpoint::PartitionState;

/// Number and size of states that stay in memory after a checkpoint.
const PARTITIONS_MAX: usize = 10_000;
const STATE_BYTES_MAX: usize = 32 << 20;
/// Number and size of new states after which they are stored.
const DIRTY_PARTITIONS_MAX: usize = 1_000;
const DIRTY_BYTES_MAX: usize = 8 << 20;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Running,
    /// Runs on another server, or waits for the store.
    Waiting(String),
    Stopped,
    Aborted,
    Completed,
    Faulted(String),
}

#[derive(Debug)]
pub(super) struct ProjectionProgress {
    pub(super) status: Status,
    pub(super) position: Position,
    pub(super) checkpoint: Position,
    /// Events that handlers have seen since the start of this server.
    pub(super) handled: u64,
    /// States that were used lately, by partition; the one without partition is always here.
    pub(super) states: HashMap<String, PartitionState>,
}

/// The progress of one runner.
#[derive(Clone, Debug)]
pub(super) struct SharedProgress {
    shared: Arc<Mutex<ProjectionProgress>>,
    /// The script was compiled and has its first state, or the runner does not come to that.
    begun: watch::Sender<bool>,
}

impl SharedProgress {
    pub(super) fn new(status: Status) -> Self {
        let progress = ProjectionProgress {
            status,
            position: Position::START,
            checkpoint: Position::START,
            handled: 0,
            states: HashMap::new(),
        };
        Self { shared: Arc::new(Mutex::new(progress)), begun: watch::Sender::new(false) }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, ProjectionProgress> {
        // Nothing under the lock panics.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_status(&self, status: Status) {
        let is_running = status == Status::Running;
        self.lock().status = status;
        if !is_running {
            self.begun.send_replace(true);
        }
    }

    /// Says that a runner starts anew with this progress.
    pub(super) fn starts(&self) {
        self.begun.send_replace(false);
    }

    /// Says that the script handles events from now on.
    pub(super) fn has_begun(&self) {
        self.begun.send_replace(true);
    }

    /// Waits until the script handles events, or its runner has another status.
    pub(super) async fn until_begun(&self) {
        // The sender is this value's own.
        let _ = self.begun.subscribe().wait_for(|begun| *begun).await;
    }
}

impl ProjectionProgress {
    pub(super) fn partitions(&self) -> usize {
        self.states.keys().filter(|partition| !partition.is_empty()).count()
    }

    /// Returns the size of all states in memory.
    pub(super) fn state_bytes(&self) -> usize {
        self.states.values().map(PartitionState::bytes).sum()
    }

    /// Returns `true` if new states have to be stored before there are more.
    pub(super) fn is_full(&self) -> bool {
        let dirty = self.states.values().filter(|state| state.is_dirty);
        let sizes = dirty.map(PartitionState::bytes);
        let (count, bytes) = sizes.fold((0, 0), |(count, bytes), size| (count + 1, bytes + size));
        count >= DIRTY_PARTITIONS_MAX || bytes >= DIRTY_BYTES_MAX && count > 1
    }

    /// Marks all states as stored. Streams of partitions have one more event each.
    pub(super) fn stored(&mut self) {
        for state in self.states.values_mut().filter(|state| state.is_dirty) {
            state.is_dirty = false;
            state.head = Some(state.head.map_or(gesta_store::Revision::FIRST, |head| head.next()));
        }
        // They are loaded again when they are needed.
        if self.states.len() > PARTITIONS_MAX || self.state_bytes() > STATE_BYTES_MAX {
            self.states.retain(|partition, _| partition.is_empty());
        }
    }
}

impl Status {
    /// Returns the word by which clients know the status.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Running => "Running",
            Self::Waiting(_) => "Running/Waiting",
            Self::Stopped => "Stopped",
            Self::Aborted => "Aborted/Stopped",
            Self::Completed => "Completed/Stopped",
            Self::Faulted(_) => "Faulted",
        }
    }

    pub(super) fn reason(&self) -> &str {
        match self {
            Self::Waiting(reason) | Self::Faulted(reason) => reason,
            Self::Running | Self::Stopped | Self::Aborted | Self::Completed => "",
        }
    }
}
