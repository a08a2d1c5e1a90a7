//! The moment at which the live rows and a rebuild reflect the same events.
//!
//! Owns: the readers of both at such a moment, and the switch-over at it. Invariant: only the
//! projection's own task writes both, so nothing changes between the two readers. Not here: what is
//! read ([`comparison`](super::comparison)).

use std::time::Duration;

use gesta_store::{Filter, Position, ReadAll, ReadModelStore, StoreError, Visibility};

use super::{
    Apply, OperationError,
    comparison::BothBuilds,
    lifecycle::{ReadModelLifecycle, unavailable},
    read_models::{ReadModels, RebuildState, RebuildStep},
    run_error::RunError,
    stream_end,
};
use crate::{EventSet, following::first_event};

/// Maximum time in which the one that is behind reaches the other one.
const REACH_MAX: Duration = Duration::from_secs(5);

impl<P, S> ReadModelLifecycle<P, S>
where
    P: Apply<S::Tx>,
    S: ReadModelStore,
{
    /// Opens readers of the live rows and of a rebuild that awaits confirmation. The one that is
    /// behind first applies what the other one has applied.
    pub(super) async fn open_both(
        &self,
        models: &mut ReadModels<P, S>,
    ) -> Result<BothBuilds, OperationError> {
        let mut over = self.deps.clock.sleep(REACH_MAX);
        loop {
            let nothing = OperationError::NothingToCompare { projection: P::NAME };
            let rebuild = models.rebuild().filter(|_| models.awaits_confirmation());
            let rebuilt = rebuild.map(|rebuild| (rebuild.id.clone(), rebuild.position));
            let Some((rebuilt, position)) = rebuilt else { return Err(nothing) };
            let live = (models.answering.id.clone(), models.answering.position);
            if self.has_none_between(live.1, position).await? {
                let read_models = &self.deps.work.read_models;
                return Ok(BothBuilds {
                    live: (live.0.build, Box::new(read_models.reader(&live.0).await?)),
                    rebuilt: (rebuilt.build, Box::new(read_models.reader(&rebuilt).await?)),
                    position: live.1.max(position),
                });
            }
            let reached = tokio::select! {
                biased;
                () = &mut over => Err(OperationError::CannotCompare {
                    projection: P::NAME,
                    reason: "one of the two builds does not reach the other one; look whether it \
                             is halted or of another version, and try again"
                        .to_owned(),
                }),
                stepped = self.step_of_later(models, live.1 < position) => stepped,
            };
            reached?;
        }
    }

    /// Makes the rebuild live if an operation has made it due.
    ///
    /// It does not wait for positions without events of the projection: during a pause, it never
    /// passes them.
    pub(super) async fn switch_after_operation(
        &self,
        models: &mut ReadModels<P, S>,
    ) -> Result<(), RunError> {
        let live = models.answering.position;
        let behind = models.ready().map(|rebuild| rebuild.position).filter(|it| *it < live);
        if let Some(behind) = behind
            && self.has_none_between(behind, live).await?
            && let RebuildState::Running(rebuild) = &mut models.rebuild_state
        {
            rebuild.writer.position = live;
        }
        self.switch_if_due(models).await
    }

    /// Applies the next events to the build that is behind.
    async fn step_of_later(
        &self,
        models: &mut ReadModels<P, S>,
        is_live_behind: bool,
    ) -> Result<(), OperationError> {
        if is_live_behind {
            let fetched = models.answering.next().await.map_err(unavailable)?;
            return models.answering.take(fetched).await.map_err(unavailable);
        }
        let Some(delivery) = models.next_of_rebuild().await else { return Ok(()) };
        self.step(models, RebuildStep::Delivery(delivery)).await.map_err(unavailable)
    }

    /// Returns whether no event of the projection is between two positions.
    async fn has_none_between(&self, one: Position, other: Position) -> Result<bool, StoreError> {
        if one == other {
            return Ok(true);
        }
        let mut types = P::Event::event_types()?;
        types.extend(stream_end::event_types()?);
        let between = ReadAll::forwards()
            .from(one.min(other).next())
            .filter(Filter::EventTypes(types))
            .visibility(Visibility::Visible);
        let first = first_event(self.deps.store.as_ref(), between).await?;
        Ok(first.is_none_or(|event| event.position > one.max(other)))
    }
}
