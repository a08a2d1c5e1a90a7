//! Stored states: the aggregates whose loads begin at a snapshot.
//!
//! Owns: the list of them, and how often a state is stored. Not here: the store of the states,
//! which the binary chooses.

use gesta::{Builder, SnapshotPolicy, store::SnapshotStore};

use crate::{accounts::Account, catalogue::Product, orders::Order};

/// Events of a stream between two stored states. A load reads at most as many.
const EVENTS_BETWEEN: u64 = 10;

/// Keeps states of orders, products and accounts, each with the revision of its last event.
///
/// A load reads the stored state and folds the events after it. It stores its result in turn,
/// unless another load was further.
pub fn keep_all(builder: Builder, states: &(impl SnapshotStore + Clone)) -> Builder {
    let policy = SnapshotPolicy::every(EVENTS_BETWEEN);
    builder
        .snapshots::<Order>(states, policy)
        .snapshots::<Product>(states, policy)
        .snapshots::<Account>(states, policy)
}
