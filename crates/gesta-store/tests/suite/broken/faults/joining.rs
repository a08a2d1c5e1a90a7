//! Faults of appends that consumers take part in.

use std::sync::{Arc, Weak};

use gesta_store::{
    AppendTransaction, EventStore as _, InlineBatch, InlineConsumer, InlineError, InlineFuture,
    Position, RecordedEvent,
};

use crate::broken::{Fault, FaultyStore};

/// A fault between the store and a consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Between {
    ForgetsCommits,
    SwallowsRefusals,
    AppliesTwice,
    RefusesWhatIsLeftOut,
    HidesEarlierEvents,
}

struct Intermediary {
    consumer: Weak<dyn InlineConsumer>,
    fault: Between,
}

impl InlineConsumer for Intermediary {
    fn apply<'a>(&'a self, batch: &'a InlineBatch) -> InlineFuture<'a> {
        Box::pin(async move {
            let Some(consumer) = self.consumer.upgrade() else { return Ok(()) };
            let mut batch = batch.clone();
            if self.fault == Between::HidesEarlierEvents {
                let (inner, before) = (batch.transaction, batch.before);
                batch.transaction = Arc::new(Forgetful { inner, before });
            }
            if self.fault == Between::AppliesTwice {
                consumer.apply(&batch).await?;
            }
            match (consumer.apply(&batch).await, self.fault) {
                (Err(InlineError::Refused { .. }), Between::SwallowsRefusals) => Ok(()),
                (Err(InlineError::Again { reason }), Between::RefusesWhatIsLeftOut) => {
                    Err(InlineError::Refused { consumer: "witness".to_owned(), reason })
                }
                (outcome, _) => outcome,
            }
        })
    }

    fn committed(&self, batch: &InlineBatch) {
        if self.fault != Between::ForgetsCommits
            && let Some(consumer) = self.consumer.upgrade()
        {
            consumer.committed(batch);
        }
    }
}

/// A transaction that shows the batch alone.
struct Forgetful {
    inner: Arc<dyn AppendTransaction>,
    before: Position,
}

impl AppendTransaction for Forgetful {
    fn events_after(&self, position: Position) -> InlineFuture<'_, Arc<Vec<RecordedEvent>>> {
        self.inner.events_after(position.max(self.before))
    }
}

fn with(fault: Between) -> FaultyStore {
    FaultyStore {
        attach_inline: Box::new(move |store, consumer| {
            let between: Arc<dyn InlineConsumer> = Arc::new(Intermediary { consumer, fault });
            store.attach_inline(Arc::downgrade(&between))?;
            // Kept for the life of the test.
            std::mem::forget(between);
            Ok(())
        }),
        ..FaultyStore::correct()
    }
}

pub(crate) fn faults() -> Vec<Fault> {
    vec![
        Fault::of("a_consumer_has_an_append_before_it_is_acknowledged", || {
            with(Between::ForgetsCommits)
        }),
        Fault::of("an_append_that_a_consumer_refuses_is_not_recorded", || {
            with(Between::SwallowsRefusals)
        }),
        Fault::of("a_consumer_gets_no_event_twice", || with(Between::AppliesTwice)),
        Fault::of("an_append_goes_on_without_what_a_consumer_leaves_out", || {
            with(Between::RefusesWhatIsLeftOut)
        }),
        Fault::of("a_consumer_reads_what_was_appended_before", || {
            with(Between::HidesEarlierEvents)
        }),
        Fault::of("a_consumer_that_nobody_keeps_is_not_called", || FaultyStore {
            attach_inline: Box::new(|store, consumer| {
                std::mem::forget(consumer.upgrade());
                store.attach_inline(consumer)
            }),
            ..FaultyStore::correct()
        }),
    ]
}
