//! The features that an application needs of its store.
//!
//! Owns: [`Requirements`], which the builder collects and `open` compares with the store.
//! Invariant: a part that would fail forever on the store, or silently lose a promise, keeps the
//! application from opening. Not here: what a single command needs. Commands are not registered, so
//! a store refuses their appends when they are executed;
//! [`Builder::requires`](super::Builder::requires) states such needs.

use gesta_store::{Capability, CapabilitySet};

use crate::OpenError;

/// Parts of an application with the features that each needs.
#[derive(Debug)]
pub(super) struct Requirements {
    parts: Vec<(String, CapabilitySet)>,
    /// The features that idempotent commands need; empty if the application does without.
    idempotency: CapabilitySet,
}

impl Default for Requirements {
    fn default() -> Self {
        Self { parts: Vec::new(), idempotency: CapabilitySet::of(&[Capability::FindAppend]) }
    }
}

/// Needs of a projection: it follows the events of its types in the order of their positions.
pub(super) const PROJECTION: CapabilitySet =
    CapabilitySet::of(&[Capability::GlobalOrder, Capability::EventTypeFilter]);

/// Needs of an inline projection: appends apply its events, too.
pub(super) const INLINE_PROJECTION: CapabilitySet =
    PROJECTION.union(CapabilitySet::of(&[Capability::InlineConsumers]));

/// Needs of a process manager: it also reads its instances, and truncates its journal.
pub(super) const PROCESS: CapabilitySet = CapabilitySet::of(&[
    Capability::GlobalOrder,
    Capability::EventTypeFilter,
    Capability::CategoryFilter,
    Capability::StreamMetadata,
]);

/// Needs of a reactor: it also truncates its journal.
pub(super) const REACTOR: CapabilitySet = CapabilitySet::of(&[
    Capability::GlobalOrder,
    Capability::EventTypeFilter,
    Capability::StreamMetadata,
]);

/// Needs of remembered rejections: the receipt is appended to a stream of its own, and found.
pub(super) const REMEMBERED_REJECTIONS: CapabilitySet =
    CapabilitySet::of(&[Capability::MultiStreamAppend, Capability::FindAppend]);

impl Requirements {
    pub(super) fn add(&mut self, part: String, needed: CapabilitySet) {
        self.parts.push((part, needed));
    }

    pub(super) fn without_idempotency(&mut self) {
        self.idempotency = CapabilitySet::EMPTY;
    }

    /// Refuses a store that lacks a feature, by the first part that needs it.
    pub(super) fn check(&self, supported: CapabilitySet) -> Result<(), OpenError> {
        for (part, needed) in &self.parts {
            let missing = needed.missing_from(supported);
            if !missing.is_empty() {
                let remedy = "use a store that has it, or leave that part out";
                return Err(OpenError::Unsupported { part: part.clone(), missing, remedy });
            }
        }
        let missing = self.idempotency.missing_from(supported);
        if missing.is_empty() {
            return Ok(());
        }
        let part = "idempotent commands".to_owned();
        let remedy = "use a store that has it, or call `Builder::idempotency_optional` if a \
                      command that is given twice may take effect twice";
        Err(OpenError::Unsupported { part, missing, remedy })
    }
}
