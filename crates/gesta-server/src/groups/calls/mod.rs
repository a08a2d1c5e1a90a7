//! The calls of the service, one file for each kind.

mod acts;
mod by_name;
mod changes;
mod describe;
mod messages;
mod read;
mod request;
mod rights;
mod summary;

pub(crate) use self::{
    acts::{GroupAct, act_on_named},
    by_name::{create_named, settings_of_named, update_named},
    rights::GroupAsker,
    summary::{GroupStatus, GroupSummary, summaries},
};
pub(super) use self::{
    changes::{create, delete, replay_parked, truncate_parked, update},
    describe::{get_info, list},
    read::{GroupResponses, read},
};
