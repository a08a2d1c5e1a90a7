//! Groups for the HTTP interface, in its words and not in those of the protocol.

use tonic::Status;

use super::{
    super::{
        group_filter::GroupFilter,
        machine::GroupFigures,
        registry::{Groups, RunningGroup},
        runner::GroupReport,
        settings::GroupSettings,
    },
    describe::report,
};

/// A group at one moment. Places are revisions of its source, or positions if that is `$all`.
#[derive(Clone, Debug)]
pub(crate) struct GroupSummary {
    pub(crate) source: String,
    pub(crate) name: String,
    /// The stream of the events that the group has parked.
    pub(crate) parked_stream: String,
    pub(crate) status: GroupStatus,
    pub(crate) checkpoint: Option<u64>,
    /// The last place that was read.
    pub(crate) last_known: Option<u64>,
    pub(crate) parked: u64,
    /// Events that wait for their first delivery.
    pub(crate) waiting: usize,
    /// Events that wait for a further delivery.
    pub(crate) retried: usize,
    pub(crate) in_flight: usize,
    pub(crate) delivered: u64,
    pub(crate) delivered_per_second: u64,
    pub(crate) settings: GroupSettings,
    pub(crate) filter: Option<GroupFilter>,
    pub(crate) consumers: Vec<ConsumerSummary>,
}

/// A consumer at one moment.
#[derive(Clone, Debug)]
pub(crate) struct ConsumerSummary {
    pub(crate) name: String,
    pub(crate) address: String,
    pub(crate) login: String,
    pub(crate) in_flight: usize,
    pub(crate) free_slots: usize,
    pub(crate) delivered: u64,
}

#[derive(Clone, Debug)]
pub(crate) enum GroupStatus {
    /// Reads events that were there before it began.
    Behind,
    Live,
    /// Delivers parked events again.
    Replaying,
    /// Cannot read its source.
    Failed(String),
}

/// Returns all groups, by source and name.
pub(crate) async fn summaries(groups: &Groups) -> Result<Vec<GroupSummary>, Status> {
    let listed = groups.list(None).await?;
    let mut summaries = Vec::with_capacity(listed.len());
    for group in &listed {
        let (report, parked) = report(groups, group).await?;
        summaries.push(summary(group, report, parked));
    }
    Ok(summaries)
}

fn summary(group: &RunningGroup, report: GroupReport, parked: u64) -> GroupSummary {
    let GroupReport { figures, peers, failure } = report;
    let id = &group.config.id;
    let status = match failure {
        Some(failure) => GroupStatus::Failed(failure),
        None if figures.is_replaying => GroupStatus::Replaying,
        None if figures.is_live => GroupStatus::Live,
        None => GroupStatus::Behind,
    };
    let GroupFigures { delivered, checkpoint, last_known, waiting, retried, in_flight, .. } =
        figures;
    let consumers = figures.consumers.into_iter().zip(peers);
    let consumers = consumers.map(|((_, figures), peer)| ConsumerSummary {
        name: peer.name,
        address: peer.address,
        login: peer.login,
        in_flight: figures.in_flight,
        free_slots: figures.free_slots,
        delivered: figures.delivered.total,
    });
    GroupSummary {
        source: id.source.as_str().to_owned(),
        name: id.name.clone(),
        parked_stream: id.parked.as_str().to_owned(),
        status,
        checkpoint,
        last_known,
        parked,
        waiting,
        retried,
        in_flight,
        delivered: delivered.total,
        delivered_per_second: delivered.per_second,
        settings: group.config.settings.clone(),
        filter: group.config.filter.clone(),
        consumers: consumers.collect(),
    }
}
