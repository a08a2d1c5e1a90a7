//! `Create`, `Update`, `Delete`, `ReplayParked` and `TruncateParked`.
//!
//! Invariant: who creates or changes a group has the right to read its source. The start and the
//! filter would otherwise tell of events, and so would the figures.

use tonic::Status;
use uuid::Uuid;

use super::{
    super::{
        configuration::GroupConfig, group_filter::GroupFilter, name::GroupId, registry::Groups,
        settings::AskedSettings, source::before_first,
    },
    acts::{GroupAct, act},
    by_name::replace_settings,
    request::{SourceStart, group_id, parked_end, start_of_create, start_of_update},
    rights::{GroupAsker, check_source},
};
use crate::{
    proto::persistent_subscriptions::{
        CreateReq, CreateResp, DeleteReq, DeleteResp, ReplayParkedReq, ReplayParkedResp,
        TruncateParkedReq, TruncateParkedResp, UpdateReq, UpdateResp,
        create_req::{all_options::FilterOption, options::StreamOption},
        replay_parked_req::options::StopAtOption,
        truncate_parked_req,
    },
    wire::refused,
};

pub(in crate::groups) async fn create(
    groups: &Groups,
    asker: &GroupAsker,
    request: CreateReq,
) -> Result<CreateResp, Status> {
    let options = request.options.ok_or_else(no_options)?;
    let asked = AskedSettings::from(options.settings.ok_or_else(no_settings)?);
    let SourceStart { source, start } = start_of_create(
        options.stream_option.as_ref(),
        options.stream_identifier.as_ref(),
        asked.revision,
    )?;
    let id = GroupId::new(source, &options.group_name)?;
    asker.asks_about(&id);
    let settings = asked.check(&id, start)?;
    let filter = match options.stream_option {
        Some(StreamOption::All(all)) => match all.filter_option {
            Some(FilterOption::Filter(filter)) => Some(GroupFilter::of(filter)?),
            Some(FilterOption::NoFilter(_)) | None => None,
        },
        Some(StreamOption::Stream(_)) | None => None,
    };
    check_source(groups.node(), &asker.caller, &id.source).await?;
    // The end is a place from now on, so that no restart moves it.
    let before_first = before_first(groups.node(), &id.source, start).await?;
    let life = Uuid::new_v4();
    groups.create(GroupConfig { id, life, settings, before_first, filter }).await?;
    Ok(CreateResp {})
}

pub(in crate::groups) async fn update(
    groups: &Groups,
    asker: &GroupAsker,
    request: UpdateReq,
) -> Result<UpdateResp, Status> {
    let options = request.options.ok_or_else(no_options)?;
    let asked = AskedSettings::from(options.settings.ok_or_else(no_settings)?);
    let SourceStart { source, start } = start_of_update(
        options.stream_option.as_ref(),
        options.stream_identifier.as_ref(),
        asked.revision,
    )?;
    let id = GroupId::new(source, &options.group_name)?;
    asker.asks_about(&id);
    let settings = asked.check(&id, start)?;
    check_source(groups.node(), &asker.caller, &id.source).await?;
    replace_settings(groups, &id, settings).await?;
    Ok(UpdateResp {})
}

pub(in crate::groups) async fn delete(
    groups: &Groups,
    asker: &GroupAsker,
    request: DeleteReq,
) -> Result<DeleteResp, Status> {
    let options = request.options.ok_or_else(no_options)?;
    let id = group_id(options.stream_option.as_ref(), &options.group_name)?;
    act(groups, &asker.subject, &id, GroupAct::Delete).await?;
    Ok(DeleteResp {})
}

pub(in crate::groups) async fn replay_parked(
    groups: &Groups,
    asker: &GroupAsker,
    request: ReplayParkedReq,
) -> Result<ReplayParkedResp, Status> {
    let options = request.options.ok_or_else(no_options)?;
    let id = group_id(options.stream_option.as_ref(), &options.group_name)?;
    let stop_at = match options.stop_at_option {
        Some(StopAtOption::StopAt(revision)) => Some(parked_end(revision)?),
        Some(StopAtOption::NoLimit(_)) | None => None,
    };
    act(groups, &asker.subject, &id, GroupAct::ReplayParked { stop_at }).await?;
    Ok(ReplayParkedResp {})
}

pub(in crate::groups) async fn truncate_parked(
    groups: &Groups,
    asker: &GroupAsker,
    request: TruncateParkedReq,
) -> Result<TruncateParkedResp, Status> {
    use truncate_parked_req::options::StopAtOption as EndOption;
    let options = request.options.ok_or_else(no_options)?;
    let id = group_id(options.stream_option.as_ref(), &options.group_name)?;
    let stop_at = match options.stop_at_option {
        Some(EndOption::StopAt(revision)) => Some(parked_end(revision)?),
        Some(EndOption::NoLimit(_)) | None => None,
    };
    act(groups, &asker.subject, &id, GroupAct::TruncateParked { stop_at }).await?;
    Ok(TruncateParkedResp {})
}

fn no_options() -> Status {
    refused("the options are missing")
}

fn no_settings() -> Status {
    refused("the settings of the group are missing")
}
