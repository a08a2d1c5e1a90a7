//! Messages to consumers.

use super::super::{name::GroupId, runner::GroupDelivery};
use crate::{
    proto::{
        persistent_subscriptions::{
            ReadResp,
            read_resp::{
                Content, ReadEvent, SubscriptionConfirmation,
                read_event::{Count, Position},
            },
        },
        shared::Empty,
    },
    streams::Found,
    wire::{IdForm, recorded_event},
};

pub(super) fn confirmation(group: &GroupId) -> ReadResp {
    let subscription_id = group.to_string();
    ReadResp {
        content: Some(Content::SubscriptionConfirmation(SubscriptionConfirmation {
            subscription_id,
        })),
    }
}

pub(super) fn delivery(delivery: &GroupDelivery, ids: IdForm) -> ReadResp {
    let (event, link, position) = match delivery.found.as_ref() {
        Found::Event(event) => (Some(event), None, event.position),
        Found::Link { link, target } => (target.as_deref(), Some(link), link.position),
    };
    let count = match delivery.retries {
        0 => Count::NoRetryCount(Empty {}),
        retries => Count::RetryCount(i32::try_from(retries).unwrap_or(i32::MAX)),
    };
    ReadResp {
        content: Some(Content::Event(ReadEvent {
            event: event.map(|event| recorded_event(event, ids)),
            link: link.map(|link| recorded_event(link, ids)),
            position: Some(Position::CommitPosition(position.number())),
            count: Some(count),
        })),
    }
}
