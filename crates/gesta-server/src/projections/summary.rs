//! Projections for the HTTP interface, in its words and not in those of the protocol.

use tonic::Status as Refusal;

use super::{
    config::Mode,
    control::{DescribedProjection, Projections},
    described::described,
    progress::Status,
    system,
};
use crate::wire::status;

/// A projection at one moment.
#[derive(Clone, Debug)]
pub(crate) struct ProjectionSummary {
    pub(crate) name: String,
    pub(crate) mode: &'static str,
    pub(crate) status: &'static str,
    /// The reason of a projection that waits or has failed, else empty.
    pub(crate) reason: String,
    pub(crate) position: u64,
    pub(crate) checkpoint: u64,
    pub(crate) progress_percent: f32,
    /// Events that handlers have seen since the start of this server.
    pub(crate) handled: u64,
    /// Partitions whose states are in memory.
    pub(crate) partitions: usize,
    /// The script; `None` for a projection of the system.
    pub(crate) query: Option<String>,
}

/// Returns all projections: those of users by their names, then those of the system.
pub(crate) async fn summaries(
    projections: &Projections,
) -> Result<Vec<ProjectionSummary>, Refusal> {
    let head = projections.store().head().await.map_err(|error| status(&error))?.position;
    let described = described(projections, head, |_| true).await?;
    let own = described.into_iter().map(|(projection, percent)| summary(projection, percent));
    let of_system = system::NAMES.into_iter().map(|name| ProjectionSummary {
        name: name.to_owned(),
        mode: Mode::Continuous.word(),
        status: Status::Running.word(),
        reason: String::new(),
        position: head.number(),
        checkpoint: head.number(),
        progress_percent: 100.0,
        handled: 0,
        partitions: 0,
        query: None,
    });
    Ok(own.chain(of_system).collect())
}

fn summary(projection: DescribedProjection, progress_percent: f32) -> ProjectionSummary {
    let DescribedProjection { config, progress, .. } = projection;
    let progress = progress.lock();
    ProjectionSummary {
        name: config.name,
        mode: config.mode.word(),
        status: progress.status.word(),
        reason: progress.status.reason().to_owned(),
        position: progress.position.number(),
        checkpoint: progress.checkpoint.number(),
        progress_percent,
        handled: progress.handled,
        partitions: progress.partitions(),
        query: Some(config.query),
    }
}
