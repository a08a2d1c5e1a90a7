//! Stored instances under a definition: which of them it does not understand.
//!
//! Not here: what becomes of them when they run, which the definition says
//! ([`NotUnderstood`](super::NotUnderstood)).

use gesta_store::{EventStore, ListStreams, StoreError, StreamName};

use super::{ProcessManager, ProcessSetup, instance::Instance, trouble::Trouble};
use crate::projection::in_one_line;

/// Streams that are listed at once.
const STREAMS_LISTED: usize = 200;

/// A stored instance that a definition does not understand.
///
/// ```
/// let cy = gesta::NotUnderstoodInstance {
///     stream: gesta::StreamName::new("process:welcome-cy")?,
///     reasons: vec!["effect 0.0 of process:welcome-cy cannot be read".to_owned()],
/// };
/// assert_eq!(cy.stream.as_str(), "process:welcome-cy");
/// # Ok::<(), gesta::InvalidName>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotUnderstoodInstance {
    /// Its stream.
    pub stream: StreamName,
    /// The inputs, timers and commands that are not understood, each with the error.
    pub reasons: Vec<String>,
}

/// Reads every stored instance of a process manager as this definition would, and returns those
/// that it does not understand: inputs of types that left the event set, timers and commands whose
/// stored form it does not read, a panic. Nothing is appended, and no manager needs to run. What the
/// definition [ignores](super::NotUnderstood::Ignore) by declaration counts as understood.
///
/// # Errors
/// [`StoreError`] when the store could not be read.
pub async fn stored_processes<P: ProcessManager>(
    setup: &ProcessSetup<P>,
    store: &dyn EventStore,
) -> Result<Vec<NotUnderstoodInstance>, StoreError> {
    let identity = setup.identity()?;
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let (prefix, limit) = (identity.prefix(), STREAMS_LISTED);
        let streams = store.list_streams(ListStreams { prefix, after, limit }).await?;
        let is_last = streams.len() < STREAMS_LISTED;
        after = streams.last().cloned();
        for stream in streams {
            let reasons = reasons(setup, store, &stream).await?;
            if !reasons.is_empty() {
                found.push(NotUnderstoodInstance { stream, reasons });
            }
        }
        if is_last {
            return Ok(found);
        }
    }
}

async fn reasons<P: ProcessManager>(
    setup: &ProcessSetup<P>,
    store: &dyn EventStore,
    stream: &StreamName,
) -> Result<Vec<String>, StoreError> {
    let mut instance = Instance::new(&setup.manager, stream);
    match instance.catch_up(store).await {
        Ok(()) => Ok(instance.unreadable().iter().map(|it| in_one_line(it)).collect()),
        Err(Trouble::Store(error)) if !Trouble::Store(error.clone()).is_of_the_instance() => {
            Err(error)
        }
        Err(trouble) => Ok(vec![in_one_line(&trouble)]),
    }
}
