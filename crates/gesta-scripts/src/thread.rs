//! A script on a thread of its own, because a handler may work for seconds.
//!
//! Invariants: jobs run one after the other, in the order of their calls. The thread ends when the
//! handle is dropped: the job that it runs fails, and the others are not begun.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Sender, channel},
    },
    thread,
};

use futures_channel::oneshot;

use crate::{Definition, Script, ScriptError, ScriptLimits};

/// Stack of the thread: that of the engine, and that of this program around it.
const THREAD_STACK_BYTES: usize = 2 << 20;

type Job = Box<dyn FnOnce(&mut Script) + Send>;

/// A compiled script and the thread that runs it.
///
/// ```
/// use gesta_scripts::{ScriptLimits, ScriptThread};
///
/// # futures_executor::block_on(async {
/// let script = "fromAll().when({ $init: () => 1, $any: (s, e) => s + 1 })";
/// let thread = ScriptThread::start(script.to_owned(), ScriptLimits::default()).await?;
/// let state = thread.run(|script| {
///     script.load(None, None)?;
///     script.state()
/// });
/// assert_eq!(state.await?, "1");
/// # Ok::<(), gesta_scripts::ScriptError>(())
/// # }).expect("the script runs");
/// ```
pub struct ScriptThread {
    jobs: Sender<Job>,
    definition: Definition,
    _cancelled: Cancellation,
}

/// Ends the work of the thread when it is dropped.
struct Cancellation(Arc<AtomicBool>);

impl Drop for Cancellation {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl ScriptThread {
    /// Starts a thread and compiles the script on it.
    ///
    /// # Errors
    ///
    /// The error of the script, and [`ScriptError::ThreadEnded`] if the thread does not start.
    pub async fn start(source: String, limits: ScriptLimits) -> Result<Self, ScriptError> {
        let (jobs, queue) = channel::<Job>();
        let (answer, compiled) = oneshot::channel();
        // Also dropped if nobody waits for the compilation any more.
        let cancelled = Cancellation(Arc::default());
        let flag = Arc::clone(&cancelled.0);
        let thread = thread::Builder::new().name("gesta-script".to_owned());
        let started = thread.stack_size(THREAD_STACK_BYTES).spawn(move || {
            let mut script = match Script::compile_until(&source, limits, Arc::clone(&flag)) {
                Ok(script) => script,
                Err(error) => {
                    // The caller may be gone.
                    let _ = answer.send(Err(error));
                    return;
                }
            };
            let _ = answer.send(Ok(script.definition().clone()));
            while let Ok(job) = queue.recv()
                && !flag.load(Ordering::Relaxed)
            {
                job(&mut script);
            }
        });
        started.map_err(|_| ScriptError::ThreadEnded)?;
        let definition = compiled.await.map_err(|_| ScriptError::ThreadEnded)??;
        Ok(Self { jobs, definition, _cancelled: cancelled })
    }

    /// Returns the definition that the script made.
    #[must_use]
    pub const fn definition(&self) -> &Definition {
        &self.definition
    }

    /// Runs a job on the thread. Dropping the future does not stop the job; dropping the thread
    /// does.
    ///
    /// # Errors
    ///
    /// The job's error, and [`ScriptError::ThreadEnded`] if the thread is gone.
    pub async fn run<Answer: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Script) -> Result<Answer, ScriptError> + Send + 'static,
    ) -> Result<Answer, ScriptError> {
        let (send, answer) = oneshot::channel();
        let job: Job = Box::new(move |script| drop(send.send(job(script))));
        self.jobs.send(job).map_err(|_| ScriptError::ThreadEnded)?;
        answer.await.map_err(|_| ScriptError::ThreadEnded)?
    }
}

impl fmt::Debug for ScriptThread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScriptThread").field("definition", &self.definition).finish_non_exhaustive()
    }
}
