//! Projections with the progress that they have made.
//!
//! Invariant: a projection whose remaining events are not its own has 100 percent.

use gesta_store::{EventStore, Position, StoreError};
use tonic::Status as Refusal;

use super::{
    checkpoint::last_checkpoint,
    config::{Mode, ProjectionConfig},
    control::{DescribedProjection, ProjectionRunner, Projections},
    names,
    progress::Status,
};
use crate::wire::status;

/// Returns the wanted projections, each with its progress in percent.
pub(super) async fn described(
    projections: &Projections,
    head: Position,
    is_wanted: impl Fn(&ProjectionConfig) -> bool,
) -> Result<Vec<(DescribedProjection, f32)>, Refusal> {
    let control = projections.look().await?;
    let mut wanted = Vec::new();
    for runner in control.runners().filter(|runner| is_wanted(&runner.config)) {
        let looked_up = look_up_progress(projections.store(), runner).await;
        looked_up.map_err(|error| status(&error))?;
        wanted.push(runner.described());
    }
    // A script is compiled below, which must not hold up other calls.
    drop(control);
    let mut described = Vec::with_capacity(wanted.len());
    for projection in wanted {
        let percent = percent_of(projections.store(), &projection, head).await;
        described.push((projection, percent.map_err(|error| status(&error))?));
    }
    Ok(described)
}

/// Reads the progress of a projection that does not run here from its checkpoint.
async fn look_up_progress(
    store: &dyn EventStore,
    runner: &ProjectionRunner,
) -> Result<(), StoreError> {
    if runner.is_here() || runner.config.mode == Mode::Transient {
        return Ok(());
    }
    let stream = names::checkpoints(&runner.config.name);
    let last = last_checkpoint(store, &runner.config, &stream).await?;
    if let Some(record) = last.record {
        let mut progress = runner.progress.lock();
        (progress.position, progress.checkpoint) = (record.position(), record.position());
    }
    Ok(())
}

async fn percent_of(
    store: &dyn EventStore,
    projection: &DescribedProjection,
    head: Position,
) -> Result<f32, StoreError> {
    let DescribedProjection { config, progress, source } = projection;
    let (state, position) = {
        let progress = progress.lock();
        (progress.status.clone(), progress.position)
    };
    let is_done = match state {
        Status::Completed => true,
        // Events behind the position may be of other streams, or its own checkpoint.
        Status::Stopped | Status::Aborted if position < head => {
            source.is_exhausted(store, &config.query, position).await?
        }
        Status::Running
        | Status::Waiting(_)
        | Status::Stopped
        | Status::Aborted
        | Status::Faulted(_) => position >= head,
    };
    Ok(if is_done { 100.0 } else { percent(position, head) })
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn percent(position: Position, head: Position) -> f32 {
    match head.number() {
        0 => 100.0,
        head => (position.number() as f32 / head as f32 * 100.0).min(100.0),
    }
}
