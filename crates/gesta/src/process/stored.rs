//! Check of stored instances against a definition.
//!
//! Not here: the handling of data that a running manager does not understand
//! ([`NotUnderstood`](super::NotUnderstood)).

use gesta_store::{EventStore, ListStreams, StoreError, StreamName};

use super::{ProcessManager, ProcessSetup, instance::Instance, trouble::InputError};
use crate::error_line::in_one_line;

/// Streams listed per request.
const STREAMS_LISTED: usize = 200;

/// A stored instance that a definition does not understand.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NotUnderstoodInstance {
    /// Stream of the instance.
    pub stream: StreamName,
    /// Inputs, timers and commands that are not understood, each with its error.
    pub reasons: Vec<String>,
}

/// Reads all stored instances of a process manager and returns those that this definition does not
/// understand.
///
/// Reports inputs of types that left the event set, timers and commands that cannot be decoded, and
/// panics. Appends nothing and needs no running manager. Data that the definition
/// [ignores](super::NotUnderstood::Ignore) by declaration count as understood.
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
        let streams =
            store.list_streams(ListStreams::all().prefix(prefix).after(after).limit(limit)).await?;
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
        Err(InputError::Store(error)) if !InputError::Store(error.clone()).is_of_the_instance() => {
            Err(error)
        }
        // A stream that cannot be folded is a finding about the definition, not a failure of the
        // check.
        Err(trouble) => Ok(vec![in_one_line(&trouble)]),
    }
}
