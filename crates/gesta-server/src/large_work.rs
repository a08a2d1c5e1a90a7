//! Work on large payloads, which would keep a thread of the runtime from other calls.
//!
//! Owns: [`LargeWork`], the choice of the thread. Invariants: work on more than
//! [`INLINE_BYTES_MAX`] runs on a thread for blocking work; at most one such thread per processor
//! is busy. Not here: passwords ([`access`](crate::access)), whose hashing is slow by design.

use std::{
    future::pending, num::NonZero, panic::resume_unwind, sync::Arc, thread::available_parallelism,
};

use tokio::{sync::Semaphore, task::spawn_blocking};

/// Size up to which work is done at once: about a tenth of a millisecond of parsing.
const INLINE_BYTES_MAX: usize = 64 << 10;

/// The threads of a server for large payloads.
#[derive(Debug)]
pub(crate) struct LargeWork {
    threads: Arc<Semaphore>,
}

impl Default for LargeWork {
    fn default() -> Self {
        let threads = available_parallelism().map_or(1, NonZero::get);
        Self { threads: Arc::new(Semaphore::new(threads)) }
    }
}

impl LargeWork {
    /// Returns `true` if work on this number of bytes runs on another thread.
    pub(crate) const fn is_large(bytes: usize) -> bool {
        bytes > INLINE_BYTES_MAX
    }

    /// Does work on this number of bytes. Work that has begun runs to its end, also if the future
    /// is dropped.
    pub(crate) async fn run<Output: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnOnce() -> Output + Send + 'static,
    ) -> Output {
        if !Self::is_large(bytes) {
            return work();
        }
        let thread = Arc::clone(&self.threads).acquire_owned().await;
        let thread = thread.expect("the semaphore is never closed");
        let done = spawn_blocking(move || {
            let output = work();
            drop(thread);
            output
        });
        match done.await.map_err(tokio::task::JoinError::try_into_panic) {
            Ok(output) => output,
            Err(Ok(panic)) => resume_unwind(panic),
            // The runtime ends, and this future with it.
            Err(Err(_)) => pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[tokio::test]
    async fn only_large_payloads_leave_the_thread_of_the_runtime() {
        let work = LargeWork::default();
        let here = thread::current().id();
        let thread_of = |bytes| work.run(bytes, || thread::current().id());
        assert_eq!(thread_of(INLINE_BYTES_MAX).await, here);
        assert_ne!(thread_of(INLINE_BYTES_MAX + 1).await, here);
    }
}
