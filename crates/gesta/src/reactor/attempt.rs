//! One attempt of an event's effects.
//!
//! Not here: the pauses between attempts and the last one ([`intake`](super::intake)).

use std::{sync::Arc, time::Duration};

use gesta_store::{EventStore, RecordedEvent};
use tracing::Instrument as _;

use super::{
    EffectContext, EffectError, EffectKey, Reactor,
    effect::StateSource,
    setup::{EffectLimits, ReactorIdentity},
};
use crate::{
    Begin, Clock, Recorded,
    error_line::in_one_line,
    panics,
    snapshot::Snapshots,
    spans::{reactor_span, record_failure},
};

/// Dependencies of a reactor's tasks.
pub(super) struct ReactorDeps<R> {
    pub(super) reactor: R,
    pub(super) state: StateSource,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) identity: ReactorIdentity,
    pub(super) begins: Begin,
    pub(super) limits: EffectLimits,
}

/// A failed attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FailedAttempt {
    pub(super) error: String,
    pub(super) is_permanent: bool,
    /// Shortest pause that the receiver asks for.
    pub(super) retry_after: Option<Duration>,
}

impl<R> ReactorDeps<R> {
    pub(super) fn store(&self) -> &Arc<dyn EventStore> {
        &self.state.store
    }
}

impl FailedAttempt {
    fn of(error: &EffectError) -> Self {
        Self {
            error: in_one_line(error.error()),
            is_permanent: error.is_permanent(),
            retry_after: error.pause(),
        }
    }

    fn again(error: String) -> Self {
        Self { error, is_permanent: false, retry_after: None }
    }
}

/// Attempts the effects of an event, within the time limit.
pub(super) async fn attempt<R: Reactor>(
    deps: &ReactorDeps<R>,
    event: &RecordedEvent,
    attempt: u32,
) -> Result<(), FailedAttempt> {
    let span = reactor_span(R::NAME, event, attempt);
    let outcome = attempt_once(deps, event, attempt).instrument(span.clone()).await;
    if let Err(failed) = &outcome {
        record_failure(&span, if failed.is_permanent { "permanent" } else { "failed" });
    }
    outcome
}

async fn attempt_once<R: Reactor>(
    deps: &ReactorDeps<R>,
    event: &RecordedEvent,
    attempt: u32,
) -> Result<(), FailedAttempt> {
    let context =
        |part| EffectContext::new(deps.identity.key_of(event.id, part), attempt, &deps.state);
    // All code of the reactor runs in this future, also the text of its error, so a panic in any of
    // it is caught.
    let reacted = panics::catch(async {
        let reacted = react_each(&deps.reactor, event, context).await;
        reacted.map_err(|error| FailedAttempt::of(&error))
    });
    tokio::select! {
        // An effect that is done counts, even if the limit is reached in the same moment.
        biased;
        reacted = reacted => match reacted {
            Ok(reacted) => reacted,
            Err(message) => Err(FailedAttempt::again(format!("reactor {} panicked: {message}", R::NAME))),
        },
        () = deps.clock.sleep(deps.limits.time) => {
            let seconds = deps.limits.time.as_secs_f64();
            Err(FailedAttempt::again(format!("no result within {seconds} seconds")))
        }
    }
}

/// Reacts to each current event of a stored one, in order.
async fn react_each<R: Reactor>(
    reactor: &R,
    event: &RecordedEvent,
    context: impl Fn(usize) -> EffectContext,
) -> Result<(), EffectError> {
    // Later attempts would not decode it either: an operator deploys a version that does.
    let parts = Recorded::<R::Event>::read_all([event]).map_err(EffectError::permanent)?;
    for (part, recorded) in parts.iter().enumerate() {
        reactor.react(recorded, &context(part)).await?;
    }
    Ok(())
}

/// Reacts to an event of a test. Returns the key of the event.
pub(crate) async fn react_once<R: Reactor>(
    reactor: &R,
    (event, attempt): (&RecordedEvent, u32),
    store: &Arc<dyn EventStore>,
) -> Result<EffectKey, EffectError> {
    let key = EffectKey::new(R::NAME, event.id);
    let state = StateSource { store: Arc::clone(store), snapshots: Snapshots::default() };
    react_each(reactor, event, |part| EffectContext::new(key.part(part), attempt, &state)).await?;
    Ok(key)
}
