//! Creation and change of groups for the HTTP interface, which has checked their settings.
//!
//! Invariant: rights, places and records are those of the calls of the protocol. Not here: names
//! and limits of settings over HTTP (`native`).

use tonic::Status;
use uuid::Uuid;

use super::{
    super::{
        configuration::GroupConfig,
        group_filter::GroupFilter,
        name::{GroupId, GroupSource},
        registry::Groups,
        settings::GroupSettings,
        source::before_first,
    },
    rights::{GroupAsker, check_source},
};
use crate::wire::refused;

/// Creates the group with these names.
pub(crate) async fn create_named(
    groups: &Groups,
    asker: &GroupAsker,
    (source, name): (&str, &str),
    settings: GroupSettings,
    filter: Option<GroupFilter>,
) -> Result<(), Status> {
    let id = GroupId::new(GroupSource::named(source)?, name)?;
    asker.asks_about(&id);
    if filter.is_some() && id.source != GroupSource::All {
        return Err(refused("a group of one stream has no filter: only one of `$all` has"));
    }
    check_source(groups.node(), &asker.caller, &id.source).await?;
    let before_first = before_first(groups.node(), &id.source, settings.start_from).await?;
    groups.create(GroupConfig { id, life: Uuid::new_v4(), settings, before_first, filter }).await
}

/// Returns the settings of the group with these names.
pub(crate) async fn settings_of_named(
    groups: &Groups,
    (source, name): (&str, &str),
) -> Result<GroupSettings, Status> {
    let id = GroupId::new(GroupSource::named(source)?, name)?;
    Ok(groups.find(&id).await?.config.settings.clone())
}

/// Replaces the settings of the group with these names.
pub(crate) async fn update_named(
    groups: &Groups,
    asker: &GroupAsker,
    (source, name): (&str, &str),
    settings: GroupSettings,
) -> Result<(), Status> {
    let id = GroupId::new(GroupSource::named(source)?, name)?;
    asker.asks_about(&id);
    check_source(groups.node(), &asker.caller, &id.source).await?;
    replace_settings(groups, &id, settings).await
}

/// Replaces the settings of a group.
pub(super) async fn replace_settings(
    groups: &Groups,
    id: &GroupId,
    settings: GroupSettings,
) -> Result<(), Status> {
    let place = before_first(groups.node(), &id.source, settings.start_from).await?;
    groups
        .update(id, |group| {
            // The same start stays where it was: the end has moved since.
            if group.settings.start_from != settings.start_from {
                group.before_first = place;
            }
            group.settings = settings.clone();
        })
        .await
}
