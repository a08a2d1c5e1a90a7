//! Errors of groups, with the trailers by which clients tell them apart.

use tonic::{Code, Status};

use super::name::GroupId;
use crate::{address::ServerAddress, wire::with_trailers};

fn of_group(code: Code, kind: &'static str, text: String, group: &GroupId) -> Status {
    let trailers = [
        ("exception", kind),
        ("stream-name", group.source.as_str()),
        ("group-name", group.name.as_str()),
    ];
    with_trailers(code, text, trailers)
}

/// The settings of a group cannot be used. Clients know the kind of the error.
pub(super) fn unusable(group: &GroupId, reason: &str) -> Status {
    let text = format!("the group {group} has settings that cannot be used: {reason}");
    let trailers = [
        ("exception", "persistent-subscription-failed"),
        ("stream-name", group.source.as_str()),
        ("group-name", group.name.as_str()),
        ("reason", reason),
    ];
    with_trailers(Code::InvalidArgument, text, trailers)
}

pub(super) fn does_not_exist(group: &GroupId) -> Status {
    let text =
        format!("Subscription group {} on stream {} does not exist.", group.name, source(group));
    of_group(Code::NotFound, "persistent-subscription-does-not-exist", text, group)
}

/// There is no group of a source.
pub(super) fn none_of(source: &str) -> Status {
    let text = format!("there is no subscription group on stream {source}");
    let trailers = [
        ("exception", "persistent-subscription-does-not-exist"),
        ("stream-name", source),
        ("group-name", ""),
    ];
    with_trailers(Code::NotFound, text, trailers)
}

pub(super) fn exists(group: &GroupId) -> Status {
    let text = format!("Subscription group {} on stream {} exists.", group.name, source(group));
    of_group(Code::AlreadyExists, "persistent-subscription-exists", text, group)
}

pub(super) fn too_many_consumers(group: &GroupId) -> Status {
    let text = format!(
        "Maximum subscriptions reached for subscription group {} on stream {}.",
        group.name,
        source(group)
    );
    of_group(Code::FailedPrecondition, "maximum-subscribers-reached", text, group)
}

/// The server ends the connection of a consumer, which may connect again.
pub(super) fn dropped(group: &GroupId) -> Status {
    let text =
        format!("Subscription group {} on stream {} was dropped.", group.name, source(group));
    of_group(Code::Cancelled, "persistent-subscription-dropped", text, group)
}

/// Another server has the right to run groups. Clients connect to it if its address is known.
pub(super) fn moved(to: Option<&ServerAddress>) -> Status {
    let Some(leader) = to else {
        let text = "another server runs the consumer groups of this store; connect to it";
        return Status::unavailable(text);
    };
    let port = leader.port().to_string();
    let trailers = [
        ("exception", "not-leader"),
        ("leader-endpoint-host", leader.host()),
        ("leader-endpoint-port", &port),
    ];
    let text = format!("the server at {leader} runs the consumer groups of this store");
    with_trailers(Code::NotFound, text, trailers)
}

fn source(group: &GroupId) -> &str {
    group.source.as_str()
}
