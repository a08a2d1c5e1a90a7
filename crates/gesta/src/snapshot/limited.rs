//! A snapshot store within a limit of time: a server that does not answer costs commands little.
//!
//! Owns: [`LimitedSnapshots`]. Invariants: a load or save that takes longer than [`ANSWER_MAX`]
//! counts as failed; after a failure the store is left out for [`PAUSE`], and one call after that
//! asks it again while all others go on without it; the failure is logged once. Not here: the
//! validity of a snapshot.

use std::{
    future::{Future, pending},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, SystemTime},
};

use gesta_store::{DatabaseError, Snapshot, SnapshotStore, StreamName};

use crate::Clock;

/// Maximum time for an answer. Without it, a load reads all events.
const ANSWER_MAX: Duration = Duration::from_secs(1);
/// Time for which a store that has failed is left out.
const PAUSE: Duration = Duration::from_secs(10);

pub(super) struct LimitedSnapshots {
    store: Arc<dyn SnapshotStore>,
    /// The application's clock. Without one there is no limit.
    clock: OnceLock<Arc<dyn Clock>>,
    failure: Mutex<Option<Failure>>,
}

/// The last failure of a store that has not answered since.
struct Failure {
    reason: String,
    /// The end of the pause.
    until: SystemTime,
}

impl LimitedSnapshots {
    pub(super) fn new(store: Arc<dyn SnapshotStore>) -> Self {
        Self { store, clock: OnceLock::new(), failure: Mutex::new(None) }
    }

    /// Sets the clock that limits answers. The first one counts.
    pub(super) fn timed_by(&self, clock: &Arc<dyn Clock>) {
        let _ = self.clock.set(Arc::clone(clock));
    }

    /// Returns the snapshot of a stream, or `None` if the store has none, fails or is left out.
    pub(super) async fn load(&self, stream: &StreamName) -> Option<Snapshot> {
        let question = || self.store.load_snapshot(stream);
        self.ask(stream, "cannot read a snapshot", question).await.flatten()
    }

    /// Saves a snapshot, unless the store fails or is left out.
    pub(super) async fn save(&self, snapshot: Snapshot) {
        let stream = snapshot.stream.clone();
        let question = || self.store.save_snapshot(snapshot);
        self.ask(&stream, "cannot save a snapshot", question).await;
    }

    /// Returns the reason why the store is left out, if it is.
    pub(super) fn trouble(&self) -> Option<String> {
        self.lock().as_ref().map(|failure| failure.reason.clone())
    }

    async fn ask<T, Question>(
        &self,
        stream: &StreamName,
        what: &str,
        question: impl FnOnce() -> Question,
    ) -> Option<T>
    where
        Question: Future<Output = Result<T, DatabaseError>>,
    {
        if !self.may_ask() {
            return None;
        }
        let answer = tokio::select! {
            // Prefer an answer that arrives together with the limit.
            biased;
            answer = question() => answer.map_err(|error| error.to_string()),
            () = self.limit() => {
                let (place, seconds) = (self.store.place(), ANSWER_MAX.as_secs());
                Err(format!("{place}: no answer within {seconds} second"))
            }
        };
        let reason = match answer {
            Ok(answer) => {
                if self.lock().take().is_some() {
                    tracing::info!("snapshots are used again");
                }
                return Some(answer);
            }
            Err(reason) => reason,
        };
        // Without a clock there is no pause either.
        let Some(until) = self.clock.get().map(|clock| clock.now() + PAUSE) else {
            tracing::warn!(%stream, error = reason, "{what}");
            return None;
        };
        if self.lock().replace(Failure { reason: reason.clone(), until }).is_none() {
            tracing::warn!(%stream, error = reason, "{what}; loads read all events meanwhile");
        }
        None
    }

    async fn limit(&self) {
        match self.clock.get() {
            Some(clock) => clock.sleep(ANSWER_MAX).await,
            None => pending().await,
        }
    }

    /// Returns `false` during a pause. The first caller after it begins another pause for the
    /// others.
    fn may_ask(&self) -> bool {
        let mut failure = self.lock();
        let (Some(failure), Some(clock)) = (failure.as_mut(), self.clock.get()) else {
            return true;
        };
        let now = clock.now();
        // A clock that was set back does not lengthen the pause.
        let left = failure.until.duration_since(now).unwrap_or_default();
        let is_over = left.is_zero() || left > PAUSE;
        if is_over {
            failure.until = now + PAUSE;
        }
        is_over
    }

    fn lock(&self) -> MutexGuard<'_, Option<Failure>> {
        // Nothing under the lock panics.
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
        time::UNIX_EPOCH,
    };

    use gesta_store::{DatabaseFuture, MemoryReadModels};
    use tokio::time::{Instant, advance, sleep, timeout};

    use super::*;
    use crate::Sleep;

    /// The time of a runtime whose time stands still.
    #[derive(Debug)]
    struct PausedClock(Instant);

    impl Clock for PausedClock {
        fn now(&self) -> SystemTime {
            UNIX_EPOCH + self.0.elapsed()
        }

        fn sleep(&self, duration: Duration) -> Sleep {
            Box::pin(sleep(duration))
        }
    }

    fn limited(store: &Arc<StandingStill>) -> LimitedSnapshots {
        let limited = LimitedSnapshots::new(Arc::clone(store) as Arc<dyn SnapshotStore>);
        limited.timed_by(&(Arc::new(PausedClock(Instant::now())) as Arc<dyn Clock>));
        limited
    }

    /// A store that answers nothing as long as it stands still.
    #[derive(Default)]
    struct StandingStill {
        stands: AtomicBool,
        asked: AtomicU64,
        store: MemoryReadModels,
    }

    impl StandingStill {
        fn answer<'a, T: Send + 'a>(&self, answer: DatabaseFuture<'a, T>) -> DatabaseFuture<'a, T> {
            self.asked.fetch_add(1, Relaxed);
            if self.stands.load(Relaxed) { Box::pin(pending()) } else { answer }
        }
    }

    impl SnapshotStore for StandingStill {
        fn load_snapshot<'a>(
            &'a self,
            stream: &'a StreamName,
        ) -> DatabaseFuture<'a, Option<Snapshot>> {
            self.answer(self.store.load_snapshot(stream))
        }

        fn save_snapshot(&self, snapshot: Snapshot) -> DatabaseFuture<'_, ()> {
            self.answer(self.store.save_snapshot(snapshot))
        }

        fn delete_snapshot<'a>(&'a self, stream: &'a StreamName) -> DatabaseFuture<'a, ()> {
            self.answer(self.store.delete_snapshot(stream))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_stands_still_is_asked_once_in_each_pause_and_used_when_it_answers() {
        let store = Arc::new(StandingStill::default());
        let limited = limited(&store);
        let stream = StreamName::new("order-1").unwrap();
        assert_eq!((limited.load(&stream).await, limited.trouble()), (None, None));
        store.stands.store(true, Relaxed);
        let begun = Instant::now();
        for _ in 0..100 {
            assert_eq!(limited.load(&stream).await, None);
        }
        assert_eq!(begun.elapsed(), ANSWER_MAX, "one of a hundred loads has waited");
        assert_eq!(store.asked.load(Relaxed), 2);
        assert_eq!(
            limited.trouble().as_deref(),
            Some("the snapshot store: no answer within 1 second")
        );
        advance(PAUSE).await;
        let begun = Instant::now();
        // The probe holds nobody else up.
        let (probed, _) = tokio::join!(limited.load(&stream), async {
            for _ in 0..100 {
                limited.load(&stream).await;
            }
            assert_eq!(begun.elapsed(), Duration::ZERO);
        });
        assert_eq!((probed, store.asked.load(Relaxed)), (None, 3));
        store.stands.store(false, Relaxed);
        advance(PAUSE).await;
        limited.load(&stream).await;
        assert_eq!((store.asked.load(Relaxed), limited.trouble()), (4, None));
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_leaves_in_a_probe_leaves_no_store_out_for_good() {
        let store = Arc::new(StandingStill::default());
        let limited = limited(&store);
        let stream = StreamName::new("order-1").unwrap();
        store.stands.store(true, Relaxed);
        limited.load(&stream).await;
        advance(PAUSE).await;
        assert!(timeout(ANSWER_MAX / 2, limited.load(&stream)).await.is_err());
        store.stands.store(false, Relaxed);
        advance(PAUSE).await;
        limited.load(&stream).await;
        assert_eq!(limited.trouble(), None);
    }
}
