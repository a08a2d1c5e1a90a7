//! The consumers that take part in appends, and the turns of appends.

use std::{
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Poll, Waker},
};

use crate::InlineConsumer;

/// The consumers of a store, and the turns of its appends.
#[derive(Default)]
pub(super) struct Consumers {
    all: Mutex<Vec<Weak<dyn InlineConsumer>>>,
    turns: Mutex<Turns>,
}

#[derive(Default)]
struct Turns {
    is_taken: bool,
    waiting: Vec<Waker>,
}

/// The right to append.
pub(super) struct Turn<'a>(&'a Consumers);

impl Consumers {
    pub(super) fn attach(&self, consumer: Weak<dyn InlineConsumer>) {
        lock(&self.all).push(consumer);
    }

    pub(super) fn present(&self) -> Vec<Arc<dyn InlineConsumer>> {
        let mut all = lock(&self.all);
        all.retain(|consumer| consumer.strong_count() > 0);
        all.iter().filter_map(Weak::upgrade).collect()
    }

    pub(super) async fn turn(&self) -> Turn<'_> {
        poll_fn(|context| {
            let mut turns = lock(&self.turns);
            if turns.is_taken {
                // Every waiter is woken when the turn ends; one of them gets it.
                turns.waiting.push(context.waker().clone());
                return Poll::Pending;
            }
            turns.is_taken = true;
            Poll::Ready(Turn(self))
        })
        .await
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let waiting = {
            let mut turns = lock(&self.0.turns);
            turns.is_taken = false;
            std::mem::take(&mut turns.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change is one step, so a panic cannot leave the value inconsistent.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
