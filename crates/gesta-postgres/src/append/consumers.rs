//! The consumers that take part in the batches of one store.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use gesta_store::InlineConsumer;

/// The consumers of one store.
#[derive(Default)]
pub(crate) struct InlineConsumers(Mutex<Vec<Weak<dyn InlineConsumer>>>);

impl InlineConsumers {
    pub(crate) fn attach(&self, consumer: Weak<dyn InlineConsumer>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(consumer);
    }

    /// Returns the consumers that still have an owner.
    pub(super) fn present(&self) -> Vec<Arc<dyn InlineConsumer>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let present: Vec<_> = all.iter().filter_map(Weak::upgrade).collect();
        if present.len() < all.len() {
            all.retain(|consumer| consumer.strong_count() > 0);
        }
        present
    }
}

impl fmt::Debug for InlineConsumers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InlineConsumers").finish_non_exhaustive()
    }
}
